//! Stream's own SDKs against the Stream of these tests: they tell whether it is one. And against the relay: whether it takes
//! what Stream signs, and queues what Stream would.
//!
//! `tests/run sdks` has node and Python's packages from PyPI, and installs the package of npm that the lock file names.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

use serde_json::{Value, json};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::relay::{App, Relay, RelaySettings};
use stream_sqsd::webhook::SigningKey;
use tokio::net::TcpListener;

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

/// A script of the SDK for JavaScript, which is installed here.
fn in_javascript(script: &str) -> Command {
    static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stream-chat");
        fs::create_dir_all(&place).unwrap();
        for file in ["package.json", "package-lock.json", "hooks.mjs", "relay.mjs"] {
            fs::copy(source().join(file), place.join(file)).unwrap();
        }
        // Exactly what the lock file says, and without running anything of it.
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"];
        let installed = Command::new("npm").args(install).current_dir(&place).stdin(Stdio::null()).output().unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        place
    });
    let mut command = Command::new("node");
    command.arg(script).current_dir(&*PLACE);
    command
}

/// A script of the SDK for Python.
fn in_python(script: &str) -> Command {
    let mut command = Command::new("python");
    command.arg("-B").arg(source().join(script));
    command
}

#[test]
#[ignore = "tests/run sdks has what it needs"]
fn the_sdk_for_javascript_reads_and_writes_hooks() {
    assert_eq!(saw(&mut in_javascript("hooks.mjs")), expected());
}

#[test]
#[ignore = "tests/run sdks has what it needs"]
fn the_sdk_for_python_reads_and_writes_hooks() {
    assert_eq!(saw(&mut in_python("hooks.py")), expected());
}

const EVENT: &str =
    r#"{"type":"message.new","cid":"messaging:general","message":{"id":"m","text":"the kettle is on ☕"}}"#;

/// What a script prints that reads this.
fn told(mut script: Command, mode: &str, relay: &str, input: &Value) -> Vec<Value> {
    script.arg(mode).env("RELAY_URL", relay).env("STREAM_KEY", KEY).env("STREAM_SECRET", SECRET);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Webhooks that an SDK sends to a relay, and what it makes of the bodies that are then in the queue: of that which came
/// plain, and of that which came gzipped.
async fn relayed(script: impl Fn() -> Command) -> Vec<Value> {
    let signature = SigningKey::new(SECRET).unwrap().sign(EVENT.as_bytes());
    let queue = MemoryQueue::new(MemorySettings::new());
    let app = App::new(KEY, SigningKey::new(SECRET));
    let relay = Relay::new(RelaySettings::new([app], SystemTime::now), queue.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/stream", listener.local_addr().unwrap());
    let serving = tokio::spawn(relay.serve(listener, std::future::pending()));
    let webhook = |id: &str, gzip: bool, secret: Option<&str>| json!({"id": id, "json": EVENT, "gzip": gzip, "signature": signature, "secret": secret});
    let input = json!([
        webhook("plain", false, None),
        webhook("gzip", true, None),
        webhook("other", false, Some("another secret, long enough to sign with")),
    ]);
    let good = json!({"verifies": true, "ours": true, "code": 200});
    let bad = json!({"verifies": false, "ours": true, "code": 401});
    assert_eq!(told(script(), "send", &url, &input), [good.clone(), good, bad]);
    let bodies: Vec<String> = queue.bodies().into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies.len(), 2);
    serving.abort();
    told(script(), "parse", &url, &json!(bodies))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/run sdks has what it needs"]
async fn the_sdk_for_javascript_agrees_with_the_relay() {
    let event = json!({"type": "message.new", "cid": "messaging:general", "text": "the kettle is on ☕"});
    // Of what comes from SQS it reads base64 alone, also where Stream itself has sent JSON as it is.
    assert_eq!(relayed(|| in_javascript("relay.mjs")).await, [json!("invalid base64 encoding"), event]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/run sdks has what it needs"]
async fn the_sdk_for_python_agrees_with_the_relay() {
    let event = json!({"type": "message.new", "cid": "messaging:general", "text": "the kettle is on ☕"});
    assert_eq!(relayed(|| in_python("relay.py")).await, [event.clone(), event]);
}
