//! Events as JSON lines on standard output: what the daemon does when nothing else is configured.
//!
//! The line of an event is
//! `{"type":…,"message_id":…,"receive_count":…,"sent_at":…,"event":{…}}`: `sent_at` is RFC 3339 with milliseconds, or
//! null, behind `message_id` stands `webhook_id` where the message has one ([`Context::webhook_id`]), and `event` is as Stream sent it, but that line ends between JSON tokens become spaces. Each line is one write,
//! and the message counts as handled when that is done. What the reader does with it is the reader's business: a pipe is
//! not durable.
//!
//! On a terminal, characters in texts that it could take for commands, or that turn the direction of what is shown, are
//! written as the JSON escapes that mean the same. Elsewhere the event stays as it is, byte for byte.
//!
//! A reader that pauses is a target that is down, and so is a full disk behind a redirection: messages wait in the queue
//! and their receives are not used up. A reader that has gone for good (`run | head`) is told by [`Stdout::closed`].
//!
//! A regular file that does not end in a line feed was left so by a stop on a full disk: then the first thing that is
//! written is one, so that no line is appended to half of another.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use super::lines::STALLED_AFTER;
use super::lines::{LineWriter, Sink};
use crate::event::{Event, is_unsafe_to_show};
use crate::handler::{Context, Handler, HandlerError};

/// How often a non-blocking output that was full is tried again.
const FULL: Duration = Duration::from_millis(5);

/// Writes each event as a JSON line, to standard output or to another writer.
///
/// Idempotent it is not: a message that comes again is a line that comes again. The reader tells by `message_id`.
pub struct Stdout {
    lines: LineWriter,
    closed: Closed,
}

/// Whether the reader of a [`Stdout`] has gone. Cheap to clone; the default is one that never goes.
#[derive(Clone, Debug, Default)]
pub struct Closed(CancellationToken);

impl Closed {
    /// Completes when the reader has gone.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl Stdout {
    /// Writes to the process's standard output, past the buffer of [`std::io::stdout`].
    ///
    /// # Errors
    ///
    /// When there is no standard output, or the system gives no thread.
    pub fn of_process() -> io::Result<Self> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let terminal = out.is_terminal();
        let torn = if ends_in_a_line(&out) { Vec::new() } else { b"\n".to_vec() };
        Stdout::start(out, terminal, torn)
    }

    /// Writes to any writer, on a thread of its own: it may block. It is flushed after each line.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn new(out: impl Write + Send + 'static) -> io::Result<Self> {
        Stdout::start(out, false, Vec::new())
    }

    /// The same for a writer that leads to a terminal: what is [unsafe to show](is_unsafe_to_show) is escaped.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn on_terminal(out: impl Write + Send + 'static) -> io::Result<Self> {
        Stdout::start(out, true, Vec::new())
    }

    fn start(out: impl Write + Send + 'static, terminal: bool, torn: Vec<u8>) -> io::Result<Self> {
        let closed = Closed::default();
        let output = Output { out, terminal, torn, closed: closed.clone() };
        // The thread is not waited for in the end: it may stand before a reader that never reads again.
        let (lines, _) = LineWriter::start("stdout", output)?;
        Ok(Stdout { lines, closed })
    }

    /// Tells when the reader has gone: no line can be written any more, and every message is answered by "target down". It
    /// shows when a line is written, not before.
    pub fn closed(&self) -> Closed {
        self.closed.clone()
    }
}

impl Handler<Event> for Stdout {
    type Error = HandlerError;

    fn address(&self) -> Option<String> {
        Some("standard output".to_owned())
    }

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        self.lines.write(event, ctx).await
    }
}

/// Whether what is written next begins a line, as far as that can be seen.
fn ends_in_a_line(out: &File) -> bool {
    if out.metadata().is_ok_and(|facts| !facts.is_file() || facts.len() == 0) {
        return true;
    }
    let last_byte = || {
        // It is open for writing alone.
        let mut file = File::open(format!("/proc/self/fd/{}", out.as_raw_fd()))?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte).map(|()| byte)
    };
    // Where it cannot be read, an empty line does less harm than one that is lost.
    matches!(last_byte(), Ok::<_, io::Error>([b'\n']))
}

struct Output<W> {
    out: W,
    terminal: bool,
    /// What is missing of a line whose beginning was written: it goes first when the output works again, so that every
    /// line is whole in the end.
    torn: Vec<u8>,
    closed: Closed,
}

impl<W: Write + Send + 'static> Sink for Output<W> {
    const LINES: usize = 1;

    fn commit(&mut self, line: &[u8]) -> io::Result<()> {
        let line = if self.terminal { safe_to_show(line) } else { Cow::Borrowed(line) };
        let result = self.finish_torn().and_then(|()| self.write(&line)).and_then(|()| self.out.flush());
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.closed.0.cancel();
        }
        result
    }
}

impl<W: Write> Output<W> {
    fn finish_torn(&mut self) -> io::Result<()> {
        let torn = std::mem::take(&mut self.torn);
        let (written, result) = write_out(&mut self.out, &torn);
        self.torn = torn[written..].to_vec();
        result
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let (written, result) = write_out(&mut self.out, line);
        if written > 0 {
            self.torn = line[written..].to_vec();
        }
        result
    }
}

/// A line of JSON without what is unsafe to show: such characters stand in its texts only, where an escape means the same.
fn safe_to_show(line: &[u8]) -> Cow<'_, [u8]> {
    let unsafe_to_show = |c: char| is_unsafe_to_show(c) && !matches!(c, '\n' | '\t');
    let Ok(text) = std::str::from_utf8(line) else { return Cow::Borrowed(line) };
    if !text.contains(unsafe_to_show) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        // All of them are in the first plane, where an escape is one of four digits.
        if unsafe_to_show(c) { safe.push_str(&format!("\\u{:04x}", u32::from(c))) } else { safe.push(c) }
    }
    Cow::Owned(safe.into_bytes())
}

/// Like [`Write::write_all`], but tells how far it came.
fn write_out(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process that shares the pipe has made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}
