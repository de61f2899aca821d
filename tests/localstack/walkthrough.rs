//! The steps of src/docs/setup.md, followed block by block: on LocalStack, and on a Stream of the test's own.

use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::daemon::command_with_keys;
use super::endpoint::{ACCOUNT, endpoint};
use super::stream::{KEY, SECRET, Stream};
use super::support::page::blocks;

const PAGE: &str = include_str!("../../src/docs/setup.md");

#[tokio::test]
async fn the_steps_of_the_page_can_be_followed() {
    let stream = Stream::start(json!([
        {"id": "7a1c0000-0000-4000-8000-000000000001", "hook_type": "webhook", "enabled": true,
         "event_types": ["message.new"], "webhook_url": "https://example.com/messages"},
        {"id": "7a1c0000-0000-4000-8000-000000000002", "hook_type": "pending_message", "enabled": true,
         "webhook_url": "https://example.com/pending"},
    ]));
    let place = tempfile::tempdir().unwrap();
    // As long as the name on the page, so that the columns stay where they are.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let queue = format!("walk-{:06x}", now.as_micros() % 0x100_0000);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_stream-sqsd")).parent().unwrap();
    let ours = command_with_keys(&[]);

    let (mut said, mut plans, mut commands) = (String::new(), 0, 0);
    for (kind, text) in blocks(PAGE, "Set up") {
        let text = text.replace("chat-events", &queue).replace("123456789012", ACCOUNT);
        match kind.as_str() {
            // What the page does not have is where LocalStack and this Stream are.
            "toml" => {
                let toml = text.replace("[stream]\n", &format!("[stream]\nbase_url = \"{}\"\n", stream.url()));
                std::fs::write(place.path().join("stream-sqsd.toml"), toml).unwrap();
            }
            "sh" => {
                // A test has no terminal on which it could ask.
                let text = text.replace("setup --config stream-sqsd.toml\n", "setup --config stream-sqsd.toml --yes\n");
                let mut shell = Command::new("/bin/sh");
                shell.args(["-e", "-u", "-c", &text]).current_dir(place.path()).env_clear();
                shell
                    .envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))))
                    .env("PATH", format!("{}:/usr/bin:/bin", program.display()));
                shell.env("HOME", place.path()).env("AWS_ENDPOINT_URL", endpoint()).env("STREAM_API_KEY", KEY);
                shell.env("STREAM_API_SECRET", SECRET).stdin(Stdio::null()).kill_on_drop(true);
                let output = timeout(Duration::from_secs(120), shell.output()).await.expect("in time").unwrap();
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{text}\n{said}\n{errors}");
                commands += text.lines().count();
            }
            // What the block before it printed.
            "text" => {
                assert_eq!(said, text);
                plans += 1;
            }
            other => panic!("a block of {other}"),
        }
    }
    assert_eq!((plans, commands), (1, 7), "no block was missed");
    assert_eq!(stream.hooks().len(), 3);
    let event: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(event["event"]["message"]["text"], "the kettle is on", "{said}");
}
