//! A message on its last receive: when it is returned once more, the dead-letter queue has it.

use std::sync::OnceLock;
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const EVENT: &str = r#"{"type":"message.new"}"#;

fn settings() -> Settings {
    Settings::new().with_random_seed(7)
}

fn queue(max_receive_count: u32) -> MemoryQueue {
    MemoryQueue::new(MemorySettings::new().with_max_receive_count(max_receive_count))
}

#[tokio::test(start_paused = true)]
async fn a_drain_goes_on_trying_what_is_on_its_last_receive() {
    let queue = queue(1);
    queue.send(EVENT);
    let began = Instant::now();
    let router = Router::new().route("*", move |_: Event, _: Context| async move {
        // Back ten seconds into the drain.
        if began.elapsed() > 40 * SECOND { Ok(()) } else { Err(HandlerError::target_down("503")) }
    });
    let summary = Consumer::new(queue.clone(), router, settings()).run(sleep(30 * SECOND)).await.unwrap();
    assert_eq!(queue.counts().deleted, 1, "{summary}");
}

#[tokio::test(start_paused = true)]
async fn two_minutes_down_on_a_last_receive_dead_letter_nothing() {
    let queue = queue(2);
    let unlucky = queue.send(EVENT);
    let last_receive = OnceLock::new();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let answer = match context.receive_count() {
            _ if *context.message_id() != unlucky => Ok(()),
            1 => Err(HandlerError::retry("not this time").after(SECOND)),
            _ if last_receive.get_or_init(Instant::now).elapsed() > 120 * SECOND => Ok(()),
            _ => Err(HandlerError::target_down("500")),
        };
        async { answer }
    });
    let others = async {
        for _ in 0..600 {
            queue.send(EVENT);
            sleep(SECOND).await;
        }
    };
    Consumer::new(queue.clone(), router, settings()).run(others).await.unwrap();
    let counts = queue.counts();
    assert_eq!((counts.dead_lettered, counts.deleted), (0, counts.sent), "{counts:?}");
}
