//! The time-table of a shutdown: when it began, when handlers must be done, when everything must.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::settings::reserve_of;

/// One shutdown, which may never come.
#[derive(Debug)]
pub(super) struct Drain {
    grace: Duration,
    begun: CancellationToken,
    at: OnceLock<Instant>,
    /// When the receives that were open at the beginning have returned.
    receives_over: OnceLock<Instant>,
    cut_short: AtomicBool,
}

impl Drain {
    pub(super) fn new(grace: Duration) -> Self {
        Drain {
            grace,
            begun: CancellationToken::new(),
            at: OnceLock::new(),
            receives_over: OnceLock::new(),
            cut_short: AtomicBool::new(false),
        }
    }

    /// The shutdown begins now, with receives open until then, if any are.
    pub(super) fn begin(&self, receives_over: Option<Instant>) {
        let now = *self.at.get_or_init(Instant::now);
        self.receives_over.get_or_init(|| receives_over.unwrap_or(now));
        self.begun.cancel();
    }

    /// For how long what is handed back stays hidden. A receive that is still open would take it straight back, and each
    /// receive brings a message nearer to the dead-letter queue.
    pub(super) fn hidden_for(&self) -> Duration {
        let left = self.receives_over.get().map(|over| over.saturating_duration_since(Instant::now()));
        // In the whole seconds of SQS, and not before.
        Duration::from_secs(left.map_or(0, |left| left.as_millis().div_ceil(1_000) as u64))
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Completes when the shutdown begins.
    pub(super) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Cancelled when the shutdown begins.
    pub(super) fn token(&self) -> CancellationToken {
        self.begun.clone()
    }

    /// Completes when handlers must be done, so that there is time to hand back what they did not finish.
    pub(super) async fn handlers_over(&self) {
        self.begun.cancelled().await;
        let begun = self.at.get().copied().unwrap_or_else(Instant::now);
        tokio::time::sleep_until(begun + self.grace - self.reserve()).await;
    }

    /// When everything must be done.
    pub(super) fn end(&self) -> Option<Instant> {
        self.at.get().map(|begun| *begun + self.grace)
    }

    /// A handler was interrupted because its time was over.
    pub(super) fn cut_short(&self) {
        self.cut_short.store(true, Ordering::Relaxed);
    }

    /// Whether any handler was.
    pub(super) fn was_cut_short(&self) -> bool {
        self.cut_short.load(Ordering::Relaxed)
    }

    /// How long a handler that is told to stop may take to do so.
    pub(super) fn courtesy(&self) -> Duration {
        self.reserve() / 3
    }

    /// What of the grace is kept for handing back and for the last deletes.
    fn reserve(&self) -> Duration {
        reserve_of(self.grace)
    }
}
