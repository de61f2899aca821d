//! How often the queue is asked when there is nothing to be had from it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Settings, Summary};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, Handler, HandlerError};
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::Instant;

/// Consumes for a while, in which `trouble` begins after ten seconds.
async fn consume(queue: &MemoryQueue, wait: Duration, runs: Duration, trouble: Faults) -> Summary {
    let router = Router::new().route("*", |_: Event, _: Context| async { Ok::<_, HandlerError>(()) });
    let settings = Settings::new().with_wait(wait).with_random_seed(1);
    let shutdown = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        queue.set_faults(trouble);
        tokio::time::sleep(runs).await;
        queue.set_faults(Faults::default());
    };
    Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_only_fails_is_asked_ever_more_slowly() {
    let queue = MemoryQueue::new(Default::default());
    let errors = Faults::new().with_receive_error(1.0);
    let summary = consume(&queue, Duration::from_secs(20), Duration::from_secs(600), errors).await;
    let failed = summary.counts.polls_failed;
    assert!((8..30).contains(&failed), "{failed} receives in ten minutes of errors");
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_costs_one_request_in_20_s_and_never_spins() {
    let idle = MemoryQueue::new(Default::default());
    let summary = consume(&idle, Duration::from_secs(20), Duration::from_secs(3_600), Faults::default()).await;
    assert!(summary.counts.polls <= 185, "{} receives in an hour", summary.counts.polls);
    let hurried = MemoryQueue::new(Default::default());
    let summary = consume(&hurried, Duration::ZERO, Duration::from_secs(60), Faults::default()).await;
    assert!(summary.counts.polls <= 72, "{} receives in seventy seconds", summary.counts.polls);
}

#[tokio::test(start_paused = true)]
async fn two_hanging_polls_in_a_row_open_new_connections() {
    let queue = MemoryQueue::new(Default::default());
    let hangs = Faults::new().with_hang(1.0);
    let summary = consume(&queue, Duration::from_secs(20), Duration::from_secs(90), hangs).await;
    assert!(summary.counts.polls_abandoned >= 2 && summary.counts.reconnects >= 1, "{summary}");
}

/// Works on each message for as long as its number says, and notes when it began.
async fn work(
    queue: &MemoryQueue,
    concurrency: usize,
    takes: fn(usize) -> Duration,
    shutdown: impl Future<Output = ()>,
) -> (Vec<Instant>, Summary) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    let router = Router::new().route("*", move |_: Event, _: Context| {
        let mut noted = noted.lock().unwrap();
        noted.push(Instant::now());
        let call = noted.len();
        async move {
            tokio::time::sleep(takes(call)).await;
            Ok::<_, HandlerError>(())
        }
    });
    let settings = Settings::new().with_concurrency(concurrency).with_random_seed(1);
    let summary = Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap();
    (std::mem::take(&mut *calls.lock().unwrap()), summary)
}

fn send(queue: &MemoryQueue, messages: u32) {
    for _ in 0..messages {
        queue.send(r#"{"type":"message.new"}"#);
    }
}

#[tokio::test(start_paused = true)]
async fn receives_wait_briefly_for_ten_free_slots() {
    let queue = MemoryQueue::new(Default::default());
    send(&queue, 1_000);
    let staggered = |call: usize| Duration::from_millis(call as u64 * 7 % 25);
    let (_, summary) = work(&queue, 10, staggered, tokio::time::sleep(Duration::from_secs(60))).await;
    assert_eq!(summary.counts.deleted, 1_000, "{summary}");
    let filled = summary.counts.polls - summary.counts.polls_empty;
    assert!(filled <= 105, "{filled} receives for a thousand messages");
}

#[tokio::test(start_paused = true)]
async fn a_receive_does_not_wait_long_for_ten_free_slots() {
    let queue = MemoryQueue::new(Default::default());
    send(&queue, 5);
    let began = Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        send(&queue, 5);
        tokio::time::sleep(Duration::from_secs(30)).await;
    };
    let (calls, _) = work(&queue, 10, |_| Duration::from_secs(20), later).await;
    assert_eq!(calls.len(), 10);
    assert!(calls[9] - began < Duration::from_millis(600), "the last began after {:?}", calls[9] - began);
}

#[tokio::test(start_paused = true)]
async fn full_receives_are_followed_by_more_at_the_same_time() {
    let faults = Faults::new().with_latency(Duration::from_secs(2));
    let queue = MemoryQueue::new(MemorySettings::new().with_faults(faults));
    send(&queue, 2_000);
    let router = Router::new().route("*", |_: Event, _: Context| async { Ok::<_, HandlerError>(()) });
    let settings = Settings::new().with_random_seed(1);
    let consumer = Consumer::new(queue.clone(), router, settings);
    let monitor = consumer.monitor();
    let mut most = 0;
    let watch = async {
        while queue.counts().deleted < 2_000 {
            most = most.max(monitor.snapshot().open_polls);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(monitor.snapshot().open_polls, 1, "one is enough on an idle queue");
    };
    assert!(consumer.run(watch).await.unwrap().adds_up());
    assert!((3..=7).contains(&most), "{most} receives at the same time");
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_empty_only_after_a_full_long_poll() {
    let queue = MemoryQueue::new(Default::default());
    let router = Router::new().route("*", |_: Event, _: Context| async { Ok::<_, HandlerError>(()) });
    let settings = Settings::new().with_until_empty(true).with_random_seed(1);
    let consumer = Consumer::new(queue.clone(), router, settings);
    let late = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        send(&queue, 1);
    };
    let (summary, ()) = tokio::join!(consumer.run(std::future::pending()), late);
    assert_eq!(summary.unwrap().counts.deleted, 1);
}

/// Notes how many of its calls there were at the same time at the most.
struct Two(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Handler<Event> for Two {
    type Error = HandlerError;

    async fn handle(&self, _: Event, _: Context) -> Result<(), HandlerError> {
        self.1.fetch_max(self.0.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.0.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    fn max_concurrency(&self) -> Option<usize> {
        Some(2)
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_called_for_no_more_than_it_can_take() {
    let queue = MemoryQueue::new(Default::default());
    send(&queue, 20);
    let most = Arc::<AtomicUsize>::default();
    let router = Router::new().route("*", Two(Arc::default(), most.clone()));
    let settings = Settings::new().with_random_seed(1);
    Consumer::new(queue.clone(), router, settings).run(tokio::time::sleep(Duration::from_secs(30))).await.unwrap();
    assert_eq!((queue.counts().deleted, most.load(Ordering::Relaxed)), (20, 2));
}
