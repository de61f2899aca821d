//! What the log says of each message that fails: why it was dead-lettered, whatever else is logged.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{Ended, Started, daemon, file, run, start};
use crate::queue::Sqs;
use crate::stalls::{DRAINED, HangingDisk, Unread, limited};
use crate::support::until::block_until;
use crate::watch::get;

/// What the messages say, which must not be seen anywhere.
const PRIVATE: &str = "meet me at the old mill";

/// The fields of a record, by the names that `dlq list` reads.
const FIELDS: [&str; 9] =
    ["time", "message_id", "receive_count", "type", "cid", "route", "outcome", "error", "version"];

/// A queue that dead-letters after one receive.
fn strict() -> Sqs {
    let sqs = Sqs::start(MemorySettings::new().with_max_receive_count(1));
    let redrive = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead","maxReceiveCount":1}"#;
    sqs.set("chat-events", &[("RedrivePolicy", redrive)]);
    sqs
}

fn body(kind: &str, number: u32, more: &str) -> String {
    format!(r#"{{"type":"{kind}","cid":"messaging:{number}","message":{{"text":"{PRIVATE}"}}{more}}}"#)
}

/// 643 messages none of which can be handled: six kinds, two routes and none.
fn send_what_fails(sqs: &Sqs) {
    let queue = sqs.queue();
    for number in 0..160 {
        queue.send(body("message.new", number, ""));
        queue.send(body("reaction.new", number, ""));
        queue.send(body("call.created", number, ""));
    }
    for _ in 0..100 {
        queue.send(format!("{PRIVATE}: this is neither base64 nor JSON!"));
    }
    for number in 0..60 {
        queue.send(body("message.new", number, &format!(r#","padding":"{}""#, "x".repeat(5_000))));
    }
    for number in 0..3 {
        queue.send(body("message.read", number, r#","team":"slow""#));
    }
}

const ROUTES: &str = r#"
unrouted = "leave"
inflate_limit = "4KiB"
handler_timeout = "1s"

[[route]]
events = ["message.*"]
team = "slow"
handler = "exec"
command = ["sleep", "30"]

[[route]]
events = ["message.*"]
handler = "exec"
command = ["sh", "-c", "exit 65"]

[[route]]
events = ["reaction.*"]
handler = "exec"
command = ["sh", "-c", "exit 3"]
"#;

fn records(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "stream_sqsd::dead_letters").collect()
}

/// The fields of a record, without what the log adds.
fn bare(record: &Value) -> BTreeMap<&str, &Value> {
    FIELDS.iter().filter_map(|field| Some((*field, record.get(field)?))).collect()
}

fn dead_letter_all(sqs: &Sqs, daemon: Started) -> Ended {
    let all = sqs.queue().counts().sent;
    block_until("all are dead-lettered", || sqs.queue().counts().dead_lettered >= all);
    daemon.signal(Signal::TERM);
    daemon.wait().with(0)
}

#[test]
fn each_of_643_dead_letters_has_its_record_in_log_and_file() {
    let directory = tempfile::tempdir().unwrap();
    let reasons = directory.path().join("reasons.jsonl");
    let sqs = strict();
    send_what_fails(&sqs);
    let toml = format!("{ROUTES}\n[dead_letters]\nreasons = {reasons:?}\n");
    let path = file(directory.path(), "c.toml", toml);
    let daemon = start(daemon(&["run", "--config", &path, "--queue-url", &sqs.url(), "--wait", "1s"]));
    let ended = dead_letter_all(&sqs, daemon);

    let dead = sqs.queue().dead_letters();
    assert_eq!(dead.len(), 643);
    let mut logged = records(&ended.stderr);
    let text = std::fs::read_to_string(&reasons).unwrap();
    let mut filed: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for records in [&mut logged, &mut filed] {
        records.sort_by_key(|record| record["message_id"].to_string());
    }
    for records in [&logged, &filed] {
        let of: Vec<&str> = records.iter().map(|record| record["message_id"].as_str().unwrap()).collect();
        let mut ids: Vec<&str> = dead.iter().map(|letter| letter.message_id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(of, ids, "one for each");
    }
    for (one, other) in logged.iter().zip(&filed) {
        assert_eq!(bare(one).len(), other.as_object().unwrap().len(), "{other}");
        assert_eq!(bare(one), bare(other), "the same in the log and in the file");
        assert!(one["route"].is_null() || other["cid"].is_string(), "{other}");
    }
    let mut kinds: BTreeMap<(Option<&str>, &str, &str), usize> = BTreeMap::new();
    for record in &filed {
        let text = |field: &str| record[field].as_str().unwrap();
        assert_eq!((record["receive_count"].as_u64(), text("version")), (Some(1), env!("CARGO_PKG_VERSION")));
        assert!(text("time").ends_with('Z') && text("time").len() == 24, "{record}");
        let error = text("error").split(',').next().unwrap();
        *kinds.entry((record["route"].as_str(), text("outcome"), error)).or_default() += 1;
    }
    let expected = [
        ((None, "invalid_base64_encoding", "invalid base64 encoding"), 100),
        ((None, "too_large", "too large: more than 4096 bytes"), 60),
        ((None, "unrouted", "no route takes it"), 160),
        ((Some("message.*"), "timeout", "the handler did not finish within 1s"), 3),
        ((Some("message.* (2)"), "rejected", "the program ended by exit status: 65"), 160),
        ((Some("reaction.*"), "retry", "the program ended by exit status: 3"), 160),
    ];
    assert_eq!(kinds, BTreeMap::from(expected));
    assert!(!ended.stderr.contains(PRIVATE) && !text.contains(PRIVATE), "no text of a message");
    assert_eq!(mode(&reasons), 0o600);
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn records_of_dead_letters_show_whatever_rust_log_says() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = strict();
    sqs.queue().send("neither base64 nor JSON!");
    let path = file(directory.path(), "c.toml", ROUTES);
    let mut command = daemon(&["run", "--config", &path, "--queue-url", &sqs.url(), "--wait", "1s"]);
    command.env("RUST_LOG", "off");
    let ended = dead_letter_all(&sqs, start(command));
    assert_eq!(records(&ended.stderr).len(), 1, "{}", ended.stderr);
}

#[test]
fn at_debug_each_event_is_one_line_and_else_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "c.toml", ROUTES);
    for (level, lines) in [("debug", 4), ("info", 0)] {
        let sqs = strict();
        let ids = [
            sqs.queue().send(r#"{"type":"call.created"}"#),
            sqs.queue().send(body("message.new", 1, "")),
            sqs.queue().send("neither base64 nor JSON!"),
            sqs.queue().send(body("reaction.new", 1, "")),
        ];
        let mut command =
            daemon(&["run", "--config", &path, "--queue-url", &sqs.url(), "--wait", "1s", "--until-empty"]);
        command.env("RUST_LOG", level);
        let ended = run(command).with(0);
        let log: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events: Vec<&Value> = log.iter().filter(|line| line["message"] == "an event is settled").collect();
        assert_eq!(events.len(), lines, "{}", ended.stderr);
        if lines == 0 {
            continue;
        }
        let of = |id: usize| *events.iter().find(|line| line["message_id"] == ids[id].as_str()).unwrap();
        let facts = |line: &Value| {
            assert!(line["milliseconds"].is_u64(), "{line}");
            let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
            [text("level"), text("type"), text("route"), text("outcome"), text("settled")].join(" ")
        };
        assert_eq!(facts(of(0)), "DEBUG call.created - unrouted nacked");
        assert_eq!(facts(of(1)), "DEBUG message.new message.* (2) rejected nacked");
        assert_eq!(facts(of(2)), "DEBUG - - invalid_base64_encoding nacked");
        assert_eq!(facts(of(3)), "DEBUG reaction.new reaction.* retry nacked");
        assert!(!ended.stderr.contains(PRIVATE), "{}", ended.stderr);
    }
}

#[test]
fn a_log_that_cannot_keep_up_drops_records_last() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = strict();
    let chatty = "for i in 1 2 3 4 5 6; do echo a; echo b; echo c; echo d; echo e; done >&2";
    let toml =
        format!("[[route]]\nevents = [\"*\"]\nhandler = \"exec\"\ncommand = [\"sh\", \"-c\", \"{chatty}; exit 65\"]\n");
    let path = file(directory.path(), "c.toml", toml);
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = daemon(&["run", "--config", &path, "--queue-url", &sqs.url(), "--wait", "1s", "--admin", &admin]);
    command.env("RUST_LOG", "trace,hyper=trace,hyper_util=trace,aws_smithy_runtime=trace,aws_sdk_sqs=trace");
    for number in 0..400 {
        sqs.queue().send(body("message.new", number, ""));
    }
    let mut unread = Unread::start(command);
    block_until("all are dead-lettered", || sqs.queue().counts().dead_lettered == 400);
    assert!(metric(&admin, "stream_sqsd_log_lines_dropped_total") > 0);
    let mut stderr = unread.stderr.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).unwrap();
        String::from_utf8(said).unwrap()
    });
    assert_eq!(unread.terminate().0, Some(0));
    assert_eq!(records(&reader.join().unwrap()).len(), 400);
}

fn metric(admin: &str, name: &str) -> u64 {
    let metrics = get(admin, "/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not in {metrics}")).parse().unwrap()
}

/// A queue of so many messages that are dead-lettered at once, and a file that says so.
fn undecodable(messages: usize, reasons: &Path, directory: &Path) -> (Sqs, String) {
    let sqs = strict();
    for _ in 0..messages {
        sqs.queue().send("neither base64 nor JSON!");
    }
    let toml = format!("[dead_letters]\nreasons = {reasons:?}\n[queue]\nurl = {:?}\nwait = \"1s\"\n", sqs.url());
    (sqs, file(directory, "c.toml", toml))
}

#[test]
fn a_file_of_reasons_on_a_disk_that_hangs_holds_up_nothing() {
    let disk = HangingDisk::new();
    let directory = tempfile::tempdir().unwrap();
    let (sqs, path) = undecodable(200, &disk.path(), directory.path());
    let daemon = start(disk.under(daemon(&["run", "--config", &path])));
    block_until("all are dead-lettered", || sqs.queue().counts().dead_lettered == 200);
    disk.until_it_hangs();
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let ended = daemon.wait().with(0);
    assert!(asked.elapsed() < DRAINED, "{:?}", asked.elapsed());
    assert_eq!(records(&ended.stderr).len(), 200, "the log has them");
}

#[test]
fn a_file_of_reasons_that_is_full_is_said_once_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let reasons = directory.path().join("reasons.jsonl");
    let (sqs, path) = undecodable(100, &reasons, directory.path());
    let mut daemon = start(limited(8, &daemon(&["run", "--config", &path, "--admin", "127.0.0.1:0"])));
    let line = daemon.until("watch it at http://");
    let admin = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    block_until("all are dead-lettered", || sqs.queue().counts().dead_lettered == 100);
    let dropped = || metric(&admin, "stream_sqsd_dead_letter_records_dropped_total");
    let written = || std::fs::read_to_string(&reasons).unwrap().lines().count() as u64;
    block_until("each is written or counted", || dropped() + written() == 100);
    assert!(written() > 0 && dropped() > 50, "{}", dropped());
    let status = get(&admin, "/status");
    let status: Value = serde_json::from_str(status.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(status["dropped"]["dead_letter_records"], dropped());
    daemon.signal(Signal::TERM);
    let ended = daemon.wait().with(0);
    assert_eq!(ended.stderr.matches("the file of reasons takes no records").count(), 1, "{}", ended.stderr);
    assert_eq!(records(&ended.stderr).len(), 100, "the log has them");
    for line in std::fs::read_to_string(&reasons).unwrap().lines() {
        serde_json::from_str::<Value>(line).expect("whole lines");
    }
}

#[test]
fn a_file_of_reasons_that_cannot_be_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display().to_string();
    let journal = directory.path().join("journal");
    let url = Sqs::start(MemorySettings::default()).url();
    let refused = |arguments: &[&str], what: &str| {
        let all = [&["run", "--queue-url", &url, "--wait", "1s"], arguments].concat();
        run(daemon(&all)).with(2).saying(&[what]);
    };
    refused(&["--dead-letters-reasons", &place], "it is not a regular file");
    refused(&["--dead-letters-reasons", &format!("{place}/none/reasons")], "No such file or directory");
    refused(&["--dead-letters-reasons", ""], "`reasons` is empty");
    let journal = journal.to_str().unwrap();
    refused(
        &["--journal", journal, "--dead-letters-reasons", &format!("{journal}.old")],
        "is the journal of --journal",
    );
    let toml = format!("[[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = \"{place}/reasons.2\"\n");
    let path = file(directory.path(), "c.toml", toml);
    refused(&["--config", &path, "--dead-letters-reasons", &format!("{place}/reasons")], "is the file of reasons of");
}
