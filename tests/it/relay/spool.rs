//! Events while the queue is away, with a spool.

use std::time::Duration;

use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::relay::{Relay, SpoolSettings};

use super::client::{JSON, Running, Webhook, queue, received, settings};
use super::until::until;

fn away() -> MemoryQueue {
    MemoryQueue::new(MemorySettings::new().with_faults(Faults::new().with_call_error(1.0)))
}

fn numbered(number: usize) -> Webhook {
    Webhook::new(&format!("id-{number}"), &format!(r#"{{"type":"message.new","number":{number}}}"#))
}

async fn is_empty(relay: &Running) {
    let events = async || relay.monitor.snapshot().spool.unwrap().events;
    until("the spool is empty", Duration::from_secs(20), events, |events| *events == 0).await;
}

#[tokio::test]
async fn what_the_queue_cannot_take_is_spooled_and_sent_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings().with_spool(SpoolSettings::new(directory.path()));
    let relay = Running::start(settings, away()).await;
    for number in 0..20 {
        assert_eq!(relay.ask(numbered(number).bytes()).await.0, 200);
    }
    assert_eq!(relay.ask(numbered(3).bytes()).await.0, 200, "a retry of one that is spooled");
    assert_eq!(relay.queue.counts().sent, 0);
    assert_eq!(relay.monitor.snapshot().answered("spooled"), 20);
    relay.queue.set_faults(Faults::new());
    // While it is not empty everything goes through it.
    for number in 20..25 {
        assert_eq!(relay.ask(numbered(number).bytes()).await.0, 200);
    }
    is_empty(&relay).await;
    assert_eq!(relay.ask(numbered(25).bytes()).await.0, 200);
    let queue = relay.stop().await;
    let bodies: Vec<String> = received(&queue).await.into_iter().map(|message| message.body).collect();
    let expected: Vec<String> =
        (0..26).map(|number| format!(r#"{{"type":"message.new","number":{number}}}"#)).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn the_next_process_sends_what_is_in_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    let settings = || settings().with_spool(SpoolSettings::new(directory.path()));
    let relay = Running::start(settings(), away()).await;
    assert_eq!(relay.ask(Webhook::gzipped("id", JSON).bytes()).await.0, 200);
    // Not two at the same time.
    let second = Relay::new(settings(), queue()).err().expect("a refusal");
    assert!(second.to_string().contains("another process uses it"), "{second}");
    // A crash: nothing is finished.
    relay.serving.abort();
    let _ = relay.serving.await;
    let queue = queue();
    let mut relay = None;
    let free = async || {
        relay = Relay::new(settings(), queue.clone()).ok();
        relay.is_some()
    };
    until("the thread of the spool has ended", Duration::from_secs(10), free, |is_free| *is_free).await;

    let relay = Running::serve(relay.unwrap(), queue).await;
    is_empty(&relay).await;
    let queue = relay.stop().await;
    let messages = received(&queue).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].attributes.as_ref().unwrap().message["webhook_id"].value, "id");
}

#[tokio::test]
async fn a_full_spool_is_answered_503() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings().with_spool(SpoolSettings::new(directory.path()).with_limit(0));
    let relay = Running::start(settings, away()).await;
    let large =
        |number: usize| Webhook::new(&number.to_string(), &format!(r#"{{"type":"t","x":"{}"}}"#, "x".repeat(250_000)));
    let mut codes = Vec::new();
    for number in 0..20 {
        codes.push(relay.ask(large(number).bytes()).await.0);
    }
    assert_eq!(codes, [vec![200; 16], vec![503; 4]].concat());
    assert_eq!(relay.monitor.snapshot().answered("spool_full"), 4);
    assert_eq!(relay.ask(numbered(0).bytes()).await.0, 200, "a small one still fits");
    // What was refused may be sent again.
    relay.queue.set_faults(Faults::new());
    is_empty(&relay).await;
    assert_eq!(relay.ask(large(19).bytes()).await.0, 200);
    assert_eq!(relay.stop().await.counts().sent, 18);
}
