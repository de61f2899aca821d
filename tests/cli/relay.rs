//! `stream-sqsd relay`: from a configuration to events in a queue.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use stream_sqsd::queue::memory::MemorySettings;
use stream_sqsd::webhook::SigningKey;

use crate::daemon::{Started, bare, daemon, file, run, start};
use crate::queue::Sqs;
use crate::support::until::block_until;

const JSON: &str = r#"{"type":"message.new","cid":"messaging:general"}"#;

const APP: &str = r#"apps = [{ api_key = "k2", api_secret = [{ env = "NEW" }, { env = "OLD" }] }]"#;

/// The relay with this section, where it is told where to send.
fn command(url: &str, directory: &std::path::Path, section: &str) -> Command {
    let config =
        file(directory, "c.toml", format!("[queue]\nurl = \"{url}\"\n[relay]\nlisten = \"127.0.0.1:0\"\n{section}"));
    let mut command = daemon(&["relay", "--config", &config, "--log-format", "human"]);
    command.env("NEW", "new-secret").env("OLD", "old-secret");
    command
}

/// Where it listens, as its log says.
fn address(relay: &mut Started) -> String {
    let line = relay.until("webhooks are received at");
    line.rsplit_once("at http://").unwrap().1.split('/').next().unwrap().to_owned()
}

/// Sends a webhook, signed by this secret, and returns the code of the answer.
fn send(address: &str, id: &str, secret: &str) -> u16 {
    let signature = SigningKey::new(secret).unwrap().sign(JSON.as_bytes());
    let request = format!(
        "POST /webhooks/stream HTTP/1.1\r\nHost: relay\r\nX-Api-Key: k2\r\nX-Signature: {signature}\r\n\
         X-Webhook-Id: {id}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{JSON}",
        JSON.len()
    );
    ask(address, &request).split(' ').nth(1).unwrap().parse().unwrap()
}

fn ask(address: &str, request: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_webhook_is_in_the_queue_when_it_was_answered_200() {
    let sqs = Sqs::start(MemorySettings::default());
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&sqs.url(), directory.path(), APP);
    command.env("STREAM_SQSD_ADMIN", "127.0.0.1:0");
    let mut relay = start(command);
    let admin =
        relay.until("watch it at http://").rsplit_once("http://").unwrap().1.trim().trim_end_matches('/').to_owned();
    let address = address(&mut relay);
    assert_eq!([send(&address, "a", "new-secret"), send(&address, "b", "old-secret")], [200, 200]);
    assert_eq!(send(&address, "c", "neither"), 401);
    assert_eq!(sqs.queue().bodies().len(), 2);

    let get = |path: &str| ask(&admin, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    for path in ["/livez", "/readyz", "/"] {
        assert!(get(path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    let metrics = get("/metrics");
    for line in
        ["requests_total{outcome=\"sent\"} 2", "requests_total{outcome=\"wrong_signature\"} 1", "live 1", "ready 1"]
    {
        assert!(metrics.contains(&format!("stream_sqsd_relay_{line}\n")), "{line}: {metrics}");
    }
    let status = get("/status");
    let status: Value = serde_json::from_str(status.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((status["phase"].as_str(), status["queue"].as_str()), (Some("relaying"), Some(&*sqs.url())));
    let health = daemon(&["health", "--admin", &admin, "--queue-url", &sqs.url()]);
    run(health).with(0).saying(&["healthy: relaying"]);

    relay.terminate();
    relay.wait().with(0).saying(&["2 sent, 0 spooled, 0 repeated, 1 refused", "a signature is wrong"]);
}

#[test]
fn it_starts_without_sqs_and_spools_what_comes() {
    // An address at which nobody listens.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let nowhere = format!("http://{gone}/123456789012/chat-events");
    let mut relay = start(command(&nowhere, directory.path(), APP));
    let address_without = address(&mut relay);
    assert_eq!(send(&address_without, "a", "new-secret"), 503);
    relay.terminate();
    relay.wait().with(0).saying(&["events cannot be sent to the queue and are answered 503"]);

    let spool = directory.path().join("spool");
    let section = format!("{APP}\nspool = {:?}", spool.display().to_string());
    let mut relay = start(command(&nowhere, directory.path(), &section));
    let address_with = address(&mut relay);
    assert_eq!(send(&address_with, "a", "new-secret"), 200);
    // Its secrets are in no file of the spool.
    for entry in std::fs::read_dir(&spool).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("secret"), "{text}");
    }
    relay.terminate();
    relay.wait().with(0).saying(&["events left in the spool: 1"]);

    let sqs = Sqs::start(MemorySettings::default());
    let mut relay = start(command(&sqs.url(), directory.path(), &section));
    relay.until("the spool is empty");
    assert_eq!(sqs.queue().bodies().iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), [JSON]);
    relay.terminate();
    relay.wait().with(0);
}

#[test]
fn a_disk_that_is_full_is_answered_503_and_nothing_is_lost() {
    let sqs = Sqs::start(MemorySettings::default());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let section = format!("{APP}\nspool = {:?}", directory.path().join("spool").display().to_string());
    let inner = command(&format!("http://{gone}/123456789012/chat-events"), directory.path(), &section);
    // No file may become larger than a kilobyte, which is a few records.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 2; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    limited.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut relay = start(limited);
    let full = address(&mut relay);
    let codes: Vec<u16> = (0..12).map(|number| send(&full, &format!("id-{number}"), "new-secret")).collect();
    let kept = codes.iter().filter(|code| **code == 200).count();
    assert!((1..12).contains(&kept) && codes.contains(&503), "{codes:?}");
    relay.terminate();
    relay.wait().with(0).saying(&["the spool cannot be written to"]);

    let mut relay = start(command(&sqs.url(), directory.path(), &section));
    address(&mut relay);
    block_until("what was answered 200 is in the queue", || sqs.queue().bodies().len() >= kept);
    relay.terminate();
    relay.wait().with(0).saying(&["events left in the spool: 0"]);
    assert_eq!(sqs.queue().bodies().len(), kept);
}

#[test]
fn mistakes_in_the_section_are_told_with_their_lines() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        |text: &str| file(directory.path(), "wrong.toml", format!("[queue]\nurl = \"http://127.0.0.1:1/1/q\"\n{text}"));
    let refused = |text: &str| run(daemon(&["relay", "--config", &config(text)])).with(2);
    refused("").saying(&["there is no section [relay]"]);
    refused("[relay]\n").saying(&["[relay] needs an app"]);
    let section = r#"[relay]
listen = "8080"
path = "stream"
tls = { certificate = "c" }
apps = [{ api_key = "k", api_secret = "in the file" }, { api_key = "l" }]
spool = "/dev/null"
spool_limit = "1MiB"
allow = ["streams"]
trusted_proxies = []
socket = 1
"#;
    refused(section).saying(&[
        "9 mistakes",
        "wrong.toml:4: `listen`: \"8080\" is not an address with a port, such as 0.0.0.0:8080",
        "wrong.toml:5: `path`: \"stream\" is not the path of a URL",
        "wrong.toml:6: `tls` needs `certificate` and `key`",
        "wrong.toml:7: `api_secret` does not stand in the file itself",
        "wrong.toml:7: an app needs `api_key` and `api_secret`",
        "wrong.toml:8: `spool`: /dev/null is not a directory",
        "wrong.toml:9: `spool_limit`: a spool needs room",
        "wrong.toml:10: `allow`: \"streams\" is not a network",
        "wrong.toml:12: unknown key `socket`",
    ]);
    refused("[relay]\nallow = []\n").saying(&["`allow` is an empty list"]);
    let tls = format!("[relay]\n{APP}\ntls = {{ certificate = \"/nonexistent/c\", key = \"/nonexistent/k\" }}");
    let mut command = daemon(&["relay", "--config", &config(&tls)]);
    command.env("NEW", "n").env("OLD", "o");
    run(command).with(2).saying(&["/nonexistent/c cannot be read"]);
    // A run has no business with it.
    let mut command = bare(&["check", &config(&format!("[relay]\n{APP}"))]);
    command.env("NEW", "n");
    let checked = run(command).with(0);
    assert!(checked.stdout.contains("the environment variable OLD is not set"), "{}", checked.stdout);
    assert!(checked.stdout.contains("[relay] has no spool"), "{}", checked.stdout);
}

#[test]
fn check_says_what_keeps_a_relay_from_working() {
    let sqs = Sqs::start(MemorySettings::default());
    let directory = tempfile::tempdir().unwrap();
    let config =
        |text: &str| file(directory.path(), "check.toml", format!("[queue]\nurl = \"{}\"\n[relay]\n{text}", sqs.url()));
    let none = run(daemon(&["check", &config("")])).with(1);
    assert!(none.stdout.contains("[relay] names no app"), "{}", none.stdout);
    sqs.deny("SendMessageBatch");
    let mut command = daemon(&["check", "--online", &config(APP)]);
    command.env("NEW", "n").env("OLD", "o");
    let denied = run(command).with(1);
    assert!(denied.stdout.contains("the relay may not send messages"), "{}", denied.stdout);
    assert!(denied.stdout.contains("sqs:SendMessage"), "{}", denied.stdout);
}
