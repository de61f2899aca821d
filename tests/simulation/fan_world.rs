//! Worlds in which each message has one to three routes, some of which fail, hang, or lead to a target that is down, with
//! processes that live and die, with a journal and without. Everything is drawn from a seed, and the story of a world without a
//! journal too: a journal is written by a thread of its own.
//!
//! ```text
//! STREAM_SQSD_SEEDS=10000 cargo test --no-default-features --test simulation every_fan_out -- --nocapture
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use stream_sqsd::consumer::{Consumer, RetryDelay, RunError, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryResult, MessageId, Queue, QueueError, QueueFacts, Receipt};
use stream_sqsd::router::Router;
use tokio::time::{Instant, sleep};

use crate::disk;
use crate::seeds::in_every_world;
use crate::world::SIMULATED;

const SECOND: Duration = Duration::from_secs(1);
const ROUTES: usize = 3;

/// What the handler of a route does with one message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plan {
    Fine(Duration),
    FailsAtFirst(u32),
    RejectsAtFirst(u32),
    BusyAtFirst(u32),
    PanicsAtFirst(u32),
    HangsAtFirst(u32),
    AlwaysFails,
    AlwaysRejects,
}

impl Plan {
    fn can_succeed(self) -> bool {
        !matches!(self, Plan::AlwaysFails | Plan::AlwaysRejects)
    }

    /// Whether nothing but its target can keep it from success, so that it spends no receive.
    fn is_good(self) -> bool {
        matches!(self, Plan::Fine(_) | Plan::BusyAtFirst(_))
    }
}

struct Message {
    /// Of each route what it does, where it takes the message.
    plans: [Option<Plan>; ROUTES],
    at: Duration,
    group: Option<String>,
}

struct World {
    memory: MemorySettings,
    settings: Settings,
    calm: bool,
    messages: Vec<Message>,
    /// Of each route a time in which its target is down.
    outages: [Option<(Duration, Duration)>; ROUTES],
    /// Of each process but the last one whether it is killed, and when it ends.
    lives: Vec<(bool, Duration)>,
    journal: bool,
}

fn draw(random: &mut Rng) -> World {
    let milliseconds = |random: &mut Rng, most: u64| Duration::from_millis(random.u64(0..=most));
    let (fifo, calm) = (random.u8(0..10) < 3, random.u8(0..10) < 4);
    let mut share = |most: f64| if random.bool() && !calm { random.f64() * most } else { 0.0 };
    let faults = Faults::new()
        .with_duplicate(share(0.4))
        .with_receive_error(share(0.3))
        .with_receive_answer_lost(share(0.2))
        .with_call_error(share(0.3))
        .with_call_answer_lost(share(0.3))
        .with_entry_error(share(0.4))
        .with_latency(Duration::from_secs_f64(share(2.0)));
    let memory = MemorySettings::new()
        .with_visibility_timeout(Duration::from_secs(random.u64(5..=40)))
        .with_max_receive_count((random.u8(0..4) > 0).then(|| random.u32(1..=6)))
        .with_fifo(fifo)
        .with_faults(faults)
        .with_seed(random.u64(..));
    let settings = Settings::new()
        .with_concurrency([1, 2, 5, 20][random.usize(0..4)])
        .with_wait(Duration::from_secs(random.u64(0..=10)))
        .with_handler_timeout(Duration::from_secs(random.u64(2..=20)))
        .with_grace(Duration::from_secs(random.u64(12..=20)))
        .with_retry(RetryDelay::new(SECOND, 900 * SECOND))
        .with_fifo_attempts((random.u8(0..4) == 0).then(|| random.u32(1..=4)))
        .with_random_seed(random.u64(..));
    let mut messages = Vec::new();
    for _ in 0..random.u32(1..=25) {
        let takes = random.u8(1..1 << ROUTES);
        let plans = std::array::from_fn(|route| (takes & 1 << route != 0).then(|| draw_plan(random)));
        let group = fifo.then(|| format!("g{}", random.u8(0..3)));
        messages.push(Message { plans, at: milliseconds(random, 60_000), group });
    }
    messages.sort_by_key(|message| message.at);
    let outages = std::array::from_fn(|_| {
        (random.u8(0..3) == 0).then(|| (milliseconds(random, 30_000), milliseconds(random, 300_000)))
    });
    let lives = (0..random.u32(0..=3)).map(|_| (random.bool(), milliseconds(random, 60_000))).collect();
    World { memory, settings, calm, messages, outages, lives, journal: random.u8(0..3) == 0 }
}

fn draw_plan(random: &mut Rng) -> Plan {
    match random.u8(0..20) {
        0..=9 => Plan::Fine(Duration::from_millis(random.u64(0..500))),
        // Less than the shortest limit of a handler.
        10 | 11 => Plan::Fine(Duration::from_millis(random.u64(0..1_800))),
        12 | 13 => Plan::FailsAtFirst(random.u32(1..=3)),
        14 => Plan::RejectsAtFirst(random.u32(1..=2)),
        15 => Plan::BusyAtFirst(random.u32(1..=3)),
        16 => Plan::PanicsAtFirst(1),
        17 => Plan::HangsAtFirst(1),
        18 => Plan::AlwaysFails,
        _ => Plan::AlwaysRejects,
    }
}

/// A route of a message.
type Part = (MessageId, usize);

struct Truth {
    began: Instant,
    history: Vec<String>,
    broken: Option<String>,
    messages: BTreeMap<MessageId, usize>,
    /// Of each message its place in its group.
    places: BTreeMap<MessageId, (String, usize)>,
    calls: BTreeMap<Part, u32>,
    at_work: BTreeSet<Part>,
    /// By which lives.
    succeeded: BTreeMap<Part, BTreeSet<usize>>,
}

/// The eyes of one process.
#[derive(Clone)]
struct Eyes {
    world: Arc<World>,
    queue: MemoryQueue,
    truth: Arc<Mutex<Truth>>,
    life: usize,
    journal: Option<Arc<Path>>,
}

impl Eyes {
    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }

    fn tell(&self, what: impl AsRef<str>) {
        let mut truth = self.truth();
        let line = format!("{:10.3} s  life {}: {}", truth.began.elapsed().as_secs_f64(), self.life, what.as_ref());
        truth.history.push(line);
    }

    fn broken(&self, what: String) {
        self.tell(format!("BROKEN: {what}"));
        self.truth().broken.get_or_insert(what);
    }

    fn message(&self, id: &MessageId) -> &Message {
        &self.world.messages[self.truth().messages[id]]
    }

    /// Whether this process knows, or has to know, that a route has succeeded.
    fn is_known(&self, part: &Part) -> bool {
        let truth = self.truth();
        let lives = truth.succeeded.get(part);
        lives.is_some_and(|lives| self.journal.is_some() || lives.contains(&self.life))
    }

    fn all_succeeded(&self, id: &MessageId, known: impl Fn(&Part) -> bool) -> bool {
        let plans = self.message(id).plans;
        (0..ROUTES).filter(|route| plans[*route].is_some()).all(|route| known(&(id.clone(), route)))
    }

    fn begins(&self, part: &Part) -> (Plan, u32) {
        let (id, route) = part;
        let call = {
            let mut truth = self.truth();
            let call = truth.calls.entry(part.clone()).or_default();
            *call += 1;
            *call
        };
        let plan = self.message(id).plans[*route].expect("a route is called for what it takes");
        self.tell(format!("route {route} is called for {id}, call {call} ({plan:?})"));
        if !self.truth().at_work.insert(part.clone()) {
            self.broken(format!("route {route} is at work twice for {id}"));
        }
        let (at_work, slots) = (self.truth().at_work.len(), self.world.settings.concurrency);
        if at_work > slots {
            self.broken(format!("{at_work} handlers at work with {slots} slots"));
        }
        if self.is_known(part) {
            self.broken(format!("route {route} is called again for {id} after it succeeded"));
        }
        self.check_order(id);
        (plan, call)
    }

    /// What comes before it in its group is over: done, gone, or on its last receive and given up.
    fn check_order(&self, id: &MessageId) {
        let earlier: Vec<MessageId> = {
            let truth = self.truth();
            let Some((group, place)) = truth.places.get(id) else { return };
            let before = truth.places.iter().filter(|(_, (of, at))| of == group && at < place);
            before.map(|(id, _)| id.clone()).collect()
        };
        for other in earlier {
            let ever = |part: &Part| self.truth().succeeded.contains_key(part);
            if let Some(receives) = self.queue.receive_count(&other)
                && self.world.memory.max_receive_count.is_none_or(|most| receives < most)
                && !self.all_succeeded(&other, ever)
            {
                self.broken(format!("{id} is worked on before {other}, which comes first in its group"));
            }
        }
    }

    fn is_down(&self, route: usize) -> bool {
        let at = self.truth().began.elapsed();
        self.world.outages[route].is_some_and(|(from, takes)| (from..from + takes).contains(&at))
    }

    async fn handle(self, route: usize, context: Context) -> Result<(), HandlerError> {
        let part = (context.message_id().clone(), route);
        let (plan, call) = self.begins(&part);
        let working = Working { eyes: self.clone(), part: part.clone() };
        if self.is_down(route) {
            sleep(SECOND / 20).await;
            return Err(HandlerError::target_down("connection refused"));
        }
        match plan {
            Plan::Fine(takes) => sleep(takes).await,
            Plan::FailsAtFirst(times) if call <= times => return Err(HandlerError::retry("not this time")),
            Plan::AlwaysFails => return Err(HandlerError::retry("never")),
            Plan::RejectsAtFirst(times) if call <= times => return Err(HandlerError::reject("not this time")),
            Plan::AlwaysRejects => return Err(HandlerError::reject("bad")),
            Plan::BusyAtFirst(times) if call <= times => return Err(HandlerError::target_busy("429")),
            Plan::PanicsAtFirst(times) if call <= times => panic!("{SIMULATED}"),
            Plan::HangsAtFirst(times) if call <= times => std::future::pending().await,
            _ => {}
        }
        self.tell(format!("route {route} succeeds for {}", part.0));
        self.truth().succeeded.entry(part.clone()).or_default().insert(self.life);
        if let Some(journal) = &self.journal {
            disk::hold_the_clock_until_written(journal, &part.0);
        }
        drop(working);
        Ok(())
    }

    fn router(&self) -> Router {
        (0..ROUTES).fold(Router::new(), |router, route| {
            let eyes = self.clone();
            let takes = move |event: &Event| {
                let taken: u8 = event.kind().name().strip_prefix("sim.").and_then(|text| text.parse().ok()).unwrap();
                taken & 1 << route != 0
            };
            let handler = move |_: Event, context: Context| eyes.clone().handle(route, context);
            router.route_named(&format!("route-{route}"), takes, handler).continuing()
        })
    }

    async fn send_all(&self) {
        let mut places = BTreeMap::<String, usize>::new();
        let began = self.truth().began;
        for (number, message) in self.world.messages.iter().enumerate() {
            tokio::time::sleep_until(began + message.at).await;
            let taken = (0..ROUTES).filter(|route| message.plans[*route].is_some()).map(|route| 1_u8 << route);
            let body = format!(r#"{{"type":"sim.{}"}}"#, taken.sum::<u8>());
            let id = match &message.group {
                Some(group) => self.queue.send_to_group(body, group),
                None => self.queue.send(body),
            };
            self.truth().messages.insert(id.clone(), number);
            if let Some(group) = &message.group {
                let place = places.entry(group.clone()).or_default();
                *place += 1;
                self.truth().places.insert(id, (group.clone(), *place));
            }
        }
    }

    /// Every message is gone, or can never be.
    fn is_over(&self) -> bool {
        let gone = |id: &MessageId| self.queue.receive_count(id).is_none();
        let ids: Vec<MessageId> = self.truth().messages.keys().cloned().collect();
        let always_fails = |id: &MessageId| self.message(id).plans.iter().flatten().any(|plan| !plan.can_succeed());
        let stays = |id: &MessageId| self.world.memory.max_receive_count.is_none() && always_fails(id);
        let blocked = |id: &MessageId| {
            let group = &self.message(id).group;
            group.is_some()
                && ids.iter().any(|other| self.message(other).group == *group && !gone(other) && stays(other))
        };
        ids.len() == self.world.messages.len() && ids.iter().all(|id| gone(id) || stays(id) || blocked(id))
    }

    /// One process, until it is killed or told to stop.
    #[allow(clippy::disallowed_methods, reason = "the disk has a time of its own")]
    async fn live(&self, killed: bool, until: impl Future<Output = ()>) {
        self.tell("begins");
        let told = tokio::sync::Notify::new();
        let consumer = || Consumer::new(self.clone(), self.router(), self.world.settings.clone());
        let run = async {
            loop {
                match consumer().run(told.notified()).await {
                    // The disk is slow, and the process before still has the file.
                    Err(RunError::Journal(_)) => {
                        std::thread::sleep(Duration::from_millis(20));
                        sleep(Duration::from_millis(20)).await;
                    }
                    ended => return ended.map(|summary| summary.adds_up()),
                }
            }
        };
        let mut run = Box::pin(run);
        let ended = tokio::select! {
            biased;
            ended = &mut run => Some(ended),
            () = until => None,
        };
        let ended = match ended {
            None if killed => return self.tell("is killed"),
            None => {
                self.tell("is told to stop");
                told.notify_one();
                run.await
            }
            Some(ended) => ended,
        };
        match ended {
            Ok(true) => self.tell("ends"),
            Ok(false) => self.broken("the summary does not add up".to_owned()),
            Err(error) => self.tell(format!("did not start: {error}")),
        }
    }

    /// The last process, which has a quiet world and all the time that it needs.
    async fn live_to_the_end(&self) {
        let until = async {
            sleep(300 * SECOND).await;
            self.tell("nothing goes wrong any longer");
            self.queue.set_faults(Faults::default());
            let end = Instant::now() + 4 * 3600 * SECOND;
            while Instant::now() < end && self.truth().broken.is_none() && !self.is_over() {
                sleep(5 * SECOND).await;
            }
            if !self.is_over() && self.truth().broken.is_none() {
                self.broken("four hours later there is still work that could have been done".to_owned());
            }
        };
        self.live(false, until).await;
    }

    /// What can only be kept from success by targets that are down for a while is never dead-lettered.
    fn check_the_end(&self) {
        let counts = self.queue.counts();
        if counts.sent != counts.visible + counts.hidden + counts.deleted + counts.dead_lettered + counts.expired {
            self.broken(format!("a message vanished: {counts:?}"));
        }
        let bounds = self.world.memory.max_receive_count.is_some_and(|most| most < 3);
        if !self.world.calm || self.world.memory.fifo || !self.world.lives.is_empty() || bounds {
            return;
        }
        let ids: Vec<MessageId> = self.truth().messages.keys().cloned().collect();
        for id in ids {
            let good = self.message(&id).plans.iter().flatten().all(|plan| plan.is_good());
            if good && !self.all_succeeded(&id, |part| self.is_known(part)) {
                self.broken(format!("{id} can succeed on each route, and did not"));
            }
        }
    }
}

/// A handler that is at work.
struct Working {
    eyes: Eyes,
    part: Part,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.eyes.truth().at_work.remove(&self.part);
    }
}

impl Queue for Eyes {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let answer = self.queue.receive(max, wait, visibility).await;
        for delivery in answer.iter().flatten() {
            self.tell(format!("{} is received, {}", delivery.receipt.message_id, delivery.receive_count));
        }
        answer
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        for receipt in batch {
            let id = &receipt.message_id;
            self.tell(format!("{id} is to be deleted"));
            if !self.all_succeeded(id, |part| self.is_known(part)) {
                self.broken(format!("{id} is deleted before each of its routes has succeeded"));
            }
        }
        self.queue.delete(batch).await
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.change_visibility(batch).await
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        self.queue.facts().await
    }

    fn known(&self) -> QueueFacts {
        self.queue.known()
    }

    fn reconnect(&self) {
        self.queue.reconnect();
    }
}

/// What a world counts: messages, deleted, dead-lettered, processes.
type Counts = [u64; 4];

/// Lives through the world of a seed. An error is the promise that was broken, with the story.
fn run(seed: u64) -> Result<(Counts, Vec<String>), (String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Not the stream of the other worlds.
    let mut world = draw(&mut Rng::with_seed(seed ^ 0xfa40_0075));
    let folder = world.journal.then(|| tempfile::tempdir().expect("a folder"));
    let journal: Option<PathBuf> = folder.as_ref().map(|folder| folder.path().join("journal"));
    world.settings = world.settings.with_journal(journal.clone());
    let lives = world.lives.clone();
    let world = Arc::new(world);
    runtime.block_on(async move {
        let truth = Truth {
            began: Instant::now(),
            history: vec![format!("{:?} {:?} {:?} {lives:?}", world.memory, world.settings, world.outages)],
            broken: None,
            messages: BTreeMap::new(),
            places: BTreeMap::new(),
            calls: BTreeMap::new(),
            at_work: BTreeSet::new(),
            succeeded: BTreeMap::new(),
        };
        let queue = MemoryQueue::new(world.memory.clone());
        let journal = journal.map(Arc::from);
        let eyes = Eyes { world, queue, truth: Arc::new(Mutex::new(truth)), life: 0, journal };
        let processes = async {
            for (life, (killed, after)) in lives.iter().enumerate() {
                Eyes { life, ..eyes.clone() }.live(*killed, sleep(*after)).await;
                // The tasks of one that was killed are dropped when the runtime comes to them.
                sleep(SECOND).await;
            }
            Eyes { life: lives.len(), ..eyes.clone() }.live_to_the_end().await;
        };
        tokio::join!(eyes.send_all(), processes);
        Eyes { life: lives.len(), ..eyes.clone() }.check_the_end();
        let counts = eyes.queue.counts();
        let mut truth = eyes.truth();
        let history = std::mem::take(&mut truth.history);
        match truth.broken.take() {
            Some(promise) => Err((promise, history.join("\n"))),
            None => Ok(([counts.sent, counts.deleted, counts.dead_lettered, lives.len() as u64 + 1], history)),
        }
    })
}

#[test]
fn every_fan_out_world_keeps_its_promises() {
    crate::quiet_panics();
    let (seeds, [messages, deleted, dead, lives]) = in_every_world(200, 1, |seed| match run(seed) {
        Ok((counts, _)) => Ok(counts),
        Err((promise, story)) => Err(format!("{story}\nseed {seed}: {promise}")),
    });
    println!("{seeds} worlds: {messages} messages, {deleted} deleted, {dead} dead-lettered, {lives} processes");
    assert!(deleted > 0 && dead > 0, "worlds in which nothing happens prove nothing");
}

#[test]
fn the_same_seed_fans_out_in_the_same_way() {
    crate::quiet_panics();
    let without_a_journal = |seed: &u64| !draw(&mut Rng::with_seed(seed ^ 0xfa40_0075)).journal;
    for seed in (0..20).filter(without_a_journal) {
        assert_eq!(run(seed), run(seed), "seed {seed} tells two stories");
    }
}
