//! Letters to a file, and out of the queue what is in one.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::account::{Account, Outcome};
use super::filter::Filter;
use super::letter::Letter;
use super::opened::{DeadLetterError, DeadLetterQueue};
use super::scan::ScanEnd;
use crate::queue::{Attributes, Queue};

/// One line of an export: a letter whole, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exported {
    /// The id that SQS gave to it.
    pub message_id: String,
    /// When it was first sent: RFC 3339 in UTC, to the millisecond.
    pub sent_at: Option<String>,
    /// How often it was received, the export included.
    pub receive_count: u32,
    /// The MessageGroupId.
    pub group: Option<String>,
    /// The type of its event.
    pub r#type: Option<String>,
    /// The route that took it then.
    pub route: Option<String>,
    /// Why it was dead-lettered.
    pub reason: Option<String>,
    /// Its attributes.
    pub attributes: Attributes,
    /// The MD5 sum of its body, as SQS writes it: 32 hexadecimal digits.
    pub md5_of_body: String,
    /// Its body, byte for byte.
    pub body: String,
}

/// What an export did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportSummary {
    /// How many letters were written.
    pub exported: u64,
    /// How many the filter does not mean.
    pub not_matched: u64,
    /// How the look ended.
    pub end: ScanEnd,
}

/// Why an export ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The queue.
    #[error(transparent)]
    Queue(#[from] DeadLetterError),
    /// What it is written to.
    #[error("cannot write the export")]
    Write(#[source] io::Error),
}

/// What may be dropped: ids, and the MD5 sums of the bodies that they must have.
#[derive(Clone, Debug, Default)]
pub struct DropList {}

/// Why a file does not say what may be dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DropListError {
    /// It cannot be read.
    #[error("cannot read the export")]
    Read(#[source] io::Error),
    /// A line of it is not a whole line of an export: it may be another file, or the export was not finished.
    #[error("line {line} is not a line of an export: {reason}")]
    NotExported {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// It holds more than can be dropped at a time.
    #[error("it holds more than {most} messages")]
    TooMany {
        /// How many can be.
        most: usize,
    },
}

/// What a drop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropSummary {
    /// What became of the messages that were seen.
    pub account: Account,
    /// Of those that did not match: how many have the id of one in the file, and another body.
    pub other_body: u64,
    /// How many in the file were not seen.
    pub not_seen: u64,
    /// How the look ended.
    pub end: ScanEnd,
}

impl DropList {
    /// Reads an export. Every line must be whole, so that a file that was cut off is noticed.
    ///
    /// # Errors
    ///
    /// See [`DropListError`].
    pub fn read(lines: impl BufRead) -> Result<Self, DropListError> {
        let _ = lines;
        todo!()
    }

    /// How many messages may be dropped.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Exported {
    /// Whether its body is the one that was exported, by its MD5 sum.
    pub fn is_whole(&self) -> bool {
        todo!()
    }
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Writes each letter that matches to `to`, a line of JSON each ([`Exported`]), and deletes nothing. `seen` is told each
    /// message that was looked at. To flush and to sync the file is the caller's business, who knows that it is one.
    ///
    /// # Errors
    ///
    /// See [`ExportError`]. What was received is returned all the same.
    pub async fn export(
        &self,
        filter: &Filter,
        to: impl Write + Send,
        stop: impl Future<Output = ()> + Send + 'static,
        seen: impl FnMut(&Letter),
    ) -> Result<ExportSummary, ExportError> {
        let _ = (filter, to, stop, seen);
        todo!()
    }

    /// Deletes exactly what a file holds: the messages whose id and MD5 sum of the body are in it. It ends as soon as all of
    /// them are gone. `done` is told what became of each message.
    ///
    /// # Errors
    ///
    /// As [`Scan::next`](super::Scan::next).
    pub async fn drop_exported(
        &self,
        list: &DropList,
        stop: impl Future<Output = ()> + Send + 'static,
        done: impl FnMut(&Outcome),
    ) -> Result<DropSummary, DeadLetterError> {
        let _ = (list, stop, done);
        todo!()
    }
}
