//! The schedule of a shutdown: when it began, when handlers must be done, when everything must.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::{later, part};
use super::latency::{calls_for, time_for};
use super::settings::reserve_of;
use super::settle::CALLS;

/// One shutdown, which may never come.
#[derive(Debug)]
pub(super) struct Drain {
    grace: Duration,
    begun: CancellationToken,
    /// The time of the handlers is over.
    handlers_over: CancellationToken,
    at: OnceLock<Instant>,
    /// No receive is open any longer.
    receives_over: CancellationToken,
    /// When the receives that were open at the beginning will have returned.
    receives_end: OnceLock<Instant>,
    cut_short: AtomicBool,
}

impl Drain {
    pub(super) fn new(grace: Duration) -> Self {
        let (begun, handlers_over) = (CancellationToken::new(), CancellationToken::new());
        let (at, receives_end, receives_over) = (OnceLock::new(), OnceLock::new(), CancellationToken::new());
        Drain { grace, begun, handlers_over, at, receives_over, receives_end, cut_short: AtomicBool::new(false) }
    }

    /// The shutdown begins now, with receives open until then, if any are.
    pub(super) fn begin(&self, receives_end: Option<Instant>) {
        let now = *self.at.get_or_init(Instant::now);
        self.receives_end.get_or_init(|| receives_end.unwrap_or(now));
        self.begun.cancel();
    }

    /// No receive is open any longer.
    pub(super) fn end_receives(&self) {
        self.receives_over.cancel();
    }

    fn no_receive_is_open(&self) -> bool {
        self.receives_over.is_cancelled() || mutant!("return-to-an-open-receive")
    }

    /// Completes when something may be returned, in a shutdown. A receive that is still open would take it straight back,
    /// and each receive brings a message nearer to the dead-letter queue; so open ones are waited for while there is time.
    pub(super) async fn may_return(&self) {
        if self.has_begun() && !self.no_receive_is_open() {
            tokio::select! {
                biased;
                () = self.receives_over.cancelled() => {}
                () = self.handlers_over.cancelled() => {}
            }
        }
    }

    /// For how long what is returned stays hidden: for as long as a receive is open after all.
    pub(super) fn hidden_for(&self) -> Duration {
        if self.no_receive_is_open() {
            return Duration::ZERO;
        }
        let left = self.receives_end.get().map(|over| over.saturating_duration_since(Instant::now()));
        // In the whole seconds of SQS, and after the receives have returned, not at that moment.
        left.filter(|left| !left.is_zero())
            .map_or(Duration::ZERO, |left| Duration::from_secs(left.as_secs().saturating_add(1)))
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

    /// Completes when handlers must be done, so that there is time to return what they did not finish.
    pub(super) async fn handlers_over(&self) {
        self.handlers_over.cancelled().await;
    }

    /// Ends the time of the handlers when the rest is needed for returning so many messages to a queue that takes so long
    /// to answer. Says when to look again, if that is to come yet.
    pub(super) fn end_handlers_in_time(&self, held: usize, slow: Duration) -> Option<Instant> {
        let begun = *self.at.get()?;
        let over = later(begun, self.grace.saturating_sub(self.reserve_for(held, slow)));
        if over > Instant::now() {
            return Some(over);
        }
        self.handlers_over.cancel();
        None
    }

    /// Completes when what handlers left behind must be gone: two thirds into what is kept for returning.
    pub(super) async fn holds_over(&self) {
        self.begun.cancelled().await;
        let begun = self.at.get().copied().unwrap_or_else(Instant::now);
        let over = self.grace.saturating_sub(part(self.reserve(), 3));
        tokio::time::sleep_until(later(begun, over)).await;
    }

    /// When everything must be done.
    pub(super) fn end(&self) -> Option<Instant> {
        let grace = if mutant!("drain-without-end") { self.grace.saturating_mul(100) } else { self.grace };
        self.at.get().map(|begun| later(*begun, grace))
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
    pub(super) fn cancellation_grace(&self) -> Duration {
        part(self.reserve(), 3)
    }

    /// What of the grace is kept for returning so much: for handlers to stop, for a renewal that is on its way, and for as
    /// many rounds of calls as it takes, one of which may have to be made again. Half of the grace at the most.
    fn reserve_for(&self, held: usize, slow: Duration) -> Duration {
        let calls = time_for(held, calls_for(held, CALLS), slow);
        let needed = self.cancellation_grace().saturating_add(slow.saturating_mul(2)).saturating_add(calls);
        let needed = if mutant!("keep-the-same-reserve-whatever-is-held") { Duration::ZERO } else { needed };
        needed.min(part(self.grace, 2)).max(self.reserve())
    }

    /// What of the grace is kept for returning and for the last deletes at the least.
    fn reserve(&self) -> Duration {
        reserve_of(self.grace)
    }
}
