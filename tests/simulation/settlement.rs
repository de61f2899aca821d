//! Deletes and changes of visibility that fail for a while or for good: what is handled stays hidden, and what is let go
//! comes back when it should.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use stream_sqsd::consumer::{Consumer, RetryDelay, Settings};
use stream_sqsd::decode;
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryError, EntryResult, Queue, QueueError, QueueFacts, Receipt};
use stream_sqsd::router::Router;
use tokio::time::Instant;

/// A queue that refuses deletes or changes of visibility, entry by entry, and that takes its time to delete messages and to
/// hide them for longer.
#[derive(Clone)]
struct Stubborn {
    queue: MemoryQueue,
    deletes: Refusal,
    visibility_changes: Refusal,
    change_visibility_calls: Arc<AtomicU32>,
    renewals_take: Duration,
    deletes_take: Duration,
    deletes_at_work: Arc<Mutex<(usize, usize)>>,
}

/// Until a time, every entry is refused by a code.
#[derive(Clone, Copy)]
struct Refusal {
    until: Instant,
    code: &'static str,
}

impl Refusal {
    fn lasts(seconds: u64, code: &'static str) -> Self {
        Refusal { until: Instant::now() + Duration::from_secs(seconds), code }
    }

    fn of(self, entries: usize) -> Option<Vec<EntryResult>> {
        let Refusal { until, code } = self;
        let error = EntryError::new(code, "not this time");
        (Instant::now() < until).then(|| vec![Err(error); entries])
    }
}

impl Stubborn {
    fn new(queue: &MemoryQueue) -> Self {
        let willing = Refusal::lasts(0, "");
        let change_visibility_calls = Arc::default();
        Stubborn {
            queue: queue.clone(),
            deletes: willing,
            visibility_changes: willing,
            change_visibility_calls,
            renewals_take: Duration::ZERO,
            deletes_take: Duration::ZERO,
            deletes_at_work: Arc::default(),
        }
    }
}

impl Queue for Stubborn {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.queue.receive(max, wait, visibility).await
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        if let Some(refused) = self.deletes.of(batch.len()) {
            return Ok(refused);
        }
        {
            let (now, most) = &mut *self.deletes_at_work.lock().unwrap();
            *now += 1;
            *most = (*most).max(*now);
        }
        tokio::time::sleep(self.deletes_take).await;
        self.deletes_at_work.lock().unwrap().0 -= 1;
        self.queue.delete(batch).await
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        if batch.iter().any(|(_, visibility)| !visibility.is_zero()) {
            tokio::time::sleep(self.renewals_take).await;
        }
        self.change_visibility_calls.fetch_add(1, Ordering::Relaxed);
        if let Some(refused) = self.visibility_changes.of(batch.len()) {
            return Ok(refused);
        }
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
async fn a_handled_message_stays_hidden_until_its_delete_is_confirmed() {
    let queue = MemoryQueue::new(MemorySettings::new().with_visibility_timeout(Duration::from_secs(5)));
    for _ in 0..50 {
        queue.send(r#"{"type":"message.new"}"#);
    }
    let stubborn = Stubborn { deletes: Refusal::lasts(120, "InternalError"), ..Stubborn::new(&queue) };
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { if context.receive_count() == 1 { Ok(()) } else { Err(HandlerError::reject("a second receive")) } }
    });
    let settings = Settings::new().with_until_empty(true).with_random_seed(1);
    let summary = Consumer::new(stubborn, router, settings).run(std::future::pending()).await.unwrap();
    assert_eq!((summary.counts.received, summary.counts.deleted), (50, 50), "{summary}");
    assert_eq!(calls.load(Ordering::Relaxed), 50);
    assert_eq!(queue.counts().deleted, 50);
}

#[tokio::test(start_paused = true)]
async fn a_message_nacked_without_delay_is_handled_at_each_receive() {
    // The answer to the letting go takes longer than the next receive.
    let faults = stream_sqsd::queue::memory::Faults::new().with_latency(Duration::from_millis(500));
    let settings = MemorySettings::new().with_max_receive_count(3).with_faults(faults);
    let queue = MemoryQueue::new(settings);
    for _ in 0..20 {
        queue.send(r#"{"type":"message.new"}"#);
    }
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let router = Router::new().route("*", move |_: Event, _: Context| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err(HandlerError::retry("again").after(Duration::ZERO)) }
    });
    let settings = Settings::new()
        .with_until_empty(true)
        .with_random_seed(1)
        .with_retry(RetryDelay::new(Duration::ZERO, Duration::ZERO));
    let summary = Consumer::new(queue.clone(), router, settings).run(std::future::pending()).await.unwrap();
    assert_eq!(queue.counts().dead_lettered, 20);
    assert_eq!(calls.load(Ordering::Relaxed), 60, "three receives, three calls: {summary}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_on_its_way_does_not_hide_what_is_returned() {
    let queue = MemoryQueue::new(MemorySettings::new().with_visibility_timeout(Duration::from_secs(4)));
    queue.send(r#"{"type":"message.new"}"#);
    // A renewal sets out after 4 s and takes 0.8 s. The drain begins after 1 s and returns what is at work 3 s later.
    let stubborn = Stubborn { renewals_take: Duration::from_millis(800), ..Stubborn::new(&queue) };
    let router = Router::new().route("*", |_: Event, _: Context| std::future::pending::<Result<(), HandlerError>>());
    let settings = Settings::new().with_wait(Duration::ZERO).with_grace(Duration::from_secs(4)).with_random_seed(1);
    let shutdown = tokio::time::sleep(Duration::from_secs(1));
    let summary = Consumer::new(stubborn, router, settings).run(shutdown).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(summary.counts.returned, 1, "{summary}");
    assert_eq!(queue.counts().visible, 1, "what was returned is there at once");
}

/// When a handler was called.
type Calls = Arc<Mutex<Vec<Instant>>>;

/// A router that notes each call and answers what `answer` makes of its number, counted from 1.
fn noting(calls: &Calls, answer: impl Fn(usize) -> Result<(), HandlerError> + Send + Sync + 'static) -> Router {
    let calls = calls.clone();
    Router::new().route("*", move |_: Event, _: Context| {
        let mut calls = calls.lock().unwrap();
        calls.push(Instant::now());
        std::future::ready(answer(calls.len()))
    })
}

/// The time from the first call to the second.
fn between(calls: &Calls) -> Duration {
    let calls = calls.lock().unwrap();
    calls[1] - calls[0]
}

fn queue_of(messages: u32, visibility: u64) -> MemoryQueue {
    let visibility_timeout = Duration::from_secs(visibility);
    let queue = MemoryQueue::new(MemorySettings::new().with_visibility_timeout(visibility_timeout));
    for _ in 0..messages {
        queue.send(r#"{"type":"message.new"}"#);
    }
    queue
}

#[tokio::test(start_paused = true)]
async fn after_a_refused_delete_the_repeat_is_deleted_unhandled() {
    let queue = queue_of(1, 5);
    let stubborn = Stubborn { deletes: Refusal::lasts(3, "ReceiptHandleIsInvalid"), ..Stubborn::new(&queue) };
    let calls = Calls::default();
    let settings = Settings::new().with_until_empty(true).with_random_seed(1);
    let router = noting(&calls, |_| Ok(()));
    let summary = Consumer::new(stubborn, router, settings).run(std::future::pending()).await.unwrap();
    let counts = summary.counts.clone();
    assert_eq!(
        (counts.received, counts.interrupted, counts.deleted, counts.repeats_deleted),
        (2, 1, 1, 1),
        "{summary}"
    );
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_nack_is_repeated_until_the_message_is_hidden_as_asked() {
    let queue = queue_of(1, 30);
    let stubborn = Stubborn { visibility_changes: Refusal::lasts(3, "InternalError"), ..Stubborn::new(&queue) };
    let calls = Calls::default();
    let fails_at_first = |call| match call {
        1 => Err(HandlerError::retry("not yet").after(Duration::from_secs(100))),
        _ => Ok(()),
    };
    let settings = Settings::new().with_random_seed(1);
    let shutdown = tokio::time::sleep(Duration::from_secs(200));
    let summary = Consumer::new(stubborn, noting(&calls, fails_at_first), settings).run(shutdown).await.unwrap();
    assert_eq!(summary.counts.deleted, 1, "{summary}");
    assert!((100..110).contains(&between(&calls).as_secs()), "{:?}", between(&calls));
}

#[tokio::test(start_paused = true)]
async fn a_nack_is_given_up_in_ten_seconds_and_frees_its_slot() {
    let queue = queue_of(2, 3_600);
    let stubborn = Stubborn { visibility_changes: Refusal::lasts(1_000, "InternalError"), ..Stubborn::new(&queue) };
    let (calls, change_visibility_calls) = (Calls::default(), stubborn.change_visibility_calls.clone());
    let settings = Settings::new().with_concurrency(1).with_random_seed(1);
    let shutdown = tokio::time::sleep(Duration::from_secs(30));
    let router = noting(&calls, |_| Err(HandlerError::reject("never")));
    let summary = Consumer::new(stubborn, router, settings).run(shutdown).await.unwrap();
    assert!((5..10).contains(&between(&calls).as_secs()), "{:?}", between(&calls));
    assert_eq!(change_visibility_calls.load(Ordering::Relaxed), 14, "seven for each, ever further apart");
    assert_eq!((summary.counts.nacked, summary.still_hidden), (2, 2), "until their visibility runs out: {summary}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_can_no_longer_be_hidden_is_let_go_at_once() {
    let queue = queue_of(2, 3_600);
    let stubborn =
        Stubborn { visibility_changes: Refusal::lasts(1_000, "MessageNotInflight"), ..Stubborn::new(&queue) };
    let (calls, change_visibility_calls) = (Calls::default(), stubborn.change_visibility_calls.clone());
    let settings = Settings::new().with_concurrency(1).with_random_seed(1);
    let shutdown = tokio::time::sleep(Duration::from_secs(30));
    let router = noting(&calls, |_| Err(HandlerError::reject("never")));
    Consumer::new(stubborn, router, settings).run(shutdown).await.unwrap();
    assert!(between(&calls) < Duration::from_secs(1), "{:?}", between(&calls));
    assert_eq!(change_visibility_calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_together_goes_ten_to_a_call() {
    let queue = queue_of(100, 30);
    let calls = Calls::default();
    let settings = Settings::new().with_until_empty(true).with_random_seed(1);
    let summary = Consumer::new(queue, noting(&calls, |_| Ok(())), settings).run(std::future::pending()).await.unwrap();
    assert_eq!(summary.counts.deleted, 100, "{summary}");
    assert!(summary.counts.delete_calls <= 15, "{} calls for a hundred messages", summary.counts.delete_calls);
}

#[tokio::test(start_paused = true)]
async fn slow_deletes_of_many_slots_do_not_wait_for_each_other() {
    let mut queue = Stubborn::new(&queue_of(2_000, 300));
    queue.deletes_take = Duration::from_secs(10);
    let at_work = queue.deletes_at_work.clone();
    let settings = Settings::new().with_concurrency(1_000).with_until_empty(true).with_random_seed(1);
    let router = noting(&Calls::default(), |_| Ok(()));
    let summary = Consumer::new(queue, router, settings).run(std::future::pending()).await.unwrap();
    assert_eq!(summary.counts.deleted, 2_000, "{summary}");
    let (_, most) = *at_work.lock().unwrap();
    assert!((90..=110).contains(&most), "one call for ten slots, and not {most} calls");
}

#[tokio::test(start_paused = true)]
async fn messages_that_failed_together_come_back_one_by_one() {
    let queue = queue_of(20, 30);
    let calls = Calls::default();
    let router = noting(&calls, |call| if call <= 20 { Err(HandlerError::retry("not yet")) } else { Ok(()) });
    let settings = Settings::new().with_random_seed(1);
    let summary =
        Consumer::new(queue, router, settings).run(tokio::time::sleep(Duration::from_secs(30))).await.unwrap();
    assert_eq!(summary.counts.deleted, 20, "{summary}");
    let times: BTreeSet<Instant> = calls.lock().unwrap()[20..].iter().copied().collect();
    assert!(times.len() > 10, "their delays are drawn: {times:?}");
}

/// In real time: nothing but a thread that is held up keeps the engine from noticing.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a handler that holds up every task of the thread")]
async fn a_success_after_its_lease_is_known_when_it_comes_again() {
    let queue = queue_of(1, 2);
    let calls = Calls::default();
    let router = noting(&calls, |_| {
        std::thread::sleep(Duration::from_millis(2_100));
        Ok(())
    });
    let settings = Settings::new().with_until_empty(true).with_wait(Duration::from_secs(1)).with_random_seed(1);
    let summary = Consumer::new(queue, router, settings).run(std::future::pending()).await.unwrap();
    let counts = summary.counts.clone();
    assert_eq!((counts.leases_lost, counts.deleted, counts.repeats_deleted), (1, 1, 1), "{summary}");
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_journal_remembers_is_deleted_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new().with_journal(folder.path().join("journal")).with_random_seed(1);
    let queue = queue_of(5, 30);
    let calls = Calls::default();
    let refuses = Stubborn { deletes: Refusal::lasts(1_000, "InternalError"), ..Stubborn::new(&queue) };
    let first = Consumer::new(refuses, noting(&calls, |_| Ok(())), settings.clone()).run(std::future::pending());
    let killed = tokio::time::timeout(Duration::from_secs(10), first).await;
    assert!(killed.is_err(), "it is killed while it waits for its deletes");
    // The tasks of a run that was dropped are gone when the runtime turns next, and with them the lock.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((calls.lock().unwrap().len(), queue.counts().deleted), (5, 0));
    let next = Consumer::new(queue, noting(&calls, |_| Ok(())), settings);
    let summary = next.run(tokio::time::sleep(Duration::from_secs(60))).await.unwrap();
    assert_eq!((summary.counts.repeats_deleted, calls.lock().unwrap().len()), (5, 5), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_body_longer_than_its_gzip_trailer_says_is_decoded() {
    // The length at the end of a gzip is that of its last member alone.
    let mut packed = Vec::new();
    for part in [format!(r#"{{"type":"message.new","custom":{{"text":"{}"}}"#, "x".repeat(100_000)), "}".to_owned()] {
        let mut member = GzEncoder::new(Vec::new(), Compression::default());
        member.write_all(part.as_bytes()).unwrap();
        packed.extend(member.finish().unwrap());
    }
    let body = STANDARD.encode(packed);
    assert!(decode::size_hint(&body) < 2_000, "or this tests nothing");
    let queue = MemoryQueue::new(Default::default());
    queue.send(&body);
    let router = Router::new().route("*", |_: Event, _: Context| async { Ok::<_, HandlerError>(()) });
    let settings = Settings::new().with_until_empty(true).with_random_seed(7);
    let summary = Consumer::new(queue, router, settings).run(std::future::pending()).await.unwrap();
    assert_eq!((summary.counts.deleted, summary.counts.undecodable), (1, 0), "{summary}");
}
