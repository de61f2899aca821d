//! What is told of messages and targets that fail: why each was dead-lettered, and the story of an outage.

use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Settings, Summary, Unrouted};
use stream_sqsd::event::Event;
use stream_sqsd::event::message::MessageNew;
use stream_sqsd::handler::{Context, Handler, HandlerError};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::{Instant, sleep};

use super::kept::Kept;
use super::support::log::Log;
use super::world::SIMULATED;

const SECOND: Duration = Duration::from_secs(1);

/// What a message says, which must not be seen anywhere.
const PRIVATE: &str = "meet me at the old mill";

fn settings() -> Settings {
    Settings::new().with_random_seed(7).with_unrouted(Unrouted::Leave).with_inflate_limit(4096)
}

fn queue(max_receive_count: u32) -> MemoryQueue {
    MemoryQueue::new(MemorySettings::new().with_max_receive_count(max_receive_count))
}

fn body(kind: &str, text: &str) -> String {
    format!(r#"{{"type":"{kind}","cid":"messaging:1","message":{{"text":"{PRIVATE}"}},"x":"{text}"}}"#)
}

async fn run(queue: &MemoryQueue, router: Router, settings: Settings, until: Duration) -> (Summary, Kept) {
    let consumer = Consumer::new(queue.clone(), router, settings);
    let kept = Kept::default();
    consumer.monitor().keep_dead_letters(kept.clone());
    let summary = consumer.run(sleep(until)).await.unwrap();
    (summary, kept)
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_failed_last_receive_has_its_record() {
    super::quiet_panics();
    let log = Log::of_this_thread();
    let queue = queue(2);
    async fn typed(_: MessageNew, _: Context) -> Result<(), HandlerError> {
        Ok(())
    }
    async fn failing(event: Event, _: Context) -> Result<(), HandlerError> {
        match event.kind().name() {
            "message.read" => Err(HandlerError::reject("422")),
            "message.updated" => Err(HandlerError::retry("locked")),
            "message.deleted" => Err(HandlerError::target_down("500")),
            "message.flagged" => panic!("{SIMULATED}"),
            "message.unflagged" => std::future::pending().await,
            _ => Ok(()),
        }
    }
    let router = Router::new().on(typed).route("message.*", failing).route_named(
        "broken",
        |event| if event.kind().name() == "call.ended" { panic!("{SIMULATED}") } else { false },
        failing,
    );
    let sent = [
        (format!("{PRIVATE}!"), "invalid_base64_encoding", None, None),
        (body("message.new", &"x".repeat(5_000)), "too_large", None, None),
        (r#"{"type":"message.new","message":7}"#.to_owned(), "type_mismatch", Some("message.new"), Some("message.new")),
        (body("message.read", ""), "rejected", Some("message.read"), Some("message.*")),
        (body("message.updated", ""), "retry", Some("message.updated"), Some("message.*")),
        (body("message.deleted", ""), "target_down", Some("message.deleted"), Some("message.*")),
        (body("message.flagged", ""), "panic", Some("message.flagged"), Some("message.*")),
        (body("message.unflagged", ""), "timeout", Some("message.unflagged"), Some("message.*")),
        (body("call.created", ""), "unrouted", Some("call.created"), None),
        (body("call.ended", ""), "panic", Some("call.ended"), None),
    ];
    for (body, ..) in &sent {
        queue.send(body.clone());
    }
    // Others succeed meanwhile, so that what fails is at fault.
    let others = queue.clone();
    let feeding = async {
        for _ in 0..1_500 {
            others.send(body("message.viewed", ""));
            sleep(SECOND).await;
        }
        std::future::pending::<()>().await;
    };
    let (summary, kept) = tokio::select! {
        biased;
        ended = run(&queue, router, settings(), 1_600 * SECOND) => ended,
        () = feeding => unreachable!(),
    };
    let records = kept.told();
    let told: Vec<_> = records.iter().map(|r| (&*r.outcome, r.r#type.as_deref(), r.route.as_deref())).collect();
    let expected: Vec<_> = sent.iter().map(|(_, outcome, kind, route)| (*outcome, *kind, *route)).collect();
    assert_eq!(told, expected);
    let mut dead: Vec<String> = queue.dead_letters().iter().map(|dead| dead.message_id.to_string()).collect();
    dead.sort();
    assert_eq!(records.iter().map(|record| record.message_id.clone()).collect::<Vec<_>>(), dead);
    assert_eq!(summary.counts.last_receives_failed, 10, "{summary}");
    assert!(records.iter().all(|record| record.receive_count == 2 && !record.error.is_empty()), "{records:?}");
    assert!(records[3..8].iter().all(|record| record.cid.as_deref() == Some("messaging:1")), "{records:?}");
    let lines = log.with("failed on its last receive");
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| line.contains(" WARN ") && line.contains("message_id=")), "{lines:?}");
    assert!(!log.lines().concat().contains(PRIVATE) && !format!("{records:?}").contains(PRIVATE));
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_logs_and_how_it_fails_name_the_message() {
    let log = Log::of_this_thread();
    let queue = queue(1);
    let id = queue.send(body("message.new", ""));
    let fails = async |_: Event, _: Context| {
        tracing::info!("at work");
        Err::<(), _>(HandlerError::retry("the row is locked"))
    };
    run(&queue, Router::new().route("*", fails), settings(), 10 * SECOND).await;
    let [at_work] = &log.with("at work")[..] else { panic!("{:?}", log.lines()) };
    assert!(at_work.contains(&format!("message{{message_id={id} ")), "{at_work}");
    let [failed] = &log.with("the handler failed")[..] else { panic!("{:?}", log.lines()) };
    // Where the spans are off nothing of it is missing.
    let (_, beside_the_span) = failed.split_once("}: ").unwrap();
    for field in [format!("message_id={id} "), r#"type="message.new" "#.to_owned(), "receive_count=1 ".to_owned()] {
        assert!(beside_the_span.contains(&field), "{failed}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_shutdown_dead_letters_says_so() {
    let queue = queue(1);
    queue.send(body("message.new", ""));
    let router =
        Router::new().route("*", async |_: Event, _: Context| std::future::pending::<Result<(), HandlerError>>().await);
    let settings = settings().with_handler_timeout(3_600 * SECOND);
    let (summary, kept) = run(&queue, router, settings, 10 * SECOND).await;
    let [record] = &kept.told()[..] else { panic!("{summary}") };
    assert_eq!((&*record.outcome, &*record.error), ("returned", "a shutdown came before it was handled"));
    assert_eq!((record.r#type.as_deref(), record.route.as_deref()), (Some("message.new"), Some("*")));
    assert_eq!(record.cid.as_deref(), Some("messaging:1"));
    assert_eq!(summary.counts.last_receives_failed, 1, "{summary}");
}

#[tokio::test(start_paused = true)]
async fn a_success_or_an_earlier_receive_has_no_record() {
    let queue = queue(3);
    for _ in 0..20 {
        queue.send(body("message.new", ""));
    }
    let router = Router::new().route("*", async |_: Event, context: Context| match context.receive_count() {
        3 => Ok(()),
        _ => Err(HandlerError::retry("not yet")),
    });
    let (summary, kept) = run(&queue, router, settings(), 600 * SECOND).await;
    assert_eq!((summary.counts.deleted, summary.counts.last_receives, kept.told().len()), (20, 20, 0), "{summary}");
}

/// A target that is up or down by the time.
struct Target<F> {
    is_up: F,
    began: Instant,
}

impl<F: Fn(f64) -> bool + Send + Sync + 'static> Handler<Event> for Target<F> {
    type Error = HandlerError;

    fn address(&self) -> Option<String> {
        Some("https://example.com:8443".to_owned())
    }

    async fn handle(&self, _: Event, _: Context) -> Result<(), HandlerError> {
        if (self.is_up)(self.began.elapsed().as_secs_f64()) {
            Ok(())
        } else {
            Err(HandlerError::target_down("the endpoint answered 500"))
        }
    }
}

/// A message each `every`, for so long, to a target that is up or down by the time.
async fn watch(is_up: impl Fn(f64) -> bool + Send + Sync + 'static, every: Duration, lasts: Duration) -> Log {
    let log = Log::of_this_thread();
    let queue = queue(5);
    let router = Router::new().route("message.*", Target { is_up, began: Instant::now() });
    let feeding = async {
        loop {
            queue.send(body("message.new", ""));
            sleep(every).await;
        }
    };
    tokio::select! {
        biased;
        _ = run(&queue, router, settings(), lasts) => {}
        () = feeding => {}
    }
    log
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_one_warning_and_one_line_when_it_is_over() {
    let log = watch(|at| !(100.0..400.0).contains(&at), SECOND / 5, 600 * SECOND).await;
    let [down] = &log.with("the target is down")[..] else { panic!("{:#?}", log.lines()) };
    for words in [" WARN ", "route=\"message.*\"", "address=\"https://example.com:8443\"", "the endpoint answered 500"]
    {
        assert!(down.contains(words), "{words}: {down}");
    }
    let [back] = &log.with("the target is back")[..] else { panic!("{:#?}", log.lines()) };
    let number = |name: &str| -> f64 {
        let (_, rest) = back.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{name}: {back}"));
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(back.contains(" INFO ") && back.contains("address=\"https://example.com:8443\""), "{back}");
    assert!((290.0..310.0).contains(&number("down_for_seconds")), "{back}");
    assert!((30.0..3_000.0).contains(&number("attempts")), "{back}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_flaps_does_not_flood_the_log() {
    // Down for two seconds of each four.
    let log = watch(|at| at % 4.0 < 2.0, SECOND / 10, 300 * SECOND).await;
    let (down, back) = (log.with("the target is down"), log.with("the target is back"));
    assert!((2..=6).contains(&down.len()), "{down:#?}");
    assert!(down.len() - back.len() <= 1, "{down:#?} {back:#?}");
    assert!(down.last().unwrap().contains("times=") && !down.last().unwrap().contains("times=1 "), "{down:#?}");
}

#[tokio::test(start_paused = true)]
async fn one_message_that_fails_alone_is_not_called_an_outage() {
    let log = watch(|_| false, 3_600 * SECOND, 1_800 * SECOND).await;
    assert_eq!(log.with("the target is down").len(), 0, "{:#?}", log.lines());
    let [one] = &log.with("one message fails and nothing else was tried")[..] else { panic!("{:#?}", log.lines()) };
    assert!(one.contains("address=\"https://example.com:8443\""), "{one}");
    // With others that fail too it is one.
    let log = watch(|_| false, 600 * SECOND, 1_900 * SECOND).await;
    assert_eq!(log.with("one message fails and nothing else was tried").len(), 1, "{:#?}", log.lines());
    assert_eq!(log.with("the target is down").len(), 1, "{:#?}", log.lines());
}

#[tokio::test(start_paused = true)]
async fn the_failures_of_each_route_and_each_cause_show() {
    let log = Log::of_this_thread();
    let queue = queue(1);
    let first = async |event: Event, _: Context| match event.kind().name() {
        "message.new" => Err(HandlerError::reject("the endpoint answered 422")),
        _ => Err(HandlerError::reject("the endpoint answered 409")),
    };
    let second = async |_: Event, _: Context| Err(HandlerError::reject("the endpoint answered 422"));
    let router = Router::new().route("message.*", first).route("*", second);
    for _ in 0..200 {
        for kind in ["message.new", "message.read", "reaction.new"] {
            queue.send(body(kind, ""));
        }
    }
    run(&queue, router, settings(), 8 * SECOND).await;
    let lines = log.with("the handler failed");
    assert_eq!(lines.len(), 3, "{lines:#?}");
}
