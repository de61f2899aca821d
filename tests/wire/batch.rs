//! Batch calls: each entry has an answer, at its place, whatever comes back. And the facts of a queue.

use std::time::Duration;

use serde_json::json;
use stream_sqsd::queue::sqs::{Outgoing, batches};
use stream_sqsd::queue::{BATCH, EntryResult, MAX_MESSAGE_SIZE, Queue, QueueFacts, Receipt};

use super::server::{Answer, Server};

fn receipt(id: &str) -> Receipt {
    Receipt::new(id, format!("handle-of-{id}"))
}

fn codes(answers: Vec<EntryResult>) -> Vec<String> {
    answers.into_iter().map(|answer| answer.map_or_else(|error| error.code, |()| "ok".to_owned())).collect()
}

#[tokio::test]
async fn each_entry_of_a_delete_has_its_own_answer_at_its_own_place() {
    let answer = json!({
        "Successful": [{ "Id": "2" }, { "Id": "0" }],
        "Failed": [{ "Id": "1", "SenderFault": true, "Code": "ReceiptHandleIsInvalid", "Message": "gone\nand more" }],
    });
    let server = Server::start(vec![Answer::ok(answer)]).await;
    // The same message twice: its second receipt is the newer one, and both want an answer.
    let batch = [receipt("m-1"), receipt("m-2"), receipt("m-1")];
    let answers = server.queue().await.delete(&batch).await.unwrap();

    let error = answers[1].clone().unwrap_err();
    assert!(error.sender_fault && error.is_final() && error.message == "gone", "{error:?}");
    assert_eq!(codes(answers), ["ok", "ReceiptHandleIsInvalid", "ok"]);
    assert_eq!(
        server.asked()[0]["Entries"],
        json!([
            { "Id": "0", "ReceiptHandle": "handle-of-m-1" },
            { "Id": "1", "ReceiptHandle": "handle-of-m-2" },
            { "Id": "2", "ReceiptHandle": "handle-of-m-1" },
        ])
    );
}

#[tokio::test]
async fn an_entry_missing_in_the_answer_has_failed_and_can_be_retried() {
    let server =
        Server::start(vec![Answer::ok(json!({ "Successful": [{ "Id": "1" }, { "Id": "7" }], "Failed": [] }))]).await;
    let answers = server.queue().await.delete(&[receipt("m-1"), receipt("m-2")]).await.unwrap();
    assert!(!answers[0].clone().unwrap_err().is_final());
    assert_eq!(codes(answers), ["Unanswered", "ok"]);
}

#[tokio::test]
async fn an_entry_in_both_lists_has_failed() {
    let answer = json!({
        "Successful": [{ "Id": "0" }],
        "Failed": [{ "Id": "0", "SenderFault": false, "Code": "InternalError" }],
    });
    let server = Server::start(vec![Answer::ok(answer)]).await;
    assert_eq!(codes(server.queue().await.delete(&[receipt("m-1")]).await.unwrap()), ["InternalError"]);
}

#[tokio::test]
async fn a_message_is_hidden_for_whole_seconds_rounded_up() {
    let ok: Vec<_> = (0..4).map(|id| json!({ "Id": id.to_string() })).collect();
    let server = Server::start(vec![Answer::ok(json!({ "Successful": ok, "Failed": [] }))]).await;
    let times = [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(30), Duration::from_secs(100_000)];
    let batch = times.map(|time| (receipt("m"), time));
    assert_eq!(codes(server.queue().await.change_visibility(&batch).await.unwrap()), ["ok"; 4]);

    let asked = server.asked();
    let asked: Vec<_> =
        asked[0]["Entries"].as_array().unwrap().iter().map(|e| e["VisibilityTimeout"].clone()).collect();
    assert_eq!(asked, [0, 1, 30, 43_200]);
}

#[tokio::test]
async fn an_empty_batch_costs_no_request() {
    let server = Server::start(vec![Answer::Reset]).await;
    let queue = server.queue().await;
    assert!(queue.delete(&[]).await.unwrap().is_empty());
    assert!(queue.change_visibility(&[]).await.unwrap().is_empty());
    assert!(queue.send(&[]).await.unwrap().is_empty());
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_delete_is_retried_by_the_sdk() {
    let ok = Answer::ok(json!({ "Successful": [{ "Id": "0" }], "Failed": [] }));
    let server = Server::start(vec![Answer::error(500, "InternalFailure", ""), Answer::Reset, ok]).await;
    assert_eq!(codes(server.queue().await.delete(&[receipt("m-1")]).await.unwrap()), ["ok"]);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn sent_messages_carry_streams_attributes_and_fifo_keys() {
    let answer = json!({
        "Successful": [{ "Id": "0", "MessageId": "m-1", "MD5OfMessageBody": "" }],
        "Failed": [{ "Id": "1", "SenderFault": false, "Code": "InternalError", "Message": "" }],
    });
    let server = Server::start(vec![Answer::ok(answer)]).await;
    let mut plain = Outgoing::plain("{}".into());
    plain.group = Some("cid".into());
    plain.deduplication_id = Some("once".into());
    let batch = [plain, Outgoing::compressed("H4sI".into())];
    let answers = server.queue_named("events.fifo").await.send(&batch).await.unwrap();

    assert_eq!(codes(answers), ["ok", "InternalError"]);
    let text = |value| json!({ "DataType": "String", "StringValue": value });
    assert_eq!(
        server.asked()[0]["Entries"],
        json!([
            { "Id": "0", "MessageBody": "{}", "MessageGroupId": "cid", "MessageDeduplicationId": "once" },
            { "Id": "1", "MessageBody": "H4sI", "MessageAttributes": {
                "content_encoding": text("gzip"),
                "content_type": text("application/json"),
                "payload_encoding": text("base64"),
            } },
        ])
    );
}

#[test]
fn a_list_is_cut_into_batches_that_sqs_takes() {
    let sizes = |messages: &[Outgoing]| batches(messages).map(<[Outgoing]>::len).collect::<Vec<_>>();
    let small = vec![Outgoing::plain("{}".into()); 2 * BATCH + 3];
    assert_eq!(sizes(&small), [10, 10, 3]);
    assert!(sizes(&[]).is_empty());

    let half = Outgoing::plain("x".repeat(MAX_MESSAGE_SIZE / 2));
    assert_eq!(sizes(&vec![half.clone(); 5]), [2, 2, 1]);
    // Attributes count too.
    let half_with_attributes = half.clone().with_attributes(Outgoing::compressed(String::new()).attributes);
    assert_eq!(sizes(&[half.clone(), half_with_attributes]), [1, 1]);
    let too_large = Outgoing::plain("x".repeat(MAX_MESSAGE_SIZE + 1));
    assert_eq!(sizes(&[half.clone(), too_large, half]), [1, 1, 1]);
}

#[tokio::test]
async fn the_facts_of_a_queue_are_read_and_what_is_missing_is_unknown() {
    let all = json!({ "Attributes": {
        "VisibilityTimeout": "30",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "ApproximateNumberOfMessages": "12",
        "ApproximateNumberOfMessagesNotVisible": "3",
        "RedrivePolicy": r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"5"}"#,
    } });
    let number = json!({ "Attributes": { "RedrivePolicy": r#"{"maxReceiveCount":7}"#, "VisibilityTimeout": "soon" } });
    let server = Server::start(vec![Answer::ok(all), Answer::ok(number), Answer::ok(json!({}))]).await;
    let queue = server.queue_named("events.fifo").await;

    let known = QueueFacts::new().with_name("events.fifo").with_fifo(true);
    assert_eq!(queue.known(), known, "the name says so before anything is read");
    assert_eq!(
        queue.facts().await.unwrap(),
        known
            .clone()
            .with_visibility_timeout(Duration::from_secs(30))
            .with_max_message_size(1_048_576)
            .with_max_receive_count(5)
            .with_dead_letter_queue("arn:aws:sqs:us-east-1:000000000000:dead")
            .with_retention(Duration::from_secs(345_600))
            .with_visible(12)
            .with_hidden(3)
    );
    assert_eq!(queue.facts().await.unwrap(), known.clone().with_max_receive_count(7));
    assert_eq!(queue.facts().await.unwrap(), known);
}
