//! A run that is to go on until the queue is empty, which it never will be.

use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Ended, Settings, Summary};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::MAX_WAIT;
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// Handles what is good, and says of all else that the target is at fault.
async fn handle(event: Event, _context: Context) -> Result<(), HandlerError> {
    if event.json().contains("good") { Ok(()) } else { Err(HandlerError::target_down("500")) }
}

/// A run on a queue with so many messages, all of which fail; after how long it ended, and how.
async fn until_empty(failing: usize, good: usize) -> (Duration, Summary, MemoryQueue) {
    let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(3));
    for _ in 0..failing {
        queue.send(r#"{"type":"message.new"}"#);
    }
    for _ in 0..good {
        queue.send(r#"{"type":"message.new","text":"good"}"#);
    }
    let settings = Settings::new().with_until_empty(true).with_random_seed(7);
    let run = Consumer::new(queue.clone(), Router::new().route("*", handle), settings);
    let began = Instant::now();
    let summary = tokio::time::timeout(60 * MINUTE, run.run(std::future::pending()));
    let summary = summary.await.expect("a run that ends").unwrap();
    (began.elapsed(), summary, queue)
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nothing_has_succeeded_for_15_minutes() {
    for failing in [1, 3, 200] {
        let (took, summary, queue) = until_empty(failing, 0).await;
        assert_eq!(summary.ended, Ended::TargetUnavailable, "{summary}");
        assert!((15 * MINUTE..16 * MINUTE).contains(&took), "{failing}: {took:?}");
        // The long poll that was open could take straight back what is visible before its end.
        tokio::time::sleep(MAX_WAIT).await;
        let counts = queue.counts();
        assert_eq!((summary.counts.deleted, summary.counts.nacked, counts.dead_lettered), (0, 0, 0), "{summary}");
        assert_eq!((counts.hidden, counts.visible), (0, failing as u64), "all is returned: {counts:?}");
        assert!(summary.adds_up(), "{summary}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_fail_behind_good_ones_are_handed_back_too() {
    let (took, summary, queue) = until_empty(5, 300).await;
    assert_eq!((summary.ended, summary.counts.returned), (Ended::TargetUnavailable, 5), "{summary}");
    assert_eq!((queue.counts().deleted, queue.counts().dead_lettered), (300, 0), "{summary}");
    assert!((15 * MINUTE..16 * MINUTE).contains(&took), "{took:?}");
    assert!(summary.adds_up(), "{summary}");
}
