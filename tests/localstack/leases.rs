//! Messages whose handlers take longer than the visibility timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::router::Router;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::body::event;
use super::engine::{self, quick};
use super::queue::{Counts, TestQueue, Wanted};

#[tokio::test]
async fn a_handler_beyond_the_visibility_timeout_keeps_its_message() {
    let queue = TestQueue::new("outlives", Wanted { visibility: 3, ..Wanted::default() }).await;
    queue.send([event(1).to_string()]).await;

    let calls = Arc::new(AtomicU64::new(0));
    let (begun, may_end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (calls, begun, may_end) = (calls.clone(), begun.clone(), may_end.clone());
        move |_: Event, _: Context| {
            calls.fetch_add(1, Ordering::Relaxed);
            begun.notify_one();
            let may_end = may_end.clone();
            async move {
                may_end.notified().await;
                Ok::<_, HandlerError>(())
            }
        }
    };
    let engine = engine::start(&queue, Router::new().fallback(handler), quick()).await;
    timeout(Duration::from_secs(30), begun.notified()).await.expect("the handler is called");

    // Another consumer waits for three times the visibility timeout and gets nothing.
    assert_eq!(queue.peek(9).await.len(), 0, "the message was let go");
    assert_eq!(queue.counts().await, Counts { visible: 0, hidden: 1 });

    may_end.notify_one();
    queue.emptied().await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let summary = engine.stop().await;
    assert_eq!((summary.counts.received, summary.counts.deleted), (1, 1), "{summary}");
}
