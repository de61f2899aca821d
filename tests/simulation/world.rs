//! One world: a queue, its faults, messages with plans, and processes that live and die, one after the other on each
//! of one or two machines. Everything in it is drawn from one seed.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use stream_sqsd::consumer::{Consumer, RetryDelay, Settings, Summary, Unrouted};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::MessageId;
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::Instant;

use crate::witness::{Plan, Witness};

/// What happened in a world whose promises were kept.
#[derive(Debug, Default, Clone)]
pub(crate) struct Kept {
    pub(crate) messages: u64,
    pub(crate) deleted: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) lives: u32,
    pub(crate) history: Vec<String>,
}

/// A promise that was broken, and how it came to that.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) promise: String,
    pub(crate) story: String,
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Shutdown,
    Killed,
}

pub(crate) fn run(seed: u64) -> Result<Kept, Broken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut random = Rng::with_seed(seed);
    let facts = draw(&mut random);
    runtime.block_on(live_through(facts, random))
}

/// What is drawn before the world begins.
struct World {
    memory: MemorySettings,
    settings: Settings,
    calm: bool,
    leaps: bool,
    plans: Vec<(Plan, Duration, Option<String>)>,
    outage: Option<(Duration, Duration)>,
    /// Of each machine that consumes the queue, the processes before its last one.
    machines: Vec<Vec<(Fate, Duration)>>,
}

fn seconds(random: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.u64(from * 1000..=to * 1000))
}

/// The order of what is drawn is part of what a seed means.
fn draw(random: &mut Rng) -> World {
    let fifo = random.u8(0..10) < 3;
    let calm = random.u8(0..10) < 3;
    let leaps = !calm && random.u8(0..4) == 0;
    let faults = if calm { Faults::default() } else { draw_faults(random) };
    let max_receive_count = (random.u8(0..4) > 0).then(|| random.u32(1..=6));
    let memory = MemorySettings::new()
        .with_visibility_timeout(Duration::from_secs(random.u64(2..=60)))
        .with_max_receive_count(max_receive_count)
        .with_fifo(fifo)
        .with_faults(faults)
        .with_seed(random.u64(..));
    let settings = draw_settings(random, calm);
    let spread = random.u64(0..=120);
    let groups = random.u32(1..=6);
    let mut plans = Vec::new();
    for _ in 0..random.u32(1..=80) {
        let plan = draw_plan(random);
        let group = (fifo || random.u8(0..8) == 0).then(|| format!("g{}", random.u32(0..groups)));
        plans.push((plan, seconds(random, 0, spread), group));
    }
    plans.sort_by_key(|(_, at, _)| *at);
    let outage = random.bool().then(|| (seconds(random, 0, 60), seconds(random, 1, 120)));
    let lives = |random: &mut Rng| -> Vec<_> {
        (0..random.u32(0..=4))
            .map(|_| (if random.bool() { Fate::Shutdown } else { Fate::Killed }, seconds(random, 0, 60)))
            .collect()
    };
    let mut machines = vec![lives(random)];
    if random.u8(0..4) == 0 {
        machines.push(lives(random));
    }
    World { memory, settings, calm, leaps, plans, outage, machines }
}

fn draw_faults(random: &mut Rng) -> Faults {
    let mut probability = |most: f64| if random.bool() { random.f64() * most } else { 0.0 };
    Faults::new()
        .with_duplicate(probability(0.5))
        .with_receive_error(probability(0.3))
        .with_receive_answer_lost(probability(0.2))
        .with_call_error(probability(0.3))
        .with_call_answer_lost(probability(0.3))
        .with_entry_error(probability(0.5))
        .with_hang(probability(0.05))
        .with_attributes_error(probability(1.0))
        .with_latency(Duration::from_secs_f64(probability(3.0)))
}

fn draw_settings(random: &mut Rng, calm: bool) -> Settings {
    let wait = Duration::from_secs(random.u64(0..=20));
    Settings::new()
        .with_concurrency([1, 2, 5, 10, 20, 64][random.usize(0..6)])
        .with_max_in_flight_bytes(if random.u8(0..4) == 0 && !calm { random.usize(1..5_000_000) } else { 256 << 20 })
        .with_wait(wait)
        .with_visibility((random.u8(0..4) == 0).then(|| Duration::from_secs(random.u64(2..=90))))
        .with_handler_timeout(seconds(random, 1, 40))
        .with_grace(wait + Duration::from_secs(random.u64(2..=20)))
        .with_inflate_limit(1 << 20)
        .with_unrouted(Unrouted::Acknowledge)
        .with_until_empty(false)
        .with_retry(RetryDelay::new(Duration::from_secs(1), Duration::from_secs(900)))
        .with_fifo_attempts((random.u8(0..4) == 0).then(|| random.u32(1..=4)))
        .with_random_seed(random.u64(..))
}

fn draw_plan(random: &mut Rng) -> Plan {
    match random.u8(0..24) {
        0..=9 => Plan::Fine(Duration::from_millis(random.u64(0..300))),
        10 | 11 => Plan::Fine(seconds(random, 0, 20)),
        12 => Plan::FailsAtFirst(random.u32(1..=3)),
        13 => Plan::BusyAtFirst(random.u32(1..=3)),
        14 => Plan::AlwaysFails,
        15 => Plan::Bad,
        16 => Plan::Panics(random.u32(1..=3)),
        17 => Plan::Hangs,
        18 => Plan::EndsWhenTold,
        19 | 20 => Plan::NeedsTarget,
        21 => Plan::Poison,
        22 => Plan::Undecodable,
        _ => Plan::Unrouted,
    }
}

/// Body forms that need no library: the codecs have tests of their own.
fn body(plan: Plan) -> String {
    match plan {
        Plan::Undecodable => "no event at all".into(),
        Plan::Unrouted => r#"{"type":"other.kind"}"#.into(),
        _ => r#"{"type":"sim.work"}"#.into(),
    }
}

fn router(witness: Witness, slots: usize) -> Router {
    let witness = Arc::new(witness);
    Router::new().route("sim.*", move |_: Event, context: Context| handle(witness.clone(), slots, context))
}

async fn handle(witness: Arc<Witness>, slots: usize, context: Context) -> Result<(), HandlerError> {
    let (plan, call, working) = witness.begins(context.message_id(), slots);
    match plan {
        Plan::Fine(takes) => tokio::time::sleep(takes).await,
        Plan::FailsAtFirst(times) if call <= times => {
            working.fails("fails");
            return Err(HandlerError::retry("not this time"));
        }
        Plan::AlwaysFails => {
            working.fails("fails");
            return Err(HandlerError::retry("never"));
        }
        Plan::Bad => {
            working.fails("calls it bad");
            return Err(HandlerError::reject("bad"));
        }
        Plan::Panics(times) if call <= times => {
            working.fails("panics");
            panic!("{SIMULATED}");
        }
        Plan::Hangs => std::future::pending().await,
        Plan::EndsWhenTold => {
            tokio::select! {
                biased;
                () = context.cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        }
        Plan::NeedsTarget if !witness.truth().target_up => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            working.fails("finds the target down");
            return Err(HandlerError::target_down("connection refused"));
        }
        Plan::BusyAtFirst(times) if call <= times => {
            working.fails("finds the target busy");
            let busy = HandlerError::target_busy("429");
            return Err(if call == 1 { busy.after(Duration::from_secs(1)) } else { busy });
        }
        Plan::Poison => {
            working.fails("finds the target down");
            return Err(HandlerError::target_down("500"));
        }
        _ => tokio::task::yield_now().await,
    }
    working.succeeds();
    Ok(())
}

/// What a simulated panic says, so that it is not printed.
pub(crate) const SIMULATED: &str = "a simulated panic";

async fn live_through(world: World, mut random: Rng) -> Result<Kept, Broken> {
    let queue = MemoryQueue::new(world.memory.clone());
    let witness = Witness::new(queue.clone(), world.memory.max_receive_count, world.memory.fifo);
    let began = Instant::now();
    witness.truth().calm = world.calm;
    witness.tell(format!("{:?}", world.memory));
    witness.tell(format!("{:?}", world.settings));
    witness.tell(format!("outage {:?}, lives {:?}", world.outage, world.machines));

    let sender = send_all(witness.clone(), world.plans.clone(), began);
    let target = take_down(witness.clone(), world.outage, began);
    let leaps = leap(world.leaps, witness.clone(), random.fork());
    let lives = live(&world, &witness, &mut random);
    tokio::pin!(sender, target, leaps, lives);
    // The rest of the world goes on as long as there are lives in it.
    let (mut sent, mut restored, mut leapt) = (false, false, false);
    let lives = loop {
        tokio::select! {
            biased;
            () = &mut sender, if !sent => sent = true,
            () = &mut target, if !restored => restored = true,
            () = &mut leaps, if !leapt => leapt = true,
            lives = &mut lives => break lives,
        }
    };
    let counts = queue.counts();
    witness.tell(format!("the end: {counts:?}"));
    if counts.sent != counts.visible + counts.hidden + counts.deleted + counts.dead_lettered + counts.expired {
        witness.broken(format!("a message vanished: {counts:?}"));
    }
    let promise = witness.truth().broken.clone();
    match promise {
        Some(promise) => Err(Broken { promise, story: witness.story() }),
        None => Ok(Kept {
            messages: counts.sent,
            deleted: counts.deleted,
            dead_lettered: counts.dead_lettered,
            lives,
            history: std::mem::take(&mut witness.truth().history),
        }),
    }
}

async fn send_all(witness: Witness, plans: Vec<(Plan, Duration, Option<String>)>, began: Instant) {
    let mut positions = std::collections::BTreeMap::new();
    for (plan, at, group) in plans {
        tokio::time::sleep_until(began + at).await;
        let id = match &group {
            Some(group) => witness.queue.send_to_group(body(plan), group),
            None => witness.queue.send(body(plan)),
        };
        witness.truth().plans.insert(id.clone(), plan);
        if let Some(group) = group
            && witness.queue_is_fifo()
        {
            let position = positions.entry(group.clone()).or_insert(0);
            *position += 1;
            witness.truth().groups.insert(id, (group, *position));
        }
    }
}

async fn take_down(witness: Witness, outage: Option<(Duration, Duration)>, began: Instant) {
    let Some((from, takes)) = outage else { return };
    tokio::time::sleep_until(began + from).await;
    witness.tell("the target goes down");
    witness.truth().target_up = false;
    tokio::time::sleep(takes).await;
    witness.tell("the target is back");
    witness.truth().target_up = true;
}

/// Time leaps forward, as it does for a process that slept.
async fn leap(leaps: bool, witness: Witness, mut random: Rng) {
    for _ in 0..if leaps { 3 } else { 0 } {
        tokio::time::sleep(Duration::from_millis(random.u64(0..60_000))).await;
        let by = Duration::from_millis(random.u64(0..120_000));
        witness.tell(format!("time leaps by {by:?}"));
        tokio::time::advance(by).await;
    }
}

/// The processes of all machines; how many they were.
async fn live(world: &World, witness: &Witness, random: &mut Rng) -> u32 {
    let machines = world.machines.iter().enumerate();
    let lives = machines.map(|(number, lives)| live_on(world, witness, number as u32, lives, random.fork()));
    join_all(lives.collect::<Vec<_>>()).await.into_iter().sum()
}

/// One process after the other on one machine; the last one has a quiet world and all the time that it needs.
async fn live_on(world: &World, witness: &Witness, machine: u32, lives: &[(Fate, Duration)], mut random: Rng) -> u32 {
    // The lives of the first machine are 1, 2, 3; those of the second 11, 12, 13.
    let first = machine * 10 + 1;
    let last = first + lives.len() as u32;
    for (life, (fate, after)) in (first..).zip(lives) {
        run_process(world, &witness.of(life), life, *fate, tokio::time::sleep(*after)).await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..3_000))).await;
        if witness.truth().broken.is_some() {
            return life + 1 - first;
        }
    }
    // Whatever went wrong in the queue goes wrong for some minutes more.
    let quiet = async {
        tokio::time::sleep(Duration::from_secs(300)).await;
        witness.tell("nothing goes wrong any longer");
        witness.queue.set_faults(Faults::default());
        let end = Instant::now() + Duration::from_secs(4 * 3600);
        while Instant::now() < end && witness.truth().broken.is_none() && !is_over(world, witness) {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        if !is_over(world, witness) && witness.truth().broken.is_none() {
            let left: Vec<String> = {
                let truth = witness.truth();
                let here = |id: &&MessageId| witness.queue.receive_count(id).is_some();
                truth.plans.keys().filter(here).map(|id| format!("{id} ({:?})", truth.plans[id])).collect()
            };
            witness
                .broken(format!("four hours later there is still work that could have been done: {}", left.join(", ")));
        }
    };
    run_process(world, &witness.of(last), last, Fate::Shutdown, quiet).await;
    last + 1 - first
}

/// Every message is where it can end: deleted, dead-lettered, or in the queue because it can never succeed or stands
/// in a group with one that cannot.
fn is_over(world: &World, witness: &Witness) -> bool {
    let truth = witness.truth();
    // Without a redrive policy nothing else than success removes a message. And one whose target is always down is held
    // when nothing is left whose success could prove the target to be there.
    let stays = |id: &MessageId| {
        let plan = truth.plans[id];
        plan == Plan::Poison
            || (world.memory.max_receive_count.is_none() && !plan.can_succeed(world.settings.handler_timeout))
    };
    let gone = |id: &MessageId| witness.queue.receive_count(id).is_none();
    let blocked = |id: &MessageId| {
        // One that was given up before it is not dead-lettered either: a message in flight blocks its whole group.
        truth.groups.get(id).is_some_and(|(group, _)| {
            truth.groups.iter().any(|(other, (of, _))| of == group && !gone(other) && stays(other))
        })
    };
    // With few slots such messages, and those behind them, can take all of them: then nothing can prove the target there.
    let few_slots = world.settings.concurrency < 64 || world.settings.max_in_flight_bytes < 64 << 20;
    let stuck = few_slots && truth.plans.iter().any(|(id, plan)| *plan == Plan::Poison && !gone(id));
    truth.plans.len() == world.plans.len()
        && (stuck || truth.plans.keys().all(|id| gone(id) || stays(id) || blocked(id)))
}

async fn run_process(world: &World, witness: &Witness, life: u32, fate: Fate, until: impl Future<Output = ()>) {
    witness.tell(format!("life {life} begins"));
    let settings = world.settings.clone();
    let (grace, slots) = (settings.grace, settings.concurrency);
    let consumer = Consumer::new(witness.clone(), router(witness.clone(), slots), settings);
    let monitor = consumer.monitor();
    let told = tokio::sync::Notify::new();
    let run = consumer.run(told.notified());
    tokio::pin!(run);
    let watch = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !monitor.is_live() && !world.leaps {
                witness.broken("the process is called dead though it is not");
            }
        }
    };
    let summary = {
        tokio::pin!(watch);
        tokio::select! {
            biased;
            summary = &mut run => Some(summary),
            () = &mut watch => None,
            () = until => None,
        }
    };
    let summary = match (summary, fate) {
        (Some(summary), _) => summary,
        (None, Fate::Killed) => {
            witness.tell(format!("life {life} is killed"));
            witness.truth().over.insert(life);
            witness.truth().killed += 1;
            return;
        }
        (None, Fate::Shutdown) => {
            witness.tell(format!("life {life} is told to stop"));
            told.notify_one();
            let asked = Instant::now();
            let summary = run.await;
            // A leap of time is not the engine's fault.
            if asked.elapsed() > grace + Duration::from_secs(1) && !world.leaps {
                witness.broken(format!("the drain took {:?} of a grace of {grace:?}", asked.elapsed()));
            }
            summary
        }
    };
    let summary = match summary {
        Ok(summary) => summary,
        Err(error) => {
            witness.tell(format!("life {life} did not start: {error}"));
            witness.truth().over.insert(life);
            return;
        }
    };
    witness.tell(format!("life {life} ends: {summary}"));
    check_summary(witness, life, &summary);
    witness.truth().over.insert(life);
}

/// What a summary says is what the queue saw.
fn check_summary(witness: &Witness, life: u32, summary: &Summary) {
    if !summary.adds_up() {
        witness.broken("the summary does not add up");
    }
    let confirmed = witness.truth().deletes_confirmed.get(&life).copied().unwrap_or_default();
    if summary.counts.deleted > confirmed {
        witness.broken(format!("the summary says {} deleted, and the queue {confirmed}", summary.counts.deleted));
    }
    let hidden = witness.hidden_here();
    if witness.truth().calm {
        if hidden > summary.still_hidden {
            witness
                .broken(format!("{hidden} messages are invisible, and the summary knows of {}", summary.still_hidden));
        }
        if summary.counts.leases_lost > 0 {
            witness.broken("a lease was lost in a calm world");
        }
    }
}
