//! Messages with several routes: each is called until it has succeeded and not again, and the message is deleted when all of
//! them have.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, RetryDelay, Settings, Summary};
use stream_sqsd::dead_letters::{DeadLetterQueue, Filter, Options, Reader, Records, RetrySettings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::queue::{MessageId, Queue};
use stream_sqsd::router::Router;
use stream_sqsd::telemetry::DeadLetter;
use tokio::time::{Instant, sleep};

use crate::disk;
use crate::kept::Kept;

const SECOND: Duration = Duration::from_secs(1);

/// What a handler does with its nth call for a message, counted from 1.
type Script = fn(u32) -> Act;

#[derive(Clone, Copy)]
enum Act {
    Succeeds,
    /// After this long.
    Takes(Duration),
    Retry,
    RetryAfter(Duration),
    Rejects,
    Down,
    Hangs,
}

/// A call of a handler.
#[derive(Clone, Debug)]
struct Call {
    route: &'static str,
    message: MessageId,
    begun: Duration,
    receive_count: u32,
}

/// A world of routes that all take every event, save that a route with a lower-case name takes only `message.new`.
#[derive(Clone)]
struct World {
    queue: MemoryQueue,
    settings: Settings,
    began: Instant,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Of each route and message.
    counts: Arc<Mutex<BTreeMap<(&'static str, MessageId), u32>>>,
    at_work: Arc<Mutex<(usize, usize)>>,
    journal: Option<Arc<Path>>,
}

impl World {
    fn new(memory: MemorySettings) -> Self {
        let settings = Settings::new()
            .with_wait(SECOND)
            .with_retry(RetryDelay::new(SECOND, 900 * SECOND))
            .with_grace(10 * SECOND)
            .with_random_seed(1);
        World {
            queue: MemoryQueue::new(memory),
            settings,
            began: Instant::now(),
            calls: Arc::default(),
            counts: Arc::default(),
            at_work: Arc::default(),
            journal: None,
        }
    }

    fn with_journal(mut self, path: &Path) -> Self {
        self.settings = self.settings.with_journal(Some(path.to_owned()));
        self.journal = Some(path.into());
        self
    }

    /// The routes in order, each of which goes on.
    fn router(&self, routes: &[(&'static str, Script)]) -> Router {
        routes.iter().fold(Router::new(), |router, &(name, script)| {
            let world = self.clone();
            let takes = move |event: &Event| {
                let all = name.starts_with(|first: char| first.is_ascii_uppercase());
                all || event.kind().name() == "message.new"
            };
            let handler = move |_: Event, context: Context| world.clone().handle(name, script, context);
            router.route_named(name, takes, handler).continuing()
        })
    }

    async fn handle(self, route: &'static str, script: Script, context: Context) -> Result<(), HandlerError> {
        let message = context.message_id().clone();
        let (begun, receive_count) = (self.began.elapsed(), context.receive_count());
        self.calls.lock().unwrap().push(Call { route, message: message.clone(), begun, receive_count });
        let _at_work = AtWork::new(&self.at_work);
        let call = {
            let mut counts = self.counts.lock().unwrap();
            let count = counts.entry((route, message.clone())).or_default();
            *count += 1;
            *count
        };
        match script(call) {
            Act::Succeeds => {}
            Act::Takes(time) => sleep(time).await,
            Act::Retry => return Err(HandlerError::retry(format!("{route} fails"))),
            Act::RetryAfter(delay) => return Err(HandlerError::retry(format!("{route} fails")).after(delay)),
            Act::Rejects => return Err(HandlerError::reject(format!("{route} rejects"))),
            Act::Down => return Err(HandlerError::target_down(format!("{route} is down"))),
            Act::Hangs => std::future::pending().await,
        }
        if let Some(journal) = &self.journal {
            disk::hold_the_clock_until_written(journal, &message);
        }
        Ok(())
    }

    async fn run(&self, router: Router, shutdown: impl Future<Output = ()>) -> Summary {
        let consumer = Consumer::new(self.queue.clone(), router, self.settings.clone());
        consumer.run(shutdown).await.expect("the queue answers")
    }

    /// Runs for five seconds, and is gone as after `kill -9`.
    async fn crash(&self, router: Router) {
        let run = tokio::time::timeout(5 * SECOND, self.run(router, std::future::pending())).await;
        assert!(run.is_err(), "it was dropped in the middle");
        // Its tasks are dropped when the runtime comes to them.
        sleep(SECOND).await;
    }

    /// Runs until nothing is left in the queue, but for an hour at the most.
    async fn run_until_gone(&self, routes: &[(&'static str, Script)]) -> Summary {
        let gone = async {
            let counts = || self.queue.counts();
            while counts().visible + counts().hidden > 0 && self.began.elapsed() < 3600 * SECOND {
                sleep(SECOND).await;
            }
        };
        self.run(self.router(routes), gone).await
    }

    /// Of each call its route and the receive count.
    fn calls(&self) -> Vec<(&'static str, u32)> {
        self.calls.lock().unwrap().iter().map(|call| (call.route, call.receive_count)).collect()
    }

    fn calls_of(&self, route: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.route == route).cloned().collect()
    }
}

/// How many handlers are at work, and the most that ever were.
struct AtWork(Arc<Mutex<(usize, usize)>>);

impl AtWork {
    fn new(count: &Arc<Mutex<(usize, usize)>>) -> Self {
        let mut now = count.lock().unwrap();
        now.0 += 1;
        now.1 = now.1.max(now.0);
        drop(now);
        AtWork(count.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.lock().unwrap().0 -= 1;
    }
}

const MESSAGE: &str = r#"{"type":"message.new"}"#;
const OTHER: &str = r#"{"type":"call.ended"}"#;

#[tokio::test(start_paused = true)]
async fn routes_of_a_message_run_side_by_side_until_all_are_done() {
    let world = World::new(MemorySettings::new());
    world.queue.send(MESSAGE);
    let router = world.router(&[("A", |_| Act::Takes(3 * SECOND)), ("b", |_| Act::Takes(5 * SECOND))]);
    let deleted = async {
        sleep(4 * SECOND).await;
        assert_eq!(world.queue.counts().deleted, 0, "one of two has succeeded");
        sleep(2 * SECOND).await;
        assert_eq!(world.queue.counts().deleted, 1);
    };
    let summary = world.run(router, deleted).await;
    assert!(world.calls.lock().unwrap().iter().all(|call| call.begun < SECOND), "{:?}", world.calls);
    assert_eq!((summary.counts.deleted, world.calls().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_calls_only_what_is_missing() {
    let world = World::new(MemorySettings::new().with_max_receive_count(Some(5)));
    world.queue.send(MESSAGE);
    let second_time: Script = |call| if call == 1 { Act::Retry } else { Act::Succeeds };
    let third_time: Script = |call| if call <= 2 { Act::Rejects } else { Act::Succeeds };
    let summary = world.run_until_gone(&[("A", |_| Act::Succeeds), ("B", second_time), ("C", third_time)]).await;
    assert_eq!(world.calls(), [("A", 1), ("B", 1), ("C", 1), ("B", 2), ("C", 2), ("C", 3)]);
    assert_eq!((summary.counts.deleted, summary.counts.nacked), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn while_one_target_is_down_a_retry_of_another_spends_nothing() {
    let world = World::new(MemorySettings::new().with_max_receive_count(Some(2)));
    (0..3).for_each(|_| drop(world.queue.send(MESSAGE)));
    let fails_three_times: Script = |call| if call <= 3 { Act::Retry } else { Act::Succeeds };
    let is_down_for_a_while: Script = |call| if call <= 20 { Act::Down } else { Act::Succeeds };
    let summary = world.run_until_gone(&[("A", fails_three_times), ("B", is_down_for_a_while)]).await;
    assert_eq!((summary.counts.deleted, summary.counts.nacked), (3, 0), "{summary}");
    assert_eq!(world.calls_of("A").len(), 12, "each was tried again beside the target that was down");
    assert!(world.calls().iter().all(|(_, receive_count)| *receive_count == 1));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_waits_for_the_target_that_is_down() {
    let world = World::new(MemorySettings::new().with_max_receive_count(Some(1)));
    (0..3).for_each(|_| drop(world.queue.send(MESSAGE)));
    let is_down_for_a_while: Script = |call| if call <= 20 { Act::Down } else { Act::Succeeds };
    let summary = world.run_until_gone(&[("A", |_| Act::Rejects), ("B", is_down_for_a_while)]).await;
    assert_eq!(world.calls_of("A").len(), 3, "a rejection is not tried again in the same receive");
    let back = world.calls_of("B").iter().map(|call| call.begun).max().unwrap();
    assert!(back > 10 * SECOND, "{back:?}");
    assert_eq!((summary.counts.nacked, world.queue.counts().dead_lettered), (3, 3), "after B was done");
    assert!(world.calls().iter().all(|(_, receive_count)| *receive_count == 1));
}

#[tokio::test(start_paused = true)]
async fn the_delay_of_a_failure_runs_on_while_others_work() {
    let world = World::new(MemorySettings::new());
    world.queue.send(MESSAGE);
    let named: Script = |call| if call == 1 { Act::RetryAfter(10 * SECOND) } else { Act::Succeeds };
    world.run_until_gone(&[("A", named), ("B", |_| Act::Takes(8 * SECOND))]).await;
    let again = world.calls_of("A")[1].clone();
    assert_eq!(again.receive_count, 2);
    assert!((10 * SECOND..12 * SECOND).contains(&again.begun), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn what_only_waits_for_a_target_gives_its_slot_to_others() {
    let mut world = World::new(MemorySettings::new());
    world.settings = world.settings.with_concurrency(1);
    world.queue.send(MESSAGE);
    world.queue.send(OTHER);
    let told = world.clone();
    let router = world.router(&[("b", |_| Act::Down), ("c", |_| Act::Retry), ("A", |_| Act::Succeeds)]);
    let handled = async {
        while told.calls_of("A").len() < 2 {
            sleep(SECOND).await;
            assert!(told.began.elapsed() < 60 * SECOND, "the message that is held keeps the slot");
        }
    };
    world.run(router, handled).await;
    assert_eq!(world.at_work.lock().unwrap().1, 1, "handlers at work with one slot");
}

#[tokio::test(start_paused = true)]
async fn never_more_handlers_are_at_work_than_there_are_slots() {
    let mut world = World::new(MemorySettings::new());
    world.settings = world.settings.with_concurrency(5);
    (0..20).for_each(|_| drop(world.queue.send(MESSAGE)));
    let slow: Script = |_| Act::Takes(SECOND);
    let summary = world.run_until_gone(&[("A", slow), ("B", slow), ("C", slow)]).await;
    assert_eq!((summary.counts.deleted, world.at_work.lock().unwrap().1), (20, 5));
}

#[tokio::test(start_paused = true)]
async fn in_a_group_the_next_starts_when_all_routes_are_done() {
    let world = World::new(MemorySettings::new().with_fifo(true));
    let first = world.queue.send_to_group(MESSAGE, "g");
    let second = world.queue.send_to_group(MESSAGE, "g");
    let third_time: Script = |call| if call <= 2 { Act::Retry } else { Act::Succeeds };
    let slow: Script = |_| Act::Takes(10 * SECOND);
    world.run_until_gone(&[("A", |_| Act::Succeeds), ("B", third_time), ("C", slow)]).await;
    let calls = world.calls.lock().unwrap().clone();
    let of = |message: &MessageId, route: &str| -> Vec<Duration> {
        let found = calls.iter().filter(|call| call.message == *message && call.route == route);
        found.map(|call| call.begun).collect()
    };
    assert_eq!((of(&first, "A").len(), of(&first, "B").len(), of(&first, "C").len()), (1, 3, 1), "{calls:?}");
    assert!(of(&second, "A")[0] >= of(&first, "C")[0] + 10 * SECOND, "{calls:?}");
    assert!(calls.iter().all(|call| call.receive_count == 1), "each head is tried again here: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_group_nothing_passes_a_head_that_is_held() {
    let world = World::new(MemorySettings::new().with_fifo(true));
    let first = world.queue.send_to_group(MESSAGE, "g");
    let second = world.queue.send_to_group(MESSAGE, "g");
    let is_down_for_a_while: Script = |call| if call <= 10 { Act::Down } else { Act::Succeeds };
    world.run_until_gone(&[("A", |_| Act::Succeeds), ("B", is_down_for_a_while)]).await;
    let calls = world.calls.lock().unwrap().clone();
    let of_the_second = calls.iter().position(|call| call.message == second).expect("it is called");
    let (before, behind) = calls.split_at(of_the_second);
    assert_eq!(before.len(), 12, "{calls:?}");
    assert!(before.iter().all(|call| call.message == first) && behind.iter().all(|call| call.message == second));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_keeps_what_is_done_and_returns_the_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::new(MemorySettings::new()).with_journal(&folder.path().join("journal"));
    world.queue.send(MESSAGE);
    let hangs_at_first: Script = |call| if call == 1 { Act::Hangs } else { Act::Succeeds };
    let fails_in_the_first_process: Script = |call| if call <= 3 { Act::Retry } else { Act::Succeeds };
    let routes = [("A", (|_| Act::Succeeds) as Script), ("B", hangs_at_first), ("C", fails_in_the_first_process)];
    let began = Instant::now();
    let summary = world.run(world.router(&routes), sleep(5 * SECOND)).await;
    assert!(began.elapsed() < 16 * SECOND, "{:?}", began.elapsed());
    let counts = world.queue.counts();
    assert_eq!((summary.counts.returned, counts.visible, counts.deleted), (1, 1, 0), "{summary}");
    let summary = world.run_until_gone(&routes).await;
    assert_eq!((summary.counts.deleted, world.calls_of("A").len(), world.calls_of("B").len()), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_each_route_within_its_grace() {
    let world = World::new(MemorySettings::new());
    world.queue.send(MESSAGE);
    let router = world.router(&[("A", |_| Act::Takes(SECOND)), ("B", |_| Act::Takes(6 * SECOND))]);
    let summary = world.run(router, sleep(2 * SECOND)).await;
    assert_eq!((summary.counts.deleted, summary.counts.returned, world.calls().len()), (1, 0, 2), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn in_a_shutdown_a_route_that_failed_is_not_called_again() {
    let world = World::new(MemorySettings::new());
    world.queue.send(MESSAGE);
    let router = world.router(&[("A", |_| Act::Takes(8 * SECOND)), ("B", |_| Act::RetryAfter(3 * SECOND))]);
    let summary = world.run(router, sleep(2 * SECOND)).await;
    assert_eq!((world.calls_of("A").len(), world.calls_of("B").len()), (1, 1), "{summary}");
    assert_eq!((summary.counts.nacked, summary.counts.deleted), (1, 0), "A has finished, and B has failed: {summary}");
}

#[tokio::test(start_paused = true)]
async fn with_a_journal_a_crash_forgets_no_route_that_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let memory = MemorySettings::new().with_visibility_timeout(10 * SECOND);
    let world = World::new(memory).with_journal(&path);
    world.queue.send(MESSAGE);
    let routes: [(&str, Script); 3] = [
        ("A", |_| Act::Succeeds),
        ("B", |call| if call == 1 { Act::Hangs } else { Act::Succeeds }),
        ("C", |_| Act::Succeeds),
    ];
    world.crash(world.router(&routes)).await;
    let summary = world.run_until_gone(&routes).await;
    assert_eq!(world.calls(), [("A", 1), ("B", 1), ("C", 1), ("B", 2)]);
    assert_eq!(summary.counts.deleted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_leads_elsewhere_now_counts_as_not_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let memory = MemorySettings::new().with_visibility_timeout(10 * SECOND);
    let world = World::new(memory).with_journal(&path);
    world.queue.send(MESSAGE);
    let routes: [(&str, Script); 2] =
        [("A", |_| Act::Succeeds), ("B", |call| if call == 1 { Act::Hangs } else { Act::Succeeds })];
    world.crash(world.router(&routes)).await;
    // The last route of these is B, so A is added again behind it, as another target.
    let [a, b] = routes;
    let router = world.router(&[b, a]).with_target("another");
    world.run(router, sleep(60 * SECOND)).await;
    assert_eq!((world.calls_of("A").len(), world.calls_of("B").len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_done_is_deleted_when_its_other_route_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let memory = MemorySettings::new().with_visibility_timeout(10 * SECOND);
    let world = World::new(memory).with_journal(&path);
    world.queue.send(MESSAGE);
    let a: (&str, Script) = ("A", |_| Act::Succeeds);
    world.crash(world.router(&[a, ("B", |_| Act::Hangs)])).await;
    let summary = world.run_until_gone(&[a]).await;
    assert_eq!((summary.counts.deleted, summary.counts.repeats_deleted, world.calls_of("A").len()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_see_which_routes_of_what_is_held_are_done() {
    let world = World::new(MemorySettings::new());
    (0..3).for_each(|_| drop(world.queue.send(MESSAGE)));
    let router = world.router(&[("A", |_| Act::Succeeds), ("B", |_| Act::Down)]);
    let consumer = Consumer::new(world.queue.clone(), router, world.settings.clone());
    let monitor = consumer.monitor();
    let look = async {
        sleep(60 * SECOND).await;
        monitor.flows().iter().map(|flow| (flow.done, flow.retrying)).collect::<Vec<_>>()
    };
    let (run, held) = tokio::join!(consumer.run(sleep(61 * SECOND)), look);
    run.expect("the queue answers");
    assert_eq!(held, [(3, 0), (0, 3)]);
    assert_eq!(monitor.flows().iter().map(|flow| flow.done).sum::<usize>(), 0, "what is returned is no longer here");
}

#[tokio::test(start_paused = true)]
async fn a_record_names_what_is_done_and_a_retry_calls_the_rest() {
    let dead = MemoryQueue::new(MemorySettings::new().with_name("dead"));
    let memory = MemorySettings::new().with_max_receive_count(1).with_dead_letter_queue(dead.clone());
    let world = World::new(memory);
    let id = world.queue.send(MESSAGE);
    let at_first_bad: Script = |call| if call == 1 { Act::Rejects } else { Act::Succeeds };
    let always_bad: Script = |_| Act::Retry;
    let router = || world.router(&[("A", |_| Act::Succeeds), ("B", at_first_bad), ("C", always_bad)]);
    let consumer = Consumer::new(world.queue.clone(), router(), world.settings.clone());
    let kept = Kept::default();
    consumer.monitor().keep_dead_letters(kept.clone());
    consumer.run(sleep(60 * SECOND)).await.expect("the queue answers");
    let record = kept.told().pop().expect("a record");
    assert_eq!((record.route.as_deref(), &*record.outcome), (Some("B"), "rejected"), "the worst decides");
    assert_eq!(record.error, "B rejects; C: C fails");
    let done = |record: &DeadLetter| -> Vec<String> {
        let told = record.routes_done.clone().expect("some are done");
        told.split(", ").map(|one| one.split('@').next().unwrap().to_owned()).collect()
    };
    assert_eq!(done(&record), ["A"]);

    assert!(world.queue.receive(1, Duration::ZERO, None).await.expect("an answer").is_empty());
    let calls_before = world.calls().len();
    let line = serde_json::to_string(&record).expect("JSON");
    let mut records = Records::new();
    assert_eq!(records.read(line.as_bytes()).expect("a line"), 1);
    let reader = Reader::new(router()).with_records(records);
    let letters = DeadLetterQueue::open(dead, reader, Options::default()).await.expect("it opens");
    let mut seen = None;
    for route in ["A", "C"] {
        let filter = Filter::all().with_route(route);
        let list = letters.list(&filter, std::future::pending(), |letter| seen = Some((route, letter.clone())));
        list.await.expect("a list");
    }
    let (by, letter) = seen.expect("C waits for it");
    assert_eq!((by, letter.route.as_deref(), letter.routes.join(" ")), ("C", Some("B"), "A B C".to_owned()));
    assert_eq!(letter.routes_done, ["A"]);
    let mut told = None;
    let retry = RetrySettings::new(world.settings.clone());
    let end = letters.retry(Filter::all(), retry, std::future::pending(), |outcome| told = outcome.record.clone());
    assert_eq!(end.await.expect("it ends").account.failed, 1);
    let called: Vec<_> = world.calls()[calls_before..].iter().map(|(route, _)| *route).collect();
    assert_eq!(called, ["B", "C"], "A was done before");
    let told = told.expect("a record of the retry");
    assert_eq!(
        (done(&told), told.route.as_deref(), &*told.message_id),
        (vec!["A".into(), "B".into()], Some("C"), id.as_str())
    );
}
