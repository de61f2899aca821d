//! Bodies in every form in which Stream's events arrive.

use std::collections::BTreeMap;

use serde_json::Value;

use super::body::{base64, envelope, event, gzip};
use super::daemon::{self, command_with_keys};
use super::endpoint::endpoint;
use super::queue::{TestQueue, Wanted};

#[tokio::test]
async fn every_form_of_body_is_handled_and_deleted() {
    let queue = TestQueue::new("every_form_of_body", Wanted::default()).await;
    let form = |number: usize| {
        let json = event(number).to_string();
        match number {
            0 => json,
            1 => format!("\u{feff}\n {json}\n"),
            2 => base64(&json),
            3 => base64(gzip(&json)),
            4 => envelope(&json),
            5 => envelope(&base64(gzip(&json))),
            6 => base64(gzip(&envelope(&json))),
            _ => unreachable!(),
        }
    };
    let ids = queue.send((0..7).map(form)).await;

    let ended = daemon::run(&queue, &["--until-empty", "--wait", "1s"]).end().await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = ended.lines();
    let lines: BTreeMap<&str, &Value> = lines.iter().map(|line| (line["message_id"].as_str().unwrap(), line)).collect();
    assert_eq!(lines.len(), 7);
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(lines[id.as_str()]["event"], event(number), "form {number}");
        assert_eq!(lines[id.as_str()]["type"], "message.new");
        assert_eq!(lines[id.as_str()]["receive_count"], 1);
    }
    queue.emptied().await;
    assert_eq!(queue.dead_letters.count().await, 0);
    assert_eq!(daemon::summary(&ended).deleted, 7);
}

#[tokio::test]
async fn what_send_sends_comes_out_of_run_once_each() {
    let queue = TestQueue::new("what_send_sends", Wanted::default()).await;
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("what_send_sends.jsonl");
    let encodings = ["plain", "base64", "gzip", "sns"];
    for (group, encoding) in encodings.iter().enumerate() {
        let events: String = (0..25).map(|number| format!("{}\n", event(group * 25 + number))).collect();
        std::fs::write(&file, events).unwrap();
        let endpoint = endpoint();
        let path = file.to_str().unwrap();
        let send = ["send", "--queue-url", &queue.url, "--endpoint-url", &endpoint, "--encoding", encoding, path];
        let sent = daemon::start(command_with_keys(&send)).end().await;
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    }

    let ended = daemon::run(&queue, &["--until-empty", "--wait", "1s"]).end().await;

    let mut numbers: Vec<_> = ended.lines().iter().map(|line| line["event"]["number"].as_u64().unwrap()).collect();
    numbers.sort();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    queue.emptied().await;
}
