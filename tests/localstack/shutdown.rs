//! SIGTERM: whatever the daemon is doing, afterwards each message is deleted or can be received, and none is hidden.

use std::sync::Arc;
use std::time::Duration;

use stream_sqsd::consumer::Ended;
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::router::Router;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::body::event;
use super::daemon;
use super::engine::{self, quick};
use super::queue::{Counts, TestQueue, Wanted};
use super::support::until::until;

/// How long after the end a message may still be hidden.
const AT_MOST: Duration = Duration::from_secs(2);

/// The queue once nothing in it is hidden.
pub(crate) async fn settled(queue: &TestQueue) -> Counts {
    until("nothing is left hidden", AT_MOST, async || queue.counts().await, |counts| counts.hidden == 0).await
}

#[tokio::test]
async fn sigterm_in_the_middle_of_work_leaves_nothing_hidden() {
    let queue = TestQueue::new("sigterm_at_work", Wanted::default()).await;
    queue.send((0..1_000).map(|number| event(number).to_string())).await;

    let mut daemon = daemon::run(&queue, &[]);
    for _ in 0..50 {
        daemon.line().await;
    }
    daemon.terminate();
    let ended = daemon.end().await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let handled = 50 + ended.lines().len() as u64;
    assert!(handled < 1_000, "it was not in the middle of work");
    let summary = daemon::summary(&ended);
    assert_eq!(summary.deleted, handled);
    assert_eq!(settled(&queue).await.visible, 1_000 - handled);
    assert_eq!(queue.dead_letters.count().await, 0);
}

#[tokio::test]
async fn sigterm_in_a_long_poll_returns_what_the_poll_still_brings() {
    let queue = TestQueue::new("sigterm_idle", Wanted::default()).await;
    let mut daemon = daemon::run(&queue, &[]);
    // The second comes by a long poll that was open before it was sent, as the next one then is.
    for number in 0..2 {
        queue.send([event(number).to_string()]).await;
        daemon.line().await;
        queue.emptied().await;
    }

    daemon.terminate();
    // Before that it may well begin with what comes.
    daemon.says("draining").await;
    queue.send((0..10).map(|number| event(number).to_string())).await;
    let ended = daemon.end().await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.lines().len(), 0, "nothing was started after the signal");
    assert!(daemon::summary(&ended).returned > 0, "the poll was not open: {}", ended.stderr);
    assert_eq!(settled(&queue).await.visible, 10);
}

#[tokio::test]
async fn sigterm_while_nobody_reads_stdout_returns_what_is_stuck() {
    let queue = TestQueue::new("sigterm_unread", Wanted::default()).await;
    // More than a pipe holds.
    let bulky = |number| {
        let mut event = event(number);
        event["message"]["text"] = "round the garden ".repeat(1_000).into();
        event.to_string()
    };
    queue.send((0..40).map(bulky)).await;

    let mut daemon = daemon::run(&queue, &["--wait", "1s", "--grace", "4s"]);
    daemon.line().await;
    until("it is stuck", Duration::from_secs(30), async || queue.counts().await, |counts| counts.visible == 0).await;
    daemon.terminate();
    let ended = daemon.end_unread().await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary = daemon::summary(&ended);
    assert!(summary.deleted < 40, "it was not stuck: {summary:?}");
    assert_eq!(settled(&queue).await.visible, 40 - summary.deleted);
}

#[tokio::test]
async fn a_handler_beyond_the_grace_returns_its_message() {
    let queue = TestQueue::new("grace_runs_out", Wanted::default()).await;
    queue.send((0..20).map(|number| event(number).to_string())).await;

    // Ten handlers find leave to finish, the others wait for ever.
    let begun = Arc::new(Semaphore::new(0));
    let leave = Arc::new(Semaphore::new(0));
    let handler = {
        let (begun, leave) = (begun.clone(), leave.clone());
        move |_: Event, _: Context| {
            begun.add_permits(1);
            let leave = leave.clone();
            async move {
                leave.acquire().await.unwrap().forget();
                Ok::<_, HandlerError>(())
            }
        }
    };
    let settings = quick().with_grace(Duration::from_secs(4));
    let engine = engine::start(&queue, Router::new().fallback(handler), settings).await;
    let all = timeout(Duration::from_secs(30), begun.acquire_many(20)).await.expect("all are called").unwrap();
    all.forget();
    leave.add_permits(10);
    let summary = engine.stop().await;

    assert_eq!(summary.ended, Ended::GraceRanOut);
    assert_eq!(summary.counts.deleted, 10, "{summary}");
    assert_eq!(settled(&queue).await.visible, 10);
}
