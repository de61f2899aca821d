//! A look at one message after the other, each held until the look ends.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::hold::{Arrival, Holds};
use super::letter::{Letter, Reader};
use super::opened::{DeadLetterError, DeadLetterQueue, HOLD, MOST_HELD};
use crate::queue::{Attributes, BATCH, Delivery, Queue, QueueError};

/// How many receives are open at the same time, at the most: their messages are in memory with their bodies.
const POLLS: usize = 4;

/// How much longer than its wait a receive may take before it is given up.
const HUNG_AFTER: Duration = Duration::from_secs(10);

/// For how long receives may fail, one after the other, before the look ends.
const FAILING: Duration = Duration::from_secs(60);

/// The pause after a receive that failed or was empty before its time.
const PAUSE: Duration = Duration::from_secs(1);

/// After so many receives in a row that are empty before their time, too many messages are in flight: a standard queue then
/// answers a long poll at once with nothing.
const EMPTY_TOO_SOON: u32 = 3;

/// A look at one message after the other. What it shows stays hidden until [`Scan::end`]; dropped, it leaves that to the
/// end of the hold.
pub struct Scan<Q> {
    pub(super) queue: Arc<Q>,
    pub(super) reader: Arc<Reader>,
    pub(super) holds: Arc<Holds<Q>>,
    pub(super) retention: Option<Duration>,
    pub(super) fifo: bool,
    wait: Duration,
    /// Fused, since more than one loop waits for it.
    pub(super) stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    polls: JoinSet<Polled>,
    /// Renews what is held.
    _services: JoinSet<()>,
    /// What was received and not yet looked at.
    ready: VecDeque<Delivery>,
    /// How many receives are to be open.
    wanted: usize,
    next_poll: u64,
    /// The first receive that can tell that the queue is empty.
    conclusive_from: u64,
    /// No receive before this.
    not_before: Instant,
    /// Since when receives fail.
    failing_since: Option<Instant>,
    empty_too_soon: u32,
    seen: u64,
    ended: Option<ScanEnded>,
}

/// One receive that came back.
struct Polled {
    number: u64,
    took: Duration,
    answer: Result<Vec<(Delivery, Arrival)>, QueueError>,
}

/// One message that a [`Scan`] found. Each is shown once, however often it is received.
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// What it is.
    pub letter: Letter,
    /// Its body, byte for byte.
    pub body: String,
    /// All its attributes.
    pub attributes: Attributes,
}

/// How a [`Scan`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanEnd {
    /// How many messages it showed.
    pub seen: u64,
    /// Why it ended.
    pub ended: ScanEnded,
    /// Whether there may be more: on a FIFO queue behind what was seen, or since it was not looked through to its end.
    pub at_least: bool,
    /// How many messages could not be made visible: they come back when the hold of [`HOLD`] runs out.
    pub not_returned: u64,
}

/// Why a [`Scan`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScanEnded {
    /// A full long poll brought nothing.
    QueueEmpty,
    /// It was told to stop, or [`Scan::end`] was called before.
    Stopped,
    /// As many messages are held as may be, or the queue says that too many are in flight.
    TooManyInFlight,
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Looks at one message after the other, until the queue is empty or `stop` completes.
    ///
    /// This is the look that [`list`](Self::list), [`export`](Self::export) and [`drop_exported`](Self::drop_exported) are
    /// made of, for whatever else is to be done with single messages.
    pub fn scan(&self, stop: impl Future<Output = ()> + Send + 'static) -> Scan<Q> {
        let holds = Holds::new(self.queue.clone());
        let mut services = JoinSet::new();
        services.spawn(holds.clone().keep());
        Scan {
            queue: self.queue.clone(),
            reader: self.reader.clone(),
            holds,
            retention: self.facts.retention,
            fifo: self.facts.fifo || self.queue.known().fifo,
            wait: self.options.wait,
            stop: Box::pin(stop.fuse()),
            polls: JoinSet::new(),
            _services: services,
            ready: VecDeque::new(),
            wanted: 1,
            next_poll: 0,
            conclusive_from: 0,
            not_before: Instant::now(),
            failing_since: None,
            empty_too_soon: 0,
            seen: 0,
            ended: None,
        }
    }
}

impl<Q: Queue> Scan<Q> {
    /// The next message; None when there is none left to see, or it was told to stop.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError::Queue`] when the queue refuses, or goes on failing for a minute. What is held is to be returned
    /// by [`Scan::end`] then too.
    pub async fn next(&mut self) -> Result<Option<Found>, DeadLetterError> {
        loop {
            if self.ended == Some(ScanEnded::Stopped) {
                return Ok(None);
            }
            if let Some(delivery) = self.take() {
                self.seen += 1;
                let letter = self.reader.read(&delivery, self.retention);
                let attributes = delivery.attributes.map(|attributes| *attributes).unwrap_or_default();
                return Ok(Some(Found { letter, body: delivery.body, attributes }));
            }
            if self.is_over() {
                return Ok(None);
            }
            self.receive().await?;
        }
    }

    /// Makes everything visible again that it holds. Waits for receives that are open, since they may bring more.
    pub async fn end(mut self) -> ScanEnd {
        self.finish();
        self.wait_for_receives().await;
        let not_returned = self.holds.release(self.fifo).await;
        let ended = self.ended.unwrap_or(ScanEnded::Stopped);
        let at_least = ended != ScanEnded::QueueEmpty || (self.fifo && self.seen > 0);
        ScanEnd { seen: self.seen, ended, at_least, not_returned }
    }

    /// What was received and not yet looked at.
    pub(super) fn take(&mut self) -> Option<Delivery> {
        self.ready.pop_front()
    }

    /// Whether the next message is here already.
    pub(super) fn has_more_at_hand(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether nothing will be received any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some() && self.polls.is_empty()
    }

    pub(super) fn ended(&self) -> Option<ScanEnded> {
        self.ended
    }

    /// No further receive.
    pub(super) fn finish(&mut self) {
        self.ended.get_or_insert(ScanEnded::Stopped);
    }

    /// Something was deleted, and what stands behind it in its group can be received now, however empty the queue seemed.
    pub(super) fn look_again(&mut self) {
        if !self.fifo {
            return;
        }
        self.conclusive_from = self.next_poll + 1;
        if self.ended == Some(ScanEnded::QueueEmpty) {
            self.ended = None;
        }
    }

    /// Waits until all receives that are open are back, whatever they bring.
    pub(super) async fn wait_for_receives(&mut self) {
        while let Some(done) = self.polls.join_next().await {
            if let Ok(Polled { answer: Ok(deliveries), .. }) = done {
                self.arrived(deliveries);
            }
        }
    }

    /// Opens receives as they are wanted, and waits until one is back or there is another reason to look. It may be dropped
    /// at any time.
    pub(super) async fn receive(&mut self) -> Result<(), DeadLetterError> {
        let now = Instant::now();
        if self.ended.is_none() && self.holds.len() + BATCH * self.polls.len() >= MOST_HELD {
            self.ended = Some(ScanEnded::TooManyInFlight);
        }
        while self.ended.is_none() && now >= self.not_before && self.polls.len() < self.wanted {
            self.open_poll();
        }
        let waits = self.ended.is_none() && self.polls.len() < self.wanted;
        tokio::select! {
            biased;
            () = &mut self.stop, if self.ended != Some(ScanEnded::Stopped) => self.ended = Some(ScanEnded::Stopped),
            Some(done) = self.polls.join_next(), if !self.polls.is_empty() => match done {
                Ok(polled) => self.polled(polled)?,
                Err(failure) => std::panic::resume_unwind(failure.into_panic()),
            },
            () = sleep_until(self.not_before), if waits => {}
            else => {}
        }
        Ok(())
    }

    fn open_poll(&mut self) {
        self.next_poll += 1;
        let (number, wait) = (self.next_poll, self.wait);
        let (queue, holds) = (self.queue.clone(), self.holds.clone());
        self.polls.spawn(async move {
            let sent = Instant::now();
            let answer = timeout(wait + HUNG_AFTER, queue.receive_whole(BATCH, wait, Some(HOLD))).await;
            let answer = answer.unwrap_or_else(|_| {
                queue.reconnect();
                Err(QueueError::TimedOut { after: wait + HUNG_AFTER })
            });
            // Here, since they have to be renewed from now on, no matter who looks at them, or when.
            let arrive = |delivery: Delivery| {
                let arrival = holds.arrive(&delivery, sent);
                (delivery, arrival)
            };
            let answer = answer.map(|deliveries| deliveries.into_iter().map(arrive).collect());
            Polled { number, took: sent.elapsed(), answer }
        });
    }

    fn polled(&mut self, polled: Polled) -> Result<(), DeadLetterError> {
        let now = Instant::now();
        let deliveries = match polled.answer {
            Ok(deliveries) => deliveries,
            Err(failure) if failure.needs_action() => return Err(failure.into()),
            Err(failure) => {
                let since = *self.failing_since.get_or_insert(now);
                self.wanted = 1;
                self.not_before = now + PAUSE;
                let too_many = matches!(failure, QueueError::OverLimit);
                return match now.duration_since(since) >= FAILING {
                    true if too_many => {
                        self.ended.get_or_insert(ScanEnded::TooManyInFlight);
                        Ok(())
                    }
                    true => Err(failure.into()),
                    false => Ok(()),
                };
            }
        };
        self.failing_since = None;
        if deliveries.is_empty() {
            // The clocks of both ends differ a little.
            if polled.took + Duration::from_millis(100) >= self.wait {
                self.wanted = 1;
                if polled.number >= self.conclusive_from {
                    self.ended.get_or_insert(ScanEnded::QueueEmpty);
                }
            } else {
                self.empty_too_soon += 1;
                self.not_before = now + PAUSE;
                if self.empty_too_soon >= EMPTY_TOO_SOON {
                    self.ended.get_or_insert(ScanEnded::TooManyInFlight);
                }
            }
            return Ok(());
        }
        self.empty_too_soon = 0;
        if deliveries.len() >= BATCH {
            self.wanted = (self.wanted + 1).min(POLLS);
        }
        self.arrived(deliveries);
        if self.ended == Some(ScanEnded::QueueEmpty) {
            self.ended = None;
        }
        Ok(())
    }

    fn arrived(&mut self, deliveries: Vec<(Delivery, Arrival)>) {
        let again = mutant!("take-what-comes-again-for-new");
        let new = deliveries.into_iter().filter(|(_, arrival)| *arrival == Arrival::New || again);
        self.ready.extend(new.map(|(delivery, _)| delivery));
    }
}

impl<Q> fmt::Debug for Scan<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("seen", &self.seen).field("ended", &self.ended).finish_non_exhaustive()
    }
}
