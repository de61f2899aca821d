//! More messages than slots.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::Ended;
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::router::Router;

use super::body::{base64, event, gzip};
use super::engine::{self, quick};
use super::queue::{TestQueue, Wanted};

const MESSAGES: usize = 2_000;

#[tokio::test]
async fn two_thousand_messages_through_64_slots_are_handled_once_each() {
    let queue = TestQueue::new("two_thousand", Wanted::default()).await;
    let bodies = (0..MESSAGES).map(|number| match number % 2 {
        0 => event(number).to_string(),
        _ => base64(gzip(&event(number).to_string())),
    });
    let ids = queue.send(bodies).await;

    let handled = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (handled, now, most) = (handled.clone(), now.clone(), most.clone());
        move |_: Event, ctx: Context| {
            let (handled, now, most) = (handled.clone(), now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                // So that handlers overlap.
                tokio::time::sleep(Duration::from_millis(50)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                *handled.lock().unwrap().entry(ctx.message_id().to_string()).or_default() += 1;
                Ok::<_, HandlerError>(())
            }
        }
    };
    let settings = quick().with_concurrency(64).with_until_empty(true);
    let summary = engine::start(&queue, Router::new().fallback(handler), settings).await.ended().await;

    let once_each: BTreeMap<String, u32> = ids.into_iter().map(|id| (id, 1)).collect();
    assert_eq!(once_each.len(), MESSAGES);
    assert!(*handled.lock().unwrap() == once_each, "some were not handled, or twice");
    let most = most.load(Ordering::Relaxed);
    assert!((2..=64).contains(&most), "{most} handlers at the same time");
    assert_eq!(summary.ended, Ended::QueueEmpty);
    assert_eq!(summary.counts.deleted, MESSAGES as u64, "{summary}");
    assert_eq!(summary.counts.client_fallbacks, 0, "the AWS SDK was needed");
    queue.emptied().await;
    assert_eq!(queue.dead_letters.count().await, 0);
}
