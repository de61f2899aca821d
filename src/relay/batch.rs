//! Events of concurrent requests, up to ten in one call to the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::budget::Held;
use super::deliver::{Courier, Delivered};
use super::remember::Ticket;
use super::spool::Spool;
use crate::queue::{BATCH, MAX_MESSAGE_SIZE, Outgoing, Sender};
use crate::telemetry::{Cause, RelayOutcome, RelayTelemetry};

/// How long the first event of a batch waits for others.
pub(super) const LINGER: Duration = Duration::from_millis(3);

/// How long a call has at the least: together with [`SEND_LIMIT`](super::endpoint::SEND_LIMIT) it is over before the answer is due.
const LEAST: Duration = Duration::from_secs(1);

/// How many calls are under way at the same time.
const CALLS: usize = 64;

/// How many events wait for a call.
pub(super) const WAITING: usize = 2_048;

/// An event that is to be stored.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) message: Outgoing,
    /// Who waits for it.
    pub(super) ticket: Ticket,
    /// The room that it takes.
    pub(super) held: Held,
    /// When SQS must have it; from then on it is the spool's.
    pub(super) send_by: Instant,
}

/// Where events go: to the queue, or into the spool.
pub(super) struct Store<S> {
    jobs: mpsc::Sender<Job>,
    pub(super) spool: Option<Arc<Spool>>,
    courier: Courier<S>,
}

impl<S: Sender> Store<S> {
    /// With the end at which [`send_batches`] takes what is to be sent.
    pub(super) fn new(courier: Courier<S>, spool: Option<Arc<Spool>>) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, taken) = mpsc::channel(WAITING);
        (Store { jobs, spool, courier }, taken)
    }

    pub(super) fn keeps_order(&self) -> bool {
        self.courier.keeps_order()
    }

    /// Stores an event, whose ticket says what became of it. While the spool is not empty everything goes through it.
    pub(super) fn store(&self, job: Job) {
        if let Some(spool) = self.spool.as_ref().filter(|spool| spool.is_in_use()) {
            spool.append(job.message, job.ticket, job.held);
        } else if let Err(refused) = self.jobs.try_send(job) {
            let job = refused.into_inner();
            match &self.spool {
                Some(spool) => spool.append(job.message, job.ticket, job.held),
                None => job.ticket.finish(RelayOutcome::Busy),
            }
        }
    }
}

/// Sends what is to be stored, until there is nobody any more who stores.
pub(super) async fn send_batches<S: Sender>(
    courier: Courier<S>,
    mut jobs: mpsc::Receiver<Job>,
    spool: Option<Arc<Spool>>,
    telemetry: Arc<RelayTelemetry>,
) {
    let mut calls = JoinSet::new();
    let mut left_over = None;
    loop {
        while calls.len() >= CALLS {
            calls.join_next().await;
        }
        let first = match left_over.take() {
            Some(job) => job,
            None => tokio::select! {
                biased;
                Some(_) = calls.join_next() => continue,
                job = jobs.recv() => match job {
                    Some(job) => job,
                    None => break,
                },
            },
        };
        let batch;
        (batch, left_over) = fill(first, &mut jobs).await;
        calls.spawn(send(courier.clone(), batch, spool.clone(), telemetry.clone()));
    }
    while calls.join_next().await.is_some() {}
}

/// A batch that begins with this event, and the event that no longer fits into it.
async fn fill(first: Job, jobs: &mut mpsc::Receiver<Job>) -> (Vec<Job>, Option<Job>) {
    let until = Instant::now() + LINGER;
    let mut bytes = first.message.size();
    let mut batch = vec![first];
    while batch.len() < BATCH {
        let Ok(Some(job)) = timeout_at(until, jobs.recv()).await else { break };
        bytes += job.message.size();
        if bytes > MAX_MESSAGE_SIZE {
            return (batch, Some(job));
        }
        batch.push(job);
    }
    (batch, None)
}

async fn send<S: Sender>(
    courier: Courier<S>,
    batch: Vec<Job>,
    spool: Option<Arc<Spool>>,
    telemetry: Arc<RelayTelemetry>,
) {
    let not_now = |message, ticket: Ticket, held| match &spool {
        Some(spool) => spool.append(message, ticket, held),
        None => ticket.finish(RelayOutcome::QueueUnavailable),
    };
    let now = Instant::now();
    let (late, batch): (Vec<Job>, Vec<Job>) = batch.into_iter().partition(|job| job.send_by <= now);
    // It has waited for a call for too long. Those who wait for it are about to be told so.
    late.into_iter().for_each(|job| not_now(job.message, job.ticket, job.held));

    // One whose body came slowly has little time left, and is not to take it from the others.
    let Some(by) = batch.iter().map(|job| job.send_by.max(now + LEAST)).min() else { return };
    let (messages, waiting): (Vec<Outgoing>, Vec<(Ticket, Held)>) =
        batch.into_iter().map(|job| (job.message, (job.ticket, job.held))).unzip();
    let delivered = courier.deliver(&messages, by).await;
    // What the answer leaves out has failed.
    let delivered = delivered.into_iter().chain(std::iter::repeat(Delivered::NotNow));
    for ((message, (ticket, held)), delivered) in messages.into_iter().zip(waiting).zip(delivered) {
        match delivered {
            Delivered::Yes => ticket.finish(RelayOutcome::Sent),
            Delivered::NotNow => not_now(message, ticket, held),
            Delivered::Never(why) => {
                if let Some(times) = telemetry.worth_logging(Cause::new(("relay", "refused"), &why)) {
                    error!(error = why, times, "the queue will never take an event: it is answered 400 and lost");
                }
                ticket.finish(RelayOutcome::RefusedByQueue);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::deliver::tests::{Scripted, refused};
    use super::super::remember::{Memory, Seen, Waiter};
    use super::*;
    use crate::queue::QueueError;

    struct World {
        queue: Arc<Scripted>,
        store: Store<Scripted>,
        memory: Memory,
        budget: Budget,
        _sending: JoinSet<()>,
    }

    fn world(queue: Scripted) -> World {
        let telemetry = Arc::new(RelayTelemetry::new());
        let queue = Arc::new(queue);
        let courier = Courier::new(queue.clone(), telemetry.clone(), false);
        let (store, jobs) = Store::new(courier.clone(), None);
        let mut sending = JoinSet::new();
        sending.spawn(send_batches(courier, jobs, None, telemetry.clone()));
        let (memory, budget) = (Memory::default(), Budget::new(usize::MAX >> 4, telemetry));
        World { queue, store, memory, budget, _sending: sending }
    }

    impl World {
        fn store(&self, body: &str) -> Waiter {
            self.store_within(body, Duration::from_secs(4))
        }

        fn store_within(&self, body: &str, time: Duration) -> Waiter {
            let Seen::First(ticket, waiter) = self.memory.see(body.to_owned()) else { panic!("{body} is known") };
            let send_by = Instant::now() + time;
            self.store.store(Job {
                message: Outgoing::plain(body.to_owned()),
                ticket,
                held: self.budget.begin(),
                send_by,
            });
            waiter
        }
    }

    async fn outcomes(waiters: Vec<Waiter>) -> Vec<RelayOutcome> {
        let mut outcomes = Vec::new();
        for waiter in waiters {
            outcomes.push(waiter.outcome().await);
        }
        outcomes
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_events_go_in_calls_of_ten() {
        let world = world(Scripted::willing());
        let began = Instant::now();
        let waiters = (0..25).map(|number| world.store(&number.to_string())).collect();
        assert_eq!(outcomes(waiters).await, [RelayOutcome::Sent; 25]);
        let sizes: Vec<usize> = world.queue.calls.lock().expect("calls").iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
        assert!(began.elapsed() <= LINGER + Duration::from_millis(1), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_holds_no_more_than_sqs_carries() {
        let world = world(Scripted::willing());
        let large = |letter: &str| letter.repeat(MAX_MESSAGE_SIZE / 3 + 1);
        let waiters = ["a", "b", "c"].map(|letter| world.store(&large(letter))).into();
        assert_eq!(outcomes(waiters).await, [RelayOutcome::Sent; 3]);
        let sizes: Vec<usize> = world.queue.calls.lock().expect("calls").iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn entries_that_fail_are_answered_one_by_one() {
        let world = world(Scripted::new(|_, batch| {
            let answer = |body: &str| match body {
                "b" => refused("InternalError", false),
                "c" => refused("InvalidMessageContents", true),
                _ => Ok(()),
            };
            Ok(batch.iter().map(|message| answer(&message.body)).collect())
        }));
        let waiters = ["a", "b", "c"].map(|body| world.store(body)).into();
        use RelayOutcome::{QueueUnavailable, RefusedByQueue, Sent};
        assert_eq!(outcomes(waiters).await, [Sent, QueueUnavailable, RefusedByQueue]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_sqs_that_hangs_is_answered_after_4_s_at_the_most() {
        let world = world(Scripted { takes: Duration::from_secs(600), ..Scripted::willing() });
        let began = Instant::now();
        // Twice as many as there can be calls.
        let waiters = (0..2 * CALLS * BATCH).map(|number| world.store(&number.to_string())).collect();
        let outcomes = outcomes(waiters).await;
        assert!(outcomes.iter().all(|outcome| *outcome == RelayOutcome::QueueUnavailable));
        assert_eq!(began.elapsed().as_secs(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_sender_takes_no_time_from_the_others_of_its_call() {
        let world = world(Scripted { takes: Duration::from_millis(300), ..Scripted::willing() });
        let waiters = vec![world.store_within("slow", Duration::from_millis(50)), world.store("another")];
        assert_eq!(outcomes(waiters).await, [RelayOutcome::Sent; 2]);
        assert_eq!(world.queue.calls.lock().expect("calls").len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_can_wait_is_refused_at_once() {
        let world = world(Scripted { takes: Duration::from_secs(600), ..Scripted::willing() });
        let waiters: Vec<Waiter> = (0..WAITING + 1).map(|number| world.store(&number.to_string())).collect();
        let last = waiters.into_iter().next_back().expect("one");
        assert_eq!(last.outcome().await, RelayOutcome::Busy);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_the_call_is_the_outcome_of_each_event() {
        let world = world(Scripted::new(|_, _| Err(QueueError::Unreachable { message: String::new() })));
        let waiters = ["a", "b"].map(|body| world.store(body)).into();
        assert_eq!(outcomes(waiters).await, [RelayOutcome::QueueUnavailable; 2]);
    }
}
