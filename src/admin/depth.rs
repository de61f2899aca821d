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

/// How to read something of a queue.
pub(super) type Read<T> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, QueueError>> + Send>> + Send + Sync>;

pub(super) fn erase<T, F>(read: impl Fn() -> F + Send + Sync + 'static) -> Read<T>
where
    F: Future<Output = Result<T, QueueError>> + Send + 'static,
{
    Box::new(move || Box::pin(read()))
}

/// Both queues, each of which may not be readable.
#[derive(Default)]
pub(super) struct Depths {
    pub(super) queue: Option<Read<QueueFacts>>,
    /// How many messages are there; None where there is no such queue.
    pub(super) dead_letters: Option<Read<Option<u64>>>,
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
                dead_letters: dead_letters.flatten(),
            };
            monitor.depth_was(depth, requests);
            tokio::time::sleep(READ_EVERY).await;
        }
    }
}

async fn read<T>(read: &Option<Read<T>>) -> Option<T> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use super::*;
    use crate::consumer::{Consumer, Settings};
    use crate::queue::memory::MemoryQueue;
    use crate::router::Router;

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_read_on_request_and_at_most_once_a_minute() {
        let settings = Settings { wall_clock: || SystemTime::UNIX_EPOCH, ..Settings::default() };
        let monitor = Consumer::new(MemoryQueue::new(Default::default()), Router::new(), settings).monitor();
        let reads = Arc::new(AtomicU64::new(0));
        let counted = reads.clone();
        let read = erase(move || {
            let visible = Some(counted.fetch_add(1, Ordering::Relaxed) + 1);
            async move { Ok(QueueFacts { visible, ..QueueFacts::default() }) }
        });
        let depths = Depths { queue: Some(read), ..Depths::default() };
        let read_in = async |seconds| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            reads.load(Ordering::Relaxed)
        };
        let look = async {
            assert_eq!(read_in(3_600).await, 0, "nobody asked");
            depths.ask();
            assert_eq!(read_in(1).await, 1);
            assert_eq!(monitor.depth().map(|reading| reading.depth.visible), Some(Some(1)));
            for _ in 0..50 {
                depths.ask();
                assert_eq!(read_in(1).await, 1, "not twice within a minute");
            }
            assert_eq!(read_in(10).await, 2, "somebody asked since");
            assert_eq!(read_in(3_600).await, 2, "nobody asked since");
        };
        tokio::select! {
            biased;
            never = depths.keep(&monitor) => match never {},
            () = look => {}
        }
    }
}
