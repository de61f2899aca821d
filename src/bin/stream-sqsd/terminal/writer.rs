//! Lines on their way to something that may stall: a thread of its own writes them, behind a bounded queue.
//!
//! Nobody waits for it. Lines that find no room and those that cannot be written are dropped and counted, and it is said
//! later how many were. Important lines have room of their own, which no other line can take.
//!
//! This is `tracing-appender`'s idea. Its `non_blocking` counts neither the bytes that wait nor the lines whose write
//! failed, and all lines are the same to it, so the little that is needed stands here.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the end of the process waits for what was not written yet.
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// How many lines and bytes may wait; the same again is reserved for the important ones.
const LINES: usize = 8_192;
const BYTES: usize = 4 * 1024 * 1024;

/// How often it is said how many lines were dropped, while lines wait all the time.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How often a non-blocking output that was full is tried again.
const FULL: Duration = Duration::from_millis(5);

/// Whether a line has room that the others cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Importance {
    Ordinary,
    Important,
}

/// The way to the thread that writes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something came, or all is written.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread has a line at hand.
    writing: bool,
}

impl Waiting {
    fn has_room_for(&self, line: &[u8], importance: Importance) -> bool {
        let share = if importance == Importance::Important { 2 } else { 1 };
        let fits = self.lines.len() < LINES * share && self.bytes.saturating_add(line.len()) <= BYTES * share;
        // One line always goes on, however long.
        fits || self.lines.is_empty()
    }
}

impl Shared {
    /// Nothing that holds the lock panics.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Starts the thread, which bears `name`. `say_dropped` is told how many lines were dropped since it was last told,
    /// when one could be written again.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(name: &str, out: impl Write + Send + 'static, say_dropped: fn(u64)) -> io::Result<Writer> {
        let shared = Arc::<Shared>::default();
        let writing = shared.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_lines(&writing, Output { out, torn: false }, say_dropped))?;
        Ok(Writer(shared))
    }

    /// Hands over a line that has its end.
    pub(crate) fn push(&self, line: Vec<u8>, importance: Importance) {
        let mut waiting = self.0.waiting();
        if waiting.has_room_for(&line, importance) {
            waiting.bytes += line.len();
            waiting.lines.push_back(line);
            drop(waiting);
            self.0.changed.notify_all();
        } else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all is written; false when that takes longer.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.0.waiting(), limit, unwritten);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// Writes line by line, for ever: the end of the process ends it.
fn write_lines(shared: &Shared, mut output: Output<impl Write>, say_dropped: fn(u64)) {
    let mut said = 0;
    let mut last_said = Instant::now();
    loop {
        let (line, none_behind) = {
            let mut waiting = shared.waiting();
            while waiting.lines.is_empty() {
                waiting.writing = false;
                shared.changed.notify_all();
                waiting = shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let line = waiting.lines.pop_front().unwrap_or_default();
            waiting.bytes -= line.len();
            waiting.writing = true;
            (line, waiting.lines.is_empty())
        };
        if output.write(&line).is_err() {
            // Where would a word about it go?
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let dropped = shared.dropped.load(Ordering::Relaxed);
        if dropped > said && (none_behind || last_said.elapsed() >= SAY_EVERY) {
            say_dropped(dropped - said);
            said = dropped;
            last_said = Instant::now();
        }
    }
}

struct Output<W> {
    out: W,
    /// The beginning of a line was written, and not its end.
    torn: bool,
}

impl<W: Write> Output<W> {
    /// Writes a line whole, or begins a new one next time.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process that shares the pipe has made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// Takes nothing before it is allowed to, and then as the answers say: n bytes, or an error when there are none.
    struct Stuck {
        allowed: Receiver<()>,
        takes: Vec<usize>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Free for good once nobody holds it any more.
            let _ = self.allowed.recv();
            let take = self.takes.pop().unwrap_or(usize::MAX).min(bytes.len());
            if take == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.send(bytes[..take].to_vec()).unwrap();
            Ok(take)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stuck(mut takes: Vec<usize>, say_dropped: fn(u64)) -> (Writer, Sender<()>, Receiver<Vec<u8>>) {
        takes.reverse();
        let (allow, allowed) = channel();
        let (taken, written) = channel();
        (Writer::start("stuck", Stuck { allowed, takes, taken }, say_dropped).unwrap(), allow, written)
    }

    fn written(from: &Receiver<Vec<u8>>) -> Vec<u8> {
        from.try_iter().flatten().collect()
    }

    /// The thread has the first line at hand, so that it no longer counts.
    fn hold_one(writer: &Writer) {
        writer.push(b"first\n".to_vec(), Importance::Ordinary);
        while !writer.0.waiting().lines.is_empty() {
            thread::yield_now();
        }
    }

    #[test]
    fn lines_without_room_are_dropped_counted_and_said() {
        static SAID: AtomicU64 = AtomicU64::new(0);
        let (writer, allow, from) = stuck(Vec::new(), |dropped| {
            SAID.fetch_add(dropped, Ordering::SeqCst);
        });
        hold_one(&writer);
        (0..LINES + 7).for_each(|_| writer.push(b"x\n".to_vec(), Importance::Ordinary));
        assert_eq!((writer.dropped(), SAID.load(Ordering::SeqCst)), (7, 0));
        assert!(!writer.flush(Duration::from_millis(20)), "it is stuck");
        drop(allow);
        assert!(writer.flush(LONG));
        assert_eq!((written(&from).len(), SAID.load(Ordering::SeqCst)), (6 + 2 * LINES, 7));
    }

    #[test]
    fn important_lines_have_room_that_no_other_can_take() {
        let (writer, allow, from) = stuck(Vec::new(), |_| {});
        hold_one(&writer);
        (0..2 * LINES).for_each(|_| writer.push(b"ordinary\n".to_vec(), Importance::Ordinary));
        (0..LINES).for_each(|_| writer.push(b"important\n".to_vec(), Importance::Important));
        assert_eq!(writer.dropped(), LINES as u64);
        drop(allow);
        assert!(writer.flush(LONG));
        let text = String::from_utf8(written(&from)).unwrap();
        assert_eq!((text.matches("important").count(), text.matches("ordinary").count()), (LINES, LINES));
    }

    #[test]
    fn the_bytes_that_wait_are_bounded_and_one_line_always_goes_on() {
        let (writer, allow, from) = stuck(Vec::new(), |_| {});
        hold_one(&writer);
        writer.push(vec![b'x'; 3 * BYTES], Importance::Ordinary);
        writer.push(b"x\n".to_vec(), Importance::Important);
        assert_eq!(writer.dropped(), 1);
        drop(allow);
        assert!(writer.flush(LONG));
        assert_eq!(written(&from).len(), 6 + 3 * BYTES);
        (0..5).for_each(|_| writer.push(vec![b'x'; BYTES / 5], Importance::Ordinary));
        assert!(writer.flush(LONG));
        assert_eq!(writer.dropped(), 1);
    }

    #[test]
    fn after_a_line_that_was_written_in_part_a_new_one_begins() {
        let (writer, allow, from) = stuck(vec![3, 0], |_| {});
        writer.push(b"lost\n".to_vec(), Importance::Ordinary);
        writer.push(b"whole\n".to_vec(), Importance::Ordinary);
        drop(allow);
        assert!(writer.flush(LONG));
        assert_eq!((written(&from), writer.dropped()), (b"los\nwhole\n".to_vec(), 1));
    }
}
