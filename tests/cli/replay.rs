//! `replay`: events of files through the configured routes, each once, also across an interruption.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{daemon, file, run, start};
use crate::support::until::block_until;

fn line(number: u32) -> String {
    json!({
        "type": "message.new", "message_id": format!("id-{number}"), "receive_count": 1, "sent_at": null,
        "event": {"type": "message.new", "number": number},
    })
    .to_string()
        + "\n"
}

/// A directory with an archive of so many events, and a route whose program is this.
fn archive(events: u32, program: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    file(directory.path(), "events.jsonl", (0..events).map(line).collect::<String>());
    let toml = format!(
        "[[route]]\nevents = [\"message.*\"]\nhandler = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", {program:?}]\n"
    );
    file(directory.path(), "c.toml", toml);
    directory
}

fn replay(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = daemon(&[&["replay", "--config", "c.toml"], arguments].concat());
    command.current_dir(directory);
    command
}

fn calls(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("calls")).unwrap_or_default();
    let mut calls: Vec<String> = text.lines().map(str::to_owned).collect();
    calls.sort();
    calls
}

#[test]
fn replay_handles_an_archive_once_with_the_old_ids() {
    let directory = archive(5, "echo $STREAM_MESSAGE_ID >> calls");
    let dry = run(replay(directory.path(), &["--dry-run", "events.jsonl"])).with(0);
    assert_eq!(dry.stdout.matches("goes to the route message.*").count(), 5, "{}", dry.stdout);
    assert!(calls(directory.path()).is_empty() && !directory.path().join("events.jsonl.replayed").exists());
    let first = run(replay(directory.path(), &["--limit", "2", "events.jsonl"])).with(0);
    assert!(first.stdout.contains("handled 2"), "{}", first.stdout);
    let rest = run(replay(directory.path(), &["--json", "events.jsonl"])).with(0);
    let sums: Value = serde_json::from_str(rest.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&sums["handled"], &sums["passed_over"]), (&json!(3), &json!(2)), "{sums}");
    assert_eq!(calls(directory.path()), (0..5).map(|n| format!("id-{n}")).collect::<Vec<_>>());
    let again = run(replay(directory.path(), &["events.jsonl"])).with(0);
    assert!(again.stdout.contains("passed over 5"), "{}", again.stdout);
}

#[test]
fn replay_goes_on_where_it_was_interrupted() {
    let directory = archive(6, "cat > /dev/null; echo $STREAM_MESSAGE_ID >> calls");
    let slow = start(replay(directory.path(), &["--rate", "1/s", "events.jsonl"]));
    block_until("the second is handled", || calls(directory.path()).len() >= 2);
    slow.signal(Signal::KILL);
    slow.wait();
    // What was killed between a call and its line is repeated, and nothing else.
    let written = fs::read_to_string(directory.path().join("events.jsonl.replayed")).unwrap();
    let written = written.matches("handled").count();
    run(replay(directory.path(), &["events.jsonl"])).with(0);
    let calls = calls(directory.path());
    let distinct: std::collections::BTreeSet<&String> = calls.iter().collect();
    assert_eq!(distinct.len(), 6, "{calls:?}");
    assert!(written >= 1 && calls.len() <= 7, "{written} were written, {calls:?}");
}

#[test]
fn what_fails_is_tried_again_and_a_wrong_line_is_told() {
    let directory = archive(3, "grep -q '\"number\":1' && exit 65; exit 0");
    let failed = run(replay(directory.path(), &["events.jsonl"])).with(1);
    assert!(failed.stdout.contains("handled 2 + failed 1"), "{}", failed.stdout);
    let again = run(replay(directory.path(), &["events.jsonl"])).with(1);
    assert!(
        again.stdout.contains("handled 0 + failed 1") && again.stdout.contains("passed over 2"),
        "{}",
        again.stdout
    );

    file(directory.path(), "wrong.jsonl", line(7) + "{\"type\":\"torn");
    run(replay(directory.path(), &["wrong.jsonl"])).with(66).saying(&["wrong.jsonl: ", "line 2"]);
    run(replay(directory.path(), &["/nonexistent"])).with(66);
    run(replay(directory.path(), &[])).with(2);
}

#[test]
fn replay_tells_the_webhook_of_an_archive_and_of_an_export() {
    let directory = archive(0, "echo $STREAM_MESSAGE_ID $STREAM_WEBHOOK_ID >> calls");
    let event = json!({"type": "message.new"});
    let archived = json!({"type": "message.new", "message_id": "id-0", "webhook_id": "w-0", "event": event});
    let body = event.to_string();
    let md5 = <md5::Md5 as md5::Digest>::digest(&body);
    let md5 = md5.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let exported = json!({
        "message_id": "id-1", "receive_count": 3, "md5_of_body": md5, "body": body,
        "attributes": {"message": {"webhook_id": {"data_type": "String", "value": "w-1"}}},
    });
    let forged = json!({"type": "message.new", "message_id": "id-2", "webhook_id": "a\nb", "event": event});
    file(directory.path(), "events.jsonl", format!("{archived}\n{exported}\n{forged}\n"));
    run(replay(directory.path(), &["events.jsonl"])).with(0);
    assert_eq!(calls(directory.path()), ["id-0 w-0", "id-1 w-1", "id-2"]);
}
