//! What ends a run at its start, and that nothing of it does later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Ended, RunError, Settings, Summary};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryResult, Queue, QueueError, QueueFacts, Receipt};
use stream_sqsd::router::Router;
use stream_sqsd::telemetry::Phase;
use tokio::time::{Instant, timeout};

/// What becomes of a receive, by its number from 1: None is an answer of the queue.
type Script = fn(u32) -> Option<Trouble>;

enum Trouble {
    Fails(QueueError),
    Hangs,
}

#[derive(Clone)]
struct Scripted {
    queue: MemoryQueue,
    script: Script,
    receives: Arc<AtomicU32>,
    /// What becomes of reading the attributes, likewise.
    attributes: Script,
    asked: Arc<AtomicU32>,
}

impl Scripted {
    fn new(script: Script) -> Self {
        let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(3));
        queue.send(r#"{"type":"message.new"}"#);
        Scripted { queue, script, receives: Arc::default(), attributes: |_| None, asked: Arc::default() }
    }

    fn receives(&self) -> u32 {
        self.receives.load(Ordering::Relaxed)
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    async fn consume(&self, shutdown: impl Future<Output = ()>) -> Result<Summary, RunError> {
        let router = Router::new().route("*", |_: Event, _: Context| async { Ok::<_, HandlerError>(()) });
        let settings = Settings::new().with_random_seed(1);
        Consumer::new(self.clone(), router, settings).run(shutdown).await
    }
}

impl Queue for Scripted {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        match (self.script)(self.receives.fetch_add(1, Ordering::Relaxed) + 1) {
            None => self.queue.receive(max, wait, visibility).await,
            Some(Trouble::Fails(failure)) => Err(failure),
            Some(Trouble::Hangs) => std::future::pending().await,
        }
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.delete(batch).await
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.change_visibility(batch).await
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        match (self.attributes)(self.asked.fetch_add(1, Ordering::Relaxed) + 1) {
            None => self.queue.facts().await,
            Some(Trouble::Fails(failure)) => Err(failure),
            Some(Trouble::Hangs) => std::future::pending().await,
        }
    }

    fn known(&self) -> QueueFacts {
        self.queue.known()
    }

    fn reconnect(&self) {}
}

fn denied() -> Option<Trouble> {
    Some(Trouble::Fails(QueueError::AccessDenied { action: "sqs:ReceiveMessage", message: "no".into() }))
}

fn unreachable() -> Option<Trouble> {
    Some(Trouble::Fails(QueueError::Unreachable { message: "no route".into() }))
}

fn throttled() -> Option<Trouble> {
    Some(Trouble::Fails(QueueError::Throttled { code: "RequestThrottled".into() }))
}

#[tokio::test(start_paused = true)]
async fn a_first_receive_that_needs_action_ends_the_run_at_once() {
    let queue = Scripted::new(|_| denied());
    let ended = queue.consume(std::future::pending()).await;
    assert!(matches!(ended, Err(RunError::Queue(QueueError::AccessDenied { .. }))), "{ended:?}");
    assert_eq!(queue.receives(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_queue_is_tried_three_times_at_the_start() {
    let queue = Scripted::new(|_| unreachable());
    let ended = queue.consume(std::future::pending()).await;
    assert!(matches!(ended, Err(RunError::Queue(QueueError::Unreachable { .. }))), "{ended:?}");
    assert_eq!(queue.receives(), 3);

    let queue = Scripted::new(|receive| (receive < 3).then(unreachable).flatten());
    let summary = queue.consume(tokio::time::sleep(Duration::from_secs(60))).await.unwrap();
    assert_eq!(summary.counts.deleted, 1, "the third succeeded: {summary}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_asks_for_patience_at_the_start_is_given_it() {
    let queue = Scripted::new(|receive| (receive < 8).then(throttled).flatten());
    let summary = queue.consume(tokio::time::sleep(Duration::from_secs(600))).await.unwrap();
    assert_eq!((summary.counts.polls_failed, summary.counts.deleted), (7, 1), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_first_receive_that_hangs_ends_the_run() {
    let queue = Scripted::new(|_| Some(Trouble::Hangs));
    let began = Instant::now();
    let ended = queue.consume(std::future::pending()).await;
    assert!(matches!(ended, Err(RunError::Queue(QueueError::TimedOut { .. }))), "{ended:?}");
    assert_eq!(began.elapsed().as_secs(), 11, "a second of waiting, and ten");
}

#[tokio::test(start_paused = true)]
async fn after_its_first_good_receive_nothing_ends_a_run() {
    for trouble in [
        (|receive| (2..9).contains(&receive).then(denied).flatten()) as Script,
        |receive| (2..9).contains(&receive).then(unreachable).flatten(),
        |receive| (2..9).contains(&receive).then_some(Trouble::Hangs),
    ] {
        let queue = Scripted::new(trouble);
        let late = async {
            tokio::time::sleep(Duration::from_secs(3_000)).await;
            queue.queue.send(r#"{"type":"message.new"}"#);
            tokio::time::sleep(Duration::from_secs(100)).await;
        };
        let summary = queue.consume(late).await.unwrap();
        assert_eq!(summary.counts.deleted, 2, "{summary}");
        assert_eq!(summary.counts.polls_failed + summary.counts.polls_abandoned, 7, "{summary}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_stopped_before_its_first_answer_ends_well() {
    for trouble in [(|_| unreachable()) as Script, |_| Some(Trouble::Hangs)] {
        let queue = Scripted::new(trouble);
        let shutdown = async {
            while queue.receives() == 0 {
                tokio::task::yield_now().await;
            }
        };
        let summary = timeout(Duration::from_secs(60), queue.consume(shutdown)).await.expect("in time").unwrap();
        assert_eq!((summary.ended, summary.counts.received), (Ended::Drained, 0), "{summary}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_says_what_it_is_about() {
    let queue = Scripted::new(|receive| (receive == 1).then(throttled).flatten());
    let settings = Settings::new().with_random_seed(1);
    let consumer = Consumer::new(queue.clone(), Router::new(), settings);
    let monitor = consumer.monitor();
    assert_eq!(monitor.snapshot().phase, Phase::Starting);
    let look = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(monitor.snapshot().phase, Phase::Starting, "nothing was received yet");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(monitor.snapshot().phase, Phase::Receiving, "one was received, and the next receive waits");
    };
    consumer.run(look).await.unwrap();
    let ended = monitor.snapshot();
    assert_eq!((ended.phase, ended.slots_free), (Phase::Ended, ended.concurrency), "nothing is held any longer");
}

/// Runs for so many seconds; says how often the attributes were asked for, what was known of them at the end, and when.
async fn attributes(attributes: Script, seconds: u64) -> (u32, Option<u32>, Option<u64>) {
    let queue = Scripted { attributes, ..Scripted::new(|_| None) };
    let settings = Settings::new().with_random_seed(1);
    let consumer = Consumer::new(queue.clone(), Router::new(), settings);
    let monitor = consumer.monitor();
    let began = Instant::now();
    let mut known_after = None;
    let shutdown = async {
        while began.elapsed().as_secs() < seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if monitor.queue().is_some_and(|queue| queue.max_receive_count.is_some()) {
                known_after.get_or_insert(began.elapsed().as_secs());
            }
        }
    };
    consumer.run(shutdown).await.unwrap();
    let seen = monitor.queue().expect("it was looked at");
    assert_eq!((seen.name.as_deref(), monitor.snapshot().attributes_calls), (Some("memory"), u64::from(queue.asked())));
    (queue.asked(), seen.max_receive_count, known_after)
}

#[tokio::test(start_paused = true)]
async fn unreadable_attributes_are_asked_for_again() {
    let (asked, known, after) = attributes(|call| (call < 4).then(throttled).flatten(), 600).await;
    assert_eq!((asked, known), (4, Some(3)));
    assert!(after.is_some_and(|after| (20..60).contains(&after)), "5, 10 and 20 s later: {after:?}");
    let (asked, known, _) = attributes(|call| (call < 3).then_some(Trouble::Hangs), 600).await;
    assert_eq!((asked, known), (3, Some(3)), "an answer that does not come is waited for no longer than 10 s");
}

#[tokio::test(start_paused = true)]
async fn attributes_that_are_denied_are_asked_for_slowly() {
    let (asked, known, _) = attributes(|_| denied(), 3_600).await;
    assert!((5..=9).contains(&asked), "{asked} requests in an hour");
    assert_eq!(known, None);
    let (_, known, after) = attributes(|call| (call < 3).then(denied).flatten(), 3_600).await;
    assert!(known == Some(3) && after.is_some_and(|after| after < 1_600), "the permission was granted: {after:?}");
}
