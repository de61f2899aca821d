//! What one version leaves behind for another: the journal and the configuration, as deploy/README.md says.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{Ended, daemon, file, run};
use crate::queue::Sqs;

fn consume(sqs: &Sqs, journal: &str) -> Ended {
    let arguments = ["run", "--queue-url", &sqs.url(), "--wait", "1s", "--until-empty", "--log-format", "human"];
    run(daemon(&[&arguments[..], &["--journal", journal]].concat())).with(0)
}

fn handled(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut ids: Vec<String> = lines.map(|line| line["message_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The reader of the version before checksums (journal.rs in b16c818), word for word but for the name of an id's type and
/// for its errors. Built from that commit, the whole daemon was seen to do the same.
fn read_before_checksums(path: &str) -> Vec<String> {
    use std::time::Duration;
    let oldest = SystemTime::now().checked_sub(Duration::from_secs(14 * 24 * 3600)).unwrap_or(UNIX_EPOCH);
    let text = std::fs::read(path).unwrap();
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let id = |line: &[u8]| {
        let (seconds, id) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let at = UNIX_EPOCH + Duration::from_secs(seconds.parse().ok()?);
        (at >= oldest && !id.is_empty()).then(|| id.to_owned())
    };
    text[..whole].split(|byte| *byte == b'\n').filter_map(id).collect()
}

#[test]
fn after_an_upgrade_what_the_old_journal_knows_is_known() {
    let directory = tempfile::tempdir().unwrap();
    // A start wrote an empty line, and a crash tore the last one.
    let lines = format!("{0} memory-00000001\n\n{0} memory-00000003\n{0} memory-000000", now());
    let journal = file(directory.path(), "journal", lines);
    let sqs = Sqs::start(MemorySettings::default());
    (0..4).for_each(|_| drop(sqs.queue().send(r#"{"type":"message.new"}"#)));
    let ended = consume(&sqs, &journal).saying(&["repeats of a success, deleted without a handler: 2"]);
    assert_eq!(handled(&ended), ["memory-00000002", "memory-00000004"]);
    assert_eq!(sqs.queue().counts().deleted, 4);
}

#[test]
fn after_a_rollback_the_old_version_knows_what_was_handled() {
    let directory = tempfile::tempdir().unwrap();
    let journal = file(directory.path(), "journal", format!("{} memory-00000001\n", now()));
    let sqs = Sqs::start(MemorySettings::default());
    (0..4).for_each(|_| drop(sqs.queue().send(r#"{"type":"message.new"}"#)));
    assert_eq!(handled(&consume(&sqs, &journal)).len(), 3);
    let mut known = read_before_checksums(&journal);
    known.sort();
    assert_eq!(known, (1..=4).map(|n| format!("memory-{n:08}")).collect::<Vec<_>>());
    assert!(std::fs::read_to_string(&journal).unwrap().contains("\n#"), "these have checksums, which it passes over");
}

#[test]
fn keys_of_a_later_version_are_refused_all_at_once_by_line() {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events.jsonl");
    let toml = format!(
        "later = 1\n[queue]\nurl = \"http://127.0.0.1:1/123456789012/q\"\nsooner = \"1s\"\n[admin]\nmirror = true\n\
         [[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = {events:?}\ncolour = \"red\"\n[observatory]\nroof = 1\n"
    );
    let config = file(directory.path(), "c.toml", toml);
    let lines = ["c.toml:1: ", "c.toml:4: ", "c.toml:6: ", "c.toml:11: ", "c.toml:12: "];
    let keys = ["`later`", "`sooner`", "`mirror`", "`colour`", "`observatory`"];
    for command in ["check", "run"] {
        let ended = run(daemon(&[command, "--config", &config])).with(2).saying(&["5 mistakes"]);
        for (line, key) in lines.iter().zip(keys) {
            assert!(ended.stderr.lines().any(|said| said.contains(line) && said.contains(key)), "{}", ended.stderr);
        }
        assert!(!events.exists(), "nothing was touched");
    }
    let flag = ["run", "--queue-url", "http://127.0.0.1:1/123456789012/q", "--observatory"];
    run(daemon(&flag)).with(2).saying(&["unexpected argument '--observatory'"]);
}

#[test]
fn variables_of_a_later_version_are_ignored() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.queue().send(r#"{"type":"message.new"}"#);
    let mut command = daemon(&["run", "--queue-url", &sqs.url(), "--wait", "1s", "--until-empty"]);
    command.env("STREAM_SQSD_OBSERVATORY_ROOF", "open");
    assert_eq!(handled(&run(command).with(0)).len(), 1);
}
