//! `dlq redrive`: what it says first, whom it asks, and how it ends.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{daemon, on_a_terminal, run, run_with, start};
use crate::queue::{DEAD, Sqs};

fn task(status: &str, moved: u64) -> Value {
    let handle = (status == "RUNNING").then_some("task-1");
    json!({
        "TaskHandle": handle, "Status": status, "SourceArn": DEAD, "StartedTimestamp": 1_700_000_000_000_i64,
        "ApproximateNumberOfMessagesMoved": moved, "ApproximateNumberOfMessagesToMove": 12,
    })
}

fn redrive<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["dlq", "redrive", "--queue-url", url], more].concat()
}

#[test]
fn a_redrive_says_what_it_costs_and_how_far_it_came() {
    let sqs = Sqs::with_dead_letter_queue();
    for _ in 0..12 {
        sqs.dead().send("{}");
    }
    sqs.moves(vec![Value::Null, task("RUNNING", 4), task("COMPLETED", 12)]);
    let ended = run(daemon(&redrive(&sqs.url(), &["--yes", "--rate", "50/s"]))).with(0);
    let ended = ended.saying(&["About 12 messages of ", "new id and a new time", "`stream-sqsd dlq retry`"]);
    assert_eq!(ended.stdout, "completed: about 12 moved\n");
    let asked = json!({"SourceArn": DEAD, "MaxNumberOfMessagesPerSecond": 50});
    assert_eq!(sqs.calls("StartMessageMoveTask"), [asked]);
}

#[test]
fn it_asks_on_a_terminal_and_needs_yes_elsewhere() {
    let sqs = Sqs::with_dead_letter_queue();
    sqs.moves(vec![Value::Null, task("COMPLETED", 12)]);
    run(daemon(&redrive(&sqs.url(), &[]))).with(2).saying(&["say --yes"]);
    assert!(sqs.calls("GetQueueAttributes").is_empty(), "it is refused before anything is asked");
    for (answer, started) in [("n\n", 0), ("\n", 0), ("yes please\n", 0), ("y\n", 1)] {
        let ended = run_with(on_a_terminal(&daemon(&redrive(&sqs.url(), &[]))), answer.as_bytes());
        assert_eq!(ended.code, Some(0), "{answer:?}: {}", ended.stdout);
        assert!(ended.stdout.contains("Go on? [y/N]"), "{}", ended.stdout);
        assert_eq!(sqs.calls("StartMessageMoveTask").len(), started, "{answer:?}");
        sqs.moves(vec![Value::Null, task("COMPLETED", 12)]);
    }
}

#[test]
fn a_signal_cancels_the_task_and_ends_with_130() {
    let sqs = Sqs::with_dead_letter_queue();
    sqs.moves(vec![Value::Null, task("RUNNING", 4)]);
    sqs.cancelled_move(task("CANCELLED", 5));
    let redrive = start(daemon(&redrive(&sqs.url(), &["--yes", "--json"])));
    sqs.until_called("ListMessageMoveTasks", 2);
    redrive.signal(Signal::INT);
    let ended = redrive.wait().with(130);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["state"], &report["approximate_moved"]), (&json!("cancelled"), &json!(5)));
    assert_eq!(sqs.calls("CancelMessageMoveTask"), [json!({"TaskHandle": "task-1"})]);
}

#[test]
fn a_task_that_fails_ends_with_1_and_says_why() {
    let sqs = Sqs::with_dead_letter_queue();
    let mut failed = task("FAILED", 3);
    failed["FailureReason"] = "CouldNotDetermineMessageSource".into();
    sqs.moves(vec![Value::Null, failed]);
    let ended = run(daemon(&redrive(&sqs.url(), &["--yes"]))).with(1);
    ended.saying(&["CouldNotDetermineMessageSource", "say one by --to"]);
    // And so does one that somebody else cancels.
    sqs.moves(vec![Value::Null, task("CANCELLED", 3)]);
    let ended = run(daemon(&redrive(&sqs.url(), &["--yes"]))).with(1);
    assert_eq!(ended.stdout, "cancelled: about 3 moved\n");
}

#[test]
fn a_second_task_is_refused_and_so_is_what_cannot_be_a_target() {
    let sqs = Sqs::with_dead_letter_queue();
    sqs.moves(vec![task("RUNNING", 4)]);
    let url = sqs.url();
    run(daemon(&redrive(&url, &["--yes"]))).with(69).saying(&["runs already and has moved about 4"]);
    sqs.moves(vec![Value::Null]);
    let refused = |more: &[&str], what: &str| {
        run(daemon(&redrive(&url, &[&["--yes"], more].concat()))).with(2).saying(&[what]);
    };
    refused(&["--to", "dead"], "the dead-letter queue itself");
    refused(&["--to", "other.fifo"], "FIFO");
    refused(&["--to", "http://"], "--to");
    refused(&["--rate", "501/s"], "500 messages a second at the most");
    refused(&["--dlq-url", &url], "is the queue itself");
    sqs.set("chat-events", &[]);
    refused(&[], "has no redrive policy");
    assert!(sqs.calls("StartMessageMoveTask").is_empty());
}

#[test]
fn another_queue_can_be_named_in_every_way() {
    let sqs = Sqs::with_dead_letter_queue();
    let other = "arn:aws:sqs:us-east-1:123456789012:other";
    for to in ["other", other, "https://sqs.us-east-1.amazonaws.com/123456789012/other"] {
        sqs.moves(vec![Value::Null, task("COMPLETED", 12)]);
        run(daemon(&redrive(&sqs.url(), &["--yes", "--to", to]))).with(0).saying(&[other]);
    }
    let asked = sqs.calls("StartMessageMoveTask");
    assert!(asked.iter().all(|call| call["DestinationArn"] == other) && asked.len() == 3, "{asked:?}");
}
