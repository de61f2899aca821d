//! Why messages were dead-lettered, as the daemon wrote it down: records by message id.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read};

use crate::queue::MessageId;
use crate::router::Mark;
use crate::telemetry::DeadLetter;

/// Of how many messages a record is kept: those that failed last. As many as one look can hold.
const MOST: usize = 100_000;

/// The longest line that is read, in bytes: a record takes a few hundred.
const LONGEST_LINE: u64 = 64 * 1024;

/// Why messages were dead-lettered, by their ids.
///
/// Read from files of `[dead_letters] reasons` or from saved JSON logs, of one host or of several. Of several records of one
/// message the latest counts. At the most 100,000 messages are remembered, those that failed last.
#[derive(Clone, Debug, Default)]
pub struct Records {
    by_id: BTreeMap<MessageId, DeadLetter>,
    /// The times are all in UTC and of one length, so that their order is that of their texts.
    by_time: BTreeSet<(String, MessageId)>,
}

impl Records {
    /// No records.
    pub fn new() -> Self {
        Records::default()
    }

    /// Takes in the records among these lines; what is not one is passed over. Returns how many there were.
    ///
    /// # Errors
    ///
    /// When the lines cannot be read.
    pub fn read(&mut self, mut lines: impl BufRead) -> io::Result<u64> {
        let mut found = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(found);
            }
            // Of a longer line each piece is looked at, and none is a record.
            if let Ok(record) = serde_json::from_slice(&line) {
                found += 1;
                self.add(record);
            }
        }
    }

    /// Takes in one record.
    pub fn add(&mut self, record: DeadLetter) {
        let id = MessageId::from(record.message_id.as_str());
        let before = self.by_id.get(&id);
        if before.is_some_and(|before| before.time > record.time) {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before.time.clone(), id.clone()));
        }
        self.by_time.insert((record.time.clone(), id.clone()));
        self.by_id.insert(id, record);
        if self.by_id.len() > MOST
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.by_id.remove(&oldest);
        }
    }

    /// The latest record of a message.
    pub fn get(&self, id: &MessageId) -> Option<&DeadLetter> {
        self.by_id.get(id)
    }

    /// The routes that were done with a message when it failed.
    pub(super) fn done(&self, id: &MessageId) -> Vec<Mark> {
        let told = self.get(id).and_then(|record| record.routes_done.as_deref()).unwrap_or_default();
        told.split(", ").filter_map(|one| one.rsplit_once('@')?.1.parse().ok()).collect()
    }

    /// Of how many messages there is a record.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
