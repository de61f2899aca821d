//! The files of the spool: segments of lines, where the oldest record begins, and what was set aside.
//!
//! | file | what it holds |
//! |---|---|
//! | `N.spool` | records, a line each; a higher number is newer |
//! | `position` | the segment and the offset of the oldest record |
//! | `set-aside` | records that the queue will never take, or that are damaged |
//! | `lock` | nothing: the process that uses the spool has it locked |

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record::{LONGEST, Line, Position, read};
use super::steps::{Refused, Step};

/// From which size on a segment is followed by a new one. In tests they follow each other sooner.
const SEGMENT: u64 = if cfg!(test) { 64 * 1024 } else { 8 * 1024 * 1024 };

/// How much of records is read at once.
const READ_BYTES: u64 = 2 * 1024 * 1024;

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the spool {} cannot be used: {source}", .directory.display())]
pub struct SpoolError {
    directory: PathBuf,
    source: io::Error,
}

impl SpoolError {
    pub(super) fn new(directory: &Path, source: io::Error) -> Self {
        SpoolError { directory: directory.to_owned(), source }
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Append {
    /// It is durable.
    Kept,
    /// There is no room.
    Full,
    /// The disk has failed, in these words.
    Failed(String),
}

/// A file of records.
#[derive(Debug)]
struct Segment {
    number: u64,
    /// Up to where it is durable.
    length: u64,
}

/// The spool on disk.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    limit: u64,
    segments: VecDeque<Segment>,
    /// The newest segment, where it takes more.
    open: Option<File>,
    /// Where the oldest record begins.
    position: Position,
    /// How many records there are from there on.
    records: u64,
    /// The number of the next segment. Each is used once, also where its file could not be made.
    next: u64,
    refused: Refused,
    _lock: File,
}

impl Disk {
    pub(super) fn open(directory: &Path, limit: u64) -> Result<Disk, SpoolError> {
        Disk::take_over(directory, limit).map_err(|error| SpoolError::new(directory, error))
    }

    fn take_over(directory: &Path, limit: u64) -> io::Result<Disk> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        // The name of a directory is durable when that above it is. Where that cannot be opened or synced, it was made by
        // somebody else, and is older than this.
        let above = directory.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = File::open(above).and_then(|above| above.sync_all());
        let lock = options().create(true).open(directory.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "another process uses it: give each relay a directory of its own";
                return Err(io::Error::new(ErrorKind::ResourceBusy, why));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut numbers: Vec<u64> = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".spool")?.parse::<u64>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        let (directory, open) = (directory.to_owned(), None);
        let mut disk = Disk {
            directory,
            limit,
            segments: VecDeque::new(),
            open,
            position: Position::default(),
            records: 0,
            next: 0,
            refused: Refused::default(),
            _lock: lock,
        };
        disk.position = disk.read_position();
        disk.next = numbers.last().copied().unwrap_or_default().max(disk.position.segment) + 1;
        for number in numbers {
            disk.take_over_segment(number)?;
        }
        if disk.records == 0 {
            disk.clear()?;
        }
        Ok(disk)
    }

    /// Looks how many records a segment holds, and cuts off one that was being written when the process ended: it had not
    /// been made durable, so nobody was told that it is kept.
    fn take_over_segment(&mut self, number: u64) -> io::Result<()> {
        if number < self.position.segment {
            return fs::remove_file(self.path(number));
        }
        let from = if number == self.position.segment { self.position.offset } else { 0 };
        let mut file = options().open(self.path(number))?;
        let size = file.metadata()?.len();
        let from = from.min(size);
        file.seek(SeekFrom::Start(from))?;
        let (mut length, mut at) = (from, from);
        let mut piece = vec![0; 64 * 1024];
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                break;
            }
            for end in memchr::memchr_iter(b'\n', &piece[..read]) {
                self.records += 1;
                length = at + end as u64 + 1;
            }
            at += read as u64;
        }
        if length < size {
            file.set_len(length)?;
            file.sync_all()?;
        }
        self.segments.push_back(Segment { number, length });
        Ok(())
    }

    fn read_position(&self) -> Position {
        let text = fs::read_to_string(self.directory.join("position")).unwrap_or_default();
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(segment)), Some(Ok(offset))) => Position { segment, offset },
            // Without it everything is sent once more, and nothing is lost.
            _ => Position::default(),
        }
    }

    /// How many records are kept.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// How large the segments are.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:016}.spool"))
    }

    /// Makes lines durable, each of which ends in a line end, and says for each whether it is.
    pub(super) fn append(&mut self, lines: &[&str]) -> Vec<Append> {
        let mut room = self.limit.saturating_sub(self.bytes());
        let fits = |line: &&str| {
            let fits = line.len() as u64 <= room;
            room -= if fits { line.len() as u64 } else { 0 };
            fits
        };
        let fitting: Vec<bool> = lines.iter().map(fits).collect();
        let kept: Vec<&str> = lines.iter().zip(&fitting).filter(|(_, fits)| **fits).map(|(line, _)| *line).collect();
        let written = if kept.is_empty() { Ok(()) } else { self.write(&kept) };
        let outcome = match written {
            Ok(()) => Append::Kept,
            Err(error) => Append::Failed(error.to_string()),
        };
        fitting.into_iter().map(|fits| if fits { outcome.clone() } else { Append::Full }).collect()
    }

    fn write(&mut self, lines: &[&str]) -> io::Result<()> {
        if self.segments.back().is_none_or(|segment| segment.length >= SEGMENT) {
            self.open = None;
        }
        if self.open.is_none() {
            self.begin_segment()?;
        }
        let (Some(file), Some(segment)) = (&mut self.open, self.segments.back_mut()) else {
            return Err(ErrorKind::NotFound.into());
        };
        let text = lines.concat();
        let written = file.write_all(text.as_bytes()).and_then(|()| self.refused.after(Step::Write));
        match written.and_then(|()| file.sync_data()).and_then(|()| self.refused.after(Step::Sync)) {
            Ok(()) => {
                segment.length += text.len() as u64;
                self.records += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What an fsync that failed has left on the disk nobody knows, so this file is written to no more. Where
                // its end cannot be cut off, it is sent by the next that reads it, although its sender was told to try again.
                let _ = self.refused.after(Step::Cut).and_then(|()| file.set_len(segment.length));
                self.open = None;
                if let Some(empty) = self.segments.pop_back_if(|segment| segment.length == 0) {
                    // Or a disk that stays full would be given an empty file for every attempt.
                    let _ = self.remove(empty.number);
                }
                Err(error)
            }
        }
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.next;
        let path = self.path(number);
        self.next += 1;
        let file = options().append(true).create_new(true).open(&path)?;
        // The name of a file is durable when its directory is.
        let durable = self.sync_directory().and_then(|()| self.refused.after(Step::Create));
        if let Err(error) = durable {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.segments.push_back(Segment { number, length: 0 });
        self.open = Some(file);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    /// The oldest records, at most so many.
    pub(super) fn read(&mut self, most: usize) -> io::Result<Vec<Line>> {
        let mut lines: Vec<Line> = Vec::new();
        let mut bytes = 0;
        let mut position = self.position;
        for segment in self.segments.iter().filter(|segment| segment.number >= self.position.segment) {
            if segment.number > position.segment {
                position = Position { segment: segment.number, offset: 0 };
            }
            if position.offset >= segment.length {
                continue;
            }
            if lines.len() >= most || bytes >= READ_BYTES {
                break;
            }
            let mut file = File::open(self.path(segment.number))?;
            file.seek(SeekFrom::Start(position.offset))?;
            let mut file = BufReader::new(file.take(segment.length - position.offset));
            while lines.len() < most && bytes < READ_BYTES {
                let mut line = Vec::new();
                let read = (&mut file).take(LONGEST).read_until(b'\n', &mut line)? as u64;
                if read == 0 {
                    break;
                }
                bytes += read;
                position.offset += read;
                lines.push(taken_apart(line, position));
            }
        }
        Ok(lines)
    }

    /// The records up to here, so many, need not be kept, and are not read again.
    ///
    /// # Errors
    ///
    /// What the disk has refused: the next process sends some of them once more.
    pub(super) fn advance(&mut self, to: Position, records: u64) -> io::Result<()> {
        self.records = self.records.saturating_sub(records);
        self.position = to;
        // Files first: on a full disk it is they who make room for the position.
        let mut removed = Ok(());
        while let Some(sent) = self.segments.pop_front_if(|segment| segment.number < to.segment) {
            removed = removed.and(self.remove(sent.number));
        }
        let written = self.write_position(to);
        if self.records == 0 {
            removed = removed.and(self.clear());
        }
        removed.and(written)
    }

    fn write_position(&self, to: Position) -> io::Result<()> {
        // Replaced as a whole, so that it is never half of one. It is not made durable: what is sent once more after the
        // machine has failed is what was sent shortly before.
        let new = self.directory.join("position.new");
        fs::write(&new, format!("{} {}\n", to.segment, to.offset)).and_then(|()| self.refused.after(Step::Position))?;
        fs::rename(&new, self.directory.join("position"))
    }

    /// Gives the room back of records that were all sent.
    fn clear(&mut self) -> io::Result<()> {
        self.open = None;
        let mut removed = Ok(());
        while let Some(segment) = self.segments.pop_front() {
            // The number stays taken, lest the position be one of a newer segment.
            self.position = Position { segment: segment.number, offset: segment.length };
            removed = removed.and(self.remove(segment.number));
        }
        removed
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.refused.after(Step::Remove)?;
        match fs::remove_file(self.path(number)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps records, for a person to look at them: all of them, or none.
    pub(super) fn set_aside(&self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut file = options().append(true).create(true).open(self.directory.join("set-aside"))?;
        let before = file.metadata()?.len();
        let written = file.write_all((lines.join("\n") + "\n").as_bytes()).and_then(|()| file.sync_all());
        let kept = written.and_then(|()| self.sync_directory()).and_then(|()| self.refused.after(Step::SetAside));
        kept.inspect_err(|_| drop(file.set_len(before)))
    }
}

/// A line as it was read, which may be damaged.
fn taken_apart(mut line: Vec<u8>, end: Position) -> Line {
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    let text = String::from_utf8_lossy(&line).into_owned();
    Line { message: read(&text), text, end }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::super::record::line;
    use super::*;
    use crate::queue::Outgoing;

    fn lines(from: usize, to: usize) -> Vec<String> {
        (from..to).map(|number| line(&Outgoing::plain(number.to_string()), 0)).collect()
    }

    fn append(disk: &mut Disk, lines: &[String]) -> Vec<Append> {
        disk.append(&lines.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn bodies(disk: &mut Disk) -> Vec<String> {
        disk.read(usize::MAX)
            .unwrap()
            .into_iter()
            .map(|line| line.message.map_or_else(String::new, |m| m.body))
            .collect()
    }

    fn numbers(from: usize, to: usize) -> Vec<String> {
        (from..to).map(|number| number.to_string()).collect()
    }

    fn files(directory: &Path) -> Vec<String> {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.collect();
        files.sort();
        files
    }

    #[test]
    fn records_come_back_in_order_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let mut expected = 0;
        for round in 0..3 {
            let mut disk = Disk::open(directory.path(), 1 << 20).unwrap();
            assert_eq!(append(&mut disk, &lines(round * 4, round * 4 + 4)), vec![Append::Kept; 4]);
            let read = disk.read(3).unwrap();
            assert_eq!(read.len(), 3);
            disk.advance(read[2].end, 3).unwrap();
            expected += 3;
            assert_eq!(bodies(&mut disk), numbers(expected, round * 4 + 4));
            assert_eq!(disk.records() as usize, round * 4 + 4 - expected);
        }
        let mut disk = Disk::open(directory.path(), 1 << 20).unwrap();
        assert_eq!((bodies(&mut disk), disk.records()), (numbers(9, 12), 3));
        let end = disk.read(9).unwrap()[2].end;
        disk.advance(end, 3).unwrap();
        assert_eq!(files(directory.path()), ["lock", "position"], "an empty spool takes no room");
        assert_eq!((disk.bytes(), bodies(&mut disk)), (0, Vec::new()));
        append(&mut disk, &lines(12, 13));
        drop(disk);
        assert_eq!(bodies(&mut Disk::open(directory.path(), 1 << 20).unwrap()), numbers(12, 13));
    }

    #[test]
    fn a_torn_end_is_cut_off_and_what_follows_is_kept() {
        let whole = lines(0, 3);
        for cut in 1..whole[2].len() {
            let directory = tempfile::tempdir().unwrap();
            append(&mut Disk::open(directory.path(), 1 << 20).unwrap(), &whole);
            let path = directory.path().join(&files(directory.path())[0]);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(file.metadata().unwrap().len() - cut as u64).unwrap();
            let mut disk = Disk::open(directory.path(), 1 << 20).unwrap();
            assert_eq!(disk.records(), 2, "{cut}");
            append(&mut disk, &lines(3, 4));
            assert_eq!(bodies(&mut disk), ["0", "1", "3"], "{cut}");
        }
    }

    #[test]
    fn a_damaged_record_hides_none_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        append(&mut Disk::open(directory.path(), 1 << 20).unwrap(), &lines(0, 3));
        let path = directory.path().join(&files(directory.path())[0]);
        let mut bytes = fs::read(&path).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        bytes[second + 20] = 0xff;
        fs::write(&path, bytes).unwrap();
        let mut disk = Disk::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(bodies(&mut disk), ["0", "", "2"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_until_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let lines = lines(0, 4);
        let limit = (lines[0].len() * 2) as u64;
        let mut disk = Disk::open(directory.path(), limit).unwrap();
        assert_eq!(append(&mut disk, &lines[..3]), [Append::Kept, Append::Kept, Append::Full]);
        assert_eq!(append(&mut disk, &lines[3..]), [Append::Full]);
        let read = disk.read(2).unwrap();
        disk.advance(read[1].end, 2).unwrap();
        assert_eq!(append(&mut disk, &lines[3..]), [Append::Kept]);
        assert_eq!(bodies(&mut disk), ["3"]);
    }

    #[test]
    fn segments_that_were_sent_give_their_room_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(directory.path(), 1 << 30).unwrap();
        let large: Vec<String> = (0..40).map(|_| line(&Outgoing::plain("x".repeat(20_000)), 0)).collect();
        for large in &large {
            append(&mut disk, std::slice::from_ref(large));
        }
        let before = disk.bytes();
        assert!(files(directory.path()).iter().filter(|name| name.ends_with(".spool")).count() >= 4);
        for _ in 0..20 {
            let end = disk.read(1).unwrap()[0].end;
            disk.advance(end, 1).unwrap();
        }
        assert!(disk.bytes() < before / 2 + 2 * SEGMENT, "{} of {before}", disk.bytes());
        assert_eq!(disk.records(), 20);
    }

    #[test]
    fn a_disk_that_refuses_keeps_nothing_and_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(directory.path(), 1 << 20).unwrap();
        append(&mut disk, &lines(0, 1));
        // A file that can only be read, as a disk that went read-only.
        disk.open = Some(File::open(directory.path().join(&files(directory.path())[0])).unwrap());
        assert!(matches!(&append(&mut disk, &lines(1, 3))[..], [Append::Failed(_), Append::Failed(_)]));
        assert_eq!(disk.records(), 1);
        assert_eq!(append(&mut disk, &lines(3, 4)), [Append::Kept]);
        assert_eq!(bodies(&mut disk), ["0", "3"]);
    }

    /// How many worlds are drawn: each is some 30 calls of fsync.
    const SEEDS: u64 = 12;

    #[test]
    fn a_disk_that_refuses_any_step_loses_nothing_and_recovers() {
        let steps = [Step::Create, Step::Write, Step::Sync, Step::Cut, Step::Position, Step::Remove];
        for seed in 0..SEEDS {
            let mut random = fastrand::Rng::with_seed(seed);
            let directory = tempfile::tempdir().unwrap();
            let mut disk = Disk::open(directory.path(), 1 << 30).unwrap();
            let (mut last, mut kept) = (0, Vec::new());
            for _ in 0..40 {
                disk.refused.steps = steps.into_iter().filter(|_| random.u8(..4) == 0).collect();
                match random.u8(..8) {
                    0..4 => {
                        // So large that segments follow each other.
                        let lines = (last + 1..=last + 3).map(|number| large(number, &mut random)).collect::<Vec<_>>();
                        let outcomes = append(&mut disk, &lines);
                        kept.extend((last + 1..).zip(outcomes).filter(|(_, outcome)| *outcome == Append::Kept));
                        last += 3;
                    }
                    4..7 => {
                        let read = disk.read(random.usize(1..4)).unwrap();
                        if let Some(last) = read.last() {
                            let _ = disk.advance(last.end, read.len() as u64);
                            kept.drain(..read.len());
                        }
                    }
                    _ => {
                        drop(disk);
                        disk = Disk::open(directory.path(), 1 << 30).unwrap();
                        // What was refused may be there, and what was sent once more: nothing is missing.
                        let here = ids(&mut disk);
                        let is_missing = |number: &&u64| !here.contains(number);
                        let missing: Vec<_> = kept.iter().map(|(number, _)| number).filter(is_missing).collect();
                        assert!(missing.is_empty() && here.is_sorted(), "{seed}: {missing:?} of {here:?}");
                        kept = here.into_iter().map(|number| (number, Append::Kept)).collect();
                    }
                }
                assert_eq!(ids(&mut disk), kept.iter().map(|(number, _)| *number).collect::<Vec<_>>(), "{seed}");
                assert_eq!(disk.records(), kept.len() as u64, "{seed}");
            }
            disk.refused.steps.clear();
            assert_eq!(append(&mut disk, &lines(0, 1)), [Append::Kept], "{seed}");
            let read = disk.read(usize::MAX).unwrap();
            assert!(read.iter().all(|line| line.message.is_some()), "{seed}");
            disk.advance(read.last().unwrap().end, read.len() as u64).unwrap();
            drop(disk);
            assert_eq!(Disk::open(directory.path(), 1 << 30).unwrap().records(), 0, "{seed}");
            assert_eq!(files(directory.path()), ["lock", "position"], "{seed}");
        }
    }

    /// A record of this number.
    fn large(number: u64, random: &mut fastrand::Rng) -> String {
        let size = random.usize(..SEGMENT as usize / 4);
        line(&Outgoing::plain("x".repeat(size)).with_group(number.to_string()), 0)
    }

    /// The numbers of all records.
    fn ids(disk: &mut Disk) -> Vec<u64> {
        let (position, mut ids) = (disk.position, Vec::new());
        loop {
            let read = disk.read(usize::MAX).unwrap();
            let Some(last) = read.last() else { break };
            disk.position = last.end;
            ids.extend(read.into_iter().map(|line| line.message.unwrap().group.unwrap().parse::<u64>().unwrap()));
        }
        disk.position = position;
        ids
    }

    #[test]
    fn a_disk_that_stays_full_is_not_filled_with_empty_files() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(directory.path(), 1 << 20).unwrap();
        for step in [Step::Create, Step::Write] {
            disk.refused.steps = vec![step];
            for _ in 0..10 {
                assert!(matches!(&append(&mut disk, &lines(0, 1))[..], [Append::Failed(_)]));
            }
            assert_eq!(files(directory.path()), ["lock"], "{step:?}");
        }
        disk.refused.steps.clear();
        assert_eq!(append(&mut disk, &lines(0, 1)), [Append::Kept]);
    }

    #[test]
    fn half_of_a_record_is_never_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(directory.path(), 1 << 20).unwrap();
        let records = ["first", "second"].map(str::to_owned);
        disk.set_aside(&records[..1]).unwrap();
        disk.refused.steps = vec![Step::SetAside];
        disk.set_aside(&records[1..]).unwrap_err();
        disk.refused.steps.clear();
        disk.set_aside(&records[1..]).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("set-aside")).unwrap(), "first\nsecond\n");
    }

    #[test]
    fn two_processes_never_use_one_spool() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Disk::open(directory.path(), 1 << 20).unwrap();
        let error = Disk::open(directory.path(), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("another process uses it"), "{error}");
    }
}
