//! The engine around a handler, on a queue in memory that dead-letters a message after three receives.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Settings, Summary};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, FailureKind, Handler, HandlerError};
use stream_sqsd::queue::memory::{MemoryCounts, MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;

use crate::support::engine::Running;
use crate::support::until::{PATIENCE, until};

/// A consumer that runs.
pub(crate) struct Engine {
    queue: MemoryQueue,
    calls: Arc<Calls>,
    running: Running,
}

/// What a handler was seen to do.
#[derive(Default)]
struct Calls {
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
    /// What it answered instead of success, and to which receive.
    refusals: Mutex<Vec<(FailureKind, u32)>>,
}

impl Engine {
    /// Runs a handler, for so many messages at the same time.
    pub(crate) fn start(handler: Arc<impl Handler<Event, Error = HandlerError>>, concurrency: usize) -> Self {
        Engine::with(handler, Settings::new().with_concurrency(concurrency))
    }

    pub(crate) fn with(handler: Arc<impl Handler<Event, Error = HandlerError>>, settings: Settings) -> Self {
        let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(3));
        let calls = Arc::new(Calls::default());
        let seen = calls.clone();
        let watched = move |event: Event, ctx: Context| {
            let (handler, seen) = (handler.clone(), seen.clone());
            async move {
                let receive_count = ctx.receive_count();
                let at_work = seen.at_work.fetch_add(1, Ordering::SeqCst) + 1;
                seen.most_at_work.fetch_max(at_work, Ordering::SeqCst);
                let result = handler.handle(event, ctx).await;
                seen.at_work.fetch_sub(1, Ordering::SeqCst);
                if let Err(error) = &result {
                    seen.refusals.lock().unwrap().push((error.kind(), receive_count));
                }
                result
            }
        };
        let settings = settings.with_wait(Duration::from_secs(1));
        let consumer = Consumer::new(queue.clone(), Router::new().fallback(watched), settings);
        Engine { queue, calls, running: Running::start(consumer) }
    }

    /// Sends so many events.
    pub(crate) fn send(&self, count: usize) {
        for _ in 0..count {
            self.queue.send(r#"{"type":"message.new"}"#);
        }
    }

    pub(crate) fn queue(&self) -> MemoryQueue {
        self.queue.clone()
    }

    pub(crate) fn counts(&self) -> MemoryCounts {
        self.queue.counts()
    }

    pub(crate) fn refusals(&self) -> Vec<(FailureKind, u32)> {
        self.calls.refusals.lock().unwrap().clone()
    }

    pub(crate) fn most_at_work(&self) -> usize {
        self.calls.most_at_work.load(Ordering::SeqCst)
    }

    /// Waits until so many messages in all were handled and deleted.
    pub(crate) async fn until_deleted(&self, count: u64) {
        self.until("so many are deleted", || self.counts().deleted == count).await;
    }

    /// Waits until so many messages were dead-lettered.
    pub(crate) async fn until_dead_lettered(&self, count: u64) {
        self.until("so many are dead-lettered", || self.counts().dead_lettered == count).await;
    }

    /// Sends three events to a target that is down, and waits until the engine has tried each of them once and three of
    /// them again, the last after seven seconds.
    pub(crate) async fn meet_an_outage(&self) {
        self.send(3);
        self.until("the target is tried again and again", || self.refusals().len() >= 3 + 3).await;
        for refusal in self.refusals() {
            assert_eq!(refusal, (FailureKind::TargetDown, 1), "trying again costs no receive");
        }
    }

    /// Waits until so many messages are at work and asserts that they are all that was taken from the queue.
    pub(crate) async fn until_full(&self, slots: usize) {
        self.until("every slot is at work", || self.calls.at_work.load(Ordering::SeqCst) == slots).await;
        let counts = self.counts();
        assert_eq!((counts.hidden, counts.deleted), (slots as u64, 0), "the rest waits in the queue: {counts:?}");
    }

    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let look = async || (is_so(), self.counts(), self.refusals());
        until(what, PATIENCE, look, |(is_so, ..)| *is_so).await;
    }

    /// Stops it, and asserts that every message was handled and none is left or dead-lettered.
    pub(crate) async fn end(self) {
        let counts = self.counts();
        let summary = self.stop().await;
        assert_eq!((counts.deleted, counts.dead_lettered), (counts.sent, 0), "{summary}");
    }

    /// Stops it.
    pub(crate) async fn stop(self) -> Summary {
        self.running.stop().await
    }
}
