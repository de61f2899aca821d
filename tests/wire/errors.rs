//! Each error is called by its name, whatever the HTTP status says.

use std::time::Duration;

use stream_sqsd::queue::{Queue, QueueError};

use super::server::{Answer, Server};

async fn error_of(answer: Answer) -> QueueError {
    let server = Server::start(vec![answer]).await;
    server.queue().await.receive(10, Duration::from_secs(20), None).await.unwrap_err()
}

#[tokio::test]
async fn errors_are_told_apart_by_code_and_not_by_status() {
    let cases = [
        (400, "RequestThrottled", "RequestThrottled", "throttled"),
        (400, "ThrottlingException", "", "throttled"),
        (503, "ThrottlingException", "", "throttled"),
        (400, "KmsThrottled", "KMS.ThrottlingException", "throttled"),
        (403, "OverLimit", "AWS.SimpleQueueService.OverLimit", "over_limit"),
        (400, "OverLimit", "OverLimit", "over_limit"),
        (403, "AccessDenied", "AccessDenied", "access_denied"),
        (400, "AccessDeniedException", "", "access_denied"),
        (403, "InvalidClientTokenId", "InvalidClientTokenId", "credentials"),
        (400, "UnrecognizedClientException", "", "credentials"),
        (403, "SignatureDoesNotMatch", "SignatureDoesNotMatch", "credentials"),
        (400, "InvalidSignatureException", "", "credentials"),
        (403, "ExpiredToken", "ExpiredToken", "credentials"),
        (400, "ExpiredTokenException", "", "credentials"),
        (403, "InvalidSecurity", "InvalidSecurity", "credentials"),
        (400, "RequestExpired", "", "credentials"),
        (400, "KmsAccessDenied", "KMS.AccessDeniedException", "encryption_key"),
        (400, "KMS.AccessDeniedException", "", "encryption_key"),
        (400, "KmsDisabled", "KMS.DisabledException", "encryption_key"),
        (400, "KmsNotFound", "KMS.NotFoundException", "encryption_key"),
        (400, "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "no_such_queue"),
        (400, "QueueDoesNotExist", "", "no_such_queue"),
        (404, "InvalidAddress", "InvalidAddress", "no_such_queue"),
        (500, "InternalFailure", "InternalFailure", "service"),
        (503, "ServiceUnavailable", "", "service"),
        (400, "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", "service"),
    ];
    for (status, kind, query_code, label) in cases {
        let answer = match query_code {
            "" => Answer::error(status, kind, "in SQS's own words"),
            _ => Answer::error_with_query_code(status, kind, query_code, "in SQS's own words"),
        };
        let error = error_of(answer).await;
        assert_eq!(error.label(), label, "{status} {kind} {query_code}: {error}");
    }
}

#[tokio::test]
async fn an_error_names_the_permission_and_what_sqs_said() {
    let server = Server::start(vec![Answer::error(403, "AccessDenied", "you may not")]).await;
    let queue = server.queue().await;
    let said = |error: QueueError| error.to_string();
    assert_eq!(said(queue.facts().await.unwrap_err()), "access denied to sqs:GetQueueAttributes: you may not");
    assert!(!queue.known().fifo && queue.known().name.is_some());
    let wait = Duration::from_secs(1);
    assert_eq!(
        said(queue.receive(1, wait, None).await.unwrap_err()),
        "access denied to sqs:ReceiveMessage: you may not"
    );
    let receipt = stream_sqsd::queue::Receipt::new("m", "h");
    let delete = queue.delete(std::slice::from_ref(&receipt)).await.unwrap_err();
    assert_eq!(said(delete), "access denied to sqs:DeleteMessage: you may not");
    let hide = queue.change_visibility(&[(receipt, wait)]).await.unwrap_err();
    assert_eq!(said(hide), "access denied to sqs:ChangeMessageVisibility: you may not");
}

#[tokio::test]
async fn the_signed_request_that_sqs_repeats_is_not_repeated_by_us() {
    let words = "The request signature we calculated does not match.\n\nThe Canonical String was \
                 'POST\n/\n\nx-amz-security-token:SECRET-TOKEN'";
    let error = error_of(Answer::error(403, "SignatureDoesNotMatch", words)).await;
    let expected = "no good credentials: SignatureDoesNotMatch: The request signature we calculated does not match.";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_wrong_clock_is_suspected_by_name() {
    let words = "Signature expired: 20250101T000000Z is now earlier than 20250101T001000Z";
    for answer in [
        Answer::error(403, "SignatureDoesNotMatch", words),
        Answer::error(400, "InvalidSignatureException", words),
        Answer::error(403, "RequestTimeTooSkewed", "The difference is too large"),
    ] {
        let error = error_of(answer).await;
        assert!(error.to_string().ends_with("is the clock of this machine right?"), "{error}");
    }
}

#[tokio::test]
async fn an_error_that_is_not_of_sqs_is_told_by_its_status() {
    let page = "<html><body>Bad Gateway</body></html>";
    for (status, body) in [(502, page), (403, page), (500, ""), (503, "{}")] {
        let error = error_of(Answer::Reply { status, headers: Vec::new(), body: body.into() }).await;
        let told = error.to_string();
        assert!(matches!(error, QueueError::Service { .. }) && told.contains(&format!("HTTP {status}")), "{error:?}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_an_unreachable_queue_with_its_cause() {
    let error = error_of(Answer::Reset).await;
    assert!(matches!(error, QueueError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("onnection"), "{error}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_an_empty_queue() {
    for answer in [Answer::Truncated(r#"{"Messages":[{"MessageId":"m-1","#.into()), Answer::Truncated("{}".into())] {
        let error = error_of(answer).await;
        assert!(matches!(error, QueueError::BadAnswer { .. } | QueueError::Unreachable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_a_bad_answer() {
    let answer = Answer::Reply { status: 200, headers: Vec::new(), body: "<html>log in first</html>".into() };
    let error = error_of(answer).await;
    assert!(matches!(error, QueueError::BadAnswer { .. }), "{error:?}");
}

#[tokio::test]
async fn a_port_without_listener_is_an_unreachable_queue_with_cause() {
    let mut server = Server::start(vec![Answer::Reset]).await;
    server.address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = server.queue().await.receive(1, Duration::from_secs(1), None).await.unwrap_err();
    let told = error.to_string();
    assert!(told.starts_with("the queue cannot be reached: ") && told.contains("refused"), "{told}");
}
