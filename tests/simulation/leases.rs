//! Leases when the queue is slow, when the process was stopped, and when the machine was suspended.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Settings, Summary};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryResult, MessageId, Queue, QueueError, QueueFacts, Receipt};
use stream_sqsd::router::Router;
use tokio::time::{Instant, advance, sleep};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn queue_of(messages: usize, settings: MemorySettings) -> MemoryQueue {
    let queue = MemoryQueue::new(settings);
    for _ in 0..messages {
        queue.send(r#"{"type":"message.new"}"#);
    }
    queue
}

fn settings(concurrency: usize) -> Settings {
    Settings::new().with_concurrency(concurrency).with_handler_timeout(seconds(3_600)).with_random_seed(1)
}

/// Every message is held and worked on until the shutdown, and returned by it.
async fn hold_and_drain(messages: usize, latency: Duration) -> (Summary, MemoryQueue) {
    let faults = Faults::new().with_latency(latency);
    let queue = queue_of(messages, MemorySettings::new().with_faults(faults).with_seed(5));
    let router = Router::new().route("*", |_: Event, _: Context| std::future::pending::<Result<(), HandlerError>>());
    let shutdown = sleep(seconds(100));
    let summary = Consumer::new(queue.clone(), router, settings(messages)).run(shutdown).await.unwrap();
    (summary, queue)
}

#[tokio::test(start_paused = true)]
async fn three_thousand_leases_are_kept_at_half_a_second_of_latency() {
    let (summary, _) = hold_and_drain(3_000, Duration::from_millis(500)).await;
    assert_eq!((summary.counts.leases_lost, summary.counts.received), (0, 3_000), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_strands_nothing_however_much_is_held_and_slow() {
    for (messages, latency) in [(64, 3_000), (2_000, 300), (2_000, 500), (10_000, 100), (10_000, 500)] {
        let (summary, queue) = hold_and_drain(messages, Duration::from_millis(latency)).await;
        // An answer that is on its way when the message is visible again is of no matter.
        let stranded = queue.counts().hidden;
        assert_eq!(stranded, 0, "{messages} at {latency} ms: {summary}");
    }
}

/// Which messages are at work, and how often each was received at its last call.
#[derive(Default)]
struct Seen {
    at_work: BTreeSet<MessageId>,
    twice: bool,
    receives: BTreeMap<MessageId, Vec<u32>>,
    order: Vec<MessageId>,
}

struct AtWork(Arc<Mutex<Seen>>, MessageId);

impl AtWork {
    fn begins(seen: &Arc<Mutex<Seen>>, context: &Context) -> Self {
        let id = context.message_id().clone();
        let mut now = seen.lock().unwrap();
        now.twice |= !now.at_work.insert(id.clone());
        now.receives.entry(id.clone()).or_default().push(context.receive_count());
        now.order.push(id.clone());
        AtWork(seen.clone(), id)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.lock().unwrap().at_work.remove(&self.1);
    }
}

/// The process is stopped for 13 s with a visibility timeout of 10 s, and its handlers take a while to stop.
async fn stopped_for_a_while(fifo: bool) -> (Seen, Vec<MessageId>, Summary) {
    let visibility_timeout = seconds(10);
    let queue = MemoryQueue::new(MemorySettings::new().with_visibility_timeout(visibility_timeout).with_fifo(fifo));
    let send = |_| queue.send_to_group(r#"{"type":"message.new"}"#, "one group");
    let ids: Vec<MessageId> = (0..8).map(send).collect();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = seen.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let noted = noted.clone();
        async move {
            let _at_work = AtWork::begins(&noted, &context);
            if context.receive_count() == 1 {
                context.cancelled().await;
                sleep(Duration::from_millis(500)).await;
                return Err(HandlerError::retry("stopped"));
            }
            Ok(())
        }
    });
    let stop = async {
        sleep(seconds(2)).await;
        advance(seconds(13)).await;
        sleep(seconds(120)).await;
    };
    let summary = Consumer::new(queue.clone(), router, settings(64)).run(stop).await.unwrap();
    assert_eq!(queue.counts().deleted, 8, "{summary}");
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, ids, summary)
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_loses_one_receive_and_no_more() {
    let (seen, ids, summary) = stopped_for_a_while(false).await;
    assert!(!seen.twice, "the same message was at work twice at once");
    assert!(ids.iter().all(|id| seen.receives[id] == [1, 2]), "{:?}", seen.receives);
    assert_eq!(summary.counts.leases_lost, 8, "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_group_goes_on_in_order_at_its_next_receive() {
    let (seen, ids, summary) = stopped_for_a_while(true).await;
    assert!(!seen.twice, "the same message was at work twice at once");
    assert_eq!(seen.order, [&ids[..1], &ids[..]].concat(), "{summary}");
    assert_eq!(summary.counts.received, 16, "each was received twice: {summary}");
}

#[tokio::test(start_paused = true)]
async fn what_succeeded_while_it_lost_its_lease_is_deleted_unhandled() {
    let visibility_timeout = seconds(10);
    let queue = queue_of(1, MemorySettings::new().with_visibility_timeout(visibility_timeout));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = seen.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let noted = noted.clone();
        async move {
            let _at_work = AtWork::begins(&noted, &context);
            context.cancelled().await;
            sleep(Duration::from_millis(500)).await;
            Ok::<_, HandlerError>(())
        }
    });
    let stop = async {
        sleep(seconds(2)).await;
        advance(seconds(13)).await;
        sleep(seconds(60)).await;
    };
    let summary = Consumer::new(queue, router, settings(64)).run(stop).await.unwrap();
    assert_eq!((summary.counts.received, summary.counts.repeats_deleted), (2, 1), "{summary}");
    assert_eq!(seen.lock().unwrap().order.len(), 1);
}

/// A queue whose receives are answered late.
#[derive(Clone)]
struct Late {
    queue: MemoryQueue,
    by: Duration,
}

impl Queue for Late {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let answer = self.queue.receive(max, wait, visibility).await;
        if answer.as_ref().is_ok_and(|deliveries| !deliveries.is_empty()) {
            sleep(self.by).await;
        }
        answer
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.delete(batch).await
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.change_visibility(batch).await
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        self.queue.facts().await
    }

    fn known(&self) -> QueueFacts {
        self.queue.known()
    }

    fn reconnect(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_from_when_its_receive_was_sent() {
    let visibility_timeout = seconds(10);
    let queue = queue_of(10, MemorySettings::new().with_visibility_timeout(visibility_timeout));
    let router = Router::new().route("*", |_: Event, _: Context| async {
        sleep(seconds(8)).await;
        Ok::<_, HandlerError>(())
    });
    let late = Late { queue: queue.clone(), by: seconds(8) };
    let summary = Consumer::new(late, router, settings(64)).run(sleep(seconds(60))).await.unwrap();
    assert_eq!((summary.counts.received, summary.counts.deleted), (10, 10), "{summary}");
}

thread_local! {
    static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_knows_that_its_leases_are_lost() {
    let queue = queue_of(1, MemorySettings::default());
    let told = Arc::new(Mutex::new(None));
    let noted = told.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let noted = noted.clone();
        async move {
            context.cancelled().await;
            *noted.lock().unwrap() = Some(Instant::now());
            Err(HandlerError::retry("suspended"))
        }
    });
    let settings = settings(64).with_time_suspended(|| SUSPENDED.get());
    SUSPENDED.set(seconds(5_000));
    let resumed = Instant::now() + seconds(3);
    let shutdown = async {
        sleep(seconds(3)).await;
        // The clock that tokio goes by stood still meanwhile.
        SUSPENDED.set(seconds(5_060));
        sleep(seconds(10)).await;
    };
    let summary = Consumer::new(queue, router, settings).run(shutdown).await.unwrap();
    let told = told.lock().unwrap().expect("it was told");
    assert!(told - resumed <= seconds(5), "{:?} later", told - resumed);
    assert_eq!(summary.counts.leases_lost, 1, "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_brings_its_receive_count() {
    let memory = MemorySettings::new().with_max_receive_count(2);
    let queue = queue_of(1, memory);
    let router = Router::new().route("*", |_: Event, _: Context| async {
        sleep(seconds(5)).await;
        Err(HandlerError::reject("never"))
    });
    let shutdown = async {
        sleep(seconds(1)).await;
        queue.set_faults(Faults::new().with_duplicate(1.0));
        // The receive that waits looks again when something is changed.
        queue.delete(&[]).await.expect("an answer");
        sleep(Duration::from_millis(1)).await;
        queue.set_faults(Faults::default());
        sleep(seconds(4)).await;
    };
    let summary = Consumer::new(queue.clone(), router, settings(64)).run(shutdown).await.unwrap();
    assert_eq!(summary.counts.duplicates, 1, "or this tests nothing: {summary}");
    assert_eq!(summary.counts.last_receives_failed, 1, "{summary}");
}
