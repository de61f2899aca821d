//! The head of a FIFO group that fails: how often it is tried, and what becomes of those behind it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::{Closing, Consumer, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::MessageId;
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::Instant;

/// One call of the handler.
struct Call {
    id: MessageId,
    receive: u32,
    attempt: u32,
    at: Instant,
}

/// One group of so many messages.
fn group_of(messages: u32, max_receive_count: Option<u32>) -> (MemoryQueue, Vec<MessageId>) {
    let queue = MemoryQueue::new(MemorySettings { max_receive_count, fifo: true, ..Default::default() });
    let ids = (0..messages).map(|_| queue.send_to_group(r#"{"type":"message.new"}"#, "one group")).collect();
    (queue, ids)
}

/// Consumes until the shutdown; says which calls there were.
async fn consume(
    queue: &MemoryQueue,
    answer: impl Fn(&Call) -> Result<(), HandlerError> + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) -> (Vec<Call>, Closing) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let id = context.message_id().clone();
        let call = Call { id, receive: context.receive_count(), attempt: context.attempt(), at: Instant::now() };
        let answer = answer(&call);
        noted.lock().unwrap().push(call);
        std::future::ready(answer)
    });
    let settings = Settings { random_seed: Some(1), ..Settings::default() };
    let closing = Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap();
    (std::mem::take(&mut *calls.lock().unwrap()), closing)
}

fn of(calls: &[Call], id: &MessageId) -> Vec<(u32, u32)> {
    calls.iter().filter(|call| call.id == *id).map(|call| (call.receive, call.attempt)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failing_head_is_tried_here_as_often_as_it_has_receives_left() {
    let (queue, ids) = group_of(2, Some(3));
    let head = ids[0].clone();
    let fails = move |call: &Call| if call.id == head { Err(HandlerError::retry("never")) } else { Ok(()) };
    let (calls, _) = consume(&queue, fails, tokio::time::sleep(Duration::from_secs(600))).await;
    assert_eq!(of(&calls, &ids[0]), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)]);
    let delays: Vec<_> = calls[..3].windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(delays[0] >= Duration::from_millis(750) && delays[1] >= Duration::from_millis(1_500), "{delays:?}");
    assert_eq!(of(&calls, &ids[1]).len(), 1, "and the one behind it is worked on once it is given up");
    assert_eq!((queue.counts().dead_lettered, queue.counts().deleted), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_known_limit_a_failing_head_is_tried_five_times_here() {
    let (queue, ids) = group_of(1, None);
    let fails = |call: &Call| if call.receive == 1 { Err(HandlerError::retry("not yet")) } else { Ok(()) };
    let (calls, _) = consume(&queue, fails, tokio::time::sleep(Duration::from_secs(600))).await;
    assert_eq!(of(&calls, &ids[0]), [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn on_a_last_receive_the_head_is_given_up_and_the_rest_is_worked_on() {
    let (queue, ids) = group_of(4, Some(1));
    let head = ids[0].clone();
    let fails = move |call: &Call| if call.id == head { Err(HandlerError::bad("never")) } else { Ok(()) };
    let (calls, closing) = consume(&queue, fails, tokio::time::sleep(Duration::from_secs(60))).await;
    assert!(calls.iter().map(|call| &call.id).eq(&ids), "all of them, in order");
    assert_eq!((closing.counts.deleted, closing.counts.last_receives_failed), (3, 1), "{closing}");
}

#[tokio::test(start_paused = true)]
async fn a_head_whose_lease_is_lost_while_it_waits_is_not_handed_back() {
    let (queue, ids) = group_of(1, None);
    let fails = |call: &Call| match call.receive {
        1 => Err(HandlerError::retry("not yet").after(Duration::from_secs(300))),
        _ => Ok(()),
    };
    let slept = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        tokio::time::advance(Duration::from_secs(100)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    };
    let (calls, closing) = consume(&queue, fails, slept).await;
    assert_eq!(of(&calls, &ids[0]), [(1, 1), (2, 1)]);
    assert_eq!((closing.counts.leases_lost, closing.counts.released), (1, 0), "{closing}");
}
