//! Our own client of receives and deletes beside the SDK: what it asks, what it makes of answers, and when it gives way.

use std::time::{Duration, SystemTime};

use aws_config::{Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use aws_types::sdk_config::TimeSource;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::{Digest, Sha256};
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsClient, SqsQueue};
use stream_sqsd::queue::{Queue, QueueError, Receipt};

use super::server::{Answer, Request, Server, message, sdk_config};

const WAIT: Duration = Duration::from_secs(20);
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A clock that stands at 2026-01-01, so that two requests have one time.
#[derive(Debug)]
struct Standing;

impl TimeSource for Standing {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
    }
}

fn config(region: &str, token: Option<&str>) -> SdkConfig {
    let credentials = Credentials::new("AKIDTEST", SECRET, token.map(str::to_owned), None, "test");
    sdk_config()
        .to_builder()
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .time_source(Standing)
        .build()
}

async fn queue(config: &SdkConfig, url: &str, client: SqsClient) -> SqsQueue {
    let address = QueueAddress::Url(QueueUrl::parse(url).unwrap());
    SqsQueue::with_config(config, address).await.unwrap().with_client(client)
}

async fn standing(server: &Server) -> SqsQueue {
    queue(&config("eu-central-1", None), &server.url("chat-events"), SqsClient::Auto).await
}

/// Whether our own client made a request.
fn is_ours(request: &Request) -> bool {
    request.header("user-agent").starts_with("stream-sqsd/")
}

/// Who made each request: `o` for ours, `s` for the SDK.
fn makers(server: &Server) -> String {
    server.seen().iter().map(|request| if is_ours(request) { 'o' } else { 's' }).collect()
}

/// By which the SDK tells AWS of itself.
const OF_THE_SDK: [&str; 3] = ["amz-sdk-invocation-id", "amz-sdk-request", "x-amz-user-agent"];

/// The parts of an authorization: whose it is, the headers that are signed, and the signature.
fn authorization(request: &Request) -> (String, Vec<String>, String) {
    let text = request.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ").unwrap().to_owned();
    let part = |name: &str| text.split(", ").find_map(|part| part.strip_prefix(name)).unwrap().to_owned();
    let signed = part("SignedHeaders=").split(';').map(str::to_owned).collect();
    (part("Credential="), signed, part("Signature="))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature that a request must have, made by the rules of Signature Version 4.
fn signature_of(request: &Request) -> String {
    let (credential, signed, _) = authorization(request);
    let path = request.line.split(' ').nth(1).unwrap();
    let headers: String = signed.iter().map(|name| format!("{name}:{}\n", request.header(name))).collect();
    let body = hex(&Sha256::digest(&request.raw));
    let canonical = format!("POST\n{path}\n\n{headers}\n{}\n{body}", signed.join(";"));
    let (_, scope) = credential.split_once('/').unwrap();
    let canonical = hex(&Sha256::digest(canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{canonical}", request.header("x-amz-date"));
    let hmac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| hmac(&key, part));
    hex(&hmac(&key, &text))
}

/// The body without the id of a receive of a FIFO queue, which is drawn.
fn body(request: &Request) -> String {
    let text = String::from_utf8(request.raw.clone()).unwrap();
    match request.body["ReceiveRequestAttemptId"].as_str() {
        Some(id) => text.replace(id, "drawn"),
        None => text,
    }
}

fn assert_same(ours: &Request, sdks: &Request) {
    assert!(is_ours(ours) && !is_ours(sdks), "{ours:?} {sdks:?}");
    assert_eq!((&ours.line, body(ours)), (&sdks.line, body(sdks)));
    let headers = |request: &Request| {
        let differ = |name: &str| OF_THE_SDK.contains(&name) || name == "user-agent" || name == "authorization";
        let mut headers = request.headers.clone();
        headers.retain(|(name, _)| !differ(name));
        headers.sort();
        headers
    };
    assert_eq!(headers(ours), headers(sdks));
    let ((whose, mut signed, signature), (sdks_whose, mut sdks_signed, sdks_signature)) =
        (authorization(ours), authorization(sdks));
    assert_eq!(sdks_signature, signature_of(sdks), "the check itself is wrong");
    assert_eq!(signature, signature_of(ours));
    signed.sort();
    sdks_signed.retain(|name| !OF_THE_SDK.contains(&&**name));
    assert_eq!((whose, signed), (sdks_whose, sdks_signed));
}

#[tokio::test]
async fn its_requests_are_those_of_the_sdk() {
    let longest = format!("{}.fifo", "x".repeat(75));
    let batch: Vec<_> = ["AQEB+/=", "\"quoted\" \\ \u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}", "é\u{2028}🌱", ""]
        .map(|handle| Receipt::new("m", handle))
        .into();
    for (region, token, name, below) in [
        ("us-east-1", None, "chat-events", ""),
        ("eu-central-1", Some("FwoGZXIvYXdzEXAMPLE//token=="), "a_b-C.d", "/"),
        ("cn-north-1", Some("token"), longest.as_str(), "/below"),
        ("us-gov-west-1", None, "1.fifo", "/below/that/"),
    ] {
        let server = Server::start(vec![Answer::ok(json!({}))]).await;
        let config =
            config(region, token).to_builder().endpoint_url(format!("http://{}{below}", server.address)).build();
        let url = format!("https://sqs.{region}.amazonaws.com/123456789012/{name}");
        let (ours, sdks) = (queue(&config, &url, SqsClient::Auto).await, queue(&config, &url, SqsClient::Sdk).await);
        for queue in [&ours, &sdks] {
            queue.receive(10, WAIT, None).await.unwrap();
            queue.receive(1, Duration::ZERO, Some(Duration::from_secs(61))).await.unwrap();
            queue.delete(&batch).await.unwrap();
            queue.delete(&batch[..1]).await.unwrap();
        }
        let seen = server.seen();
        assert_eq!(seen.len(), 8);
        for call in 0..4 {
            assert_same(&seen[call], &seen[call + 4]);
        }
    }
}

/// A refusal that a wrong clock may cause, given at this time of 2026-01-01.
fn refused_at(time: &str) -> Answer {
    let Answer::Reply { status, body, .. } = Answer::error(403, "SignatureDoesNotMatch", "Signature expired") else {
        unreachable!()
    };
    Answer::Reply { status, headers: vec![("Date", format!("Thu, 01 Jan 2026 {time} GMT"))], body }
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_by_the_answer_that_says_so() {
    let server = Server::start(vec![refused_at("00:10:00"), Answer::ok(json!({}))]).await;
    let queue = standing(&server).await;
    queue.receive(10, WAIT, None).await.unwrap();
    queue.receive(10, WAIT, None).await.unwrap();
    let times: Vec<String> = server.seen().iter().map(|request| request.header("x-amz-date").to_owned()).collect();
    assert_eq!(times, ["20260101T000000Z", "20260101T001000Z", "20260101T001000Z"]);
    assert_eq!((makers(&server).as_str(), queue.fallbacks()), ("ooo", 0));

    // The clock is right again.
    server.answer(vec![refused_at("00:00:01"), Answer::ok(json!({}))]);
    queue.receive(10, WAIT, None).await.unwrap();
    assert_eq!(server.seen()[4].header("x-amz-date"), "20260101T000001Z");
}

#[tokio::test]
async fn what_the_sdk_alone_gets_through_goes_through_the_sdk() {
    let refused = || refused_at("00:00:00");
    let ok = || Answer::ok(json!({ "Messages": [message("m-1", "{}")] }));
    let twice = [refused(), ok(), refused(), ok(), ok()];
    let server = Server::start([twice.clone(), twice].concat()).await;
    let queue = standing(&server).await;
    for _ in 0..6 {
        assert_eq!(queue.receive(10, WAIT, None).await.unwrap().len(), 1);
    }
    assert_eq!((makers(&server).as_str(), queue.fallbacks()), ("ososoososo", 4));

    // Three in a row are enough, of one kind of call: deletes go well meanwhile.
    let deleted = || Answer::ok(json!({ "Successful": [{ "Id": "0" }], "Failed": [] }));
    server.answer(vec![refused(), ok(), deleted(), refused(), ok(), deleted(), refused(), ok(), deleted(), ok()]);
    for _ in 0..3 {
        queue.receive(10, WAIT, None).await.unwrap();
        assert!(queue.delete(&[Receipt::new("m", "h")]).await.unwrap()[0].is_ok());
    }
    queue.receive(10, WAIT, None).await.unwrap();
    assert_eq!((&makers(&server)[10..], queue.fallbacks()), ("osoosoosss", 7));
}

#[tokio::test]
async fn a_refusal_that_the_sdk_gets_too_is_not_held_against_it() {
    let server = Server::start(vec![refused_at("00:00:00")]).await;
    let queue = standing(&server).await;
    for _ in 0..5 {
        let error = queue.receive(10, WAIT, None).await.unwrap_err();
        assert_eq!(error.label(), "credentials");
    }
    assert_eq!((makers(&server).as_str(), queue.fallbacks()), ("ososososos", 0));
    // For whom a call is refused and whether it is throttled has nothing to do with the client.
    for (status, kind) in [(403, "AccessDenied"), (403, "InvalidClientTokenId"), (400, "ThrottlingException")] {
        let server = Server::start(vec![Answer::error(status, kind, "")]).await;
        standing(&server).await.receive(10, WAIT, None).await.unwrap_err();
        assert_eq!(makers(&server), "o", "{kind}");
    }
}

#[tokio::test]
async fn an_odd_answer_is_read_by_the_sdk_without_another_request() {
    let odd = Answer::Reply { status: 200, headers: Vec::new(), body: String::new() };
    let server = Server::start(vec![odd, Answer::ok(json!({}))]).await;
    let queue = standing(&server).await;
    for fallbacks in [1, 1] {
        assert!(queue.receive(10, WAIT, None).await.unwrap().is_empty());
        assert_eq!(queue.fallbacks(), fallbacks);
    }
    assert_eq!(makers(&server), "oo");
}

#[tokio::test]
async fn an_answer_that_is_not_http_leads_to_the_sdk() {
    let strange = Answer::Bytes { bytes: b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), close: true };
    let server = Server::start(vec![strange, Answer::ok(json!({}))]).await;
    assert!(standing(&server).await.receive(10, WAIT, None).await.unwrap().is_empty());
    assert_eq!(makers(&server), "os");
}

#[tokio::test]
async fn a_connection_that_had_been_closed_is_replaced_unnoticed() {
    let closed = |bytes: &[u8]| Answer::Bytes { bytes: bytes.to_vec(), close: true };
    let ok = Answer::ok(json!({}));
    let server = Server::start(vec![ok.clone(), closed(b""), ok.clone()]).await;
    let queue = standing(&server).await;
    for _ in 0..2 {
        queue.receive(10, WAIT, None).await.unwrap();
    }
    assert_eq!((makers(&server).as_str(), server.connections()), ("ooo", 2));

    // Where an answer has begun, or the connection was a new one, the receive has failed.
    let server = Server::start(vec![ok, closed(b"HTTP/1.1 200 O"), closed(b"")]).await;
    let queue = standing(&server).await;
    for is_ok in [true, false, false] {
        assert_eq!(queue.receive(10, WAIT, None).await.is_ok(), is_ok);
    }
    assert_eq!((makers(&server).as_str(), server.connections()), ("ooo", 2));
}

#[tokio::test]
async fn a_poll_that_breaks_after_seconds_is_not_made_again() {
    let ok = Answer::ok(json!({}));
    let server = Server::start(vec![ok.clone(), Answer::CloseAfter(Duration::from_secs(15)), ok]).await;
    let queue = standing(&server).await;
    queue.receive(10, WAIT, None).await.unwrap();
    tokio::time::pause();
    let error = queue.receive(10, WAIT, None).await.unwrap_err();
    assert_eq!((error.label(), makers(&server).as_str()), ("unreachable", "oo"));
}

#[tokio::test]
async fn a_connection_that_is_idle_for_long_is_not_used() {
    let server = Server::start(vec![Answer::ok(json!({}))]).await;
    let queue = standing(&server).await;
    queue.receive(10, WAIT, None).await.unwrap();
    tokio::time::pause();
    for (idle, connections) in [(40, 1), (40, 1), (50, 2)] {
        tokio::time::advance(Duration::from_secs(idle)).await;
        tokio::time::resume();
        queue.receive(10, WAIT, None).await.unwrap();
        tokio::time::pause();
        assert_eq!(server.connections(), connections, "after {idle} s");
    }
}

#[tokio::test]
async fn a_given_up_receive_takes_its_connection_with_it() {
    let answer = |id: &str| json!({ "Messages": [message(id, "{}")] });
    let late = Answer::Late(Duration::from_millis(200), answer("late").to_string());
    let server = Server::start(vec![late, Answer::ok(answer("next"))]).await;
    let queue = standing(&server).await;
    let is_asked = async {
        while server.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        answer = queue.receive(10, WAIT, None) => panic!("it was answered: {answer:?}"),
        () = is_asked => {}
    }
    let deliveries = queue.receive(10, WAIT, None).await.unwrap();
    assert_eq!(deliveries[0].receipt.message_id.as_str(), "next");
    assert_eq!(server.connections(), 2);
}

/// An error, without what the SDK's client says of itself.
fn told(error: QueueError) -> String {
    format!("{}: {error}", error.label()).replace("client error (SendRequest): ", "")
}

/// What comes of a receive and a delete that are answered so.
async fn outcomes(client: SqsClient, answer: &Answer) -> [String; 2] {
    let server = Server::start(vec![answer.clone()]).await;
    // One attempt: what is tried again is another test's.
    let retry = aws_types::sdk_config::RetryConfig::disabled();
    let config = config("eu-central-1", None).to_builder().retry_config(retry).build();
    let queue = queue(&config, &server.url("chat-events"), client).await;
    let received = match queue.receive(10, WAIT, None).await {
        Ok(deliveries) => format!("{deliveries:?}"),
        Err(error) => told(error),
    };
    let deleted = match queue.delete(&[Receipt::new("m", "h"), Receipt::new("n", "i")]).await {
        Ok(answers) => format!("{answers:?}"),
        Err(error) => told(error),
    };
    [received, deleted]
}

fn chunked(body: &str, sizes: usize) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.as_bytes().chunks(sizes) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

#[tokio::test]
async fn its_answers_are_those_of_the_sdk() {
    let escapes: String = "\u{1}\"\\/\u{7f}é🌱".chars().cycle().take(10_000).collect();
    let body = |last: &str| {
        let body = json!({
            "Messages": [message("m-1", "{}"), message("m-2", &escapes), message("m-3", last)],
            "Successful": [{ "Id": "1" }],
            "Failed": [{ "Id": "0", "SenderFault": true, "Code": "ReceiptHandleIsInvalid", "Message": "gone\nfor good" }],
        });
        body.to_string()
    };
    let (large, body) = (body(&"x".repeat(1024 * 1024)), body(""));
    let bytes = |bytes: Vec<u8>, close| Answer::Bytes { bytes, close };
    let with = |head: &str, body: &str| format!("{head}\r\n\r\n{body}").into_bytes();
    let sized = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close", body.len());
    let mut broken_off = chunked(&body, 5_000);
    broken_off.truncate(20_000);
    let query_error =
        "HTTP/1.1 400 Bad Request\r\nx-amzn-query-error: AWS.SimpleQueueService.New;Sender\r\nContent-Length: 0";
    let reply = |status, body: &str| Answer::Reply { status, headers: Vec::new(), body: body.to_owned() };
    for (what, answer) in [
        ("of 1 MiB", reply(200, &large)),
        ("in chunks", bytes(chunked(&body, 10_000), false)),
        ("in small chunks", bytes(chunked(r#"{"Successful":[{"Id":"0"},{"Id":"1"}]}"#, 1), false)),
        ("the last of its connection", bytes(with(&sized, &body), true)),
        ("ended by the connection", bytes(with("HTTP/1.1 200 OK", &body), true)),
        ("of HTTP/1.0", bytes(with("HTTP/1.0 200 OK", &body), true)),
        ("broken off", bytes(broken_off, true)),
        ("truncated", Answer::Truncated(body.clone())),
        ("another good status", reply(201, &body)),
        ("nothing", reply(200, "")),
        ("nulls", reply(200, r#"{"Messages":[null],"Successful":null,"Failed":[]}"#)),
        ("an entry without code", reply(200, r#"{"Successful":[],"Failed":[{"Id":"0"}]}"#)),
        ("no JSON", reply(200, "<html>log in</html>")),
        ("JSON that goes on", reply(200, r#"{"Messages":[]} {}"#)),
        ("another type", reply(200, r#"{"Messages":{},"Successful":7}"#)),
        ("half a surrogate", reply(200, r#"{"Messages":[{"MessageId":"\ud800"}],"Failed":[{"Id":"\ud800"}]}"#)),
        ("a redirect", reply(307, "")),
        ("an error of a server", reply(500, "")),
        ("an unknown error", Answer::error(400, "NewException", "of tomorrow")),
        (
            "an error of the query protocol",
            Answer::error_with_query_code(400, "New", "AWS.SimpleQueueService.New", "x"),
        ),
        ("a query error without a body", bytes(with(query_error, ""), false)),
        ("a gateway's page", reply(403, "<html>no</html>")),
        ("a reset", Answer::Reset),
    ] {
        assert_eq!(outcomes(SqsClient::Auto, &answer).await, outcomes(SqsClient::Sdk, &answer).await, "{what}");
    }
}
