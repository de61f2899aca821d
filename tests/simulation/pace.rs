//! How often the queue is asked when there is nothing to be had from it.

use std::time::Duration;

use stream_sqsd::consumer::{Closing, Consumer, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::Context;
use stream_sqsd::queue::memory::{Faults, MemoryQueue};
use stream_sqsd::router::Router;

/// Consumes for a while, in which `trouble` begins after ten seconds.
async fn consume(queue: &MemoryQueue, wait: Duration, runs: Duration, trouble: Faults) -> Closing {
    let router = Router::new().route("*", |_: Event, _: Context| async { Ok(()) });
    let settings = Settings { wait, random_seed: Some(1), ..Settings::default() };
    let shutdown = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        queue.set_faults(trouble);
        tokio::time::sleep(runs).await;
        queue.set_faults(Faults::default());
    };
    Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_answers_nothing_but_errors_is_asked_ever_more_slowly() {
    let queue = MemoryQueue::new(Default::default());
    let errors = Faults { receive_error: 1.0, ..Default::default() };
    let closing = consume(&queue, Duration::from_secs(20), Duration::from_secs(600), errors).await;
    let failed = closing.counts.polls_failed;
    assert!((8..30).contains(&failed), "{failed} receives in ten minutes of errors");
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_costs_one_request_in_twenty_seconds_and_no_wait_at_all_is_no_tight_loop() {
    let idle = MemoryQueue::new(Default::default());
    let closing = consume(&idle, Duration::from_secs(20), Duration::from_secs(3_600), Faults::default()).await;
    assert!(closing.counts.polls <= 185, "{} receives in an hour", closing.counts.polls);
    let hurried = MemoryQueue::new(Default::default());
    let closing = consume(&hurried, Duration::ZERO, Duration::from_secs(60), Faults::default()).await;
    assert!(closing.counts.polls <= 72, "{} receives in seventy seconds", closing.counts.polls);
}

#[tokio::test(start_paused = true)]
async fn polls_that_hang_are_given_up_and_two_in_a_row_open_new_connections() {
    let queue = MemoryQueue::new(Default::default());
    let hangs = Faults { hang: 1.0, ..Default::default() };
    let closing = consume(&queue, Duration::from_secs(20), Duration::from_secs(90), hangs).await;
    assert!(closing.counts.polls_abandoned >= 2 && closing.counts.reconnects >= 1, "{closing}");
}
