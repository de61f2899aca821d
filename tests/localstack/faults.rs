//! A wire that delays, cuts, truncates, refuses and falls silent, between the real SDK and LocalStack.
//!
//! In one process that goes on, faults of the wire cost time and receives, and never a message nor a second call of a
//! handler: what was handled and could not be deleted is known when it comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::router::Router;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::body::event;
use super::engine::{self, quick};
use super::proxy::{Fault, Proxy};
use super::queue::{Counts, TestQueue, Wanted};
use super::scale;
use super::support::until::until;

/// How long a test waits for what comes at some time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Of how many calls one goes wrong.
const ONE_IN: u32 = 5;

/// What the handlers of a test have seen.
#[derive(Debug, Default)]
struct Seen {
    at_work: BTreeSet<String>,
    calls: BTreeMap<String, u32>,
    successes: BTreeMap<String, u32>,
    /// Messages that were at work twice at the same time.
    at_once: Vec<String>,
}

/// A handler that fails at the first call for every tenth message.
fn watched(seen: &Arc<Mutex<Seen>>) -> Router {
    let seen = seen.clone();
    Router::new().fallback(move |event: Event, ctx: Context| {
        let seen = seen.clone();
        async move {
            let id = ctx.message_id().to_string();
            let call = {
                let mut seen = seen.lock().unwrap();
                if !seen.at_work.insert(id.clone()) {
                    seen.at_once.push(id.clone());
                }
                let calls = seen.calls.entry(id.clone()).or_default();
                *calls += 1;
                *calls
            };
            // So that handlers overlap.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut seen = seen.lock().unwrap();
            seen.at_work.remove(&id);
            // The numbers that end in seven.
            if call == 1 && event.json().contains("7,") {
                return Err(HandlerError::retry("not at the first call"));
            }
            *seen.successes.entry(id).or_default() += 1;
            Ok(())
        }
    })
}

#[tokio::test]
async fn on_a_bad_wire_every_message_succeeds_once_and_is_deleted() {
    let messages = scale::of("STREAM_SQSD_TEST_FAULTS_MESSAGES", 500);
    let mut random = scale::random("bad_wire");
    // Lost receives cost receives: that is SQS.
    let queue = TestQueue::new("bad_wire", Wanted { visibility: 4, max_receive_count: 1_000 }).await;
    let met = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let proxy = {
        let met = met.clone();
        let mut deletes = 0;
        Proxy::start(move |action| {
            deletes += u32::from(action == "DeleteMessageBatch");
            let fault = match (action, deletes) {
                // A delete on which all is silent: the leases of its messages are renewed until it is given up.
                ("DeleteMessageBatch", 3) => Fault::Silence,
                // More in a row than the SDK tries again.
                ("DeleteMessageBatch", 11..=30) => Fault::Refused(500, "InternalError"),
                ("ReceiveMessage" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch", _)
                    if random.u32(0..ONE_IN) == 0 =>
                {
                    match random.u32(0..7) {
                        0 => Fault::Late(Duration::from_millis(random.u64(0..1_500))),
                        1 => Fault::Unheard,
                        2 => Fault::Unanswered,
                        3 => Fault::Truncated,
                        4 => Fault::Refused(500, "InternalError"),
                        5 => Fault::Refused(503, "ServiceUnavailable"),
                        _ => Fault::Refused(400, "RequestThrottled"),
                    }
                }
                _ => return None,
            };
            let name = match fault {
                Fault::Late(_) => format!("{action} late"),
                fault => format!("{action} {fault:?}"),
            };
            *met.lock().unwrap().entry(name).or_default() += 1;
            Some(fault)
        })
        .await
    };

    let ids = queue.send((0..messages).map(|number| event(number).to_string())).await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let began = Instant::now();
    let engine = engine::start_through(&proxy.url(), &queue, watched(&seen), quick()).await;
    let empty = Counts { visible: 0, hidden: 0 };
    until("the queue is empty", PATIENCE, async || queue.counts().await, |counts| *counts == empty).await;
    let took = began.elapsed();
    let summary = engine.stop().await;
    let dead = queue.dead_letters.count().await;

    println!("bad_wire: {messages} messages in {took:.1?}; met {:#?}\n{summary}", met.lock().unwrap());
    let seen = seen.lock().unwrap();
    assert!(seen.at_once.is_empty(), "at work twice at the same time: {:?}", seen.at_once);
    let wrong: Vec<_> = ids.iter().filter(|id| seen.successes.get(*id) != Some(&1)).collect();
    assert!(wrong.is_empty(), "did not succeed once: {wrong:?}");
    assert_eq!(seen.successes.len(), messages);
    assert_eq!(dead, 0);
    assert!(summary.counts.polls_failed > 0, "no receive failed");
    assert_eq!(met.lock().unwrap()["DeleteMessageBatch Silence"], 1);
}

/// Lets the first receives pass, and then says how many of them meet silence. Each that does is told.
fn silent_receives(
    first: usize,
    silent: usize,
) -> (impl FnMut(&str) -> Option<Fault>, mpsc::UnboundedReceiver<Instant>) {
    let (tell, told) = mpsc::unbounded_channel();
    let mut receives = 0;
    let plan = move |action: &str| {
        receives += usize::from(action == "ReceiveMessage");
        let is_silent = action == "ReceiveMessage" && (first + 1..=first + silent).contains(&receives);
        is_silent.then(|| {
            // The test may have ended already.
            let _ = tell.send(Instant::now());
            Fault::Silence
        })
    };
    (plan, told)
}

#[tokio::test]
async fn two_hanging_polls_are_noticed_in_ten_seconds_and_healed() {
    let queue = TestQueue::new("silent_polls", Wanted::default()).await;
    let (plan, mut silence) = silent_receives(2, 2);
    let proxy = Proxy::start(plan).await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let engine = engine::start_through(&proxy.url(), &queue, watched(&seen), quick()).await;

    let fell_silent = timeout(PATIENCE, silence.recv()).await.expect("a third receive").unwrap();
    let ids = queue.send((0..20).map(|number| event(number).to_string())).await;
    let given_up = async || {
        assert!(engine.monitor.is_live(), "a poll that is still to be given up is not a reason for a restart");
        engine.monitor.snapshot().polls_abandoned
    };
    until("the poll is given up", PATIENCE, given_up, |polls| *polls == 1).await;
    let noticed = fell_silent.elapsed();
    // And not later than that it was alive: the simulation says to the second when.
    assert!(noticed >= Duration::from_secs(10), "noticed after {noticed:?}");
    assert_eq!(engine.monitor.snapshot().reconnects, 0);

    until("the next one is given up", PATIENCE, given_up, |polls| *polls == 2).await;
    until(
        "they are handled",
        PATIENCE,
        async || queue.counts().await,
        |counts| *counts == Counts { visible: 0, hidden: 0 },
    )
    .await;
    let healed = fell_silent.elapsed();
    let summary = engine.stop().await;
    println!("silent_polls: noticed after {noticed:.1?}, two given up and all handled after {healed:.1?}");
    assert_eq!((summary.counts.polls_abandoned, summary.counts.reconnects), (2, 1), "{summary}");
    assert_eq!(summary.counts.deleted, ids.len() as u64, "{summary}");
}

#[tokio::test]
async fn a_hanging_poll_delays_a_shutdown_by_its_wait_and_2_s() {
    let queue = TestQueue::new("silent_shutdown", Wanted::default()).await;
    let (plan, mut silence) = silent_receives(2, usize::MAX - 2);
    let proxy = Proxy::start(plan).await;
    let settings = quick().with_grace(Duration::from_secs(20));
    let engine = engine::start_through(&proxy.url(), &queue, Router::new(), settings).await;

    timeout(PATIENCE, silence.recv()).await.expect("a third receive").unwrap();
    let told = Instant::now();
    let summary = engine.stop().await;
    // Without a drain it would be eleven seconds.
    assert!(told.elapsed() < Duration::from_secs(10), "it took {:?}", told.elapsed());
    assert_eq!(summary.counts.polls_abandoned, 1, "{summary}");
}
