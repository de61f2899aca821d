//! SIGTERM at any moment, again and again: nothing stays hidden, and nothing is handled twice.
//!
//! Messages are hidden for far longer than the test goes on, so one that a daemon leaves behind is seen to be.

use std::time::Duration;

use super::body::event;
use super::daemon;
use super::queue::{Counts, TestQueue, Wanted};
use super::record::Record;
use super::scale;
use super::shutdown::settled;
use super::support::until::until;

/// How often the daemon is told to stop, every other time while it is idle.
const STOPS: usize = 20;

/// How long the daemon may take for what is left after the last stop.
const LAST_LIFE: Duration = Duration::from_secs(120);

const EMPTY: Counts = Counts { visible: 0, hidden: 0 };

#[tokio::test]
async fn stopped_twenty_times_it_hides_and_repeats_no_message() {
    let messages = scale::of("STREAM_SQSD_TEST_STORM_MESSAGES", 2_000);
    let mut random = scale::random("sigterm_storm");
    let queue = TestQueue::new("sigterm_storm", Wanted { visibility: 300, max_receive_count: STOPS as u32 + 1 }).await;
    let record = Record::new();
    let arguments = ["--wait", "1s", "--grace", "10s"].map(str::to_owned);

    let mut sent = Vec::new();
    let mut returned = 0;
    let mut unfinished = 0;
    for life in 0..STOPS {
        let portion = messages * life / STOPS..messages * (life + 1) / STOPS;
        let size = portion.len();
        let bodies = portion.map(|number| event(number).to_string());
        let before = record.len();
        let daemon;
        if life % 2 == 0 {
            sent.extend(queue.send(bodies).await);
            daemon = daemon::recording(&queue, &record, &arguments);
            record.grown_to(before + random.usize(0..=size), Duration::from_secs(10)).await;
            tokio::time::sleep(Duration::from_millis(random.u64(0..20))).await;
            daemon.terminate();
        } else {
            daemon = daemon::recording(&queue, &record, &arguments);
            until("the queue is empty", LAST_LIFE, async || queue.counts().await, |counts| *counts == EMPTY).await;
            tokio::time::sleep(Duration::from_millis(random.u64(0..1_000))).await;
            daemon.terminate();
            // The open poll still brings some of these.
            sent.extend(queue.send(bodies).await);
        }
        let ended = daemon.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        returned += daemon::summary(&ended).returned;
        let left = settled(&queue).await.visible as usize;
        assert_eq!(record.len() + left, sent.len(), "after stop {life} each message is handled or can be received");
        unfinished += usize::from(left > 0);
    }

    let daemon = daemon::recording(&queue, &record, &arguments);
    until("the queue is empty", LAST_LIFE, async || queue.counts().await, |counts| *counts == EMPTY).await;
    daemon.terminate();
    assert_eq!(daemon.end().await.code, Some(0));

    let handled = record.handled();
    println!("sigterm_storm: {messages} messages, {STOPS} stops, {unfinished} with work left, {returned} returned");
    let twice: Vec<_> = handled.iter().filter(|(_, message)| message.times > 1).collect();
    assert!(twice.is_empty(), "handled more than once: {twice:?}");
    assert!(sent.iter().all(|id| handled.contains_key(id)), "some were never handled");
    assert_eq!(handled.len(), messages);
    assert_eq!(queue.dead_letters.count().await, 0);
    assert!(unfinished >= STOPS / 2, "the daemon was stopped when it had done its work");
    assert!(returned > 0, "no poll was open");
}
