//! What a supervisor is told that asks for it, seen on a socket in its place. What systemd makes of it is tried with
//! systemd itself, in `tests/deploy`.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use stream_sqsd::queue::memory::MemorySettings;
use tempfile::TempDir;

use crate::daemon::{daemon, run, start};
use crate::queue::Sqs;

/// One who is told. What it was told is waited for within half a minute.
struct Supervisor {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Supervisor {
    fn new() -> Supervisor {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Supervisor { socket, directory }
    }

    /// It asks the daemon to tell it, and to show twice a second that it is alive.
    fn asks(&self, arguments: &[&str]) -> Command {
        let mut command = daemon(arguments);
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify")).env("WATCHDOG_USEC", "1000000");
        command
    }

    fn told(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("something is told");
        std::str::from_utf8(&message[..length]).unwrap().lines().map(str::to_owned).collect()
    }

    /// What is told up to the message that holds this line, and that message.
    fn until(&self, begins: &str) -> (Vec<Vec<String>>, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let told = self.told();
            if told.iter().any(|line| line.starts_with(begins)) {
                return (before, told);
            }
            before.push(told);
        }
    }
}

fn holds(told: &[String], begins: &str) -> bool {
    told.iter().any(|line| line.starts_with(begins))
}

#[test]
fn it_is_ready_after_the_first_good_receive_and_says_why_not() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.throttle_receives(2);
    let supervisor = Supervisor::new();
    let daemon = start(supervisor.asks(&["run", "--queue-url", &sqs.url(), "--wait", "1s"]));

    let (before, ready) = supervisor.until("READY=1");
    assert!(sqs.calls("ReceiveMessage").len() >= 3);
    assert!(before.iter().all(|told| holds(told, "EXTEND_TIMEOUT_USEC=30000000")), "{before:?}");
    let status = "STATUS=waiting for the first good receive; receive has failed for ";
    let waiting: Vec<_> = before.iter().flatten().filter(|line| line.starts_with(status)).collect();
    assert!(waiting.iter().any(|line| line.ends_with(" (throttled)")), "{before:?}");
    assert!(holds(&ready, "STATUS=receiving: 0.0 messages/s done, 0 in flight"), "{ready:?}");

    // Once is enough.
    let (later, _) = supervisor.until("WATCHDOG=1");
    assert!(!later.iter().any(|told| holds(told, "READY=1")));
    daemon.signal(Signal::TERM);
    daemon.wait().with(0);
}

#[test]
fn while_it_drains_it_asks_for_the_time_that_it_needs() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.queue().send(r#"{"type":"message.new"}"#);
    let supervisor = Supervisor::new();
    let go = supervisor.directory.path().join("go");
    let command = ["sh", "-c", "until [ -e \"$0\" ]; do sleep 0.05; done", go.to_str().unwrap()];
    let config = format!(
        "grace = \"1h\"\n[queue]\nwait = \"1s\"\n[[route]]\nevents = [\"*\"]\nhandler = \"exec\"\n\
         command = {command:?}\n"
    );
    let config = crate::daemon::file(supervisor.directory.path(), "exec.toml", config);
    let daemon = start(supervisor.asks(&["run", "--config", &config, "--queue-url", &sqs.url()]));
    let at_work = || holds(&supervisor.told(), "STATUS=receiving: 0.0 messages/s done, 1 in flight");
    while !at_work() {}

    daemon.signal(Signal::TERM);
    let (before, stopping) = supervisor.until("STOPPING=1");
    assert!(!before.iter().any(|told| holds(told, "EXTEND_TIMEOUT_USEC=")), "it needed no time while it worked");
    let (_, again) = supervisor.until("EXTEND_TIMEOUT_USEC=30000000");
    for told in [stopping, again] {
        assert!(holds(&told, "EXTEND_TIMEOUT_USEC=30000000"), "{told:?}");
        assert!(holds(&told, "STATUS=draining: "), "{told:?}");
        assert!(holds(&told, "WATCHDOG=1"), "{told:?}");
    }
    std::fs::write(go, "").unwrap();
    daemon.wait().with(0);
    assert_eq!(sqs.queue().counts().deleted, 1);
}

#[test]
fn why_it_gave_up_is_the_last_status() {
    let supervisor = Supervisor::new();
    run(supervisor.asks(&["run", "--grace", "1", "--wait", "2"])).with(2);
    let told = supervisor.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("STATUS=3 mistakes in the configuration: --wait: "), "{told:?}");
    assert!(told[0].contains(" no queue: say which one by "), "{told:?}");
}
