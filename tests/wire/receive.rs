//! What a receive asks for, and what it makes of the messages that come.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use stream_sqsd::queue::{Queue, QueueError, WebhookId};

use super::server::{Answer, Server, message};

const WAIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_receive_asks_for_what_is_used_and_for_nothing_else() {
    let server = Server::start(vec![Answer::ok(json!({}))]).await;
    let queue = server.queue().await;
    assert!(queue.receive(10, WAIT, None).await.unwrap().is_empty());
    assert!(
        queue.receive(3, Duration::from_millis(1_900), Some(Duration::from_millis(60_001))).await.unwrap().is_empty()
    );

    let seen = server.seen();
    assert_eq!(seen[0].header("x-amz-target"), "AmazonSQS.ReceiveMessage");
    assert_eq!(
        seen[0].body,
        json!({
            "QueueUrl": server.url("chat-events"),
            "MaxNumberOfMessages": 10,
            "WaitTimeSeconds": 20,
            "MessageSystemAttributeNames":
                ["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId", "AWSTraceHeader"],
            // By name: what others send along costs nothing.
            "MessageAttributeNames": ["traceparent", "webhook_id"],
        })
    );
    // The wait is rounded down and the visibility up: never later, and never visible sooner, than was asked.
    assert_eq!(seen[1].body["MaxNumberOfMessages"], 3);
    assert_eq!(seen[1].body["WaitTimeSeconds"], 1);
    assert_eq!(seen[1].body["VisibilityTimeout"], 61);
}

#[tokio::test]
async fn a_message_comes_with_all_that_is_known_of_it() {
    let mut whole = message("m-1", r#"{"type":"message.new"}"#);
    whole["Attributes"] = json!({
        "ApproximateReceiveCount": "4",
        "SentTimestamp": "1700000000123",
        "MessageGroupId": "tenant",
        "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793",
    });
    whole["MessageAttributes"] = json!({
        "traceparent": { "DataType": "String", "StringValue": "00-4bf9-00f0-01" },
        "webhook_id": { "DataType": "String", "StringValue": "w-1" },
    });
    let server = Server::start(vec![Answer::messages(vec![whole])]).await;
    let deliveries = server.queue().await.receive(10, WAIT, None).await.unwrap();

    let [delivery] = deliveries.as_slice() else { panic!("{deliveries:?}") };
    assert_eq!(delivery.receipt.message_id.as_str(), "m-1");
    assert_eq!(&*delivery.receipt.handle, "handle-of-m-1");
    assert_eq!(delivery.body, r#"{"type":"message.new"}"#);
    assert_eq!(delivery.receive_count, 4);
    assert_eq!(delivery.sent_at, Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)));
    assert_eq!(delivery.group.as_deref(), Some("tenant"));
    assert_eq!(delivery.webhook_id, WebhookId::new("w-1"));
    assert_eq!(delivery.trace.traceparent.as_deref(), Some("00-4bf9-00f0-01"));
    assert_eq!(delivery.trace.aws_trace_header.as_deref(), Some("Root=1-5759e988-bd862e3fe1be46a994272793"));
}

#[tokio::test]
async fn a_webhook_id_that_cannot_be_one_is_ignored() {
    let wrong = [
        json!({ "DataType": "String", "StringValue": "x".repeat(129) }),
        json!({ "DataType": "String", "StringValue": "a\nb" }),
        json!({ "DataType": "Number", "StringValue": "7" }),
        json!({ "DataType": "Binary", "BinaryValue": "AP8=" }),
    ];
    let messages = wrong.iter().enumerate().map(|(number, attribute)| {
        let mut whole = message(&format!("m-{number}"), "{}");
        whole["MessageAttributes"] = json!({ "webhook_id": attribute });
        whole
    });
    let server = Server::start(vec![Answer::messages(messages.collect())]).await;
    let deliveries = server.queue().await.receive(10, WAIT, None).await.unwrap();
    assert_eq!(deliveries.len(), 4, "the messages are good all the same");
    assert!(deliveries.iter().all(|delivery| delivery.webhook_id.is_none()), "{deliveries:?}");
}

#[tokio::test]
async fn a_look_asks_for_all_attributes() {
    let mut whole = message("m-1", "{}");
    whole["Attributes"]["DeadLetterQueueSourceArn"] = json!("arn:aws:sqs:us-east-1:000000000000:chat-events");
    whole["MessageAttributes"] = json!({
        "tenant": { "DataType": "String.name", "StringValue": "garden" },
        "seal": { "DataType": "Binary", "BinaryValue": "AP8=" },
        "webhook_id": { "DataType": "String", "StringValue": "w-1" },
    });
    let server = Server::start(vec![Answer::messages(vec![whole])]).await;
    let found = server.queue().await.receive_whole(10, WAIT, None).await.unwrap().remove(0);

    let seen = server.seen();
    assert_eq!(seen[0].body["MessageSystemAttributeNames"], json!(["All"]));
    assert_eq!(seen[0].body["MessageAttributeNames"], json!(["All"]));
    assert_eq!(found.webhook_id, WebhookId::new("w-1"));
    let attributes = found.attributes.expect("all attributes");
    assert_eq!(attributes.system["DeadLetterQueueSourceArn"], "arn:aws:sqs:us-east-1:000000000000:chat-events");
    let told = serde_json::to_value(&attributes.message).unwrap();
    let expected = json!({
        "seal": { "data_type": "Binary", "value": "AP8=" },
        "tenant": { "data_type": "String.name", "value": "garden" },
        "webhook_id": { "data_type": "String", "value": "w-1" },
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_message_without_attributes_is_a_first_delivery() {
    let mut bare = message("m-1", "{}");
    bare.as_object_mut().unwrap().remove("Attributes");
    let server = Server::start(vec![Answer::messages(vec![bare])]).await;
    let deliveries = server.queue().await.receive(10, WAIT, None).await.unwrap();
    assert_eq!((deliveries[0].receive_count, deliveries[0].sent_at, &deliveries[0].group), (1, None, &None));
}

fn without(key: &str) -> Value {
    let mut damaged = message("damaged", "{}");
    damaged.as_object_mut().unwrap().remove(key);
    damaged
}

fn with_another_body() -> Value {
    let mut damaged = message("damaged", "the body that was sent");
    damaged["Body"] = json!("another body");
    damaged
}

#[tokio::test]
async fn a_damaged_message_stays_queued_and_the_others_are_delivered() {
    let damaged = [without("Body"), without("ReceiptHandle"), without("MessageId"), with_another_body()];
    for damaged in damaged {
        let answer = Answer::messages(vec![message("m-1", "{}"), damaged.clone(), message("m-2", "{}")]);
        let server = Server::start(vec![answer]).await;
        let deliveries = server.queue().await.receive(10, WAIT, None).await.unwrap();
        let ids: Vec<&str> = deliveries.iter().map(|delivery| delivery.receipt.message_id.as_str()).collect();
        assert_eq!(ids, ["m-1", "m-2"], "with {damaged}");
    }
}

/// tests/it/decode.rs holds that none of the damages to it passes for another event.
#[tokio::test]
async fn a_gzip_body_is_checked_by_its_own_checksum() {
    let mut gzip = message("gzip", "the body that was sent");
    gzip["Body"] = json!("H4sIAAAAAAAAA6uuBQBDv6ajAgAAAA==");
    let server = Server::start(vec![Answer::messages(vec![gzip])]).await;
    let deliveries = server.queue().await.receive(10, WAIT, None).await.unwrap();
    assert_eq!(deliveries[0].receipt.message_id.as_str(), "gzip");
}

#[tokio::test]
async fn an_answer_of_damaged_messages_alone_is_an_error_of_its_own() {
    for (damaged, what) in [(without("Body"), "it has no body"), (with_another_body(), "the MD5 sums differ")] {
        let server = Server::start(vec![Answer::messages(vec![damaged])]).await;
        let error = server.queue().await.receive(10, WAIT, None).await.unwrap_err();
        assert!(matches!(&error, QueueError::BadAnswer { message } if message.contains(what)), "{error}");
        assert!(!error.to_string().contains("another body"), "an error tells a message's text: {error}");
    }
}

#[tokio::test]
async fn a_message_without_an_md5_sum_is_delivered() {
    let mut plain = message("m-1", "{}");
    plain.as_object_mut().unwrap().remove("MD5OfBody");
    let server = Server::start(vec![Answer::messages(vec![plain])]).await;
    assert_eq!(server.queue().await.receive(10, WAIT, None).await.unwrap().len(), 1);
}

fn of_group(mut message: Value, group: &str) -> Value {
    message["Attributes"]["MessageGroupId"] = json!(group);
    message
}

#[tokio::test]
async fn nothing_of_its_fifo_group_overtakes_a_damaged_message() {
    let answer = Answer::messages(vec![
        of_group(message("a-1", "{}"), "a"),
        of_group(with_another_body(), "a"),
        of_group(message("b-1", "{}"), "b"),
        of_group(message("a-3", "{}"), "a"),
    ]);
    let server = Server::start(vec![answer]).await;
    for (name, expected) in [("events.fifo", vec!["a-1", "b-1"]), ("events", vec!["a-1", "b-1", "a-3"])] {
        let deliveries = server.queue_named(name).await.receive(10, WAIT, None).await.unwrap();
        let ids: Vec<&str> = deliveries.iter().map(|delivery| delivery.receipt.message_id.as_str()).collect();
        assert_eq!(ids, expected, "from {name}");
    }
}

#[tokio::test]
async fn a_lost_receive_of_a_fifo_queue_is_repeated_under_its_id() {
    let empty = Answer::ok(json!({}));
    let server = Server::start(vec![Answer::Reset, empty.clone(), Answer::Truncated("{".into()), empty]).await;
    let queue = server.queue_named("events.fifo").await;
    for fails in [true, false, true, false, false] {
        assert_eq!(queue.receive(10, WAIT, None).await.is_err(), fails);
    }
    let asked = server.asked();
    let ids: Vec<&str> = asked.iter().map(|body| body["ReceiveRequestAttemptId"].as_str().unwrap()).collect();
    assert_eq!(ids[0], ids[1], "the first was lost and is repeated");
    assert_ne!(ids[1], ids[2], "what was answered is not repeated");
    assert_eq!(ids[2], ids[3]);
    assert_ne!(ids[3], ids[4]);
}

#[tokio::test]
async fn a_given_up_fifo_receive_is_repeated_under_its_id() {
    let server = Server::start(vec![Answer::Silence, Answer::ok(json!({}))]).await;
    let queue = server.queue_named("events.fifo").await;
    let asked = async {
        while server.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        answer = queue.receive(10, WAIT, None) => panic!("it was answered: {answer:?}"),
        () = asked => {}
    }
    queue.receive(10, WAIT, None).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[0]["ReceiveRequestAttemptId"], asked[1]["ReceiveRequestAttemptId"]);
}

#[tokio::test]
async fn what_sqs_itself_refused_is_not_a_lost_receive() {
    let server = Server::start(vec![Answer::error(403, "AccessDenied", "no"), Answer::ok(json!({}))]).await;
    let queue = server.queue_named("events.fifo").await;
    queue.receive(10, WAIT, None).await.unwrap_err();
    queue.receive(10, WAIT, None).await.unwrap();
    let asked = server.asked();
    assert_ne!(asked[0]["ReceiveRequestAttemptId"], asked[1]["ReceiveRequestAttemptId"]);
}

#[tokio::test]
async fn a_receive_is_tried_once_so_that_the_engine_sees_each_failure() {
    let server = Server::start(vec![Answer::error(500, "InternalFailure", "again, please")]).await;
    server.queue().await.receive(10, WAIT, None).await.unwrap_err();
    assert_eq!(server.seen().len(), 1);
}
