//! Deletes what a file holds, and nothing else.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, BufRead, Read};

use super::account::{Account, Outcome, OutcomeKind};
use super::export::Exported;
use super::hold::Standing;
use super::opened::{DeadLetterError, DeadLetterQueue};
use super::scan::{Scan, ScanEnd};
use crate::queue::{BATCH, MAX_MESSAGE_SIZE, MessageId, Queue, md5_of};

/// How many messages one file may hold: more cannot be held by a look.
const MOST: usize = 1_000_000;

/// The longest line that is read, in bytes: each byte of a body may be written as an escape of six, and attributes and what
/// was known of the message stand beside it.
const LONGEST_LINE: u64 = 8 * MAX_MESSAGE_SIZE as u64;

/// What may be dropped: ids, and the MD5 sums of the bodies that they must have.
#[derive(Clone, Debug, Default)]
pub struct DropList {
    bodies: BTreeMap<MessageId, u128>,
}

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
    /// How many in the file were not seen with the body that they must have: they are gone, in flight elsewhere, or behind
    /// others of their group.
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
    pub fn read(mut lines: impl BufRead) -> Result<Self, DropListError> {
        let mut list = DropList::default();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text).map_err(DropListError::Read)? == 0 {
                break;
            }
            let refuse = |reason: &str| DropListError::NotExported { line, reason: reason.to_owned() };
            if text.last() != Some(&b'\n') {
                return Err(refuse("it has no end"));
            }
            // What serde says of it could quote the body.
            let exported: Exported =
                serde_json::from_slice(&text).map_err(|_| refuse("it is not JSON with its keys"))?;
            if !exported.is_whole() {
                return Err(refuse("its body does not have its MD5 sum"));
            }
            list.bodies.insert(exported.message_id.as_str().into(), md5_of(&exported.body));
            if list.bodies.len() > MOST {
                return Err(DropListError::TooMany { most: MOST });
            }
        }
        Ok(list)
    }

    /// How many messages may be dropped.
    pub fn len(&self) -> usize {
        self.bodies.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Deletes exactly what a file holds: the messages whose id and MD5 sum of the body are in it. It ends as soon as all of
    /// them are gone. `done` is told what became of each message.
    ///
    /// # Errors
    ///
    /// As [`Scan::next`]. `done` was told of what was deleted before.
    pub async fn drop_exported(
        &self,
        list: &DropList,
        stop: impl Future<Output = ()> + Send + 'static,
        done: impl FnMut(&Outcome),
    ) -> Result<DropSummary, DeadLetterError> {
        let mut scan = self.scan(stop);
        let mut drop = Drop { list, seen: 0, other_body: 0, waiting: Vec::new(), account: Account::default(), done };
        let looked = drop.look(&mut scan).await;
        // Also where the look failed: these are in the file as well.
        drop.delete(&mut scan).await;
        let end = scan.end().await;
        let Drop { seen, other_body, account, .. } = drop;
        looked.map(|()| DropSummary { account, other_body, not_seen: (list.len() as u64).saturating_sub(seen), end })
    }
}

/// A drop as it goes on.
struct Drop<'a, D> {
    list: &'a DropList,
    /// How many of the list were seen.
    seen: u64,
    other_body: u64,
    /// Up to ten that are to be deleted together.
    waiting: Vec<MessageId>,
    account: Account,
    done: D,
}

impl<D: FnMut(&Outcome)> Drop<'_, D> {
    async fn look<Q: Queue>(&mut self, scan: &mut Scan<Q>) -> Result<(), DeadLetterError> {
        while (self.seen as usize) < self.list.len()
            && let Some(found) = scan.next().await?
        {
            let id = found.letter.message_id;
            match self.list.bodies.get(&id) {
                Some(md5) if *md5 == md5_of(&found.body) || mutant!("drop-whatever-the-body-is") => {
                    self.seen += 1;
                    self.waiting.push(id);
                }
                of_other_body => {
                    self.other_body += u64::from(of_other_body.is_some());
                    self.tell(Outcome::new(id, OutcomeKind::NotMatched, None));
                }
            }
            if self.waiting.len() >= BATCH || !scan.has_more_at_hand() {
                self.delete(scan).await;
            }
        }
        Ok(())
    }

    async fn delete<Q: Queue>(&mut self, scan: &mut Scan<Q>) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let deleted = scan.holds.delete(&waiting).await;
        for id in waiting {
            if deleted.contains(&id) {
                scan.holds.stands(&id, Standing::Gone);
                self.tell(Outcome::new(id, OutcomeKind::Dropped, None));
            } else {
                self.tell(Outcome::new(id, OutcomeKind::Lost, Some("its delete was not confirmed".to_owned())));
            }
        }
        scan.look_again();
    }

    fn tell(&mut self, outcome: Outcome) {
        self.account.count(outcome.kind);
        (self.done)(&outcome);
    }
}
