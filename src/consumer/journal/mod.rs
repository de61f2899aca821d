//! The memory of successes on disk, so that it survives `kill -9`.
//!
//! A record for each message whose handler succeeded, written before its delete is asked for, and of a message with several
//! routes for each that is done before the others. After a crash the repeat of a
//! message that was handled and not yet deleted is recognised, if it comes to the same daemon again. The page cache
//! outlives a process, so nothing is flushed to the disk: a power cut may forget the last successes, and then, as without
//! a journal, a handler runs twice.
//!
//! A disk may hang, so records are written on a thread of its own, those that wait together in one write and in the order
//! in which they came. A success waits [`WRITTEN_WITHIN`] for its record; past it, it is known in memory only, and until
//! the thread has written again no other success waits at all. What the thread was handed is written when the disk is back.
//!
//! This is an edge to the outside, and its order is the disk's: a simulated world has a journal only where its time stands
//! still while that is written. The format stands in [`file`].

mod file;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

pub use file::JournalError;
use file::JournalFile;
pub(super) use file::Success;

use crate::queue::MessageId;
use crate::router::Mark;

/// How long a success waits for its record to be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// How long dropping the journal waits for the records that the thread was handed.
const WRITTEN_AT_THE_END_WITHIN: Duration = Duration::from_secs(1);

/// How many records may wait for the thread. While the disk hangs, those beyond them are never written.
const WAITING: usize = 8_192;

/// An open journal.
///
/// Dropping it waits a moment for what is not written yet, and then unlocks the file. On a disk that hangs for longer it
/// stays locked until the disk answers or the process ends.
#[derive(Debug)]
pub(super) struct Journal {
    // The order counts: the thread ends when the way to it is closed.
    appends: mpsc::Sender<Append>,
    /// A record was waited for in vain, and none was written since.
    stalled: Arc<AtomicBool>,
    _end: WaitedForOnDrop,
}

/// One success on its way to the disk.
#[derive(Debug)]
struct Append {
    success: Success,
    at: SystemTime,
    done: oneshot::Sender<Result<(), Arc<io::Error>>>,
}

/// Why a record was not written, or not in time.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    #[error(transparent)]
    Failed(Arc<io::Error>),
    #[error("the journal's disk hangs")]
    Stalled,
    #[error("the thread that writes the journal has ended")]
    Ended,
}

impl Journal {
    /// Opens the journal and reads what it remembers, the oldest first.
    ///
    /// # Errors
    ///
    /// When it is in use, or cannot be opened. Damage is not an error: what can be read is read.
    pub(super) fn open(path: &Path, now: SystemTime) -> Result<(Self, Vec<Success>), JournalError> {
        let (file, known) = JournalFile::open(path, now)?;
        let (appends, queue) = mpsc::channel(WAITING);
        let stalled = Arc::new(AtomicBool::new(false));
        let (running, end) = std::sync::mpsc::channel::<()>();
        let written = stalled.clone();
        let write = move || {
            // Dropped after the file is, also by a panic.
            let _running = running;
            write_records(queue, file, &written);
        };
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(write);
        thread.map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
        Ok((Journal { appends, stalled, _end: WaitedForOnDrop(Mutex::new(end)) }, known))
    }

    /// Remembers a success. Returns when it is written, or after [`WRITTEN_WITHIN`].
    ///
    /// # Errors
    ///
    /// When it is not written, or not yet.
    pub(super) async fn append(&self, id: &MessageId, mark: Option<Mark>, at: SystemTime) -> Result<(), NotWritten> {
        let (done, answer) = oneshot::channel();
        let success = Success { message: id.clone(), mark };
        let handed_over = self.appends.try_send(Append { success, at, done });
        if self.stalled.load(Ordering::Relaxed) && !mutant!("wait-for-a-hung-disk-each-time") {
            return Err(NotWritten::Stalled);
        }
        let written = async {
            match handed_over {
                Ok(()) => {}
                Err(TrySendError::Full(append)) => self.appends.send(append).await.map_err(|_| NotWritten::Ended)?,
                Err(TrySendError::Closed(_)) => return Err(NotWritten::Ended),
            }
            answer.await.map_err(|_| NotWritten::Ended)?.map_err(NotWritten::Failed)
        };
        tokio::time::timeout(WRITTEN_WITHIN, written).await.unwrap_or_else(|_| {
            self.stalled.store(true, Ordering::Relaxed);
            Err(NotWritten::Stalled)
        })
    }
}

/// The end of the thread, with which the file is dropped.
#[derive(Debug)]
struct WaitedForOnDrop(Mutex<std::sync::mpsc::Receiver<()>>);

impl Drop for WaitedForOnDrop {
    fn drop(&mut self) {
        let _ = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(WRITTEN_AT_THE_END_WITHIN);
    }
}

fn write_records(mut queue: mpsc::Receiver<Append>, mut file: JournalFile, stalled: &AtomicBool) {
    let mut records = Vec::new();
    let mut waiting = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        while let Some(append) = next {
            file::push_record(&append.success, append.at, &mut records);
            waiting.push(append.done);
            next = if waiting.len() < WAITING { queue.try_recv().ok() } else { None };
        }
        let outcome = file.write(&records).map_err(Arc::new);
        stalled.store(false, Ordering::Relaxed);
        for done in waiting.drain(..) {
            // It may have stopped waiting in the meantime.
            let _ = done.send(outcome.clone());
        }
        records.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use futures_util::future::join_all;

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;

    fn whole(id: &MessageId) -> Success {
        Success { message: id.clone(), mark: None }
    }

    fn ids(count: usize) -> Vec<MessageId> {
        (0..count).map(|n| MessageId::from(format!("m{n:04}"))).collect()
    }

    #[tokio::test]
    async fn what_was_appended_is_known_after_a_crash_in_its_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (journal, known) = Journal::open(&path, NOW).expect("a new journal");
        assert!(known.is_empty());
        let ids = ids(500);
        let written = join_all(ids.iter().map(|id| journal.append(id, None, NOW))).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        drop(journal);
        let (_, known) = Journal::open(&path, NOW).expect("the journal again");
        assert_eq!(known, ids.iter().map(whole).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_written_before_the_journal_closes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (journal, _) = Journal::open(&path, NOW).expect("a new journal");
        let ids = ids(5_000);
        for id in &ids {
            let append = Append { success: whole(id), at: NOW, done: oneshot::channel().0 };
            journal.appends.try_send(append).expect("there is room");
        }
        drop(journal);
        let (_, known) = Journal::open(&path, NOW).expect("it is free");
        assert_eq!(known, ids.iter().map(whole).collect::<Vec<_>>());
    }

    /// Nobody reads the other end of the queue: a thread that stands before its disk.
    fn hanging() -> (Journal, mpsc::Receiver<Append>) {
        let (appends, queue) = mpsc::channel(WAITING);
        let end = WaitedForOnDrop(Mutex::new(std::sync::mpsc::channel().1));
        (Journal { appends, stalled: Arc::default(), _end: end }, queue)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_disk_is_waited_for_once_and_gets_all_later() {
        let (journal, mut queue) = hanging();
        let ids = ids(WAITING + 10);
        let began = tokio::time::Instant::now();
        for id in &ids {
            assert!(matches!(journal.append(id, None, NOW).await, Err(NotWritten::Stalled)));
        }
        assert_eq!(began.elapsed(), WRITTEN_WITHIN, "the first waited, and nobody behind it");

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (file, _) = JournalFile::open(&path, NOW).expect("a new journal");
        let stalled = journal.stalled.clone();
        queue.close();
        let thread = thread::Builder::new().spawn(move || write_records(queue, file, &stalled));
        thread.expect("a thread").join().expect("its end");
        assert!(!journal.stalled.load(Ordering::Relaxed), "the next success waits again");
        let (_, known) = JournalFile::open(&path, NOW).expect("the journal again");
        assert_eq!(known, ids[..WAITING].iter().map(whole).collect::<Vec<_>>(), "what there was room for");
    }

    #[tokio::test]
    async fn a_write_that_fails_is_told_to_those_who_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).expect("a folder");
        let (journal, _) = Journal::open(&inner.join("journal"), NOW).expect("a new journal");
        // The file is gone, and its folder too, so no new one can be begun.
        std::fs::remove_dir_all(&inner).expect("no folder");
        let answer = journal.append(&"one".into(), None, NOW).await;
        assert!(matches!(answer, Err(NotWritten::Failed(_))), "{answer:?}");
        std::fs::create_dir(&inner).expect("a folder");
        journal.append(&"two".into(), None, NOW).await.expect("it goes on when it can");
    }
}
