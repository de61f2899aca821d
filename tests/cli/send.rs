//! `send`.

use serde_json::json;
use stream_sqsd::decode::{DEFAULT_LIMIT, decode};
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{daemon, file, run, run_with};
use crate::queue::Sqs;

#[test]
fn every_encoding_arrives_as_the_event_that_was_sent() {
    let event = r#"{"type":"message.new","text":"hello"}"#;
    for (encoding, compressed) in [("plain", false), ("base64", false), ("gzip", true), ("sns", false)] {
        let sqs = Sqs::start(MemorySettings::default());
        let sent = run_with(daemon(&["send", "--queue-url", &sqs.url(), "--encoding", encoding]), event.as_bytes());
        sent.with(0).saying(&["sent 1\n"]);
        let entry = &sqs.calls("SendMessageBatch")[0]["Entries"][0];
        assert_eq!(decode(entry["MessageBody"].as_str().unwrap(), DEFAULT_LIMIT).unwrap().json(), event);
        let attributes = &entry["MessageAttributes"];
        assert_eq!(attributes["content_encoding"]["StringValue"] == "gzip", compressed, "{attributes}");
    }
}

#[test]
fn events_go_in_tens_whether_they_stand_on_lines_or_across_them() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..23).map(|n| format!("{}\n", json!({"type": "a.b", "n": n}))).collect();
    let lines = file(directory.path(), "lines.jsonl", lines);
    let pretty = file(directory.path(), "pretty.json", "{\n  \"type\":\n    \"c.d\"\n}\n");
    let sqs = Sqs::start(MemorySettings::default());
    run(daemon(&["send", "--queue-url", &sqs.url(), &lines, &pretty])).with(0).saying(&["sent 24\n"]);
    let sizes: Vec<usize> =
        sqs.calls("SendMessageBatch").iter().map(|call| call["Entries"].as_array().unwrap().len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 24);
    assert!(sizes.iter().all(|size| *size <= 10), "{sizes:?}");
}

#[test]
fn failed_entries_are_sent_again_and_hopeless_ones_reported() {
    let sqs = Sqs::start(MemorySettings::default());
    // The last is answered first.
    sqs.fail_sends(&["InvalidMessageContents", "InternalError"]);
    let events = r#"{"type":"a.b"}{"type":"c.d"}"#;
    let ended = run_with(daemon(&["send", "--queue-url", &sqs.url()]), events.as_bytes());
    ended.with(69).saying(&["sent 1, refused 1", "event 1: InvalidMessageContents"]);
    assert_eq!(sqs.queue().counts().sent, 1);
}

#[test]
fn what_is_not_an_event_is_refused_and_no_type_is_a_warning() {
    let sqs = Sqs::start(MemorySettings::default());
    let send = |input: &str| run_with(daemon(&["send", "--queue-url", &sqs.url()]), input.as_bytes());
    send("{\"type\":\"a.b\"} [1]").with(65).saying(&["sent 1", "event 2 in standard input is not a JSON object"]);
    send("{\"type\":").with(65).saying(&["not a JSON object"]);
    send("{\"a\":1}").with(0).saying(&["without a `type`"]);
    run(daemon(&["send", "--queue-url", &sqs.url(), "/nonexistent/x"])).with(66);
}

#[test]
fn a_queue_that_denies_sending_is_69() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.deny("SendMessageBatch");
    run_with(daemon(&["send", "--queue-url", &sqs.url()]), br#"{"type":"a.b"}"#)
        .with(69)
        .saying(&["Allow sqs:SendMessage on arn:aws:sqs:us-east-1:123456789012:chat-events"]);
}
