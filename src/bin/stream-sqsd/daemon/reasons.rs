//! The file of reasons: why each message was dead-lettered, a JSON line each, beside the log.
//!
//! A disk may hang or be full, which must hold up no message: a thread of its own writes, and what it does not take in time
//! is dropped and counted. The log has it all the same. Nothing is flushed to the disk: the page cache outlives a process.
//!
//! A file that is full becomes `PATH.1`, and so on up to `PATH.3`; the oldest is deleted. A file that was removed or renamed
//! is noticed before the next line, and a new one begun.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;
use stream_sqsd::telemetry::{DeadLetter, DeadLetterKeeper};

use crate::terminal::exit::Failure;
use crate::terminal::writer::{FLUSH_LIMIT, Importance, Writer};

/// The most that one file holds, in bytes: some 40,000 records.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What the names of the files that are kept end in, the newest first.
pub(crate) const ENDINGS: [&str; 4] = ["", ".1", ".2", ".3"];

/// The way to the file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reasons {
    writer: Writer,
    trouble: Arc<Trouble>,
}

/// Whether the log was told that records are dropped: once, until one is written again.
#[derive(Debug)]
struct Trouble {
    path: PathBuf,
    told: AtomicBool,
}

impl Reasons {
    /// Opens the file and starts its thread. A disk that fails does not prevent the start.
    ///
    /// # Errors
    ///
    /// What somebody has to put right: a path that cannot be a file of ours, or that another process writes to.
    pub(crate) fn start(path: &Path) -> Result<Self, Failure> {
        let trouble = Arc::new(Trouble { path: path.to_owned(), told: AtomicBool::new(false) });
        let mut file = ReasonsFile { path: path.to_owned(), limit: FILE_BYTES, file: None, trouble: trouble.clone() };
        match file.open() {
            Ok(()) => {}
            Err(error) if is_mistake(&error) => {
                let path = path.display();
                return Err(Failure::usage(format!("reasons of [dead_letters]: cannot write to {path}: {error}")));
            }
            Err(error) => trouble.begins(&error),
        }
        let writer = Writer::start("reasons", file, |dropped| {
            tracing::warn!(dropped, "records of dead letters are missing in the file of reasons; the log has them");
        });
        Ok(Reasons { writer: writer.map_err(|error| anyhow!(error))?, trouble })
    }

    /// Waits for what is not written yet, for a second at the most.
    pub(crate) fn flush(&self) {
        self.writer.flush(FLUSH_LIMIT);
    }
}

impl DeadLetterKeeper for Reasons {
    fn keep(&self, record: &DeadLetter) {
        let mut line = serde_json::to_vec(record).unwrap_or_default();
        line.push(b'\n');
        let before = self.writer.dropped();
        self.writer.push(line, Importance::Ordinary);
        if self.writer.dropped() > before {
            self.trouble.begins(&"its disk hangs");
        }
    }

    fn dropped(&self) -> u64 {
        self.writer.dropped()
    }
}

impl Trouble {
    fn begins(&self, error: &dyn std::fmt::Display) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = %self.path.display(),
                %error,
                "the file of reasons takes no records of dead letters; they are in the log, and are counted"
            );
        }
    }

    fn is_over(&self) {
        if self.told.swap(false, Ordering::Relaxed) {
            tracing::info!(path = %self.path.display(), "the file of reasons takes records again");
        }
    }
}

/// Whether somebody has to put this right before it can work.
fn is_mistake(error: &io::Error) -> bool {
    use ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied, ResourceBusy};
    matches!(error.kind(), InvalidInput | IsADirectory | NotADirectory | NotFound | PermissionDenied | ResourceBusy)
}

/// The file as its thread sees it.
struct ReasonsFile {
    path: PathBuf,
    limit: u64,
    /// None after a failure: then it is opened with the next line.
    file: Option<File>,
    trouble: Arc<Trouble>,
}

impl Write for ReasonsFile {
    /// Writes a whole line or nothing.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.append(line) {
            Ok(()) => {
                self.trouble.is_over();
                Ok(line.len())
            }
            Err(error) => {
                self.close();
                self.trouble.begins(&error);
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReasonsFile {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut length = self.length()?;
        if length.is_some_and(|length| length > 0 && length.saturating_add(line.len() as u64) > self.limit) {
            self.rotate()?;
            length = None;
        }
        if length.is_none() {
            self.open()?;
        }
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        let length = file.metadata()?.len();
        file.write_all(line).inspect_err(|_| {
            // Half a line would be read as one. Where it cannot be cut off, opening ends it.
            let _ = file.set_len(length);
        })
    }

    /// The length of the file that is open; None where none is, or it is no longer the one under its name.
    fn length(&self) -> io::Result<Option<u64>> {
        let Some(file) = &self.file else { return Ok(None) };
        let ours = file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => Ok(Some(ours.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn close(&mut self) {
        if let Some(file) = self.file.take() {
            // Closing alone may not unlock it: a process that another thread is just starting holds every open file.
            let _ = file.unlock();
        }
    }

    fn open(&mut self) -> io::Result<()> {
        self.close();
        // A pipe would block as soon as it is opened.
        if fs::metadata(&self.path).is_ok_and(|facts| !facts.is_file()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "another process writes to it: give each daemon a file of its own";
                return Err(io::Error::new(ErrorKind::ResourceBusy, why));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !ends_in_a_line(&mut file)? {
            file.write_all(b"\n")?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Moves each file on by one; the last one is overwritten.
    fn rotate(&mut self) -> io::Result<()> {
        for pair in ENDINGS.windows(2).rev() {
            match fs::rename(beside(&self.path, pair[0]), beside(&self.path, pair[1])) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                renamed => renamed?,
            }
        }
        Ok(())
    }
}

/// The file of this ending.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn ends_in_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn file(path: &Path, limit: u64) -> ReasonsFile {
        let trouble = Arc::new(Trouble { path: path.to_owned(), told: AtomicBool::new(false) });
        ReasonsFile { path: path.to_owned(), limit, file: None, trouble }
    }

    #[test]
    fn four_files_are_kept_and_none_is_larger_than_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reasons");
        let mut file = file(&path, 20);
        for number in 0..20 {
            file.write_all(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        let kept = ENDINGS.map(|ending| fs::read_to_string(beside(&path, ending)).unwrap());
        let expected = [18, 16, 14, 12].map(|number| format!("line {number:04}\nline {:04}\n", number + 1));
        assert_eq!(kept, expected);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
    }

    #[test]
    fn half_a_line_is_ended_and_a_removed_file_started_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reasons");
        fs::write(&path, "{\"torn").unwrap();
        let mut file = file(&path, FILE_BYTES);
        file.write_all(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"torn\none\n");
        fs::remove_file(&path).unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_failure_is_told_once_and_it_goes_on_when_it_can() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        let mut file = file(&inner.join("reasons"), FILE_BYTES);
        for _ in 0..3 {
            file.write_all(b"lost\n").unwrap_err();
            assert!(file.trouble.told.load(Ordering::Relaxed));
        }
        fs::create_dir(&inner).unwrap();
        file.write_all(b"kept\n").unwrap();
        assert!(!file.trouble.told.load(Ordering::Relaxed));
        assert_eq!(fs::read_to_string(inner.join("reasons")).unwrap(), "kept\n");
    }

    #[test]
    fn a_file_in_use_and_what_is_not_a_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reasons");
        let first = Reasons::start(&path).map_err(|_| "refused").unwrap();
        for (path, why) in [(path.as_path(), "another process"), (directory.path(), "not a regular file")] {
            let Err(refused) = Reasons::start(path) else { panic!("{why}") };
            assert!(format!("{refused:?}").contains(why), "{refused:?}");
        }
        first.flush();
    }
}
