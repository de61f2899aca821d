//! A target that is down for ten minutes, with a dead-letter queue that takes messages after three receives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::Instant;

const OUTAGE: Duration = Duration::from_secs(600);

struct Outcome {
    queue: MemoryQueue,
    calls_while_down: u64,
    highest_receive_count: u64,
    received_while_down: u64,
    back_after: Duration,
}

/// The target of the handler, and what it saw.
#[derive(Default)]
struct Target {
    up: AtomicBool,
    calls_while_down: AtomicU64,
    highest_receive_count: AtomicU64,
}

fn router(target: &Arc<Target>) -> Router {
    let target = target.clone();
    Router::new().route("*", move |_: Event, context: Context| {
        let target = target.clone();
        async move {
            target.highest_receive_count.fetch_max(u64::from(context.receive_count()), Ordering::Relaxed);
            if target.up.load(Ordering::Relaxed) {
                return Ok(());
            }
            target.calls_while_down.fetch_add(1, Ordering::Relaxed);
            Err(HandlerError::target_down("503"))
        }
    })
}

/// `first` messages at once and `rate` a second from then on, for the length of the outage.
async fn outage(first: u32, rate: u32, restart_after: Option<Duration>) -> Outcome {
    let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(3));
    let target = Arc::new(Target::default());
    let received_while_down = AtomicU64::new(0);
    for _ in 0..first {
        queue.send(r#"{"type":"message.new"}"#);
    }
    let began = Instant::now();
    let world = async {
        let every = Duration::from_secs(1) / rate.max(1);
        while began.elapsed() < OUTAGE {
            tokio::time::sleep(every).await;
            if rate > 0 {
                queue.send(r#"{"type":"message.new"}"#);
            } else {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        received_while_down.store(queue.counts().hidden, Ordering::Relaxed);
        target.up.store(true, Ordering::Relaxed);
        while queue.counts().deleted < queue.counts().sent && began.elapsed() < OUTAGE * 4 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::pin!(world);
    let settings = Settings::new().with_random_seed(7);
    if let Some(after) = restart_after {
        let consumer = Consumer::new(queue.clone(), router(&target), settings.clone());
        let run = consumer.run(tokio::time::sleep(after));
        tokio::select! {
            biased;
            summary = run => assert!(summary.unwrap().adds_up()),
            () = &mut world => unreachable!("the restart comes first"),
        }
    }
    let consumer = Consumer::new(queue.clone(), router(&target), settings);
    let monitor = consumer.monitor();
    let done = tokio::sync::Notify::new();
    let run = consumer.run(done.notified());
    tokio::pin!(run);
    let watch = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(monitor.is_live(), "an outage of the target is not a failure of the daemon");
        }
    };
    tokio::select! {
        biased;
        _ = &mut run => unreachable!("nobody asked it to end"),
        () = watch => {}
        () = &mut world => {}
    }
    done.notify_one();
    let back_after = began.elapsed() - OUTAGE;
    assert!(run.await.unwrap().adds_up());
    Outcome {
        queue: queue.clone(),
        calls_while_down: target.calls_while_down.load(Ordering::Relaxed),
        highest_receive_count: target.highest_receive_count.load(Ordering::Relaxed),
        received_while_down: received_while_down.load(Ordering::Relaxed),
        back_after,
    }
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_down_at_100_messages_per_s_dead_letter_nothing() {
    let outcome = outage(0, 100, None).await;
    let counts = outcome.queue.counts();
    assert_eq!((counts.dead_lettered, counts.deleted), (0, counts.sent), "{counts:?}");
    assert_eq!(outcome.highest_receive_count, 1, "an outage costs no receive");
    // Ten for each of the 64 slots, and what was on its way, each called once; and probes that became ever rarer.
    assert!(outcome.received_while_down <= 700, "{} received from a target that is down", outcome.received_while_down);
    assert!(outcome.calls_while_down < 1_000, "{} calls of a target that is down", outcome.calls_while_down);
    assert!(outcome.back_after < Duration::from_secs(90), "back after {:?}", outcome.back_after);
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_down_with_three_messages_dead_letter_nothing() {
    let outcome = outage(3, 0, None).await;
    let counts = outcome.queue.counts();
    assert_eq!((counts.dead_lettered, counts.deleted), (0, 3), "{counts:?}");
    assert_eq!(outcome.highest_receive_count, 1, "an outage costs no receive");
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_down_with_one_message_dead_letter_nothing() {
    let outcome = outage(1, 0, None).await;
    assert_eq!(outcome.queue.counts().deleted, 1);
    assert_eq!(outcome.highest_receive_count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_during_an_outage_costs_one_receive() {
    let outcome = outage(3, 0, Some(Duration::from_secs(200))).await;
    let counts = outcome.queue.counts();
    assert_eq!((counts.dead_lettered, counts.deleted), (0, 3), "{counts:?}");
    assert_eq!(outcome.highest_receive_count, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_for_12_hours_is_returned_in_time_and_in_order() {
    let queue = MemoryQueue::new(Default::default());
    queue.send(r#"{"type":"message.new"}"#);
    let began = Instant::now();
    let again = Arc::new(OnceLock::new());
    let first = again.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        if context.receive_count() == 2 {
            first.get_or_init(|| began.elapsed());
        }
        async { Err(HandlerError::target_down("503")) }
    });
    let settings = Settings::new().with_random_seed(7);
    let shutdown = tokio::time::sleep(Duration::from_secs(12 * 3600));
    Consumer::new(queue, router, settings).run(shutdown).await.unwrap();
    let left = Duration::from_secs(12 * 3600) - *again.get().expect("a second receive");
    assert!((148..=150).contains(&left.as_secs()), "two minutes, and the time limit of a handler: {left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_poison_message_does_not_hold_up_the_other_groups() {
    let queue = MemoryQueue::new(MemorySettings::new().with_fifo(true));
    let poison = queue.send_to_group(r#"{"type":"message.new"}"#, "one");
    queue.send_to_group(r#"{"type":"message.new"}"#, "one");
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let poisonous = *context.message_id() == poison;
        async move { if poisonous { Err(HandlerError::target_down("500")) } else { Ok(()) } }
    });
    let settings = Settings::new().with_wait(Duration::from_secs(1)).with_random_seed(7);
    let shutdown = async {
        // By then the receive has come back that was issued before the target was down.
        tokio::time::sleep(Duration::from_secs(5)).await;
        queue.send_to_group(r#"{"type":"message.new"}"#, "another");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(queue.counts().deleted, 1, "while the first group waits for its head");
    };
    Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn three_messages_that_never_succeed_do_not_stop_the_queue() {
    let queue = MemoryQueue::new(Default::default());
    let poison: Vec<_> = (0..3).map(|_| queue.send(r#"{"type":"message.new"}"#)).collect();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let poisonous = poison.contains(context.message_id());
        async move { if poisonous { Err(HandlerError::target_down("500")) } else { Ok(()) } }
    });
    let settings = Settings::new().with_wait(Duration::from_secs(1)).with_random_seed(7);
    let shutdown = async {
        // By then the receive has come back that was issued before the target was down.
        tokio::time::sleep(Duration::from_secs(3)).await;
        queue.send(r#"{"type":"message.new"}"#);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(queue.counts().deleted, 1, "one more is let in after each probe that failed");
    };
    Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_at_fault_may_fail_twice_at_its_next_receive() {
    let queue = MemoryQueue::new(Default::default());
    let unlucky = queue.send(r#"{"type":"message.new"}"#);
    let succeeded_at = Arc::new(OnceLock::new());
    let noted = succeeded_at.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let fails = context.receive_count() == 1 || context.attempt() <= 2;
        let is_unlucky = *context.message_id() == unlucky;
        if is_unlucky && !fails {
            noted.get_or_init(|| context.receive_count());
        }
        async move { if is_unlucky && fails { Err(HandlerError::target_down("500")) } else { Ok(()) } }
    });
    let others = async {
        for _ in 0..300 {
            queue.send(r#"{"type":"message.new"}"#);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let settings = Settings::new().with_random_seed(7);
    Consumer::new(queue.clone(), router, settings).run(others).await.unwrap();
    assert_eq!(succeeded_at.get(), Some(&2));
}
