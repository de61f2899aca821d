//! What goes on beyond a handler's future keeps its message, for as long as that can be waited for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, RetryDelay, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::MemoryQueue;
use stream_sqsd::router::Router;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// How a handler fails that leaves work behind.
#[derive(Clone, Copy)]
enum End {
    AtOnce,
    WhenCancelled,
    /// It does not hear, and its future is dropped.
    Never,
}

/// When a message that comes again at once is with its handler, which leaves something behind for `goes_on_for`. The stop
/// comes after ten seconds, and takes eight at the most. In the second place when the run ended, and the queue at last.
async fn calls(end: End, goes_on_for: Duration, handler_timeout: Duration) -> (Vec<Duration>, Duration, MemoryQueue) {
    let queue = MemoryQueue::new(Default::default());
    queue.send(r#"{"type":"message.new"}"#);
    let began = Instant::now();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        noted.lock().unwrap().push(began.elapsed());
        async move {
            let hold = context.hold();
            #[allow(clippy::disallowed_methods, reason = "it outlives its handler, and is not part of the engine")]
            tokio::spawn(async move {
                sleep(goes_on_for).await;
                drop(hold);
            });
            match end {
                End::AtOnce => {}
                End::WhenCancelled => context.cancelled().await,
                End::Never => std::future::pending().await,
            }
            Err(HandlerError::retry("not done"))
        }
    });
    let settings = Settings::new()
        .with_wait(SECOND)
        .with_grace(8 * SECOND)
        .with_handler_timeout(handler_timeout)
        .with_retry(RetryDelay::new(Duration::ZERO, Duration::ZERO))
        .with_random_seed(1);
    Consumer::new(queue.clone(), router, settings).run(sleep(10 * SECOND)).await.unwrap();
    let calls = calls.lock().unwrap().clone();
    (calls, began.elapsed(), queue)
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_tried_again_while_work_on_it_goes_on() {
    for end in [End::AtOnce, End::WhenCancelled, End::Never] {
        let (calls, ..) = calls(end, 4 * SECOND, 2 * SECOND).await;
        let between = calls[1] - calls[0];
        assert!((4 * SECOND..5 * SECOND).contains(&between), "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn held_work_is_waited_for_5_seconds_beyond_its_handler() {
    for (end, handler) in [(End::AtOnce, Duration::ZERO), (End::WhenCancelled, 2 * SECOND)] {
        let (calls, ..) = calls(end, 3600 * SECOND, 2 * SECOND).await;
        let between = calls[1] - calls[0] - handler;
        assert!((5 * SECOND..6 * SECOND).contains(&between), "{calls:?}");
    }
}

/// Two seconds of eight are for returning, and of those a third is left when the work is given up.
#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_up_held_work_in_time_to_return() {
    let (calls, ended, queue) = calls(End::WhenCancelled, 3600 * SECOND, 60 * SECOND).await;
    assert_eq!(calls.len(), 1);
    assert!((17 * SECOND..18 * SECOND).contains(&ended), "{ended:?}");
    assert_eq!((queue.counts().visible, queue.counts().deleted), (1, 0));
}
