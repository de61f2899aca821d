//! What the daemon's file handler recorded: on disk before each delete, so what no process can forget.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// A file that one daemon after the other records to.
pub(crate) struct Record {
    place: TempDir,
    /// How many bytes have been looked at, and how many lines they are.
    counted: Cell<(u64, usize)>,
}

/// What became of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handled {
    /// How often it was handled.
    pub(crate) times: usize,
    /// Its receive count when it was handled first.
    pub(crate) receive_count: u64,
}

impl Record {
    pub(crate) fn new() -> Record {
        Record { place: tempfile::tempdir().unwrap(), counted: Cell::default() }
    }

    /// A path beside the record.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The configuration of a daemon that records every event.
    pub(crate) fn configuration(&self) -> String {
        format!("[[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = {:?}\n", self.beside("events.jsonl"))
    }

    /// How many lines there are, a line that is being written not among them.
    pub(crate) fn len(&self) -> usize {
        let (mut bytes, mut lines) = self.counted.get();
        let mut more = Vec::new();
        match File::open(self.beside("events.jsonl")) {
            // No daemon has come so far as to make it.
            Err(error) if error.kind() == ErrorKind::NotFound => return 0,
            file => {
                let mut file = file.unwrap();
                file.seek(SeekFrom::Start(bytes)).unwrap();
                file.read_to_end(&mut more).unwrap();
            }
        }
        // Only what follows the last line feed can still change: a torn line is cut off.
        if let Some(last) = more.iter().rposition(|byte| *byte == b'\n') {
            bytes += last as u64 + 1;
            lines += more.iter().filter(|byte| **byte == b'\n').count();
            self.counted.set((bytes, lines));
        }
        lines
    }

    /// Waits until there are so many lines, or until a time has passed: a daemon may be on its way to them for longer
    /// than a test wants to look on.
    pub(crate) async fn grown_to(&self, lines: usize, limit: Duration) {
        let end = Instant::now() + limit;
        while self.len() < lines && Instant::now() < end {
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// What was handled, by message id. Every line must be whole.
    pub(crate) fn handled(&self) -> BTreeMap<String, Handled> {
        let mut handled = BTreeMap::<String, Handled>::new();
        let text = fs::read_to_string(self.beside("events.jsonl")).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
            let message = handled.entry(line["message_id"].as_str().unwrap().to_owned()).or_default();
            message.times += 1;
            if message.times == 1 {
                message.receive_count = line["receive_count"].as_u64().unwrap();
            }
        }
        handled
    }
}
