//! Standard error, which may stall: once it is started, a thread of its own writes, behind a bounded queue.
//!
//! Anyone who reads standard error may stop reading (a stalled journald, a blocking log driver of a container), and the file
//! behind it may be full. Neither holds up the daemon: lines wait in a queue, those that find no room and those that
//! cannot be written are dropped and counted, and a later line says how many were. Lines that explain a loss (errors,
//! panics, the summary, failed last receives) have room of their own, which no other line can take.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::OnceLock;
use std::thread;

use crate::terminal::writer::{FLUSH_LIMIT, Importance, Writer};

/// The writer of the process, once it was started.
static WRITER: OnceLock<Writer> = OnceLock::new();

/// From here on standard error is written on a thread of its own, and so is what a panic says. `out` writes to it;
/// `say_dropped` logs how many lines were dropped. Once in a process.
///
/// # Errors
///
/// When the system gives no thread.
pub(crate) fn start(out: impl Write + Send + 'static, say_dropped: fn(u64)) -> io::Result<()> {
    let writer = Writer::start("stderr", out, say_dropped)?;
    // Started twice, the first goes on.
    if WRITER.set(writer).is_ok() {
        panic::set_hook(Box::new(|panicked| {
            let thread = thread::current();
            let mut text = format!("thread '{}' {panicked}", thread.name().unwrap_or("<unnamed>"));
            let backtrace = Backtrace::capture();
            if backtrace.status() == BacktraceStatus::Captured {
                text.push_str(&format!("\nstack backtrace:\n{backtrace}"));
            }
            say(&text);
        }));
    }
    Ok(())
}

/// Standard error itself, past the lock of [`std::io::stderr`], which would be held for as long as a write takes.
pub(crate) fn of_process() -> io::Result<File> {
    io::stderr().as_fd().try_clone_to_owned().map(File::from)
}

/// Writes a line. It never waits once the thread was started, and nobody may be reading it, which is not a reason to panic
/// as `eprintln!` does.
pub(crate) fn say(text: &str) {
    write(format!("{text}\n").into_bytes(), Importance::Important);
}

/// Writes a line that has its end.
pub(crate) fn write(line: Vec<u8>, importance: Importance) {
    match WRITER.get() {
        Some(writer) => writer.push(line, importance),
        None => {
            let _ = io::stderr().lock().write_all(&line);
        }
    }
}

/// Waits until all is written, for [`FLUSH_LIMIT`] at the most.
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_LIMIT);
    }
}

/// How many lines were dropped so far.
pub(crate) fn dropped() -> u64 {
    WRITER.get().map_or(0, Writer::dropped)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Taken(Sender<Vec<u8>>);

    impl Write for Taken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_written_like_a_line_of_the_log() {
        let (taken, from) = channel();
        start(Taken(taken), |_| {}).unwrap();
        panic::catch_unwind(|| panic!("on purpose")).unwrap_err();
        drop(panic::take_hook());
        flush();
        let text = String::from_utf8(from.try_iter().flatten().collect()).unwrap();
        assert!(
            text.contains("panicked at src/bin/stream-sqsd/terminal/stderr.rs:") && text.contains("\non purpose"),
            "{text}"
        );
    }
}
