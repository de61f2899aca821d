//! Messages that fail: how often they come back, when, and where they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::router::Router;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::body::{base64, event};
use super::daemon;
use super::engine::{self, quick};
use super::queue::{TestQueue, Wanted};

#[tokio::test]
async fn an_undecodable_message_is_dead_lettered_after_its_receives() {
    let queue = TestQueue::new("undecodable", Wanted { max_receive_count: 2, ..Wanted::default() }).await;
    let bad = [base64("no JSON in here"), "%%%".to_owned(), r#"{"kind":"of no type"}"#.to_owned()];
    queue.send(bad.clone()).await;
    queue.send([event(1).to_string()]).await;

    let mut daemon = daemon::run(&queue, &["--wait", "1s"]);
    assert_eq!(daemon.line().await["event"], event(1));
    let mut sorted = bad.to_vec();
    sorted.sort();
    assert_eq!(queue.dead_letters.arrived(3).await, sorted);
    daemon.terminate();
    let ended = daemon.end().await;

    assert_eq!(ended.lines().len(), 0);
    let summary = daemon::summary(&ended);
    assert_eq!((summary.deleted, summary.nacked), (1, 3 * 2), "{}", ended.stderr);
    for body in &bad {
        assert!(!ended.stderr.contains(body.as_str()), "the log quotes a body:\n{}", ended.stderr);
    }
    queue.emptied().await;
}

#[tokio::test]
async fn a_failing_message_is_dead_lettered_after_its_receives() {
    let queue = TestQueue::new("always_fails", Wanted { max_receive_count: 3, ..Wanted::default() }).await;
    queue.send([event(1).to_string()]).await;

    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let handler = move |_: Event, _: Context| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err(HandlerError::retry("it always fails")) }
    };
    let engine = engine::start(&queue, Router::new().fallback(handler), quick()).await;

    assert_eq!(queue.dead_letters.arrived(1).await, [event(1).to_string()]);
    let summary = engine.stop().await;
    assert_eq!((summary.counts.nacked, summary.counts.deleted), (3, 0), "{summary}");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    queue.emptied().await;
}

#[tokio::test]
async fn a_retry_delay_that_a_handler_names_is_kept() {
    let queue = TestQueue::new("named_delay", Wanted::default()).await;
    queue.send([event(1).to_string()]).await;

    let delay = Duration::from_secs(4);
    let (seen, mut calls) = mpsc::unbounded_channel();
    let handler = move |_: Event, ctx: Context| {
        seen.send(Instant::now()).unwrap();
        async move { if ctx.receive_count() == 1 { Err(HandlerError::retry("not yet").after(delay)) } else { Ok(()) } }
    };
    let engine = engine::start(&queue, Router::new().fallback(handler), quick()).await;

    let mut call = async || timeout(Duration::from_secs(60), calls.recv()).await.expect("a call in time").unwrap();
    let (first, second) = (call().await, call().await);
    let waited = second - first;
    // LocalStack shows a message up to a second after its time; the rest is for a busy machine.
    assert!(delay <= waited && waited < delay + Duration::from_secs(10), "{waited:?}");
    queue.emptied().await;
    engine.stop().await;
}
