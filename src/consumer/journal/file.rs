//! The file of the journal: its format, and how it is read and written.
//!
//! A record is two lines, which are written together:
//!
//! ```text
//! #0e081aa0
//! 1767225600 5fea7756-0ea4-451a-a703-a558b933e274
//! ```
//!
//! The second has the seconds since 1970 and the message id; behind it, where a message has several routes and one was done
//! before the others, what tells that route and its target from others:
//!
//! ```text
//! #927fcb88
//! 1767225600 5fea7756-0ea4-451a-a703-a558b933e274@0123456789abcdef
//! ```
//!
//! The first is the CRC-32 (IEEE) of the second without its line
//! feed, in eight hexadecimal digits, so that a record that was torn or damaged is not believed. Versions before it wrote
//! the second line alone: such lines are read as they are, and those versions pass over a line that begins with `#` and
//! read the other, so that a rollback keeps what is known. Of a single route they know nothing: to them its record is
//! that of a message that never comes. It is believed only with its checksum.
//!
//! Damage never refuses a start: it is passed over, counted and logged. A write that failed may have torn its last record,
//! so the next one begins on a new line. Two generations bound the size: a full file becomes `PATH.old`, in the place of
//! the one before. A file that was removed or renamed is noticed before the next write, and a new one begun.
//!
//! `PATH.lock` is locked for as long as the journal is open, since the file itself changes; so is the file, since it may
//! have a second name. Of a symbolic link it is the target that counts.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Crc;
use tracing::{info, warn};

use crate::queue::MessageId;
use crate::router::Mark;

/// The most that one generation holds, in bytes: some 70,000 successes.
const GENERATION: u64 = 4 * 1024 * 1024;

/// The most that is read of a file, from its end: ours are smaller.
const READ_MOST: u64 = 2 * GENERATION;

/// How long a success is of interest: the longest retention of an SQS queue, 14 days.
const MEMORY: Duration = Duration::from_secs(14 * 24 * 3600);

/// What a journal remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Success {
    pub(crate) message: MessageId,
    /// The route that succeeded, where others of the message had not; None where all had.
    pub(crate) mark: Option<Mark>,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has it open, perhaps by another name.
    #[error("the journal {} is in use by another process: give each daemon a journal of its own", .path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A directory, a pipe or a device.
    #[error("{} is not a regular file, which a journal must be", .path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened or created.
    #[error("the journal {} cannot be opened", .path.display())]
    Io {
        /// The file that could not be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Appends the record of one success.
pub(super) fn push_record(success: &Success, at: SystemTime, records: &mut Vec<u8>) {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let line = match success {
        Success { message, mark: None } => format!("{seconds} {message}"),
        Success { message, mark: Some(mark) } => format!("{seconds} {message}@{mark}"),
    };
    records.extend_from_slice(format!("#{:08x}\n{line}\n", checksum_of(line.as_bytes())).as_bytes());
}

fn checksum_of(line: &[u8]) -> u32 {
    let mut checksum = Crc::new();
    checksum.update(line);
    checksum.sum()
}

/// The open file of a journal. Its calls may block.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    file: Locked,
    /// The file may end in the middle of a line.
    torn: bool,
    _lock: Locked,
}

impl JournalFile {
    /// Opens the file and reads what it remembers, the oldest first. Nothing is written: the disk may be full.
    pub(super) fn open(path: &Path, now: SystemTime) -> Result<(Self, Vec<Success>), JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        let in_use = || JournalError::InUse { path: path.to_owned() };
        refuse_other_than_files(path)?;
        let file = open(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let lock = open(&beside(&path, "lock")).and_then(Locked::new).map_err(failed)?.ok_or_else(in_use)?;
        let file = Locked::new(file).map_err(failed)?.ok_or_else(in_use)?;
        let mut found = Found::default();
        let oldest = now.checked_sub(MEMORY).unwrap_or(UNIX_EPOCH);
        if !mutant!("forget-the-old-generation") {
            found.read(&beside(&path, "old"), oldest)?;
        }
        found.read(&path, oldest)?;
        if found.damaged > 0 || found.left_out > 0 {
            warn!(
                path = %path.display(),
                damaged = found.damaged,
                bytes_left_out = found.left_out,
                known = found.known.len(),
                "the journal is damaged: what can be read of it is used, and what is damaged may be handled again"
            );
        }
        Ok((JournalFile { path, file, torn: found.torn, _lock: lock }, found.known))
    }

    /// Writes whole records.
    pub(super) fn write(&mut self, records: &[u8]) -> io::Result<()> {
        if !self.is_in_its_place()? && !mutant!("write-into-a-removed-journal") {
            info!(path = %self.path.display(), "the journal was removed or renamed; a new one is begun");
            self.begin()?;
        }
        let length = self.file.0.metadata()?.len();
        if !mutant!("one-generation-without-end")
            && length > 0
            && length.saturating_add(records.len() as u64) > GENERATION
        {
            fs::rename(&self.path, beside(&self.path, "old"))?;
            self.begin()?;
        }
        if self.torn && !mutant!("append-to-half-a-line") {
            self.file.0.write_all(b"\n")?;
        }
        self.torn = true;
        self.file.0.write_all(records)?;
        self.torn = false;
        Ok(())
    }

    /// Whether the file is still the one under its name.
    fn is_in_its_place(&self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(named) => Ok(is_same(&named, &self.file.0.metadata()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Goes on in the file of our name, which is a new one unless somebody has put one there.
    fn begin(&mut self) -> io::Result<()> {
        refuse_other_than_files(&self.path).map_err(io::Error::other)?;
        let file = open(&self.path)?;
        self.file = Locked::new(file)?.ok_or(io::ErrorKind::ResourceBusy)?;
        // Of another's file nothing is known.
        self.torn = self.file.0.metadata()?.len() > 0;
        Ok(())
    }
}

/// A file that is locked for as long as this lives.
#[derive(Debug)]
struct Locked(File);

impl Locked {
    /// None when somebody else has locked it.
    fn new(file: File) -> io::Result<Option<Locked>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Locked(file))),
            Err(TryLockError::WouldBlock) if mutant!("share-a-journal") => Ok(Some(Locked(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing alone may not unlock it: a process that another thread is just starting holds every open file until
        // its program begins.
        let _ = self.0.unlock();
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// A pipe would block as soon as it is opened.
fn refuse_other_than_files(path: &Path) -> Result<(), JournalError> {
    match fs::metadata(path) {
        Ok(facts) if !facts.is_file() => Err(JournalError::NotAFile { path: path.to_owned() }),
        _ => Ok(()),
    }
}

/// Opens a file for appending, and creates it where there is none.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(unix)]
fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

/// What was read.
#[derive(Debug, Default)]
struct Found {
    known: Vec<Success>,
    /// How many records or lines are damaged.
    damaged: usize,
    /// How many bytes were not looked at, or could not be read.
    left_out: u64,
    /// The last file ends in the middle of a line.
    torn: bool,
}

impl Found {
    /// Reads the ids of one generation that are not too old.
    fn read(&mut self, path: &Path, oldest: SystemTime) -> Result<(), JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        let facts = match fs::metadata(path) {
            Ok(facts) => facts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        refuse_other_than_files(path)?;
        let mut file = File::open(path).map_err(failed)?;
        let mut text = Vec::new();
        let skipped = facts.len().saturating_sub(READ_MOST);
        let read = file.seek(SeekFrom::Start(skipped)).and_then(|_| file.take(READ_MOST).read_to_end(&mut text));
        self.left_out += skipped;
        if read.is_err() {
            // A part of the disk that cannot be read is damage too.
            self.left_out += facts.len().saturating_sub(skipped + text.len() as u64).max(1);
        }
        self.torn = text.last().is_some_and(|last| *last != b'\n');
        // Where the beginning was skipped, the first line is none.
        let begin = if skipped == 0 { 0 } else { memchr::memchr(b'\n', &text).map_or(text.len(), |end| end + 1) };
        self.parse(&text[begin..], oldest);
        Ok(())
    }

    fn parse(&mut self, text: &[u8], oldest: SystemTime) {
        let mut checksum = None;
        let mut lines = text.split(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            let torn = lines.peek().is_none() && !line.is_empty();
            if let Some(digits) = line.strip_prefix(b"#").filter(|_| !torn) {
                // One that has no record behind it is what a torn write left.
                self.damaged += usize::from(checksum.is_some());
                checksum = hexadecimal(digits);
                self.damaged += usize::from(checksum.is_none());
                continue;
            }
            let expected = checksum.take();
            if line.is_empty() && expected.is_none() {
                continue;
            }
            let torn = torn && !mutant!("believe-half-a-line");
            let whole = !torn
                && expected.is_none_or(|expected| expected == checksum_of(line) || mutant!("believe-a-wrong-checksum"));
            // No version wrote that of a single route without one.
            let believed = |success: &Success| whole && (success.mark.is_none() || expected.is_some());
            match record(line).filter(|(_, success)| believed(success)) {
                Some((at, success)) if at >= oldest || mutant!("remember-for-ever") => self.known.push(success),
                Some(_) => {}
                None => self.damaged += 1,
            }
        }
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.len() == 8)?;
    u32::from_str_radix(text, 16).ok()
}

/// The time and the success of a line.
fn record(line: &[u8]) -> Option<(SystemTime, Success)> {
    let (seconds, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?;
    let part = rest.rsplit_once('@').and_then(|(id, mark)| Some((id, Some(mark.parse().ok()?))));
    let (id, mark) = part.unwrap_or((rest, None));
    let is_id = !id.is_empty() && !id.contains(|c: char| c.is_whitespace() || c.is_control());
    is_id.then(|| (at, Success { message: MessageId::from(id), mark }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(known: &[Success]) -> Vec<&str> {
        known.iter().map(|success| success.message.as_str()).collect()
    }

    fn whole(id: &str) -> Success {
        Success { message: id.into(), mark: None }
    }

    fn part(id: &str, mark: &str) -> Success {
        Success { message: id.into(), mark: Some(mark.parse().expect("a mark")) }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn append(journal: &mut JournalFile, id: &str, seconds: u64) {
        let mut records = Vec::new();
        push_record(&whole(id), at(seconds), &mut records);
        journal.write(&records).expect("a write");
    }

    fn found(text: impl AsRef<[u8]>) -> Found {
        let mut found = Found::default();
        found.parse(text.as_ref(), at(0));
        found
    }

    fn records(ids: &[&str]) -> Vec<u8> {
        let mut records = Vec::new();
        ids.iter().for_each(|id| push_record(&whole(id), at(1_767_225_600), &mut records));
        records
    }

    #[test]
    fn a_record_is_as_earlier_versions_wrote_it() {
        let text = String::from_utf8(records(&["5fea7756-0ea4-451a-a703-a558b933e274"])).expect("text");
        assert_eq!(text, "#0e081aa0\n1767225600 5fea7756-0ea4-451a-a703-a558b933e274\n");
    }

    #[test]
    fn what_was_handled_is_known_after_a_crash_torn_tail_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (mut journal, known) = JournalFile::open(&path, at(100)).expect("a new journal");
        assert!(known.is_empty());
        assert_eq!(fs::metadata(&path).expect("the journal").len(), 0);
        append(&mut journal, "one", 100);
        append(&mut journal, "two", 101);
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).expect("the journal");
        file.write_all(b"102 thr").expect("a torn line");
        let (mut journal, known) = JournalFile::open(&path, at(103)).expect("the journal again");
        assert_eq!(ids(&known), ["one", "two"], "of a torn id nothing is believed");
        append(&mut journal, "four", 104);
        drop(journal);
        assert!(fs::read_to_string(&path).expect("the journal").contains("102 thr\n#"), "with its checksum");
        let (_, known) = JournalFile::open(&path, at(105)).expect("the journal again");
        assert_eq!(ids(&known).last(), Some(&"four"));
    }

    #[test]
    fn no_damage_of_a_byte_is_believed_and_the_rest_is_known() {
        let whole = records(&["aaaa", "bbbb", "cccc"]);
        for position in 0..whole.len() {
            for damage in [0, b'\n', b'#', b' ', b'9', b'x', 0xff] {
                let mut text = whole.clone();
                if std::mem::replace(&mut text[position], damage) == damage {
                    continue;
                }
                let found = found(&text);
                let right = ids(&found.known).iter().all(|id| ["aaaa", "bbbb", "cccc"].contains(id));
                let place = format!("{position} {damage} {:?}", found.known);
                assert!(right && found.damaged > 0 && !found.known.is_empty(), "{place}");
                assert!(position > whole.len() / 3 || ids(&found.known).contains(&"cccc"), "{place}");
            }
        }
    }

    #[test]
    fn a_torn_end_is_never_believed_and_all_before_it_is_known() {
        let whole = records(&["aaaa", "bbbb"]);
        for length in 0..whole.len() {
            let found = found(&whole[..length]);
            let expected = if length < whole.len() / 2 { &[][..] } else { &["aaaa"] };
            assert_eq!(ids(&found.known), expected, "{length}");
            assert_eq!(found.damaged, usize::from(length % (whole.len() / 2) > 0), "{length}");
        }
    }

    #[test]
    fn a_route_that_is_done_is_read_as_that_torn_or_damaged_never() {
        let (message, mark) = ("5fea7756-0ea4-451a-a703-a558b933e274", "0123456789abcdef");
        let mut records = records(&["aaaa"]);
        push_record(&part(message, mark), at(1_767_225_600), &mut records);
        let text = String::from_utf8(records.clone()).expect("text");
        let line = format!("1767225600 {message}@{mark}\n");
        assert!(text.ends_with(&format!("#927fcb88\n{line}")), "{text}");
        let known = [whole("aaaa"), part(message, mark)];
        assert_eq!((found(&text).known, found(&text).damaged), (known.to_vec(), 0));
        // Torn anywhere, also where another line begins behind it.
        let begin = text.len() - line.len() - 10;
        for length in begin..text.len() {
            for tail in ["", "\n", "\n#123"] {
                let found = found(format!("{}{tail}", &text[..length]));
                assert!(!found.known.iter().any(|one| one.message.as_str() == message) || length + 1 == text.len());
                assert_eq!(found.known[0], known[0], "{length}");
            }
        }
        for position in begin..records.len() {
            for damage in [0, b'\n', b'#', b' ', b'9', b'x', 0xff] {
                let mut text = records.clone();
                if std::mem::replace(&mut text[position], damage) != damage {
                    assert_eq!(found(&text).known, known[..1], "{position} {damage}");
                }
            }
        }
        assert_eq!(found(&line).known, [], "without a checksum");
    }

    #[test]
    fn nothing_that_stands_in_a_journal_refuses_a_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let good = records(&["good"]);
        let damages: [&[u8]; 8] = [
            b"18446744073709551615 x\n",
            b"99999999999999999999999999 x\n",
            b"-1 x\n",
            b"\xff\xfe \x80\n",
            &[0; 5_000],
            &[b'x'; 300_000],
            b"#\n#zzzzzzzz\n#12345678\n",
            b"1 a b\n1 \n 1\n",
        ];
        for damage in damages {
            fs::write(&path, [damage, b"\n", &good].concat()).expect("a file");
            let (mut journal, known) = JournalFile::open(&path, at(1_767_225_600)).expect("it opens");
            assert_eq!(ids(&known), ["good"], "{:?}", &damage[..damage.len().min(20)]);
            append(&mut journal, "more", 1_767_225_600);
        }
        let far_too_large = File::create(&path).expect("a file");
        far_too_large.set_len(1 << 36).expect("a file of holes");
        (&far_too_large).seek(SeekFrom::End(0)).expect("its end");
        (&far_too_large).write_all(&[b"\n", good.as_slice()].concat()).expect("a record");
        let (_, known) = JournalFile::open(&path, at(1_767_225_600)).expect("it opens");
        assert_eq!(ids(&known), ["good"]);
    }

    #[test]
    fn journals_of_the_first_version_are_read_and_it_reads_ours() {
        let old = found("\n1767225600 one\n1767225601 two\n\n1767225602 three\n");
        assert_eq!((ids(&old.known), old.damaged), (vec!["one", "two", "three"], 0));
        // What that version did with a line.
        let by_old = |text: &[u8]| -> Vec<String> {
            let id = |line: &[u8]| {
                let (seconds, id) = std::str::from_utf8(line).ok()?.split_once(' ')?;
                seconds.parse::<u64>().ok()?;
                Some(id.to_owned())
            };
            text.split(|byte| *byte == b'\n').filter_map(id).collect()
        };
        assert_eq!(by_old(&records(&["one", "two"])), ["one", "two"]);
        let mut one_route = Vec::new();
        push_record(&part("one", "0123456789abcdef"), at(1), &mut one_route);
        assert_eq!(by_old(&one_route), ["one@0123456789abcdef"], "the id of no message");
        // After a rollback and another upgrade.
        let mixed = found([&records(&["one"])[..], b"\n1767225601 two\n", &records(&["three"])].concat());
        assert_eq!((ids(&mixed.known), mixed.damaged), (vec!["one", "two", "three"], 0));
    }

    #[test]
    fn after_a_failed_write_a_new_line_begins() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (mut journal, _) = JournalFile::open(&path, at(0)).expect("a new journal");
        append(&mut journal, "one", 1);
        // What a full disk leaves of a record, and a file that takes no write.
        journal.file.0.write_all(b"#123").expect("a write");
        let appending = std::mem::replace(&mut journal.file, Locked(File::open(&path).expect("the journal")));
        journal.write(b"x").expect_err("it is open for reading only");
        journal.file = appending;
        append(&mut journal, "two", 2);
        drop(journal);
        let (_, known) = JournalFile::open(&path, at(3)).expect("the journal again");
        assert_eq!(ids(&known), ["one", "two"]);
        assert!(fs::read_to_string(&path).expect("the journal").contains("#123\n#"), "with its checksum");
    }

    #[test]
    fn a_journal_that_was_removed_or_renamed_is_begun_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (mut journal, _) = JournalFile::open(&path, at(0)).expect("a new journal");
        append(&mut journal, "one", 1);
        fs::rename(&path, folder.path().join("journal.1")).expect("what logrotate does");
        append(&mut journal, "two", 2);
        fs::remove_file(&path).expect("no journal");
        append(&mut journal, "three", 3);
        drop(journal);
        let (_, known) = JournalFile::open(&path, at(4)).expect("the journal again");
        assert_eq!(ids(&known), ["three"]);
    }

    #[test]
    fn a_journal_refuses_a_second_daemon_and_other_readers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (_open, _) = JournalFile::open(&path, at(0)).expect("a new journal");
        fs::hard_link(&path, folder.path().join("hard")).expect("a second name");
        #[cfg(unix)]
        {
            use std::os::unix::fs::{PermissionsExt, symlink};
            symlink(&path, folder.path().join("soft")).expect("a second name");
            let mode = fs::metadata(&path).expect("the journal").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        for name in ["journal", "hard", "soft"] {
            let again = JournalFile::open(&folder.path().join(name), at(0));
            assert!(matches!(again, Err(JournalError::InUse { .. })), "{name}: {again:?}");
        }
        // The first goes on under its name, with a new file.
        fs::remove_file(&path).expect("no journal");
        let again = JournalFile::open(&path, at(0));
        assert!(matches!(again, Err(JournalError::InUse { .. })), "{again:?}");
    }

    #[test]
    fn what_is_not_a_file_is_an_error_and_not_an_empty_journal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        fs::create_dir(beside(&path, "old")).expect("a folder where a file should be");
        assert!(matches!(JournalFile::open(&path, at(0)), Err(JournalError::NotAFile { .. })));
        let missing = folder.path().join("missing").join("journal");
        assert!(matches!(JournalFile::open(&missing, at(0)), Err(JournalError::Io { .. })));
    }

    #[test]
    fn size_and_age_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (mut journal, _) = JournalFile::open(&path, at(0)).expect("a new journal");
        let id = |n: u64| format!("{n:>036}").replace(' ', "0");
        let lines = 3 * GENERATION / 50;
        for n in 0..lines {
            append(&mut journal, &id(n), 100 + n);
        }
        drop(journal);
        let size = |path: &Path| fs::metadata(path).map_or(0, |facts| facts.len());
        assert!(size(&path) <= GENERATION && size(&beside(&path, "old")) <= GENERATION);
        let (journal, known) = JournalFile::open(&path, at(100 + lines)).expect("the journal again");
        assert_eq!(ids(&known).last(), Some(&&*id(lines - 1)));
        assert!(known.len() as u64 * 60 > GENERATION, "a whole generation is known");
        drop(journal);
        let later = at(100 + lines) + MEMORY;
        assert!(JournalFile::open(&path, later).expect("the journal again").1.is_empty(), "too old to come again");
    }
}
