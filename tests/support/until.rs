//! Waiting for what announces itself to nobody: it is looked at again and again, up to a limit.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(10);

/// Waits until it is so, and holds up its thread.
#[track_caller]
pub(crate) fn block_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(PAUSE);
    }
}

/// Asks until the answer is good, and returns it.
pub(crate) async fn until<T: Debug>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> T,
    good: impl Fn(&T) -> bool,
) -> T {
    let end = tokio::time::Instant::now() + limit;
    loop {
        let answer = ask().await;
        if good(&answer) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "not within {limit:?}: {what}; last seen {answer:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
