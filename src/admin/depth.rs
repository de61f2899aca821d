//! How deep the queue and its dead-letter queue are: asked at most once a minute, and only for somebody who watches.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::debug;

use crate::queue::{QueueError, QueueFacts};
use crate::telemetry::{Depth, Monitor};

/// The shortest time between two readings. Each is a request, which AWS bills.
const READ_EVERY: Duration = Duration::from_secs(60);

/// How long one reading may take.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// How to read the facts of a queue.
pub(super) type Read =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<QueueFacts, QueueError>> + Send>> + Send + Sync>;

pub(super) fn erase<F>(read: impl Fn() -> F + Send + Sync + 'static) -> Read
where
    F: Future<Output = Result<QueueFacts, QueueError>> + Send + 'static,
{
    Box::new(move || Box::pin(read()))
}

/// Both queues, each of which may not be readable.
#[derive(Default)]
pub(super) struct Depths {
    pub(super) queue: Option<Read>,
    pub(super) dead_letters: Option<Read>,
    asked: Notify,
}

impl Depths {
    /// Somebody wants to know.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Reads for as long as it is polled.
    pub(super) async fn keep(&self, monitor: &Monitor) -> Infallible {
        loop {
            // It holds one question, so that one that came during the last minute is answered after it.
            self.asked.notified().await;
            let (queue, dead_letters) = tokio::join!(read(&self.queue), read(&self.dead_letters));
            let requests = u64::from(self.queue.is_some()) + u64::from(self.dead_letters.is_some());
            let depth = Depth {
                visible: queue.as_ref().and_then(|facts| facts.visible),
                hidden: queue.as_ref().and_then(|facts| facts.hidden),
                dead_letters: dead_letters.as_ref().and_then(|facts| facts.visible),
            };
            monitor.depth_was(depth, requests);
            tokio::time::sleep(READ_EVERY).await;
        }
    }
}

async fn read(read: &Option<Read>) -> Option<QueueFacts> {
    let read = read.as_ref()?();
    match tokio::time::timeout(READ_LIMIT, read).await {
        Ok(Ok(facts)) => Some(facts),
        Ok(Err(error)) => {
            debug!(%error, "the depth of a queue cannot be read");
            None
        }
        Err(_) => {
            debug!("the depth of a queue did not come in time");
            None
        }
    }
}

impl fmt::Debug for Depths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queue, dead_letters) = (self.queue.is_some(), self.dead_letters.is_some());
        f.debug_struct("Depths").field("queue", &queue).field("dead_letters", &dead_letters).finish()
    }
}
