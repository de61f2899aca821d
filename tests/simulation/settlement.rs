//! Deletes that fail for a while: what is handled stays hidden, and what is let go comes back at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, RetryDelay, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryError, EntryResult, Queue, QueueError, QueueFacts, Receipt};
use stream_sqsd::router::Router;
use tokio::time::Instant;

/// A queue that refuses deletes, entry by entry, until a time.
#[derive(Clone)]
struct Stubborn {
    queue: MemoryQueue,
    until: Instant,
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
        if Instant::now() < self.until {
            let error =
                EntryError { code: "InternalError".into(), message: "not this time".into(), sender_fault: false };
            return Ok(vec![Err(error); batch.len()]);
        }
        self.queue.delete(batch).await
    }

    async fn hide(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.hide(batch).await
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        self.queue.facts().await
    }

    fn reconnect(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_handled_message_stays_hidden_until_its_delete_is_confirmed() {
    let queue = MemoryQueue::new(MemorySettings { visibility_timeout: Duration::from_secs(5), ..Default::default() });
    for _ in 0..50 {
        queue.send(r#"{"type":"message.new"}"#);
    }
    let stubborn = Stubborn { queue: queue.clone(), until: Instant::now() + Duration::from_secs(120) };
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { if context.receive_count() == 1 { Ok(()) } else { Err(HandlerError::bad("a second receive")) } }
    });
    let settings = Settings { until_empty: true, random_seed: Some(1), ..Settings::default() };
    let closing = Consumer::new(stubborn, router, settings).run(std::future::pending()).await.unwrap();
    assert_eq!((closing.counts.received, closing.counts.deleted), (50, 50), "{closing}");
    assert_eq!(calls.load(Ordering::Relaxed), 50);
    assert_eq!(queue.counts().deleted, 50);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_let_go_with_no_delay_is_worked_on_at_each_receive() {
    let settings = MemorySettings {
        max_receive_count: Some(3),
        // The answer to the letting go takes longer than the next receive.
        faults: stream_sqsd::queue::memory::Faults { latency: Duration::from_millis(500), ..Default::default() },
        ..Default::default()
    };
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
    let settings = Settings {
        until_empty: true,
        random_seed: Some(1),
        retry: RetryDelay { min: Duration::ZERO, max: Duration::ZERO },
        ..Settings::default()
    };
    let closing = Consumer::new(queue.clone(), router, settings).run(std::future::pending()).await.unwrap();
    assert_eq!(queue.counts().dead_lettered, 20);
    assert_eq!(calls.load(Ordering::Relaxed), 60, "three receives, three calls: {closing}");
}
