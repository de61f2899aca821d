//! The head of a FIFO group that fails: how often it is tried, and what becomes of those behind it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Settings, Summary};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::MessageId;
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
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
    let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(max_receive_count).with_fifo(true));
    let ids = (0..messages).map(|_| queue.send_to_group(r#"{"type":"message.new"}"#, "one group")).collect();
    (queue, ids)
}

/// Consumes until the shutdown; says which calls there were.
async fn consume(
    queue: &MemoryQueue,
    answer: impl Fn(&Call) -> Result<(), HandlerError> + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) -> (Vec<Call>, Summary) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let id = context.message_id().clone();
        let call = Call { id, receive: context.receive_count(), attempt: context.attempt(), at: Instant::now() };
        let answer = answer(&call);
        noted.lock().unwrap().push(call);
        std::future::ready(answer)
    });
    let settings = Settings::new().with_random_seed(1);
    let summary = Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap();
    (std::mem::take(&mut *calls.lock().unwrap()), summary)
}

fn of(calls: &[Call], id: &MessageId) -> Vec<(u32, u32)> {
    calls.iter().filter(|call| call.id == *id).map(|call| (call.receive, call.attempt)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failing_head_is_tried_as_often_as_receives_are_left() {
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
async fn without_a_known_limit_a_failing_head_is_tried_five_times() {
    let (queue, ids) = group_of(1, None);
    let fails = |call: &Call| if call.receive == 1 { Err(HandlerError::retry("not yet")) } else { Ok(()) };
    let (calls, _) = consume(&queue, fails, tokio::time::sleep(Duration::from_secs(600))).await;
    assert_eq!(of(&calls, &ids[0]), [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn on_a_last_receive_the_head_is_given_up_and_the_rest_goes_on() {
    let (queue, ids) = group_of(4, Some(1));
    let head = ids[0].clone();
    let fails = move |call: &Call| if call.id == head { Err(HandlerError::reject("never")) } else { Ok(()) };
    let (calls, summary) = consume(&queue, fails, tokio::time::sleep(Duration::from_secs(60))).await;
    assert!(calls.iter().map(|call| &call.id).eq(&ids), "all of them, in order");
    assert_eq!((summary.counts.deleted, summary.counts.last_receives_failed), (3, 1), "{summary}");
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
    let (calls, summary) = consume(&queue, fails, slept).await;
    assert_eq!(of(&calls, &ids[0]), [(1, 1), (2, 1)]);
    assert_eq!((summary.counts.leases_lost, summary.counts.returned), (1, 0), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_fifo_queue_whose_attributes_cannot_be_read_keeps_its_order() {
    let (queue, ids) = group_of(10, None);
    queue.set_faults(Faults::new().with_attributes_error(1.0));
    let at_work = Arc::new(Mutex::new((0, 0, Vec::new())));
    let noted = at_work.clone();
    let router = Router::new().route("*", move |_: Event, context: Context| {
        let noted = noted.clone();
        async move {
            let left = {
                let mut noted = noted.lock().unwrap();
                noted.0 += 1;
                noted.1 = noted.0.max(noted.1);
                10 - noted.2.len() as u64
            };
            tokio::time::sleep(Duration::from_secs(left)).await;
            let mut noted = noted.lock().unwrap();
            noted.0 -= 1;
            noted.2.push(context.message_id().clone());
            Ok::<_, HandlerError>(())
        }
    });
    let settings = Settings::new().with_random_seed(1);
    let shutdown = tokio::time::sleep(Duration::from_secs(300));
    Consumer::new(queue, router, settings).run(shutdown).await.unwrap();
    let (_, most, order) = std::mem::take(&mut *at_work.lock().unwrap());
    assert_eq!((most, order), (1, ids));
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_all_measure_is_cut_and_keeps_the_order() {
    let (queue, ids) = group_of(3, None);
    let head = ids[0].clone();
    let fails = move |call: &Call| match call.id == head && call.receive == 1 {
        true => Err(HandlerError::retry("never").after(Duration::MAX)),
        false => Ok(()),
    };
    let (calls, summary) = consume(&queue, fails, tokio::time::sleep(Duration::from_secs(14 * 3_600))).await;
    let called: Vec<_> = calls.iter().map(|call| &call.id).collect();
    assert_eq!(called, [&ids[0], &ids[0], &ids[1], &ids[2]], "{summary}");
    assert!(calls[1].at - calls[0].at > Duration::from_secs(11 * 3_600), "it is honoured up to 12 hours");
}

#[tokio::test(start_paused = true)]
async fn a_panicking_condition_loses_neither_message_nor_order() {
    crate::quiet_panics();
    let (queue, ids) = group_of(3, None);
    let panics = Arc::new(Mutex::new(true));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    let condition = move |_: &Event| {
        assert!(!std::mem::take(&mut *panics.lock().unwrap()), "{}", crate::world::SIMULATED);
        true
    };
    let router = Router::new().route_named("all", condition, move |_: Event, context: Context| {
        noted.lock().unwrap().push((context.message_id().clone(), context.receive_count()));
        std::future::ready(Ok::<_, HandlerError>(()))
    });
    let settings = Settings::new().with_random_seed(1);
    let shutdown = tokio::time::sleep(Duration::from_secs(20));
    let summary = Consumer::new(queue.clone(), router, settings).run(shutdown).await.unwrap();
    let expected: Vec<_> = ids.into_iter().map(|id| (id, 2)).collect();
    assert_eq!(*calls.lock().unwrap(), expected, "{summary}");
    assert_eq!(summary.counts.deleted, 3, "{summary}");
}

#[tokio::test(start_paused = true)]
async fn an_overtaking_queue_costs_neither_receives_nor_order() {
    let (queue, ids) = group_of(30, Some(3));
    queue.set_faults(Faults::new().with_overtake(1.0).with_latency(Duration::from_millis(20)));
    let head = ids[0].clone();
    let fails = move |call: &Call| match call.id == head && call.receive < 3 {
        true => Err(HandlerError::reject("not yet").after(Duration::from_secs(60))),
        false => Ok(()),
    };
    let (calls, summary) = consume(&queue, fails, tokio::time::sleep(Duration::from_secs(300))).await;
    let called: Vec<_> = calls.iter().map(|call| &call.id).collect();
    let expected: Vec<_> = [&ids[0], &ids[0]].into_iter().chain(&ids).collect();
    assert_eq!(called, expected, "{summary}");
    assert!(summary.counts.received <= 90, "{summary}");
    assert_eq!((queue.counts().deleted, queue.counts().dead_lettered), (30, 0));
}
