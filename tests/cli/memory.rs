//! What the binary takes of the machine's memory while messages fill its byte budget: the promise of
//! `max_in_flight_bytes`, with each handler.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{daemon, file};
use crate::queue::Sqs;

const MIB: usize = 1 << 20;

/// The budget of these runs, and how many events of 16 MiB would fill it one and a half times.
const BUDGET: usize = 128 * MIB;
const EVENTS: usize = 12;

/// How many of them are handled: where the machine is busy, a receive may be given up with what it brought.
const HANDLED: RangeInclusive<u64> = 8..=EVENTS as u64;

/// What the reference says of `max_in_flight_bytes`: a quarter more, and 50 MiB.
const PROMISED: usize = BUDGET / 4 * 5 + 50 * MIB;

/// What Stream could send, in the form in which it is smallest: 22 KB that become 16 MiB of JSON.
fn packed(before: &str, after: &str) -> String {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(before.as_bytes()).unwrap();
    let filling = vec![b'x'; MIB];
    (0..16).for_each(|_| encoder.write_all(&filling[before.len() + after.len()..]).unwrap());
    encoder.write_all(after.as_bytes()).unwrap();
    let body = STANDARD.encode(encoder.finish().unwrap());
    assert!(body.len() < 24_000, "{}", body.len());
    body
}

fn large_event() -> &'static str {
    static BODY: OnceLock<String> = OnceLock::new();
    BODY.get_or_init(|| packed(r#"{"type":"message.new","cid":"messaging:1","text":""#, r#""}"#))
}

/// Ends the daemon also where the test fails.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the binary until the queue is empty; the most memory that it held, in bytes.
#[track_caller]
fn peak(route: &str, body: &str, deleted: RangeInclusive<u64>) -> usize {
    let sqs = Sqs::start(MemorySettings::new().with_max_receive_count(1));
    sqs.set("chat-events", &[("VisibilityTimeout", "120")]);
    (0..EVENTS).for_each(|_| drop(sqs.queue().send(body)));
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "c.toml", format!("max_in_flight_bytes = \"{}MiB\"\n{route}", BUDGET / MIB));
    let mut command = daemon(&["run", "--config", &path, "--queue-url", &sqs.url(), "--until-empty", "--wait", "5s"]);
    let log = directory.path().join("log");
    command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(fs::File::create(&log).unwrap());
    let mut daemon = Ending(command.spawn().unwrap());
    let mut stdout = daemon.0.stdout.take().unwrap();
    // A reader that is never quite done, so that lines wait.
    let reader = thread::spawn(move || {
        let mut chunk = vec![0; 4 * MIB];
        while stdout.read(&mut chunk).is_ok_and(|read| read > 0) {}
    });
    let status = format!("/proc/{}/status", daemon.0.id());
    let (began, mut peak) = (Instant::now(), 0);
    while daemon.0.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(300), "it does not come to an end");
        peak = memory(Path::new(&status)).unwrap_or(0).max(peak);
        thread::sleep(Duration::from_millis(5));
    }
    reader.join().unwrap();
    println!("{} MiB at the most of {} MiB", peak / MIB, PROMISED / MIB);
    assert!(deleted.contains(&sqs.queue().counts().deleted), "{}", fs::read_to_string(&log).unwrap());
    peak
}

/// The peak of the resident memory, as Linux counts it.
fn memory(status: &Path) -> Option<usize> {
    let status = fs::read_to_string(status).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}

#[track_caller]
fn keeps_its_promise(route: &str) {
    let peak = peak(route, large_event(), HANDLED);
    assert!(peak > BUDGET / 2, "the budget was not even half used: {} MiB", peak / MIB);
    assert!(peak <= PROMISED, "{} MiB", peak / MIB);
}

/// An endpoint that takes each event slowly.
fn slow_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut chunk = vec![0; 64 * 1024];
                let mut head = Vec::new();
                let mut left = None;
                while let Ok(read @ 1..) = stream.read(&mut chunk) {
                    let mut body = read;
                    if left.is_none() {
                        head.extend(&chunk[..read]);
                        let text = String::from_utf8_lossy(&head);
                        let Some((start, rest)) = text.split_once("\r\n\r\n") else { continue };
                        let length = start.to_lowercase();
                        let length = length.split_once("content-length: ").unwrap().1;
                        left = Some(length.split("\r\n").next().unwrap().parse::<usize>().unwrap());
                        body = rest.len();
                    }
                    left = left.map(|left| left - body);
                    if left == Some(0) {
                        thread::sleep(Duration::from_secs(1));
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                        (left, head) = (None, Vec::new());
                    }
                }
            });
        }
    });
    url
}

fn route(handler: &str, more: &str) -> String {
    format!("[[route]]\nevents = [\"*\"]\nhandler = \"{handler}\"\n{more}")
}

#[test]
fn large_events_on_stdout_stay_within_the_promise() {
    keeps_its_promise(&route("stdout", ""));
}

#[test]
fn large_events_in_a_file_stay_within_the_promise() {
    keeps_its_promise(&route("file", "path = \"events.jsonl\"\n"));
}

#[test]
fn large_events_by_http_stay_within_the_promise() {
    keeps_its_promise(&route("http", &format!("url = \"{}\"\n", slow_endpoint())));
}

#[test]
fn large_events_for_a_program_stay_within_the_promise() {
    let command = r#"command = ["/bin/sh", "-c", "cat > /dev/null; sleep 1"]"#;
    keeps_its_promise(&route("exec", command));
}

#[test]
fn types_of_16_mib_stay_within_the_promise() {
    let body = packed(r#"{"type":""#, r#""}"#);
    let peak = peak("", &body, 0..=0);
    assert!(peak <= PROMISED, "{} MiB", peak / MIB);
}

/// In an envelope of SNS that is packed, with escapes: the event is made in the room of the envelope.
#[test]
fn envelopes_of_16_mib_stay_within_the_promise() {
    let body = packed(r#"{"Type":"Notification","TopicArn":"t","Message":"{\"type\":\"a.b\",\"text\":\""#, r#"\"}"}"#);
    let peak = peak("", &body, HANDLED);
    assert!(peak <= PROMISED, "{} MiB", peak / MIB);
}

#[cfg(feature = "test-postgres")]
pub(crate) mod postgres {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::process::Command;

    use super::*;

    /// A server for one test, of Debian's package, which refuses to run as root.
    pub(crate) struct Cluster(tempfile::TempDir);

    impl Cluster {
        pub(crate) fn start() -> Cluster {
            let place = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
            fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
            let id = |flag: &str| Command::new("id").args([flag, "postgres"]).output().unwrap();
            let id = |flag: &str| String::from_utf8(id(flag).stdout).unwrap().trim().parse().unwrap();
            chown(place.path(), Some(id("-u")), Some(id("-g"))).unwrap();
            let cluster = Cluster(place);
            cluster
                .run("initdb", &["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]);
            let options = format!("-c listen_addresses= -c unix_socket_directories={}", cluster.0.path().display());
            cluster.run("pg_ctl", &["start", "--wait", "--silent", "--log=/dev/null", "-o", &options]);
            cluster
        }

        pub(crate) fn url(&self) -> String {
            format!("host={} user=postgres dbname=postgres", self.directory().display())
        }

        /// Where its socket is.
        pub(crate) fn directory(&self) -> &Path {
            self.0.path()
        }

        fn run(&self, program: &str, arguments: &[&str]) {
            let mut versions: Vec<_> =
                fs::read_dir("/usr/lib/postgresql").unwrap().map(|at| at.unwrap().path()).collect();
            versions.sort();
            let program = versions.last().expect("Debian's package postgresql").join("bin").join(program);
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program).args(arguments).current_dir("/");
            // The server inherits it, and anyone who reads it to its end would wait for the server.
            let status = command.arg("-D").arg(self.0.path().join("data")).stdout(Stdio::null()).status();
            assert!(status.unwrap().success());
        }
    }

    impl Drop for Cluster {
        fn drop(&mut self) {
            self.run("pg_ctl", &["stop", "--wait", "--silent", "--mode=immediate"]);
        }
    }

    #[test]
    fn large_events_in_postgres_stay_within_the_promise() {
        let cluster = Cluster::start();
        let url = cluster.url();
        // With more connections than the default has, each of which could hold a copy.
        let route = route("postgres", &format!("url = \"{url}\"\nconnections = 4\n"));
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "c.toml", &route);
        let queue = "https://sqs.us-east-1.amazonaws.com/123456789012/none";
        crate::daemon::run(daemon(&["init-postgres", "--config", &path, "--queue-url", queue])).with(0);
        keeps_its_promise(&route);
    }
}
