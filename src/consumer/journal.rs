//! The memory of successes on disk, so that it survives `kill -9`.
//!
//! A line for each message whose handler succeeded, written before its delete is asked for. After a crash the repeat of a
//! message that was handled and not yet deleted is recognised, if it comes to the same daemon again. The page cache
//! outlives a process, so nothing is flushed to the disk: a power cut may forget the last successes, and then, as without
//! a journal, a handler runs twice.
//!
//! Two generations bound its size: when the file is full it becomes `PATH.old`, in the place of the one before. A torn
//! last line is passed over.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::queue::MessageId;

/// The size of one generation, in bytes: some 80,000 successes.
const GENERATION: u64 = 4 * 1024 * 1024;

/// How long a success is of interest: the longest retention of an SQS queue, 14 days.
const MEMORY: Duration = Duration::from_secs(14 * 24 * 3600);

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has it open.
    #[error("the journal {} is in use by another process: give each daemon a journal of its own", .path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// It cannot be opened, read or written.
    #[error("the journal {} cannot be opened", .path.display())]
    Io {
        /// The file that could not be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    written: u64,
    /// Held for as long as the journal is: the journal itself changes its name.
    _lock: File,
}

impl Journal {
    /// Opens the journal and reads what it remembers, the oldest first.
    pub(super) fn open(path: &Path, now: SystemTime) -> Result<(Self, Vec<MessageId>), JournalError> {
        let lock_path = beside(path, "lock");
        let lock = open(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(JournalError::Io { path: lock_path, source }),
        }
        let oldest = now.checked_sub(MEMORY).unwrap_or(UNIX_EPOCH);
        let mut known = read(&beside(path, "old"), oldest)?;
        known.extend(read(path, oldest)?);
        let mut file = open(path)?;
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        let written = file.metadata().map_err(failed)?.len();
        if written > 0 {
            // Whatever the last line is, the next one begins anew.
            file.write_all(b"\n").map_err(failed)?;
        }
        Ok((Journal { path: path.to_owned(), file, written, _lock: lock }, known))
    }

    /// Remembers a success.
    pub(super) fn append(&mut self, id: &MessageId, now: SystemTime) -> io::Result<()> {
        if self.written >= GENERATION {
            std::fs::rename(&self.path, beside(&self.path, "old"))?;
            self.file = options().open(&self.path)?;
            self.written = 0;
        }
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // One write, so that a crash leaves a whole line or a torn last one.
        let line = format!("{seconds} {id}\n");
        self.file.write_all(line.as_bytes())?;
        self.written += line.len() as u64;
        Ok(())
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn open(path: &Path) -> Result<File, JournalError> {
    options().open(path).map_err(|source| JournalError::Io { path: path.to_owned(), source })
}

/// The ids of one generation that are not too old. Lines that are none are passed over: the torn ones of crashes.
fn read(path: &Path, oldest: SystemTime) -> Result<Vec<MessageId>, JournalError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(JournalError::Io { path: path.to_owned(), source }),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let id = |line: &[u8]| {
        let (seconds, id) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let at = UNIX_EPOCH + Duration::from_secs(seconds.parse().ok()?);
        (at >= oldest && !id.is_empty()).then(|| MessageId::from(id))
    };
    Ok(text[..whole].split(|byte| *byte == b'\n').filter_map(id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(known: &[MessageId]) -> Vec<&str> {
        known.iter().map(MessageId::as_str).collect()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_handled_is_known_after_a_crash_torn_tail_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (mut journal, known) = Journal::open(&path, at(100)).expect("a new journal");
        assert!(known.is_empty());
        assert_eq!(std::fs::metadata(&path).expect("the journal").len(), 0);
        journal.append(&"one".into(), at(100)).expect("a write");
        journal.append(&"two".into(), at(101)).expect("a write");
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).expect("the journal");
        file.write_all(b"102 thr").expect("a torn line");
        let (mut journal, known) = Journal::open(&path, at(103)).expect("the journal again");
        assert_eq!(ids(&known), ["one", "two"], "of a torn id nothing is believed");
        journal.append(&"four".into(), at(104)).expect("a write");
        drop(journal);
        let (_, known) = Journal::open(&path, at(105)).expect("the journal again");
        assert_eq!(ids(&known).last(), Some(&"four"));
    }

    #[test]
    fn a_second_daemon_is_refused_and_others_may_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let _open = Journal::open(&path, at(0)).expect("a new journal");
        assert!(matches!(Journal::open(&path, at(0)), Err(JournalError::InUse { .. })));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("the journal").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        std::fs::create_dir(beside(&path, "old")).expect("a folder where a file should be");
        assert!(matches!(Journal::open(&path, at(0)), Err(JournalError::Io { .. })));
    }

    #[test]
    fn size_and_age_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path, at(0)).expect("a new journal");
        let id = |n: u64| MessageId::from(format!("{n:>036}"));
        let lines = 3 * GENERATION / 40;
        for n in 0..lines {
            journal.append(&id(n), at(100 + n)).expect("a write");
        }
        drop(journal);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |facts| facts.len());
        assert!(size(&path) + size(&beside(&path, "old")) <= 2 * GENERATION + 100);
        let (journal, known) = Journal::open(&path, at(100 + lines)).expect("the journal again");
        assert_eq!(known.last(), Some(&id(lines - 1)));
        drop(journal);
        let later = at(100 + lines) + MEMORY;
        assert!(Journal::open(&path, later).expect("the journal again").1.is_empty(), "too old to come again");
    }
}
