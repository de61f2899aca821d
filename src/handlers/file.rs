//! Events as JSON lines in a file, on disk before their messages are deleted.
//!
//! The lines are those of [`stdout`](super::stdout). Messages that arrive together share one `fdatasync`, and none of them counts
//! as handled before it.
//! The promises beside that:
//!
//! - **No half line.** A write that fails is cut off again, and a torn end that a crash left is repaired on opening. What
//!   is cut was never told as a success, so its message comes again.
//! - **One writer.** The file is locked (`flock`) as long as it is open; a second daemon is refused.
//! - **A file that was moved or deleted is noticed** before each write and opened again under its name, so `logrotate`
//!   works with and without a signal, and no event goes into a file that nobody can find.
//! - **Rotation** by size or by age renames the file to one with the date and time of its first line,
//!   `events-2026-01-31T00-00-07Z.jsonl`. Rotated files are never written to again, and nothing deletes them unless
//!   `max_files` says how many are kept: then the oldest go when one more is put aside.
//!
//! A full, failing or hanging disk is a target that is down: messages wait in the queue.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::IgnoredAny;

pub use super::lines::STALLED_AFTER;
use super::lines::{LineWriter, Reopening, Sink, WriterEnd};
use super::rotation::{delete_oldest, directory, free_name, period};
use crate::event::Event;
use crate::handler::{Context, Handler, HandlerError};

/// The longest torn line that is looked for on opening. An event inflates to less, unless somebody configured otherwise.
const LONGEST_TORN_LINE: u64 = 64 * 1024 * 1024;

/// How long dropping the handler waits for the commit that is going on.
const COMMIT_ENDS: Duration = Duration::from_secs(1);

/// How every line begins.
const LINE_START: &[u8] = br#"{"type":"#;

/// Where lines go, and when the file is put aside for a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSettings {
    /// The file that lines are appended to, such as `/var/lib/stream-sqsd/events.jsonl`. It is created when it is not
    /// there, its directory is not.
    pub path: PathBuf,
    /// A file is put aside before it would grow larger than n bytes. What is written at once (4 MiB, or one larger
    /// line) is never divided, so a file that holds one such write only may be larger.
    pub rotate_size: Option<u64>,
    /// A file is put aside at the first event after each whole multiple of this time, counted in UTC: `1d` gives one
    /// file for each day, `1h` one for each hour.
    pub rotate_age: Option<Duration>,
    /// How many files that were put aside are kept, at least 1: when there is one more, the oldest by its name is deleted.
    /// Only files with the names that rotation gives are looked at. None keeps all of them.
    pub max_files: Option<usize>,
}

impl FileSettings {
    /// A file that is never put aside.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileSettings { path: path.into(), rotate_size: None, rotate_age: None, max_files: None }
    }

    /// Sets [`FileSettings::rotate_size`], in bytes, more than zero.
    pub fn with_rotate_size(mut self, rotate_size: impl Into<Option<u64>>) -> Self {
        self.rotate_size = rotate_size.into();
        self
    }

    /// Sets [`FileSettings::rotate_age`], more than zero.
    pub fn with_rotate_age(mut self, rotate_age: impl Into<Option<Duration>>) -> Self {
        self.rotate_age = rotate_age.into();
        self
    }

    /// Sets [`FileSettings::max_files`], at least 1.
    pub fn with_max_files(mut self, max_files: impl Into<Option<usize>>) -> Self {
        self.max_files = max_files.into();
        self
    }
}

/// Why a file cannot be written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A size or an age of nothing would rotate for ever, and no file at all to keep would lose what was just put aside.
    #[error("{setting} must not be zero")]
    Zero {
        /// The name of the setting.
        setting: &'static str,
    },
    /// The path names no file.
    #[error("{} is not the name of a file", .path.display())]
    NoName {
        /// The path of the settings.
        path: PathBuf,
    },
    /// It cannot be opened, locked, read or repaired.
    #[error("cannot open {}", .path.display())]
    Open {
        /// The path of the settings.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process writes to it, or another handler of this one.
    #[error("{} is locked: another process writes to it, or another handler of this one", .path.display())]
    Locked {
        /// The path of the settings.
        path: PathBuf,
    },
    /// A directory, a pipe or a device.
    #[error("{} is not a regular file", .path.display())]
    NotAFile {
        /// The path of the settings.
        path: PathBuf,
    },
    /// Its last line has no end and was not written here, so it is not cut off.
    #[error("{} ends in the middle of a line that is not an event: is it the right file?", .path.display())]
    NotLines {
        /// The path of the settings.
        path: PathBuf,
    },
    /// It cannot be put aside for a new one.
    #[error("cannot rename {} to {}", .path.display(), .to.display())]
    Rename {
        /// The path of the settings.
        path: PathBuf,
        /// The name with the date.
        to: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that writes")]
    Thread(#[source] io::Error),
}

/// Appends each event as a JSON line to a file; done when it is on disk.
///
/// A message that comes again is a line that comes again: readers tell by `message_id`.
pub struct File {
    // The order counts: the thread ends when the way to it is closed.
    lines: LineWriter,
    _end: WaitedForOnDrop,
    path: PathBuf,
}

impl File {
    /// Opens the file, locks it and repairs its end.
    ///
    /// Dropping the handler waits up to a second for the commit that is going on, if any, and unlocks the file. On a disk
    /// that hangs for longer the file stays locked until the disk answers or the process ends.
    ///
    /// # Errors
    ///
    /// When it cannot be written to: see [`FileError`].
    pub fn open(settings: FileSettings) -> Result<Self, FileError> {
        File::writing_to(Log::new(settings, SystemTime::now)?)
    }

    fn writing_to(log: Log) -> Result<Self, FileError> {
        let path = log.settings.path.clone();
        let (lines, end) = LineWriter::start("file", log).map_err(FileError::Thread)?;
        Ok(File { lines, _end: WaitedForOnDrop(end), path })
    }

    /// For asking, on SIGHUP, that the file be opened again under its name.
    pub fn reopener(&self) -> Reopener {
        Reopener(self.lines.reopening())
    }
}

impl Handler<Event> for File {
    type Error = HandlerError;

    fn address(&self) -> Option<String> {
        Some(self.path.display().to_string())
    }

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        self.lines.write(event, ctx).await
    }
}

/// Asks a [`File`] to open its file again. Cheap to clone; it does not keep the file open.
#[derive(Clone)]
pub struct Reopener(Reopening);

impl Reopener {
    /// Asks for it. It is done before the next line is written; when it fails, the log says so and the next line tries
    /// again.
    pub async fn reopen(&self) {
        self.0.ask().await;
    }
}

struct WaitedForOnDrop(WriterEnd);

impl Drop for WaitedForOnDrop {
    fn drop(&mut self) {
        self.0.wait(COMMIT_ENDS);
    }
}

/// What makes written lines last.
type SyncCall = dyn Fn(&fs::File) -> io::Result<()> + Send;

/// The file as its thread sees it.
struct Log {
    settings: FileSettings,
    clock: fn() -> SystemTime,
    /// `fdatasync`, but for tests in which the disk is slow or broken.
    sync: Box<SyncCall>,
    /// None after a failure: what the file holds is then not known, and it is opened and repaired again.
    opened: Option<Opened>,
}

/// An open, locked file whose last line is whole.
struct Opened {
    file: fs::File,
    /// About when its first line was written.
    begun: SystemTime,
}

impl Log {
    fn new(settings: FileSettings, clock: fn() -> SystemTime) -> Result<Self, FileError> {
        if settings.rotate_size == Some(0) {
            return Err(FileError::Zero { setting: "rotate_size" });
        }
        if settings.rotate_age.is_some_and(|age| age.is_zero()) {
            return Err(FileError::Zero { setting: "rotate_age" });
        }
        if settings.max_files == Some(0) {
            return Err(FileError::Zero { setting: "max_files" });
        }
        if settings.path.file_name().is_none() {
            return Err(FileError::NoName { path: settings.path });
        }
        let mut log = Log { settings, clock, sync: Box::new(fs::File::sync_data), opened: None };
        log.open()?;
        Ok(log)
    }

    fn open(&mut self) -> Result<(), FileError> {
        // First of all the old file: it holds the lock, which may be on the same file.
        self.opened = None;
        self.opened = Some(Opened::open(&self.settings.path, (self.clock)())?);
        Ok(())
    }

    /// The length of the file under our name, or None when that is no longer the file which is open.
    fn length(&self) -> io::Result<Option<u64>> {
        let Some(opened) = &self.opened else { return Ok(None) };
        let ours = opened.file.metadata()?;
        match fs::metadata(&self.settings.path) {
            Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => Ok(Some(ours.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_due(&self, begun: SystemTime, length: u64, more: usize) -> bool {
        let too_large = self.settings.rotate_size.is_some_and(|size| length.saturating_add(more as u64) > size);
        let too_old = self.settings.rotate_age.is_some_and(|age| period(begun, age) < period((self.clock)(), age));
        length > 0 && (too_large || too_old)
    }

    /// Puts the file aside under a name with the date of its first line, and begins a new one.
    fn rotate(&mut self, begun: SystemTime) -> Result<(), FileError> {
        let path = &self.settings.path;
        let failed = |to: &Path| {
            let (path, to) = (path.clone(), to.to_owned());
            |source| FileError::Rename { path, to, source }
        };
        let to = free_name(path, begun).map_err(failed(path))?;
        // Under the lock nobody else of ours takes the name. The new name is made to last by the sync of the directory
        // that follows the creation of the new file.
        fs::rename(path, &to).map_err(failed(&to))?;
        tracing::info!(path = %to.display(), "the file was put aside");
        self.open()?;
        if let Some(most) = self.settings.max_files {
            delete_oldest(&self.settings.path, most);
        }
        Ok(())
    }
}

impl Sink for Log {
    const LINES: usize = usize::MAX;

    fn commit(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut length = match self.length()? {
            Some(length) => length,
            None => {
                self.open().map_err(io::Error::other)?;
                self.length()?.unwrap_or_default()
            }
        };
        if let Some(opened) = &self.opened
            && self.is_due(opened.begun, length, lines.len())
        {
            self.rotate(opened.begun).map_err(io::Error::other)?;
            length = 0;
        }
        let Some(mut opened) = self.opened.take() else { return Err(io::ErrorKind::NotFound.into()) };
        if length == 0 {
            opened.begun = (self.clock)();
        }
        match opened.file.write_all(lines).and_then(|()| (self.sync)(&opened.file)) {
            Ok(()) => {
                self.opened = Some(opened);
                Ok(())
            }
            Err(error) => {
                // After a failed sync the system may believe that the pages are clean: a second sync would prove
                // nothing. So the lines are cut off, and their messages bring them again. Where even that fails, opening
                // repairs the end.
                let _ = opened.file.set_len(length);
                Err(error)
            }
        }
    }

    fn reopen(&mut self) {
        match self.open() {
            Ok(()) => tracing::info!(path = %self.settings.path.display(), "the file was opened again"),
            Err(error) => tracing::error!(
                error = %HandlerError::target_down(error),
                "the file cannot be opened again; the next event tries again"
            ),
        }
    }
}

impl Opened {
    fn open(path: &Path, now: SystemTime) -> Result<Self, FileError> {
        let failed = |source| FileError::Open { path: path.to_owned(), source };
        // A pipe would block, a device would be anything: looked at before it is opened.
        if fs::metadata(path).is_ok_and(|facts| !facts.is_file()) {
            return Err(FileError::NotAFile { path: path.to_owned() });
        }
        // Events hold what people wrote: not for everybody to read.
        let mut file =
            fs::OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FileError::Locked { path: path.to_owned() }),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        if !repair(&mut file, path).map_err(failed)? {
            return Err(FileError::NotLines { path: path.to_owned() });
        }
        // A new file, and the new name of one that was put aside, last only when their directory is on disk.
        fs::File::open(directory(path)).and_then(|directory| directory.sync_all()).map_err(failed)?;
        let begun = file.metadata().and_then(|facts| facts.created().or_else(|_| facts.modified())).unwrap_or(now);
        Ok(Opened { file, begun })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Closing alone may not unlock it: a process that another thread is just starting holds every open file until
        // its program begins. Where unlocking fails, closing has to do.
        let _ = self.file.unlock();
    }
}

/// Ends the last line where it has no end: a whole event gets its line feed, a torn one is cut off. False when the end
/// was not written here.
fn repair(file: &mut fs::File, path: &Path) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let mut tail = Vec::new();
    let mut chunk = [0; 64 * 1024];
    let mut start = length;
    while start > 0 {
        let size = start.min(chunk.len() as u64);
        start -= size;
        let part = &mut chunk[..size as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        let newline = part.iter().rposition(|byte| *byte == b'\n');
        // In reverse, since it grows towards the beginning of the file.
        tail.extend(part[newline.map_or(0, |at| at + 1)..].iter().rev());
        if newline.is_some() {
            break;
        }
        if tail.len() as u64 > LONGEST_TORN_LINE {
            return Ok(false);
        }
    }
    if tail.is_empty() {
        return Ok(true);
    }
    tail.reverse();
    let ours = tail.starts_with(LINE_START) || LINE_START.starts_with(&tail) || tail.iter().all(|byte| *byte == 0);
    if !ours {
        return Ok(false);
    }
    if serde_json::from_slice::<IgnoredAny>(&tail).is_ok() {
        file.write_all(b"\n")?;
    } else {
        tracing::warn!(
            path = %path.display(),
            bytes = tail.len(),
            "a torn line at the end of the file was cut off; its message was not deleted and comes again"
        );
        file.set_len(length - tail.len() as u64)?;
    }
    file.sync_data()?;
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, mpsc};
    use std::task::Poll;

    use futures_util::future::join_all;
    use tokio::sync::oneshot;

    use super::*;
    use crate::consumer::{Consumer, Settings};
    use crate::handler::FailureKind;
    use crate::queue::memory::{MemoryQueue, MemorySettings};
    use crate::router::Router;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Writes to a new file, whose lines last when `sync` returns.
    fn log_with(path: &Path, sync: impl Fn(&fs::File) -> io::Result<()> + Send + 'static) -> Log {
        let mut log = Log::new(FileSettings::new(path), SystemTime::now).unwrap();
        log.sync = Box::new(sync);
        log
    }

    #[tokio::test]
    async fn no_line_succeeds_before_it_is_on_disk_and_a_torn_one_is_cut() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events");
        let good = AtomicBool::new(false);
        let lengths = Arc::new(Mutex::new(Vec::new()));
        let synced = lengths.clone();
        let log = log_with(&path, move |file| {
            synced.lock().unwrap().push(file.metadata()?.len());
            // The second time it goes well.
            if good.swap(true, Ordering::SeqCst) { file.sync_data() } else { Err(io::ErrorKind::Other.into()) }
        });
        let file = File::writing_to(log).unwrap();
        let event = || Event::from_json(r#"{"type":"a.b"}"#).unwrap();
        let error = file.handle(event(), Context::for_test("1")).await.unwrap_err();
        assert_eq!((error.kind(), fs::metadata(&path).unwrap().len()), (FailureKind::TargetDown, 0), "{error}");
        file.handle(event(), Context::for_test("1")).await.unwrap();
        let length = fs::metadata(&path).unwrap().len();
        assert_eq!(*lengths.lock().unwrap(), [length, length], "it was all written before each of the syncs");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn messages_that_waited_for_a_sync_share_the_next_one() {
        let place = tempfile::tempdir().unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let syncs = Arc::new(AtomicUsize::new(0));
        let counted = syncs.clone();
        let log = log_with(&place.path().join("events"), move |_| {
            // Each waits for a word, and for none when nobody can say one any more.
            let _ = gone.recv();
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let file = File::writing_to(log).unwrap();
        let event = || Event::from_json(r#"{"type":"a.b"}"#).unwrap();
        let handled = join_all((0..20).map(|id| file.handle(event(), Context::for_test(&id.to_string()))));
        let mut handled = pin!(handled);
        poll_fn(|polling| {
            // Hands all lines over. The first is with the disk, with as many more as the thread found there.
            assert!(handled.as_mut().poll(polling).is_pending());
            Poll::Ready(())
        })
        .await;
        go.send(()).unwrap();
        drop(go);
        assert!(handled.await.iter().all(Result::is_ok));
        let syncs = syncs.load(Ordering::SeqCst);
        assert!(syncs <= 2, "{syncs} syncs for 20 messages that came together");
    }

    #[tokio::test]
    async fn a_slow_disk_is_given_no_more_than_the_slots() {
        let place = tempfile::tempdir().unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let log = log_with(&place.path().join("events"), move |_| {
            // Waits until nobody can say a word any more.
            let _ = gone.recv();
            Ok(())
        });
        let queue = MemoryQueue::new(MemorySettings::default());
        (0..200).for_each(|_| drop(queue.send(r#"{"type":"a.b"}"#)));
        let settings = Settings { concurrency: 50, wait: Duration::from_secs(1), ..Settings::default() };
        let router = Router::new().fallback(File::writing_to(log).unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(Consumer::new(queue.clone(), router, settings).run(async { drop(stopped.await) }));
        let until = async |is_so: &dyn Fn() -> bool| {
            let looking = async {
                while !is_so() {
                    tokio::time::sleep(Duration::from_millis(5)).await
                }
            };
            tokio::time::timeout(Duration::from_secs(60), looking).await.expect("in time");
        };

        until(&|| queue.counts().hidden == 50).await;
        assert_eq!(
            (queue.counts().visible, queue.counts().deleted),
            (150, 0),
            "nothing is deleted before it is on disk"
        );
        drop(go);
        until(&|| queue.counts().deleted == 200).await;
        stop.send(()).unwrap();
        run.await.unwrap().unwrap();
    }

    /// Polls a call of the handler once, after which it waits for the disk.
    async fn begins(mut call: Pin<&mut impl Future>) {
        poll_fn(|polling| {
            assert!(call.as_mut().poll(polling).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_nobody_who_drops_the_handler() {
        let place = tempfile::tempdir().unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let (hang, hanging) = mpsc::channel();
        let log = log_with(&place.path().join("events"), move |_| {
            hang.send(()).unwrap();
            // Waits until nobody can say a word any more.
            let _ = gone.recv();
            Ok(())
        });
        let file = File::writing_to(log).unwrap();
        let event = Event::from_json(r#"{"type":"a.b"}"#).unwrap();
        {
            let mut handled = pin!(file.handle(event, Context::for_test("1")));
            begins(handled.as_mut()).await;
            // Before the handler is given up, which would take the line back.
            hanging.recv_timeout(20 * COMMIT_ENDS).unwrap();
        }
        let (dropped, is_dropped) = mpsc::channel();
        std::thread::spawn(move || {
            drop(file);
            dropped.send(()).unwrap();
        });
        is_dropped.recv_timeout(20 * COMMIT_ENDS).expect("it does not wait for the disk");
        drop(go);
    }

    #[tokio::test]
    async fn a_file_whose_handler_was_dropped_can_be_opened_at_once() {
        let place = tempfile::tempdir().unwrap();
        let (begin, begun) = mpsc::channel();
        let log = log_with(&place.path().join("events"), move |file| {
            begin.send(()).unwrap();
            std::thread::sleep(COMMIT_ENDS / 10);
            file.sync_data()
        });
        let file = File::writing_to(log).unwrap();
        let event = Event::from_json(r#"{"type":"a.b"}"#).unwrap();
        {
            let mut handled = pin!(file.handle(event, Context::for_test("1")));
            begins(handled.as_mut()).await;
            begun.recv_timeout(20 * COMMIT_ENDS).unwrap();
        }
        drop(file);
        Log::new(FileSettings::new(place.path().join("events")), SystemTime::now).unwrap();
    }

    #[test]
    fn a_new_day_begins_a_new_file_and_dates_the_old_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events.jsonl");
        let settings = FileSettings { rotate_age: Some(DAY), ..FileSettings::new(&path) };
        // 2026-01-31T23:59:59Z, and the next day.
        let mut log = Log::new(settings, || SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_903_999)).unwrap();
        log.commit(b"1\n").unwrap();
        log.commit(b"2\n").unwrap();
        log.clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_904_000);
        log.commit(b"3\n").unwrap();
        log.commit(b"4\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n4\n");
        let old = place.path().join("events-2026-01-31T23-59-59Z.jsonl");
        assert_eq!(fs::read_to_string(old).unwrap(), "1\n2\n");
    }

    /// A directory with files of these names, and the names that are in it after one more file was put aside.
    fn names_after_rotating(max_files: Option<usize>, names: &[&str]) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(place.path().join(name), "1\n").unwrap();
        }
        let settings =
            FileSettings { rotate_size: Some(2), max_files, ..FileSettings::new(place.path().join("events.jsonl")) };
        // 2026-01-31T23:59:59Z.
        let mut log = Log::new(settings, || SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_903_999)).unwrap();
        log.commit(b"1\n").unwrap();
        log.commit(b"2\n").unwrap();
        let names = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn no_rotated_file_is_deleted_unless_told_so_the_oldest_first() {
        let before = [
            "events-2026-01-30T00-00-00Z-10.jsonl",
            "events-2026-01-30T00-00-00Z-9.jsonl",
            "events-2026-01-30T00-00-00Z.jsonl",
            "events-2025-12-31T00-00-00Z.jsonl",
        ];
        let new = "events-2026-01-31T23-59-59Z.jsonl";
        assert_eq!(names_after_rotating(None, &before).len(), before.len() + 2);
        assert_eq!(names_after_rotating(Some(5), &before).len(), before.len() + 2);
        assert_eq!(names_after_rotating(Some(2), &before), [before[0], new, "events.jsonl"]);
        assert_eq!(names_after_rotating(Some(1), &before), [new, "events.jsonl"]);
    }

    #[test]
    fn a_file_that_rotation_did_not_name_is_never_deleted() {
        let others = [
            "events-2025-12-31T00-00-00Z.jsonl.gz",
            "events-2025-12-31T00-00-00Z",
            "events-2025-12-31.jsonl",
            "events-2025-13-31T00-00-00Z.jsonl",
            "events-2025-12-31T00-00-00Z-1.jsonl",
            "events-2025-12-31T00-00-00Z-02.jsonl",
            "events-2025-12-31T00-00-00Z-x.jsonl",
            "events-mine-2025-12-31T00-00-00Z.jsonl",
            "other-2025-12-31T00-00-00Z.jsonl",
            "events.jsonl.1",
        ];
        let after = names_after_rotating(Some(1), &others);
        for other in others {
            assert!(after.iter().any(|name| name == other), "{other} is gone: {after:?}");
        }
    }

    #[test]
    fn a_directory_with_the_name_of_a_rotated_file_stays() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("events-2025-12-31T00-00-00Z.jsonl");
        fs::create_dir(&folder).unwrap();
        let path = place.path().join("events.jsonl");
        let settings = FileSettings { rotate_size: Some(2), max_files: Some(1), ..FileSettings::new(&path) };
        let mut log = Log::new(settings, SystemTime::now).unwrap();
        (0..3).for_each(|_| log.commit(b"1\n").unwrap());
        assert!(folder.is_dir());
        assert_eq!(
            fs::read_dir(place.path()).unwrap().count(),
            3,
            "the directory, one file put aside, and the new one"
        );
    }

    #[test]
    fn an_empty_file_is_not_put_aside_however_old() {
        let place = tempfile::tempdir().unwrap();
        let settings = FileSettings { rotate_age: Some(DAY), ..FileSettings::new(place.path().join("events")) };
        let mut log = Log::new(settings, || SystemTime::now() + 3 * DAY).unwrap();
        log.commit(b"1\n").unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    /// A process that is being started holds a copy of every descriptor for a moment, as this copy is held.
    #[test]
    fn the_lock_ends_with_the_writer_though_a_child_holds_the_file() {
        let place = tempfile::tempdir().unwrap();
        let settings = FileSettings::new(place.path().join("events"));
        let log = Log::new(settings.clone(), SystemTime::now).unwrap();
        let _copy = log.opened.as_ref().unwrap().file.try_clone().unwrap();
        drop(log);
        Log::new(settings, SystemTime::now).unwrap();
    }

    /// A descriptor that is open for reading only makes every write fail, as a broken disk does.
    #[test]
    fn after_a_failed_write_the_file_is_opened_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events");
        let mut log = Log::new(FileSettings::new(&path), SystemTime::now).unwrap();
        log.commit(b"1\n").unwrap();
        log.opened = Some(Opened { file: fs::File::open(&path).unwrap(), begun: SystemTime::now() });
        log.commit(b"2\n").unwrap_err();
        log.commit(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n3\n");
    }
}
