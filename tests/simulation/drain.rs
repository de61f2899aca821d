//! The schedule of a shutdown, to the second.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Ended, Settings, Summary};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{Faults, MemoryQueue};
use stream_sqsd::router::Router;
use tokio::time::{Instant, sleep};

const GRACE: Duration = Duration::from_secs(8);

/// A message at work is told to stop; says after how long of the drain it was told, and after how long the run ended.
async fn stopped_at_work(goes_on_for: Duration) -> (Option<Duration>, Duration, Summary, MemoryQueue) {
    let queue = MemoryQueue::new(Default::default());
    queue.send(r#"{"type":"message.new"}"#);
    let begun = Arc::new(Mutex::new(None));
    let told = Arc::new(Mutex::new(None));
    let (noted, drain) = (told.clone(), begun.clone());
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let (noted, drain) = (noted.clone(), drain.clone());
        async move {
            context.cancelled().await;
            *noted.lock().unwrap() = drain.lock().unwrap().map(|begun: Instant| begun.elapsed());
            sleep(goes_on_for).await;
            Ok::<_, HandlerError>(())
        }
    });
    let settings = Settings::new().with_wait(Duration::ZERO).with_grace(GRACE).with_random_seed(1);
    let shutdown = async {
        sleep(Duration::from_secs(1)).await;
        *begun.lock().unwrap() = Some(Instant::now());
    };
    let summary = Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap();
    let took = begun.lock().unwrap().expect("it began").elapsed();
    let told = *told.lock().unwrap();
    (told, took, summary, queue)
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_cancelled_at_a_quarter_of_the_grace() {
    let (told, took, summary, queue) = stopped_at_work(Duration::from_millis(500)).await;
    assert_eq!(told, Some(Duration::from_secs(6)));
    assert!(took < GRACE, "{took:?}");
    assert_eq!((summary.ended, queue.counts().deleted), (Ended::Drained, 1), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_stop_is_dropped_in_time_to_return() {
    let (told, took, summary, queue) = stopped_at_work(Duration::from_secs(3600)).await;
    assert_eq!(told, Some(Duration::from_secs(6)));
    assert!(took < Duration::from_secs(7), "what is left of the grace is for calls that are slow: {took:?}");
    assert_eq!((summary.ended, summary.counts.returned), (Ended::GraceRanOut, 1), "{summary}");
    assert_eq!(queue.counts().visible, 1);
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_hangs_is_given_up_sooner_while_draining() {
    let queue = MemoryQueue::new(Default::default());
    let settings = Settings::new().with_grace(Duration::from_secs(60)).with_random_seed(1);
    let began = Instant::now();
    // The first receive waits for a second, and the next one hangs.
    let shutdown = async {
        sleep(Duration::from_millis(500)).await;
        queue.set_faults(Faults::new().with_hang(1.0));
        sleep(Duration::from_secs(5)).await;
    };
    let summary = Consumer::new(queue.clone(), Router::new(), settings).run(shutdown).await.unwrap();
    assert_eq!(summary.counts.polls_abandoned, 1, "{summary}");
    assert_eq!(began.elapsed().as_secs(), 1 + 20 + 2);
}
