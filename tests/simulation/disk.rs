//! A journal on a real disk in a world whose time is paused.

#![allow(
    clippy::disallowed_methods,
    reason = "a real disk has a time of its own, for which the paused one stands still"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use stream_sqsd::queue::MessageId;

/// Longer than a write takes on a machine that does much else.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);

/// Keeps the paused clock where it is until one more success of a message stands in its journal. To be called by the handler
/// just before it succeeds.
///
/// The engine waits a second for its record, and a paused clock leaps over a second as soon as nothing else is to do. It does
/// not while something blocks, as tokio sees it.
pub(crate) fn hold_the_clock_until_written(journal: &Path, message: &MessageId) {
    let (journal, message) = (journal.to_owned(), message.to_string());
    let before = records(&journal, &message);
    drop(tokio::task::spawn_blocking(move || {
        let began = std::time::Instant::now();
        while records(&journal, &message) <= before && began.elapsed() < WRITTEN_WITHIN {
            std::thread::sleep(Duration::from_micros(50));
        }
    }));
}

/// How many records of a message a journal holds.
fn records(journal: &PathBuf, message: &str) -> usize {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter(|line| line.split([' ', '@']).nth(1) == Some(message)).count()
}
