//! `check --online`.

use serde_json::{Value, json};
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{daemon, run};
use crate::queue::Sqs;

const STREAM_MAY_SEND: &str = r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::185583345998:root"},
    "Action":["SQS:SendMessage"],"Resource":"*"}]}"#;

/// A server with a good queue.
fn good() -> Sqs {
    let sqs = Sqs::start(MemorySettings::default());
    with(&sqs, &[]);
    sqs.set("dead", &[("MessageRetentionPeriod", "1209600")]);
    sqs
}

/// The attributes of a good queue, but for these.
fn with(sqs: &Sqs, changes: &[(&str, &str)]) {
    let redrive = redrive(5);
    let mut attributes = vec![
        ("RedrivePolicy", redrive.as_str()),
        ("VisibilityTimeout", "30"),
        ("MessageRetentionPeriod", "345600"),
        ("MaximumMessageSize", "1048576"),
        ("SqsManagedSseEnabled", "true"),
        ("Policy", STREAM_MAY_SEND),
    ];
    attributes.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    attributes.extend(changes);
    sqs.set("chat-events", &attributes);
}

fn check(sqs: &Sqs, code: i32) -> Vec<Value> {
    told(sqs, code)["findings"].as_array().unwrap().clone()
}

/// All that is told as JSON.
fn told(sqs: &Sqs, code: i32) -> Value {
    let ended = run(daemon(&["check", "--online", "--json", "--queue-url", &sqs.url()])).with(code);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// A redrive policy with this maxReceiveCount.
fn redrive(count: u32) -> String {
    json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead", "maxReceiveCount": count}).to_string()
}

/// Fails unless there is exactly one finding, of this grade, with these words.
#[track_caller]
fn one(found: &[Value], grade: &str, words: &str) {
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["grade"], grade, "{found:#?}");
    assert!(found[0].to_string().contains(words), "{words} is not in {found:#?}");
}

#[test]
fn a_good_queue_gives_no_cause_and_loses_no_receive() {
    let sqs = good();
    let id = sqs.queue().send("{}");
    assert_eq!(check(&sqs, 0), Vec::<Value>::new());
    assert_eq!(sqs.queue().receive_count(&id), Some(0));
    let ended = run(daemon(&["check", "--online", "--receive", "--queue-url", &sqs.url()])).with(0);
    assert!(ended.stdout.contains("the queue is good"), "{}", ended.stdout);
    assert_eq!(sqs.queue().receive_count(&id), Some(1));
    assert_eq!(sqs.queue().counts().visible, 1, "it is there again at once");
}

#[test]
fn it_says_when_no_file_keeps_why_messages_are_dead_lettered() {
    let sqs = good();
    let url = sqs.url();
    let says = |more: &[&str]| {
        let all = [&["check", "--online", "--queue-url", &url], more].concat();
        run(daemon(&all)).with(0).stdout.contains("no file keeps why messages are dead-lettered")
    };
    assert!(says(&[]));
    let directory = tempfile::tempdir().unwrap();
    assert!(!says(&["--dead-letters-reasons", directory.path().join("reasons").to_str().unwrap()]));
}

#[test]
fn what_loses_or_delays_messages_is_1_and_names_the_fix() {
    let (once, a_thousand_times) = (redrive(1), redrive(1000));
    let cases = [
        ("RedrivePolicy", "", "there is no dead-letter queue"),
        ("RedrivePolicy", once.as_str(), "maxReceiveCount 1"),
        (
            "RedrivePolicy",
            a_thousand_times.as_str(),
            "dead-lettered after about 248h, and the queue keeps messages for 96h",
        ),
        ("MessageRetentionPeriod", "3600", "keeps messages for 1h"),
        ("MessageRetentionPeriod", "1209600", "the dead-letter queue keeps messages for 336h"),
        ("MaximumMessageSize", "65536", "up to 64KiB"),
        ("KmsMasterKeyId", "alias/aws/sqs", "the key that AWS manages"),
        ("DelaySeconds", "60", "delays every message by 1m"),
        ("VisibilityTimeout", "43200", "the visibility timeout is 12h"),
    ];
    for (name, value, words) in cases {
        let sqs = good();
        with(&sqs, &[(name, value)]);
        let found = if name == "MessageRetentionPeriod" && value == "1209600" {
            // It can be no longer than that, so it is advice.
            let found = check(&sqs, 0);
            one(&found, "advice", words);
            found
        } else {
            let found = check(&sqs, 1);
            one(&found, "harm", words);
            found
        };
        assert!(found[0]["fix"].as_str().unwrap().starts_with("aws sqs "), "{found:#?}");
    }
}

#[test]
fn when_a_failing_message_is_dead_lettered_is_always_told() {
    let sqs = good();
    let sentence = "with maxReceiveCount 5 a failing message is dead-lettered after about 15s";
    let told_of_five = told(&sqs, 0);
    assert_eq!(told_of_five["facts"][0]["what"], sentence);
    assert!(told_of_five["facts"][0]["why"].as_str().unwrap().contains("about 16s"), "{told_of_five:#}");
    let ended = run(daemon(&["check", "--online", "--queue-url", &sqs.url()])).with(0);
    assert!(ended.stdout.contains(&format!("\n{sentence}\n")), "{}", ended.stdout);
    assert!(ended.stdout.contains("the queue is good"), "a fact is not a finding:\n{}", ended.stdout);

    with(&sqs, &[("RedrivePolicy", &redrive(10))]);
    let words = "with maxReceiveCount 10 a failing message is dead-lettered after about 8m31s";
    assert_eq!(told(&sqs, 0)["facts"][0]["what"], words);

    // What is a finding is not said twice, and offline nobody knows.
    with(&sqs, &[("RedrivePolicy", &redrive(2))]);
    let facts = told(&sqs, 0)["facts"].to_string();
    assert!(!facts.contains("maxReceiveCount"), "{facts}");
    let ended = run(daemon(&["check", "--json", "--queue-url", &sqs.url()])).with(0);
    let offline: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(offline["facts"], json!([]));
}

#[test]
fn a_missing_dead_letter_queue_is_harm_and_a_denied_one_advice() {
    let sqs = good();
    sqs.refuse_attributes("dead", "AccessDenied");
    let found = check(&sqs, 0);
    one(&found, "advice", "the dead-letter queue cannot be looked at");
    assert!(found[0]["fix"].as_str().unwrap().contains("sqs:GetQueueAttributes"), "{found:#?}");
    sqs.refuse_attributes("dead", "QueueDoesNotExist");
    let found = check(&sqs, 1);
    one(&found, "harm", "arn:aws:sqs:us-east-1:123456789012:dead does not exist");
    let created = "aws sqs create-queue --queue-name dead --attributes MessageRetentionPeriod=1209600";
    assert_eq!(found[0]["fix"], created);

    // The dead-letter queue of a FIFO queue is one itself, or SQS refuses it.
    let fifo = redrive(5).replace(":dead", ":dead.fifo");
    with(&sqs, &[("RedrivePolicy", &fifo)]);
    sqs.refuse_attributes("dead.fifo", "QueueDoesNotExist");
    let created =
        "aws sqs create-queue --queue-name dead.fifo --attributes FifoQueue=true,MessageRetentionPeriod=1209600";
    assert_eq!(check(&sqs, 1)[0]["fix"], created);
}

#[test]
fn an_inflate_limit_below_the_largest_event_is_harm() {
    let sqs = good();
    let below = ["check", "--online", "--json", "--inflate-limit", "255KiB", "--queue-url", &sqs.url()];
    let told: Value = serde_json::from_str(&run(daemon(&below)).with(1).stdout).unwrap();
    one(told["findings"].as_array().unwrap(), "harm", "inflate_limit is 255KiB");
    run(daemon(&["check", "--online", "--inflate-limit", "256KiB", "--queue-url", &sqs.url()])).with(0);
}

#[test]
fn advice_does_not_fail_a_check() {
    let sqs = good();
    with(&sqs, &[("Policy", "")]);
    one(&check(&sqs, 0), "advice", "Stream's account");
    // As AWS has sent it too.
    let twice = redrive(2).replace(":2}", ":\"2\"}");
    with(&sqs, &[("RedrivePolicy", &twice)]);
    one(&check(&sqs, 0), "advice", "dead-lettered after about 1s");
    with(&sqs, &[("KmsMasterKeyId", "arn:aws:kms:us-east-1:123456789012:key/1")]);
    one(&check(&sqs, 0), "advice", "kms:GenerateDataKey");
    with(&sqs, &[("MessageRetentionPeriod", "172800")]);
    one(&check(&sqs, 0), "advice", "keeps messages for 48h");
    with(&sqs, &[("VisibilityTimeout", "5")]);
    one(&check(&sqs, 0), "advice", "the visibility timeout is 5s");
    with(&sqs, &[("VisibilityTimeout", "3600")]);
    one(&check(&sqs, 0), "advice", "the visibility timeout is 1h");
    with(&sqs, &[]);
    sqs.deny("GetQueueAttributes");
    one(&check(&sqs, 0), "advice", "may not be read");
}

#[test]
fn permissions_are_tried_without_touching_a_message() {
    for (action, permission) in
        [("DeleteMessageBatch", "sqs:DeleteMessage"), ("ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility")]
    {
        let sqs = good();
        sqs.deny(action);
        let found = check(&sqs, 1);
        one(&found, "harm", permission);
        assert!(found[0]["fix"].as_str().unwrap().contains("arn:aws:sqs:us-east-1:123456789012:chat-events"));
    }
    let sqs = good();
    sqs.deny("ReceiveMessage");
    assert!(check(&sqs, 0).is_empty(), "receiving is not tried");
    let ended = run(daemon(&["check", "--online", "--receive", "--queue-url", &sqs.url()])).with(1);
    assert!(ended.stdout.contains("loses or delays messages: the daemon may not receive messages"), "{}", ended.stdout);
}

#[test]
fn a_queue_that_cannot_be_asked_is_69() {
    run(daemon(&["check", "--online", "--queue-url", "http://127.0.0.1:1/123456789012/q"])).with(69);
}
