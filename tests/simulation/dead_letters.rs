//! Dead letters, handled where they lie.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use stream_sqsd::consumer::{Consumer, Settings, Unrouted};
use stream_sqsd::dead_letters::{
    DeadLetterError, DeadLetterQueue, DropList, DropListError, Exported, Filter, HOLD, Options, OutcomeKind, Reader,
    Records, Replayed, RetryEnded, RetrySettings, RetrySummary, ScanEnded, replay,
};
use stream_sqsd::event::message::MessageNew;
use stream_sqsd::event::{Event, Pattern};
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryResult, MessageId, Queue, QueueError, QueueFacts, Receipt, WebhookId};
use stream_sqsd::router::Router;
use tokio::time::{Instant, advance, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// 2026-11-21, midnight.
fn midnight() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200)
}

fn dead(settings: MemorySettings) -> MemoryQueue {
    MemoryQueue::new(settings.with_name("dead").with_wall_clock(midnight))
}

fn event(kind: &str) -> String {
    format!(r#"{{"type":"{kind}","cid":"messaging:garden"}}"#)
}

/// The calls of a handler, in order.
type Calls = Arc<Mutex<Vec<(MessageId, String)>>>;

/// A router with one route for messages, whose handler answers by the text of the event.
fn router(calls: &Calls) -> Router {
    let calls = calls.clone();
    Router::new().route("message.*", move |event: Event, context: Context| {
        let calls = calls.clone();
        async move {
            calls.lock().unwrap().push((context.message_id().clone(), event.json().to_owned()));
            let says = |word: &str| event.json().contains(word);
            match () {
                () if says("slow") => sleep(20 * MINUTE).await,
                () if says("bad") => return Err(HandlerError::reject("the endpoint answered 422")),
                () if says("down") => return Err(HandlerError::target_down("connection refused")),
                () if says("again") => return Err(HandlerError::retry("not this time").after(SECOND)),
                () => sleep(SECOND / 10).await,
            }
            Ok(())
        }
    })
}

fn engine() -> Settings {
    Settings::new().with_random_seed(7).with_wall_clock(midnight).with_handler_timeout(60 * MINUTE)
}

fn settings() -> RetrySettings {
    RetrySettings::new(engine())
}

async fn open(queue: &MemoryQueue, calls: &Calls) -> DeadLetterQueue<MemoryQueue> {
    DeadLetterQueue::open(queue.clone(), Reader::new(router(calls)), Options::default()).await.unwrap()
}

/// What came of a retry: the summary, and the word and the reason for each message.
async fn retry(
    queue: &MemoryQueue,
    filter: Filter,
    settings: RetrySettings,
) -> (RetrySummary, BTreeMap<MessageId, (OutcomeKind, Option<String>)>, Calls) {
    let calls = Calls::default();
    let dead = open(queue, &calls).await;
    let mut outcomes = BTreeMap::new();
    let done = |outcome: &stream_sqsd::dead_letters::Outcome| {
        let before = outcomes.insert(outcome.message_id.clone(), (outcome.kind, outcome.reason.clone()));
        assert_eq!(before, None, "{outcome:?} is told twice");
    };
    let summary = timeout(5 * DAY, dead.retry(filter, settings, std::future::pending(), done)).await;
    let summary = summary.expect("a retry that ends").unwrap();
    assert!(summary.account.adds_up(), "{summary:?}");
    assert_eq!(summary.account.seen, outcomes.len() as u64);
    (summary, outcomes, calls)
}

/// How many can be received, and how many are hidden.
fn left(queue: &MemoryQueue) -> (u64, u64) {
    let counts = queue.counts();
    (counts.visible, counts.hidden)
}

#[tokio::test(start_paused = true)]
async fn a_list_groups_by_reason_and_leaves_everything_visible() {
    let queue = dead(MemorySettings::new().with_retention(14 * DAY));
    let old = queue.send_at(event("message.new"), midnight() - DAY);
    let new = queue.send(event("message.read"));
    queue.send("no event!");
    let unrouted = queue.send(event("call.ended"));
    for _ in 0..30 {
        queue.send("no event!");
    }
    let mut records = Records::new();
    let record = |id: &MessageId, time: &str, error: &str| {
        format!(
            r#"{{"time":"2026-11-20T0{time}:00:00.000Z","message_id":"{id}","receive_count":5,"route":"message.*","outcome":"rejected","error":"{error}","version":"0.1.0"}}"#
        )
    };
    let lines = [
        record(&old, "3", "the endpoint answered 422"),
        r#"{"level":"INFO","message":"another line of the log"}"#.to_owned(),
        record(&new, "4", "the endpoint answered 422"),
        record(&new, "2", "an earlier reason"),
        record(&unrouted, "4", "its bytes know better"),
        "x".repeat(200_000),
    ];
    assert_eq!(records.read(lines.join("\n").as_bytes()).unwrap(), 4);
    let reader = Reader::new(router(&Calls::default())).with_records(records);
    let letters = DeadLetterQueue::open(queue.clone(), reader, Options::default()).await.unwrap();
    let mut seen = 0;
    let listing = letters.list(&Filter::all(), std::future::pending(), |_| seen += 1).await.unwrap();
    assert_eq!(
        (seen, listing.end.seen, listing.end.ended, listing.end.at_least),
        (34, 34, ScanEnded::QueueEmpty, false)
    );
    let json = serde_json::to_value(&listing).unwrap();
    let undecodable: Vec<String> = (3..=13).filter(|n| *n != 4).map(|n| format!("dead-{n:08}")).collect();
    assert_eq!(
        json,
        serde_json::json!({
            "queue": "dead",
            "messages": 34,
            "oldest_sent_at": "2026-11-20T00:00:00.000Z",
            "first_lost_at": "2026-12-04T00:00:00.000Z",
            "groups": [
                { "count": 31, "reason": "invalid_base64_encoding: invalid base64 encoding", "route": null, "types": [],
                  "oldest_sent_at": "2026-11-21T00:00:00.000Z", "newest_sent_at": "2026-11-21T00:00:00.000Z",
                  "ids": undecodable },
                { "count": 2, "reason": "rejected: the endpoint answered 422", "route": "message.*",
                  "types": ["message.new", "message.read"],
                  "oldest_sent_at": "2026-11-20T00:00:00.000Z", "newest_sent_at": "2026-11-21T00:00:00.000Z",
                  "ids": [old.as_str(), new.as_str()] },
                { "count": 1, "reason": "unrouted: no route takes it", "route": null, "types": ["call.ended"],
                  "oldest_sent_at": "2026-11-21T00:00:00.000Z", "newest_sent_at": "2026-11-21T00:00:00.000Z",
                  "ids": [unrouted.as_str()] },
            ],
        })
    );
    assert_eq!(left(&queue), (34, 0));
    assert_eq!(queue.receive_count(&old), Some(1), "one look is one receive");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_does_not_fit_is_known_from_its_bytes() {
    async fn typed(_: MessageNew, _: Context) -> Result<(), HandlerError> {
        Ok(())
    }
    let queue = dead(MemorySettings::default());
    queue.send(r#"{"type":"message.new","cid":7}"#);
    queue.send(format!(r#"{{"type":"message.new","text":"{}"}}"#, "x".repeat(2_000)));
    let reader = Reader::new(Router::new().on(typed)).with_inflate_limit(1_000);
    let letters = DeadLetterQueue::open(queue, reader, Options::default()).await.unwrap();
    let listing = letters.list(&Filter::all(), std::future::pending(), |_| {}).await.unwrap();
    let reasons: Vec<_> = listing.groups.iter().map(|group| group.reason.clone().unwrap()).collect();
    assert!(reasons[0].starts_with("too_large: ") && reasons[1].starts_with("type_mismatch: "), "{reasons:?}");
    assert!(reasons[1].contains("cid") && listing.groups[1].route.as_deref() == Some("message.new"), "{listing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_moves_what_is_looked_at_is_refused() {
    let queue = dead(MemorySettings::new().with_max_receive_count(3));
    let reader = || Reader::new(Router::new());
    let refused = DeadLetterQueue::open(queue.clone(), reader(), Options::default()).await;
    assert!(matches!(refused, Err(DeadLetterError::OwnRedrivePolicy { max_receive_count: 3, .. })), "{refused:?}");
    let forced = Options::default().with_force(true);
    assert!(DeadLetterQueue::open(queue.clone(), reader(), forced.clone()).await.is_ok());
    queue.set_faults(Faults::new().with_attributes_error(1.0));
    let refused = DeadLetterQueue::open(queue.clone(), reader(), Options::default()).await;
    assert!(matches!(refused, Err(DeadLetterError::Unreadable(_))), "{refused:?}");
    assert!(DeadLetterQueue::open(queue.clone(), reader(), forced).await.is_ok());
    queue.set_faults(Faults::new().with_hang(1.0));
    let refused = timeout(MINUTE, DeadLetterQueue::open(queue, reader(), Options::default())).await.expect("an answer");
    assert!(matches!(refused, Err(DeadLetterError::Unreadable(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_told_to_stop_returns_what_it_received() {
    let queue = dead(MemorySettings::new().with_faults(Faults::new().with_latency(SECOND)));
    for _ in 0..3_000 {
        queue.send(event("message.new"));
    }
    let letters = open(&queue, &Calls::default()).await;
    let begun = Instant::now();
    let listing = letters.list(&Filter::all(), sleep(5 * SECOND), |_| {}).await.unwrap();
    assert_eq!((listing.end.ended, listing.end.at_least), (ScanEnded::Stopped, true));
    assert!((10..3_000).contains(&listing.messages), "{listing:?}");
    assert!(begun.elapsed() < 30 * SECOND);
    assert_eq!(left(&queue), (3_000, 0));
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_in_flight_a_list_says_at_least() {
    let queue = dead(MemorySettings::new().with_max_in_flight(50));
    for _ in 0..80 {
        queue.send(event("message.new"));
    }
    let listing =
        open(&queue, &Calls::default()).await.list(&Filter::all(), std::future::pending(), |_| {}).await.unwrap();
    assert_eq!((listing.messages, listing.end.ended), (50, ScanEnded::TooManyInFlight));
    assert!(listing.end.at_least);
    assert_eq!(left(&queue), (80, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_for_long_is_renewed_and_received_once() {
    let queue = dead(MemorySettings::default());
    let ids: Vec<_> = (0..25).map(|_| queue.send(event("message.new"))).collect();
    let mut scan = open(&queue, &Calls::default()).await.scan(std::future::pending());
    for _ in 0..25 {
        assert!(scan.next().await.unwrap().is_some());
        sleep(MINUTE).await;
    }
    assert!(scan.next().await.unwrap().is_none());
    assert_eq!(left(&queue), (0, 25));
    assert_eq!(scan.end().await.not_returned, 0);
    assert_eq!(left(&queue), (25, 0));
    assert!(ids.iter().all(|id| queue.receive_count(id) == Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_dropped_lets_go_when_its_hold_runs_out() {
    let queue = dead(MemorySettings::default());
    queue.send(event("message.new"));
    let mut scan = open(&queue, &Calls::default()).await.scan(std::future::pending());
    assert!(scan.next().await.unwrap().is_some());
    drop(scan);
    assert_eq!(left(&queue), (0, 1));
    sleep(HOLD).await;
    assert_eq!(left(&queue), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_handles_what_matches_and_leaves_the_rest_alone() {
    let queue = dead(MemorySettings::default());
    let good: Vec<_> = (0..40).map(|_| queue.send(event("message.new"))).collect();
    let others: Vec<_> = (0..40).map(|_| queue.send(event("message.read"))).collect();
    let filter = Filter::all().with_type(Pattern::new("message.new").unwrap());
    let (summary, outcomes, calls) = retry(&queue, filter, settings()).await;
    assert_eq!((summary.ended, summary.at_least, summary.not_returned), (RetryEnded::Done, false, 0));
    assert_eq!((summary.account.handled, summary.account.not_matched), (40, 40));
    let mut called: Vec<_> = calls.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    called.sort();
    assert_eq!(called, good, "each once, by its own id");
    assert!(others.iter().all(|id| outcomes[id] == (OutcomeKind::NotMatched, None)));
    assert_eq!((queue.counts().deleted, left(&queue)), (40, (40, 0)));
    assert!(others.iter().all(|id| queue.receive_count(id) == Some(1)));
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_stays_with_its_reason_and_is_called_once() {
    let queue = dead(MemorySettings::default());
    let [bad, again] = ["message.bad", "message.again"].map(|kind| queue.send(event(kind)));
    let undecodable = queue.send("no event!");
    let unrouted = queue.send(event("call.ended"));
    let slow = queue.send(event("message.slow"));
    let acknowledge = RetrySettings::new(engine().with_unrouted(Unrouted::Acknowledge));
    let (summary, outcomes, calls) = retry(&queue, Filter::all(), acknowledge).await;
    assert_eq!((summary.account.failed, summary.account.handled), (4, 1));
    let reasons = [&bad, &again, &undecodable, &unrouted].map(|id| outcomes[id].1.clone().unwrap());
    let expected = [
        "rejected: the endpoint answered 422",
        "retry: not this time",
        "invalid_base64_encoding: invalid base64 encoding",
        "unrouted: no route takes it",
    ];
    assert_eq!(reasons, expected);
    assert_eq!(calls.lock().unwrap().len(), 3, "each is called once though one runs for 20 minutes");
    assert_eq!(outcomes[&slow].0, OutcomeKind::Handled);
    assert_eq!((queue.counts().deleted, left(&queue)), (1, (4, 0)));
    assert!([&bad, &again, &undecodable].iter().all(|id| queue.receive_count(id) == Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_record_tells_what_failed_again() {
    let queue = dead(MemorySettings::default());
    queue.send(event("message.bad"));
    let letters = open(&queue, &Calls::default()).await;
    let mut kept = None;
    let done = |outcome: &stream_sqsd::dead_letters::Outcome| kept = outcome.record.clone();
    letters.retry(Filter::all(), settings(), std::future::pending(), done).await.unwrap();
    let record = kept.expect("a record");
    let told = (&*record.outcome, &*record.error, record.route.as_deref(), record.cid.as_deref(), &*record.time);
    let expected = (
        "rejected",
        "the endpoint answered 422",
        Some("message.*"),
        Some("messaging:garden"),
        "2026-11-21T00:00:00.000Z",
    );
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_is_waited_for_five_minutes() {
    let queue = dead(MemorySettings::default());
    for _ in 0..30 {
        queue.send(event("message.down"));
    }
    let begun = Instant::now();
    let (summary, outcomes, _) = retry(&queue, Filter::all(), settings()).await;
    assert_eq!((summary.ended, summary.at_least), (RetryEnded::TargetDown, true));
    assert_eq!((summary.account.left, summary.account.handled, summary.account.failed), (summary.account.seen, 0, 0));
    assert!((5 * MINUTE..6 * MINUTE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let reason = outcomes.values().next().and_then(|(_, reason)| reason.clone()).unwrap();
    assert!(reason.starts_with("nothing succeeded for 5 minutes: its target is down"), "{reason}");
    assert_eq!(left(&queue), (30, 0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_and_a_rate_hold() {
    let queue = dead(MemorySettings::default());
    for _ in 0..200 {
        queue.send(event("message.new"));
    }
    let begun = Instant::now();
    let (summary, outcomes, calls) =
        retry(&queue, Filter::all(), settings().with_limit(Some(61)).with_rate(Some(2.0))).await;
    assert_eq!((summary.ended, summary.account.handled), (RetryEnded::LimitReached, 61));
    assert_eq!(calls.lock().unwrap().len(), 61);
    assert!((30 * SECOND..36 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(outcomes.values().any(|(_, reason)| reason.as_deref() == Some("as many were handled as were asked for")));
    assert_eq!((queue.counts().deleted, left(&queue)), (61, (139, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_told_to_stop_returns_what_it_did_not_handle() {
    let queue = dead(MemorySettings::default());
    for _ in 0..500 {
        queue.send(event("message.new"));
    }
    let calls = Calls::default();
    let letters = open(&queue, &calls).await;
    let rate = settings().with_rate(Some(10.0));
    let begun = Instant::now();
    let summary = letters.retry(Filter::all(), rate, sleep(5 * SECOND), |_| {}).await.unwrap();
    assert_eq!(summary.ended, RetryEnded::Stopped);
    assert!(begun.elapsed() < 8 * SECOND, "{:?}", begun.elapsed());
    let handled = calls.lock().unwrap().len() as u64;
    assert_eq!((summary.account.handled, queue.counts().deleted), (handled, handled));
    assert!((40..=60).contains(&handled) && summary.account.adds_up(), "{summary:?}");
    assert_eq!(left(&queue), (500 - handled, 0));
}

#[tokio::test(start_paused = true)]
async fn a_killed_retry_has_deleted_what_was_handled_and_nothing_else() {
    let queue = dead(MemorySettings::default());
    for kind in ["message.new", "message.bad"] {
        for _ in 0..50 {
            queue.send(event(kind));
        }
    }
    let calls = Calls::default();
    let letters = open(&queue, &calls).await;
    let run = letters.retry(Filter::all(), settings().with_rate(Some(20.0)), std::future::pending(), |_| {});
    assert!(timeout(2 * SECOND, run).await.is_err());
    let good = calls.lock().unwrap().iter().filter(|(_, json)| !json.contains("bad")).count() as u64;
    assert!(queue.counts().deleted <= good);
    sleep(HOLD).await;
    assert_eq!(left(&queue), (100 - queue.counts().deleted, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_twice_is_listed_and_called_once() {
    let twice = || MemorySettings::new().with_faults(Faults::default().with_duplicate(0.5)).with_seed(3);
    let fill = |queue: &MemoryQueue| {
        (0..40).for_each(|number| drop(queue.send(format!(r#"{{"type":"message.new","text":"bad {number}"}}"#))));
    };
    let queue = dead(twice());
    fill(&queue);
    let looked =
        open(&queue, &Calls::default()).await.list(&Filter::all(), std::future::pending(), |_| {}).await.unwrap();
    assert_eq!(looked.messages, 40);

    let queue = dead(twice());
    fill(&queue);
    let (summary, outcomes, calls) = retry(&queue, Filter::all(), settings()).await;
    let calls = calls.lock().unwrap();
    assert_eq!((summary.account.seen, outcomes.len(), calls.len()), (40, 40, 40), "{summary:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_handled_in_order_and_stops_at_a_failure() {
    let queue = dead(MemorySettings::new().with_fifo(true));
    for number in 10..35 {
        let kind = if number == 27 { "message.bad" } else { "message.new" };
        queue.send_to_group(format!(r#"{{"type":"{kind}","n":{number}}}"#), "stops");
        queue.send_to_group(format!(r#"{{"type":"message.new","n":{number}}}"#), "goes on");
    }
    let (summary, outcomes, calls) = retry(&queue, Filter::all(), settings()).await;
    assert_eq!((summary.ended, summary.at_least), (RetryEnded::Done, true));
    assert_eq!((summary.account.handled, summary.account.failed), (17 + 25, 1));
    let called = calls.lock().unwrap().clone();
    let numbers = |ids: usize| {
        // Odd ids are of the first group.
        let of = called.iter().filter(|(id, _)| id.as_str()[5..].parse::<usize>().unwrap() % 2 == ids);
        of.map(|(_, json)| json[json.len() - 3..json.len() - 1].parse::<usize>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(1), (10..=27).collect::<Vec<_>>());
    assert_eq!(numbers(0), (10..35).collect::<Vec<_>>());
    let behind = outcomes.values().filter(|(kind, _)| *kind == OutcomeKind::Left).count();
    assert!((1..=7).contains(&behind), "those of the same receive: {behind}");
    assert_eq!((queue.counts().deleted, left(&queue)), (42, (8, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_group_stops_at_what_does_not_match() {
    let queue = dead(MemorySettings::new().with_fifo(true));
    let ids: Vec<_> = ["message.new", "message.new", "message.read", "message.new"]
        .map(|kind| queue.send_to_group(event(kind), "g"))
        .into();
    let filter = Filter::all().with_type(Pattern::new("message.new").unwrap());
    let (summary, outcomes, _) = retry(&queue, filter, settings()).await;
    let kinds: Vec<_> = ids.iter().map(|id| outcomes[id].0).collect();
    let expected = [OutcomeKind::Handled, OutcomeKind::Handled, OutcomeKind::NotMatched, OutcomeKind::Left];
    assert_eq!(kinds, expected);
    assert!(summary.at_least);
    assert_eq!(left(&queue), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_delete_calls_nobody_again() {
    let queue = dead(MemorySettings::default());
    for _ in 0..20 {
        queue.send(event("message.new"));
    }
    let calls = Calls::default();
    let letters = open(&queue, &calls).await;
    let heal = async {
        queue.set_faults(Faults::new().with_entry_error(1.0));
        sleep(10 * MINUTE).await;
        queue.set_faults(Faults::default());
        std::future::pending::<()>().await
    };
    let mut outcomes = BTreeMap::new();
    let run = letters.retry(Filter::all(), settings(), std::future::pending(), |outcome| {
        outcomes.insert(outcome.message_id.clone(), outcome.kind);
    });
    let summary = tokio::select! {
        biased;
        () = heal => unreachable!(),
        summary = run => summary.unwrap(),
    };
    assert_eq!(calls.lock().unwrap().len(), 20, "each once");
    assert!(summary.account.adds_up() && summary.account.seen == 20, "{summary:?}");
    assert_eq!(summary.account.handled, queue.counts().deleted);
    assert_eq!(summary.account.handled + summary.account.lost, 20);
}

#[tokio::test(start_paused = true)]
async fn an_export_is_lossless_and_only_what_it_holds_is_dropped() {
    let queue = dead(MemorySettings::default());
    let bodies = ["no event! \u{1f600} \"\\ \r\n\t end", "also none"];
    let ids = bodies.map(|body| queue.send_at(body, midnight() - DAY));
    let good = queue.send(event("message.new"));
    let letters = open(&queue, &Calls::default()).await;
    let filter = Filter::all().with_reason("BASE64");
    let mut file = Vec::new();
    let summary = letters.export(&filter, &mut file, std::future::pending(), |_| {}).await.unwrap();
    assert_eq!((summary.exported, summary.not_matched, left(&queue)), (2, 1, (3, 0)));
    let lines: Vec<Exported> =
        file.split_inclusive(|b| *b == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
    for ((line, body), id) in lines.iter().zip(bodies).zip(&ids) {
        assert_eq!((&*line.body, &*line.message_id, line.is_whole()), (body, id.as_str(), true));
        assert_eq!(line.sent_at.as_deref(), Some("2026-11-20T00:00:00.000Z"));
        assert_eq!(line.attributes.system["SentTimestamp"], "1795132800000");
    }
    // Meanwhile another one has come, and one of them is another message than the file says.
    let text = String::from_utf8(file).unwrap();
    let other = queue.send("no event either");
    let mut forged: Exported = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    forged.body = "another body".into();
    forged.md5_of_body = "b2d5a1e0e1b4e4ae6d8a26fabf8c1f43".into();
    let refused = DropList::read(BufReader::new(format!("{}\n", serde_json::to_string(&forged).unwrap()).as_bytes()));
    assert!(matches!(refused, Err(DropListError::NotExported { line: 1, .. })), "{refused:?}");
    let cut_off = &text.as_bytes()[..text.len() - 1];
    assert!(matches!(DropList::read(cut_off), Err(DropListError::NotExported { line: 2, .. })));

    let list = DropList::read(text.as_bytes()).unwrap();
    let mut dropped = Vec::new();
    let done = |outcome: &stream_sqsd::dead_letters::Outcome| {
        if outcome.kind == OutcomeKind::Dropped {
            dropped.push(outcome.message_id.clone());
        }
    };
    let summary = letters.drop_exported(&list, std::future::pending(), done).await.unwrap();
    assert_eq!((summary.account.dropped, summary.not_seen, summary.account.adds_up()), (2, 0, true));
    dropped.sort();
    assert_eq!(dropped, ids);
    assert_eq!((queue.counts().deleted, left(&queue)), (2, (2, 0)));
    assert!(queue.receive_count(&good).is_some() && queue.receive_count(&other).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_message_with_the_id_of_one_and_another_body_stays() {
    let (exported, other) = (dead(MemorySettings::default()), dead(MemorySettings::default()));
    exported.send("a body");
    other.send("another body");
    let mut file = Vec::new();
    let letters = open(&exported, &Calls::default()).await;
    letters.export(&Filter::all(), &mut file, std::future::pending(), |_| {}).await.unwrap();
    let list = DropList::read(&*file).unwrap();
    let letters = open(&other, &Calls::default()).await;
    let summary = letters.drop_exported(&list, std::future::pending(), |_| {}).await.unwrap();
    assert_eq!((summary.other_body, summary.not_seen, summary.account.not_matched), (1, 1, 1));
    assert_eq!((other.counts().deleted, left(&other)), (0, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn an_edited_event_is_handled_in_the_place_of_its_message() {
    let queue = dead(MemorySettings::default());
    let id = queue.send(event("message.bad"));
    let calls = Calls::default();
    let letters = open(&queue, &calls).await;
    for (edited, kind, deleted) in [("message.bad", OutcomeKind::Failed, 0), ("message.new", OutcomeKind::Handled, 1)] {
        let mut scan = letters.scan(std::future::pending());
        let found = scan.next().await.unwrap().expect("a message");
        // As long as somebody edits it.
        sleep(30 * MINUTE).await;
        let outcome = scan.handle(&found, event(edited), &settings()).await.unwrap();
        assert_eq!((outcome.message_id, outcome.kind), (id.clone(), kind));
        scan.end().await;
        assert_eq!((queue.counts().deleted, left(&queue)), (deleted, (1 - deleted, 0)));
    }
    assert!(calls.lock().unwrap().iter().all(|(called, _)| *called == id));
}

#[tokio::test(start_paused = true)]
async fn a_replay_calls_handlers_without_a_queue() {
    let calls = Calls::default();
    let messages = (0..150).map(|number| {
        let kind = if number % 10 == 0 { "message.bad" } else { "message.new" };
        Ok(Replayed::new(format!("file-{number}"), event(kind)).with_sent_at(Some(midnight())))
    });
    let mut failed = 0;
    let done = |outcome: &stream_sqsd::dead_letters::Outcome| failed += u32::from(outcome.kind == OutcomeKind::Failed);
    let summary =
        replay(messages, router(&calls), settings().with_rate(Some(10.0)), std::future::pending(), done).await;
    let summary = summary.unwrap();
    assert_eq!(
        (summary.ended, summary.account.handled, summary.account.failed, failed),
        (RetryEnded::Done, 135, 15, 15)
    );
    assert_eq!(calls.lock().unwrap().len(), 150);
    let broken = [Ok(Replayed::new("file-0", event("message.new"))), Err(std::io::Error::other("a torn disk"))];
    let replayed = replay(broken.into_iter(), router(&calls), settings(), std::future::pending(), |_| {}).await;
    assert!(replayed.is_err_and(|error| error.to_string().contains("cannot read")));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_refuses_ends_a_look_and_a_retry() {
    let queue = dead(MemorySettings::default());
    for _ in 0..20 {
        queue.send(event("message.new"));
    }
    let letters = open(&queue, &Calls::default()).await;
    queue.set_faults(Faults::new().with_receive_error(1.0));
    let begun = Instant::now();
    let ended = letters.retry(Filter::all(), settings(), std::future::pending(), |_| {}).await.unwrap();
    assert!(matches!(ended.ended, RetryEnded::QueueFailed | RetryEnded::TooManyInFlight), "{ended:?}");
    assert!((MINUTE..3 * MINUTE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(left(&queue), (20, 0));
}

/// A queue from which nobody may delete.
#[derive(Debug)]
struct NoDelete(MemoryQueue);

impl Queue for NoDelete {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.0.receive(max, wait, visibility).await
    }

    async fn delete(&self, _: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        Err(QueueError::AccessDenied { action: "sqs:DeleteMessage", message: "by no identity-based policy".to_owned() })
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.0.change_visibility(batch).await
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        self.0.facts().await
    }

    fn known(&self) -> QueueFacts {
        self.0.known()
    }

    fn reconnect(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_may_delete_nothing_ends_before_the_others() {
    let queue = dead(MemorySettings::default());
    for _ in 0..500 {
        queue.send(event("message.new"));
    }
    let calls = Calls::default();
    let letters = DeadLetterQueue::open(NoDelete(queue.clone()), Reader::new(router(&calls)), Options::default());
    let letters = letters.await.unwrap();
    let begun = Instant::now();
    let run = letters.retry(Filter::all(), settings(), std::future::pending(), |_| {});
    let summary = timeout(DAY, run).await.expect("a retry that ends").unwrap();
    assert_eq!(summary.ended, RetryEnded::QueueFailed, "{summary:?}");
    assert!(summary.failure.as_ref().is_some_and(|failure| failure.to_string().contains("sqs:DeleteMessage")));
    assert!(summary.account.adds_up() && summary.account.handled == 0, "{summary:?}");
    // Those that were at work when the first delete was refused.
    let called = calls.lock().unwrap().len();
    assert!((1..200).contains(&called), "{called}");
    assert!(begun.elapsed() < 3 * MINUTE, "{:?}", begun.elapsed());
    assert_eq!(left(&queue), (500, 0));
}

#[tokio::test(start_paused = true)]
async fn filters_mean_all_that_is_said() {
    let queue = dead(MemorySettings::default());
    let old = queue.send_at(event("message.new"), midnight() - DAY);
    queue.send(event("message.read"));
    queue.send("no event!");
    let letters = open(&queue, &Calls::default()).await;
    let count = async |filter: Filter| letters.list(&filter, std::future::pending(), |_| {}).await.unwrap().messages;
    let pattern = |text| Pattern::new(text).unwrap();
    assert_eq!(count(Filter::all().with_type(pattern("*"))).await, 2);
    assert_eq!(count(Filter::all().with_type(pattern("message.new")).with_type(pattern("message.read"))).await, 2);
    assert_eq!(count(Filter::all().with_route("message.*").since(midnight())).await, 1);
    assert_eq!(count(Filter::all().until(midnight())).await, 1);
    assert_eq!(count(Filter::all().with_reason("Base64")).await, 1);
    assert_eq!(count(Filter::all().with_reason("422")).await, 0);
    let prefix = &old.as_str()[..12];
    assert_eq!(count(Filter::all().with_id(prefix).unwrap()).await, 3);
    assert_eq!(count(Filter::all().with_id(old.as_str()).unwrap()).await, 1);
    assert!(Filter::all().with_id("dead-00").is_err());
    assert!(Filter::all().is_all());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_of_a_daemon_is_handled_by_its_own_id() {
    let dead = dead(MemorySettings::default());
    let main = MemorySettings::new().with_max_receive_count(1).with_dead_letter_queue(dead.clone());
    let main = MemoryQueue::new(main);
    let id = main.send(event("message.new"));
    main.receive(1, Duration::ZERO, None).await.unwrap();
    advance(MINUTE).await;
    assert!(main.receive(1, Duration::ZERO, None).await.unwrap().is_empty());
    let (summary, outcomes, _) = retry(&dead, Filter::all(), settings()).await;
    assert_eq!((summary.account.handled, outcomes[&id].0), (1, OutcomeKind::Handled));
}

/// A router that keeps the webhook id of each call, and fails while it is told to.
fn ids(fails: bool) -> (Router, Arc<Mutex<Vec<Option<String>>>>) {
    let seen = Arc::<Mutex<Vec<Option<String>>>>::default();
    let kept = seen.clone();
    let router = Router::new().route("message.*", move |_: Event, ctx: Context| {
        kept.lock().unwrap().push(ctx.webhook_id().map(str::to_owned));
        async move { if fails { Err(HandlerError::reject("not yet")) } else { Ok(()) } }
    });
    (router, seen)
}

#[tokio::test(start_paused = true)]
async fn a_webhook_id_goes_with_its_message_all_the_way() {
    let dead = dead(MemorySettings::default());
    let live = MemorySettings::new().with_max_receive_count(1).with_dead_letter_queue(dead.clone());
    let live = MemoryQueue::new(live.with_name("live"));
    live.send_with_attributes(event("message.new"), vec![("webhook_id".into(), "w-1".into())]);
    let expected = [Some("w-1".to_owned())];

    let (router, seen) = ids(true);
    let until_empty = engine().with_until_empty(true);
    Consumer::new(live, router, until_empty).run(std::future::pending()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), expected, "the handler");

    let (router, seen) = ids(true);
    let letters = DeadLetterQueue::open(dead.clone(), Reader::new(router), Options::default()).await.unwrap();
    let mut file = Vec::new();
    letters.export(&Filter::all(), &mut file, std::future::pending(), |_| {}).await.unwrap();
    let line: Exported = serde_json::from_slice(&file).unwrap();
    assert_eq!(WebhookId::among(&line.attributes), WebhookId::new("w-1"), "an export");
    letters.retry(Filter::all(), settings(), std::future::pending(), |_| {}).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), expected, "a retry in place");
    let mut scan = letters.scan(std::future::pending());
    let found = scan.next().await.unwrap().expect("a message");
    scan.handle(&found, event("message.new"), &settings()).await.unwrap();
    scan.end().await;
    assert_eq!(seen.lock().unwrap()[1..], expected, "an edited event");

    let (router, seen) = ids(false);
    let other = MemoryQueue::new(MemorySettings::new().with_name("other"));
    assert_eq!(dead.redrive(&other, 10), 1);
    Consumer::new(other, router, engine().with_until_empty(true)).run(std::future::pending()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), expected, "a move to another queue");

    let (router, seen) = ids(false);
    let message = Replayed::new("file-0", event("message.new")).with_webhook_id(WebhookId::new("w-1"));
    replay([Ok(message)].into_iter(), router, settings(), std::future::pending(), |_| {}).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), expected, "a replay");
}
