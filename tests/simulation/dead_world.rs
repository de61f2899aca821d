//! Worlds in which messages are dead-lettered, and handled in place, exported, dropped and redriven while a daemon works:
//! drawn from seeds, with failing calls, lost holds, and processes that are stopped or killed at any time.
//!
//! ```text
//! STREAM_SQSD_SEED=17 cargo test --no-default-features --test simulation one_dead_world -- --nocapture
//! STREAM_SQSD_SEEDS=10000 cargo test --no-default-features --test simulation every_dead_world -- --nocapture
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use stream_sqsd::consumer::{Consumer, Settings, Unrouted};
use stream_sqsd::dead_letters::{
    DeadLetterQueue, DropList, Filter, HOLD, Options, Outcome, OutcomeKind, Reader, RetryEnded, RetrySettings,
};
use stream_sqsd::event::{Event, Pattern};
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryResult, MessageId, Queue, QueueError, QueueFacts, Receipt};
use stream_sqsd::router::Router;
use tokio::time::{Instant, advance, sleep, timeout};

use crate::quiet_panics;
use crate::seeds::{in_every_world, number};
use crate::world::SIMULATED;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// How the handler of a message ends.
#[derive(Clone, Copy, Debug)]
enum Plan {
    Fine(Duration),
    /// It fails until a time, when somebody has put it right.
    FixedAt(Duration),
    Never,
    /// Its target is down until a time.
    DownUntil(Duration),
    Hangs,
    Panics,
    Undecodable,
    Unrouted,
}

/// One run of an engine: that of the daemon, or of a retry.
#[derive(Debug, Default)]
struct Seen {
    /// Messages of which a delivery arrived.
    received: BTreeSet<MessageId>,
    /// Calls of the handler that were not about its target.
    called: BTreeMap<MessageId, u32>,
    succeeded: BTreeSet<MessageId>,
}

struct Truth {
    began: Instant,
    plans: Vec<Plan>,
    history: Vec<String>,
    broken: Option<String>,
    /// Messages, by their numbers, whose handler succeeded, or that stand in a file that was used to drop.
    done: BTreeSet<usize>,
    /// What the current action on the dead-letter queue saw.
    seen: Seen,
    /// By the daemon, or in place. After a leap of time one message may be at work in both: that of the daemon is lost.
    at_work: BTreeSet<(bool, MessageId)>,
}

/// The world as its parts share it.
#[derive(Clone)]
struct World {
    main: MemoryQueue,
    dead: MemoryQueue,
    fifo: bool,
    calm: bool,
    truth: Arc<Mutex<Truth>>,
}

impl World {
    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }

    fn tell(&self, what: impl AsRef<str>) {
        let mut truth = self.truth();
        let at = truth.began.elapsed().as_secs_f64();
        if std::env::var_os("STREAM_SQSD_LOUD").is_some() {
            eprintln!("{at:12.3} s  {}", what.as_ref());
        }
        truth.history.push(format!("{at:12.3} s  {}", what.as_ref()));
    }

    fn broken(&self, what: impl Into<String>) {
        let what = what.into();
        self.tell(format!("BROKEN: {what}"));
        self.truth().broken.get_or_insert(what);
    }

    fn is_broken(&self) -> bool {
        self.truth().broken.is_some()
    }

    /// Within a group nothing is handled before what was dead-lettered before it.
    fn check_order(&self, id: &MessageId, group: Option<&str>) {
        if !self.fifo || group.is_none() {
            return;
        }
        let letters = self.main.dead_letters();
        let before = letters.iter().take_while(|letter| letter.message_id != *id);
        for other in before.filter(|other| self.group_of(&other.body).as_deref() == group) {
            let there = self.dead.receive_count(&other.message_id).is_some();
            if there && !self.truth().seen.succeeded.contains(&other.message_id) {
                self.broken(format!("{id} is called before {}, which comes first in its group", other.message_id));
            }
        }
    }

    fn group_of(&self, body: &str) -> Option<String> {
        self.fifo.then(|| format!("g{}", number_of(body) % 5))
    }

    fn router(&self, in_place: bool) -> Router {
        let world = self.clone();
        Router::new()
            .route("sim.*", move |event: Event, context: Context| handle(world.clone(), in_place, event, context))
    }

    /// No message is anywhere but in a queue, unless it was handled or dropped.
    fn check_nothing_vanished(&self) {
        let mut left: BTreeSet<usize> = {
            let truth = self.truth();
            (0..truth.plans.len()).filter(|number| !truth.done.contains(number)).collect()
        };
        for (_, body) in self.main.bodies().into_iter().chain(self.dead.bodies()) {
            left.remove(&number_of(&body));
        }
        if !left.is_empty() {
            self.broken(format!("messages vanished that were neither handled nor in a file: {left:?}"));
        }
    }
}

/// The number that a body ends with.
fn number_of(body: &str) -> usize {
    let digits: String = body.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(usize::MAX)
}

async fn handle(world: World, in_place: bool, event: Event, context: Context) -> Result<(), HandlerError> {
    let (id, number) = (context.message_id().clone(), number_of(event.json()));
    let (plan, now) = {
        let truth = world.truth();
        (truth.plans[number], truth.began.elapsed())
    };
    world.tell(format!("{} calls {id} ({plan:?})", if in_place { "retry" } else { "daemon" }));
    if !world.truth().at_work.insert((in_place, id.clone())) {
        world.broken(format!("{id} is at work twice"));
    }
    let _at_work = AtWork(&world, in_place, &id);
    if let Plan::DownUntil(until) = plan
        && now < until
    {
        sleep(SECOND / 20).await;
        return Err(HandlerError::target_down("connection refused"));
    }
    if in_place {
        world.check_order(&id, context.group());
        let calls = {
            let mut truth = world.truth();
            let calls = truth.seen.called.entry(id.clone()).or_default();
            *calls += 1;
            *calls
        };
        if calls > 1 {
            world.broken(format!("{id} is called {calls} times by one retry"));
        }
    }
    match plan {
        Plan::Fine(takes) => sleep(takes).await,
        Plan::FixedAt(at) if now < at => return Err(HandlerError::retry("not yet").after(SECOND)),
        Plan::Never => return Err(HandlerError::reject("422")),
        Plan::Hangs => std::future::pending().await,
        Plan::Panics => panic!("{SIMULATED}"),
        _ => sleep(SECOND / 10).await,
    }
    let mut truth = world.truth();
    truth.done.insert(number);
    if in_place {
        truth.seen.succeeded.insert(id.clone());
    }
    Ok(())
}

struct AtWork<'a>(&'a World, bool, &'a MessageId);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.truth().at_work.remove(&(self.1, self.2.clone()));
    }
}

/// The dead-letter queue, with somebody watching what a look received.
struct Watched(World);

impl Queue for Watched {
    async fn receive(&self, max: usize, wait: Duration, hidden: Option<Duration>) -> Result<Vec<Delivery>, QueueError> {
        self.0.dead.receive(max, wait, hidden).await
    }

    async fn receive_whole(
        &self,
        max: usize,
        wait: Duration,
        hidden: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let deliveries = self.0.dead.receive_whole(max, wait, hidden).await?;
        self.0.truth().seen.received.extend(deliveries.iter().map(|delivery| delivery.receipt.message_id.clone()));
        Ok(deliveries)
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        self.0.dead.delete(batch).await
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.0.dead.change_visibility(batch).await
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        self.0.dead.facts().await
    }

    fn known(&self) -> QueueFacts {
        self.0.dead.known()
    }

    fn reconnect(&self) {
        self.0.dead.reconnect();
    }
}

fn midnight() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200)
}

fn engine(random: &mut Rng) -> Settings {
    Settings::new()
        .with_concurrency([1, 3, 10, 64][random.usize(0..4)])
        .with_handler_timeout(10 * MINUTE)
        .with_wait(Duration::from_secs(random.u64(1..=20)))
        .with_unrouted(if random.bool() { Unrouted::Leave } else { Unrouted::Acknowledge })
        .with_random_seed(random.u64(..))
        .with_wall_clock(midnight)
        .with_time_suspended(|| Duration::ZERO)
}

fn faults(random: &mut Rng) -> Faults {
    let mut probability = |most: f64| if random.bool() { random.f64() * most } else { 0.0 };
    Faults::new()
        .with_duplicate(probability(0.3))
        .with_receive_error(probability(0.3))
        .with_receive_answer_lost(probability(0.1))
        .with_call_error(probability(0.3))
        .with_call_answer_lost(probability(0.3))
        .with_entry_error(probability(0.4))
        .with_hang(probability(0.02))
        .with_latency(Duration::from_secs_f64(probability(3.0)))
}

/// A world, and what it is made of.
fn draw(random: &mut Rng) -> World {
    let fifo = random.u8(0..3) == 0;
    let calm = random.u8(0..3) == 0;
    let mut queue_faults = || if calm { Faults::default() } else { faults(random) };
    let (of_main, of_dead) = (queue_faults(), queue_faults());
    let dead = MemoryQueue::new(
        MemorySettings::new()
            .with_name("dead")
            .with_fifo(fifo)
            .with_faults(of_dead)
            .with_seed(random.u64(..))
            .with_wall_clock(midnight),
    );
    let main = MemoryQueue::new(
        MemorySettings::new()
            .with_visibility_timeout(Duration::from_secs(random.u64(2..=30)))
            .with_max_receive_count(random.u32(1..=3))
            .with_dead_letter_queue(dead.clone())
            .with_fifo(fifo)
            .with_faults(of_main)
            .with_seed(random.u64(..))
            .with_wall_clock(midnight),
    );
    let truth = Truth {
        began: Instant::now(),
        plans: Vec::new(),
        history: Vec::new(),
        broken: None,
        done: BTreeSet::new(),
        seen: Seen::default(),
        at_work: BTreeSet::new(),
    };
    World { main, dead, fifo, calm, truth: Arc::new(Mutex::new(truth)) }
}

fn plan(random: &mut Rng) -> Plan {
    let later = Duration::from_secs(random.u64(0..4_000));
    match random.u8(0..16) {
        0..=3 => Plan::Fine(Duration::from_millis(random.u64(0..2_000))),
        4 => Plan::Fine(Duration::from_secs(random.u64(0..500))),
        5..=9 => Plan::FixedAt(later),
        10 => Plan::Never,
        11 => Plan::DownUntil(later),
        12 => Plan::Hangs,
        13 => Plan::Panics,
        14 => Plan::Undecodable,
        _ => Plan::Unrouted,
    }
}

/// Messages that come before and while somebody handles dead letters; some lie in the dead-letter queue at once.
async fn send_all(world: World, mut random: Rng) {
    for number in 0..random.usize(1..60) {
        let plan = plan(&mut random);
        let body = match plan {
            Plan::Undecodable => format!("no event! {number}"),
            Plan::Unrouted => format!(r#"{{"type":"other.kind","n":{number}}}"#),
            _ if random.bool() => format!(r#"{{"type":"sim.one","n":{number}}}"#),
            _ => format!(r#"{{"type":"sim.other","n":{number}}}"#),
        };
        world.truth().plans.push(plan);
        match world.group_of(&body) {
            Some(group) => world.main.send_to_group(body, &group),
            None => world.main.send(body),
        };
        if random.u8(0..3) == 0 {
            sleep(Duration::from_secs(random.u64(0..100))).await;
        }
    }
}

/// The daemon on the main queue, killed now and then.
async fn daemon(world: World, mut random: Rng) {
    loop {
        let settings = engine(&mut random).with_unrouted(Unrouted::Leave);
        let consumer = Consumer::new(world.main.clone(), world.router(false), settings);
        let lives = Duration::from_secs(random.u64(1..2_000));
        let _ = timeout(lives, consumer.run(std::future::pending())).await;
        sleep(Duration::from_secs(random.u64(0..20))).await;
    }
}

/// How an action ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Done,
    Stopped(Duration),
    Killed(Duration),
}

/// What an operator does, one after the other.
struct Operator {
    world: World,
    random: Rng,
    file: Vec<u8>,
    /// Until when a killed action may hold messages.
    held_until: Instant,
}

impl Operator {
    async fn work(&mut self) {
        for _ in 0..self.random.u32(1..8) {
            sleep(Duration::from_secs(self.random.u64(0..600))).await;
            if !self.world.calm && self.random.u8(0..4) == 0 {
                let leap = Duration::from_secs(self.random.u64(0..600));
                self.world.tell(format!("time leaps by {leap:?}"));
                advance(leap).await;
            }
            self.act().await;
            self.world.check_nothing_vanished();
            if self.world.is_broken() {
                return;
            }
        }
        self.last_act().await;
    }

    async fn act(&mut self) {
        let at = Duration::from_millis(self.random.u64(0..200_000));
        let fate = match self.random.u8(0..4) {
            0 => Fate::Stopped(at),
            1 => Fate::Killed(at),
            _ => Fate::Done,
        };
        let action = self.random.u8(0..8);
        self.world.truth().seen = Seen::default();
        let killed = if let Fate::Killed(at) = fate { at } else { 12 * 60 * MINUTE };
        let done = timeout(killed, self.carry_out(action, fate)).await;
        match done {
            Ok(()) => {}
            Err(_) if matches!(fate, Fate::Killed(_)) => {
                self.world.tell("the action is killed");
                self.held_until = Instant::now() + HOLD;
            }
            Err(_) => self.world.broken("an action does not end"),
        }
        if done.is_ok() && action < 7 {
            self.check_all_visible().await;
        }
    }

    /// Whatever was not settled is visible again: at once where nothing goes wrong, and else when its hold has run out.
    async fn check_all_visible(&mut self) {
        if !self.world.calm {
            sleep(HOLD).await;
        } else if Instant::now() < self.held_until {
            return;
        }
        let hidden = self.world.dead.counts().hidden;
        if hidden > 0 {
            self.world.broken(format!("{hidden} dead letters are still hidden"));
        }
    }

    async fn carry_out(&mut self, action: u8, fate: Fate) {
        let stop = stop(fate);
        match action {
            0 => self.list(stop).await,
            1 => self.export(stop).await,
            2 if !self.file.is_empty() => self.drop_exported(stop).await,
            3 => {
                let moved = self.world.dead.redrive(&self.world.main, self.random.usize(1..20));
                self.world.tell(format!("{moved} are redriven"));
            }
            _ => {
                let filter = self.filter();
                let limit = (self.random.u8(0..4) == 0).then(|| self.random.u64(1..20));
                let rate = (self.random.u8(0..4) == 0).then(|| self.random.f64() * 10.0 + 0.05);
                let settings = RetrySettings::new(engine(&mut self.random)).with_limit(limit).with_rate(rate);
                self.retry(filter, settings, stop).await;
            }
        }
    }

    async fn open(&mut self) -> DeadLetterQueue<Watched> {
        let options = Options::default().with_wait(Duration::from_secs(self.random.u64(1..=20)));
        // It may not be possible to ask, which is not what is looked at here.
        let options = options.with_wall_clock(midnight).with_force(true);
        let open = DeadLetterQueue::open(Watched(self.world.clone()), Reader::new(self.world.router(true)), options);
        open.await.expect("it is forced")
    }

    fn filter(&mut self) -> Filter {
        match self.random.u8(0..3) {
            0 => Filter::all().with_type(Pattern::new("sim.one").unwrap()),
            1 if self.random.bool() => Filter::all().with_reason("unrouted"),
            _ => Filter::all(),
        }
    }

    async fn list(&mut self, stop: impl Future<Output = ()> + Send + 'static) {
        let listing = self.open().await.list(&Filter::all(), stop, |_| {}).await;
        self.world.tell(format!("list: {:?}", listing.as_ref().map(|listing| listing.messages)));
        if let Ok(listing) = listing {
            let grouped: u64 = listing.groups.iter().map(|group| group.count).sum();
            if grouped != listing.messages || listing.messages > self.world.truth().seen.received.len() as u64 {
                self.world.broken(format!("a list that does not add up: {listing:?}"));
            }
        }
    }

    async fn export(&mut self, stop: impl Future<Output = ()> + Send + 'static) {
        let mut file = Vec::new();
        let filter = match self.random.bool() {
            true => Filter::all().with_reason("base64"),
            false => Filter::all(),
        };
        let done = self.open().await.export(&filter, &mut file, stop, |_| {}).await;
        self.world.tell(format!("export: {:?}", done.as_ref().map(|done| done.exported)));
        if done.is_ok() {
            self.file = file;
        }
    }

    async fn drop_exported(&mut self, stop: impl Future<Output = ()> + Send + 'static) {
        let list = DropList::read(&*self.file).expect("an export");
        let numbers = String::from_utf8(self.file.clone()).unwrap();
        let bodies = numbers.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let bodies = bodies.map(|line| number_of(line["body"].as_str().unwrap()));
        self.world.truth().done.extend(bodies);
        let mut kinds = BTreeMap::<MessageId, OutcomeKind>::new();
        let done = |outcome: &Outcome| {
            kinds.insert(outcome.message_id.clone(), outcome.kind);
        };
        let summary = self.open().await.drop_exported(&list, stop, done).await;
        self.world.tell(format!("drop of {}: {summary:?}", list.len()));
        if summary.is_ok_and(|summary| !summary.account.adds_up() || summary.account.seen != kinds.len() as u64) {
            self.world.broken("the account of a drop does not add up");
        }
        self.check_outcomes(&kinds);
    }

    async fn retry(
        &mut self,
        filter: Filter,
        settings: RetrySettings,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        self.world.tell(format!("retry {filter:?}, limit {:?}, rate {:?}", settings.limit, settings.rate));
        let mut kinds = BTreeMap::<MessageId, OutcomeKind>::new();
        let mut twice = false;
        let world = self.world.clone();
        let done = |outcome: &Outcome| {
            world.tell(format!("{} {:?} {:?}", outcome.message_id, outcome.kind, outcome.reason));
            twice |= kinds.insert(outcome.message_id.clone(), outcome.kind).is_some();
        };
        let summary = self.open().await.retry(filter, settings, stop, done).await.expect("settings that fit");
        self.world.tell(format!("{summary:?}"));
        let account = summary.account;
        let received = self.world.truth().seen.received.clone();
        if twice || !account.adds_up() || received != kinds.keys().cloned().collect() {
            let missing: Vec<_> = received.iter().filter(|id| !kinds.contains_key(id)).collect();
            self.world.broken(format!("not every message has one outcome: {account:?}, without one {missing:?}"));
        }
        self.check_outcomes(&kinds);
        if summary.ended == RetryEnded::Done
            && self.world.calm
            && (account.left > 0 || account.lost > 0)
            && !self.world.fifo
        {
            self.world.broken(format!("a retry in a calm world left something: {account:?}"));
        }
    }

    fn check_outcomes(&self, kinds: &BTreeMap<MessageId, OutcomeKind>) {
        for (id, kind) in kinds {
            let (succeeded, called) = {
                let seen = &self.world.truth().seen;
                (seen.succeeded.contains(id), seen.called.contains_key(id))
            };
            let there = self.world.dead.receive_count(id).is_some();
            let wrong = match kind {
                OutcomeKind::Handled => !succeeded || (there && self.world.calm),
                OutcomeKind::Failed => succeeded || !there,
                OutcomeKind::NotMatched => called || !there,
                OutcomeKind::Left => succeeded || !there,
                OutcomeKind::Dropped => there && self.world.calm,
                _ => self.world.calm,
            };
            if wrong {
                let what = format!("called {called}, succeeded {succeeded}, there {there}");
                self.world.broken(format!("{id} is said to be {kind:?}: {what}"));
            }
        }
    }

    /// Everything is as it should be now: all that can be handled is.
    async fn last_act(&mut self) {
        self.world.main.set_faults(Faults::default());
        self.world.dead.set_faults(Faults::default());
        self.world.calm = true;
        sleep(2 * 60 * MINUTE).await;
        self.world.truth().seen = Seen::default();
        let settings = RetrySettings::new(engine(&mut self.random));
        self.retry(Filter::all(), settings, std::future::pending()).await;
        let hidden = self.world.dead.counts().hidden;
        if hidden > 0 {
            self.world.broken(format!("{hidden} dead letters are still hidden"));
        }
        self.world.check_nothing_vanished();
        if self.world.fifo {
            return;
        }
        for (id, body) in self.world.dead.bodies() {
            let plan = self.world.truth().plans[number_of(&body)];
            if matches!(plan, Plan::Fine(_) | Plan::FixedAt(_) | Plan::DownUntil(_))
                && self.world.truth().seen.received.contains(&id)
            {
                self.world.broken(format!("{id} ({plan:?}) was left though nothing stands in its way"));
            }
        }
    }
}

async fn stop(fate: Fate) {
    match fate {
        Fate::Stopped(at) => sleep(at).await,
        _ => std::future::pending().await,
    }
}

/// What happened in a world, and what promise was broken in it.
fn live_through(seed: u64) -> (Vec<String>, Option<String>, [u64; 3]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut random = Rng::with_seed(seed);
        let world = draw(&mut random);
        world.tell(format!("fifo {}, calm {}", world.fifo, world.calm));
        let (of_sender, of_daemon) = (random.fork(), random.fork());
        let rest = async {
            tokio::join!(send_all(world.clone(), of_sender), daemon(world.clone(), of_daemon));
        };
        let mut operator = Operator { world: world.clone(), random, file: Vec::new(), held_until: Instant::now() };
        tokio::select! {
            biased;
            () = rest => {}
            () = operator.work() => {}
        }
        let (main, dead) = (world.main.counts(), world.dead.counts());
        let mut truth = world.truth();
        (std::mem::take(&mut truth.history), truth.broken.take(), [main.dead_lettered, dead.deleted, dead.redriven])
    })
}

#[test]
fn every_dead_world_keeps_its_promises() {
    quiet_panics();
    let (seeds, [dead_lettered, deleted, redriven]) = in_every_world(300, 1, |seed| match live_through(seed) {
        (_, None, counts) => Ok(counts),
        (history, Some(promise), _) => Err(format!("{}\nseed {seed}: {promise}", history.join("\n"))),
    });
    println!("{seeds} worlds: {dead_lettered} dead-lettered, {deleted} of them deleted, {redriven} redriven");
    assert!(deleted > 0 && redriven > 0, "worlds in which nothing happens prove nothing");
}

#[test]
fn one_dead_world_tells_its_story() {
    quiet_panics();
    let seed = number("STREAM_SQSD_SEED").unwrap_or(0);
    let (history, broken, _) = live_through(seed);
    println!("{}", history.join("\n"));
    assert_eq!(broken, None, "seed {seed}");
}

#[test]
fn the_same_seed_gives_the_same_dead_world() {
    quiet_panics();
    for seed in 0..20 {
        let (first, ..) = live_through(seed);
        let (second, ..) = live_through(seed);
        assert!(first == second, "seed {seed} tells two stories");
    }
}
