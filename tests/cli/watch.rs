//! `run` as it is watched, and `health`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{Started, daemon, file, run, start};
use crate::queue::Sqs;

/// A run that is watched at an address that the system chose.
fn watched(sqs: &Sqs) -> (Started, String) {
    let arguments =
        ["run", "--queue-url", &sqs.url(), "--wait", "1s", "--log-format", "human", "--admin", "127.0.0.1:0"];
    let mut daemon = start(daemon(&arguments));
    let line = daemon.until("watch it at http://");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    (daemon, address)
}

pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_run_can_be_watched_and_tells_how_deep_its_queues_are() {
    let sqs = Sqs::start(MemorySettings::default());
    let redrive = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead","maxReceiveCount":3}"#;
    sqs.set("chat-events", &[("ApproximateNumberOfMessages", "7"), ("RedrivePolicy", redrive)]);
    sqs.set(
        "dead",
        &[
            ("ApproximateNumberOfMessages", "5"),
            ("ApproximateNumberOfMessagesNotVisible", "0"),
            ("ApproximateNumberOfMessagesDelayed", "0"),
        ],
    );
    let (daemon, address) = watched(&sqs);
    sqs.until_called("ReceiveMessage", 2);
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(sqs.calls("GetQueueAttributes").len(), 1, "nobody has asked how deep they are");

    get(&address, "/metrics");
    sqs.until_called("GetQueueAttributes", 3);
    let known = || {
        let metrics = get(&address, "/metrics");
        metrics.contains("stream_sqsd_queue_messages{state=\"visible\"} 7\n")
            && metrics.contains("stream_sqsd_dead_letter_messages 5\n")
    };
    // The answers of the queue are on their way; if they never come, the run is killed after a minute.
    while !known() {}
    assert_eq!(sqs.calls("GetQueueAttributes").len(), 3, "however often it is asked within a minute");
    daemon.signal(Signal::TERM);
    daemon.wait().with(0);
}

#[test]
fn health_asks_the_daemon_of_its_own_queue() {
    let sqs = Sqs::start(MemorySettings::default());
    let (watched, address) = watched(&sqs);
    sqs.until_called("ReceiveMessage", 2);
    let health = |queue: &str| run(daemon(&["health", "--admin", &address, "--queue-url", queue]));
    health(&sqs.url()).with(0).saying(&["healthy: receiving"]);
    let other = sqs.url().replace("chat-events", "other");
    health(&other).with(1).saying(&["unhealthy: the daemon that answers consumes another queue", &sqs.url()]);
    watched.signal(Signal::TERM);
    watched.wait().with(0);
    health(&sqs.url()).with(1).saying(&["unhealthy: no daemon answers at "]);
    run(daemon(&["health", "--queue-url", &other])).with(2).saying(&["there is no address to ask: --admin is none"]);
}

#[test]
fn a_named_address_must_be_free_and_well_formed() {
    let sqs = Sqs::start(MemorySettings::default());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(daemon(&["run", "--queue-url", &sqs.url(), "--admin", &address]));
    ended.with(69).saying(&["cannot listen at", &address]);
    let ended = run(daemon(&["run", "--queue-url", &sqs.url(), "--admin", "localhost"]));
    ended.with(2).saying(&["--admin: \"localhost\" is not an address with a port"]);
}

#[test]
fn only_a_taken_default_address_lets_a_run_go_on_without_page() {
    const DEFAULT: &str = "127.0.0.1:9464";
    // Where this fails, somebody else on this machine has it already.
    let _taken = TcpListener::bind(DEFAULT);
    let sqs = Sqs::start(MemorySettings::default());
    let url = sqs.url();
    let mut unnamed = daemon(&["run", "--queue-url", &url, "--wait", "1s", "--log-format", "human"]);
    unnamed.env_remove("STREAM_SQSD_ADMIN");
    let mut unnamed = start(unnamed);
    let warning = unnamed.until("nobody can watch this run");
    assert!(warning.contains("WARN") && warning.contains(DEFAULT), "{warning}");
    sqs.queue().send(r#"{"type":"message.new"}"#);
    sqs.until_called("DeleteMessageBatch", 1);
    unnamed.signal(Signal::TERM);
    unnamed.wait().with(0).saying(&["deleted 1 +"]);

    run(daemon(&["run", "--queue-url", &url, "--admin", DEFAULT])).with(69).saying(&["cannot listen at", DEFAULT]);
}

#[test]
fn silent_connections_keep_health_from_nothing() {
    let sqs = Sqs::start(MemorySettings::default());
    let (watched, address) = watched(&sqs);
    sqs.until_called("ReceiveMessage", 2);
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let began = std::time::Instant::now();
    run(daemon(&["health", "--admin", &address, "--queue-url", &sqs.url()])).with(0).saying(&["healthy: receiving"]);
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    drop(silent);
    watched.signal(Signal::TERM);
    watched.wait().with(0);
}

#[test]
fn a_foreign_name_is_answered_only_where_admin_hosts_has_it() {
    let sqs = Sqs::start(MemorySettings::default());
    let directory = tempfile::tempdir().unwrap();
    let url = sqs.url();
    let toml =
        format!("[queue]\nurl = \"{url}\"\nwait = \"1s\"\n[admin]\nhosts = [\"a.example.com\", \"b.example.com\"]\n");
    let path = file(directory.path(), "c.toml", toml);
    let mut daemon = start(daemon(&["run", "--config", &path, "--log-format", "human", "--admin", "127.0.0.1:0"]));
    let line = daemon.until("watch it at http://");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let status = |host: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for host in ["a.example.com", "b.example.com:9464", "localhost", "127.0.0.1"] {
        assert!(status(host).starts_with("HTTP/1.1 200 "), "{host}");
    }
    let refused = status("rebound.example.com");
    assert!(refused.starts_with("HTTP/1.1 421 ") && refused.contains("[admin]"), "{refused}");
    daemon.signal(Signal::TERM);
    daemon.wait().with(0);
}
