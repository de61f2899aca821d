//! Stream's own SDKs against the Stream of these tests: they tell whether it is one.
//!
//! `tests/run sdks` has node and Python's packages from PyPI, and installs the package of npm that the lock file names.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::fake::{KEY, SECRET, Stream};

const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/chat-events";

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/stream/sdks"))
}

/// What an SDK saw of an app with two hooks, to which it has added a third one.
fn saw(command: &mut Command) -> Value {
    let stream = Stream::start(super::others());
    command.env("STREAM_URL", stream.url()).env("STREAM_KEY", KEY).env("STREAM_SECRET", SECRET).env("QUEUE", QUEUE);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hooks = stream.hooks();
    assert_eq!(hooks.len(), 3, "{hooks:#?}");
    assert_eq!((&hooks[2]["hook_type"], &hooks[2]["sqs_queue_url"]), (&json!("sqs"), &json!(QUEUE)));
    assert_eq!(stream.calls("POST /check_sqs").len(), 1);
    // What was there before is what the SDK gave back of it.
    for (hook, other) in hooks.iter().zip(super::others().as_array().unwrap()) {
        assert_eq!((&hook["id"], &hook["webhook_url"]), (&other["id"], &other["webhook_url"]));
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

fn expected() -> Value {
    let (messages, pending) = ("https://example.com/messages", "https://example.com/pending");
    json!({
        "name": "garden", "before": [messages, pending], "after": [messages, pending, QUEUE], "check": "ok", "refused": 43,
    })
}

#[test]
#[ignore = "tests/run sdks has what it needs"]
fn the_sdk_for_javascript_reads_and_writes_hooks() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stream-chat");
    fs::create_dir_all(&place).unwrap();
    for file in ["package.json", "package-lock.json", "hooks.mjs"] {
        fs::copy(source().join(file), place.join(file)).unwrap();
    }
    // Exactly what the lock file says, and without running anything of it.
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"];
    let installed = Command::new("npm").args(install).current_dir(&place).stdin(Stdio::null()).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    assert_eq!(saw(Command::new("node").arg("hooks.mjs").current_dir(&place)), expected());
}

#[test]
#[ignore = "tests/run sdks has what it needs"]
fn the_sdk_for_python_reads_and_writes_hooks() {
    assert_eq!(saw(Command::new("python").arg("-B").arg(source().join("hooks.py"))), expected());
}
