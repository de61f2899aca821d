//! Why messages were dead-lettered, as the daemon wrote it down: records by message id.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::Arc;

use crate::queue::MessageId;
use crate::telemetry::DeadLetter;

/// Of how many messages a record is kept: those that failed last.
const MOST: usize = 250_000;

/// The longest line that is read, in bytes: a record takes a few hundred.
const LONGEST_LINE: u64 = 64 * 1024;

/// Why messages were dead-lettered, by their ids.
///
/// Read from files of `[dead_letters] reasons` or from saved JSON logs, of one host or of several. Of several records of one
/// message the latest counts. At the most 250,000 messages are remembered, those that failed last.
#[derive(Clone, Debug, Default)]
pub struct Records {
    by_id: BTreeMap<MessageId, Arc<DeadLetter>>,
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
        let _ = (&mut lines, MOST, LONGEST_LINE);
        todo!()
    }

    /// Takes in one record.
    pub fn add(&mut self, record: DeadLetter) {
        let _ = record;
        todo!()
    }

    /// The latest record of a message.
    pub fn get(&self, id: &MessageId) -> Option<&DeadLetter> {
        self.by_id.get(id).map(|record| &**record)
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
