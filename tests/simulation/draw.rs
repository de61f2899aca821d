//! Degraded worlds drawn from a seed: small ones, so that there can be many.

use std::time::Duration;

use fastrand::Rng;

use crate::scenario::{Fate, Message, Scenario};
use crate::target::{Down, Failing, Latency, Limit, Named, Nature, Outage, Target};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What is wrong with a target.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    Nothing,
    Rate,
    Concurrency,
    Window,
    Outage,
    WeakReturn,
    Type,
    Chance,
    Slow,
    Absurd,
}

const TROUBLES: [Trouble; 10] = [
    Trouble::Nothing,
    Trouble::Rate,
    Trouble::Concurrency,
    Trouble::Window,
    Trouble::Outage,
    Trouble::WeakReturn,
    Trouble::Type,
    Trouble::Chance,
    Trouble::Slow,
    Trouble::Absurd,
];

/// How many types of event each route has.
const TYPES: usize = 5;

fn one_of<T: Copy>(random: &mut Rng, choices: &[T]) -> T {
    choices[random.usize(0..choices.len())]
}

pub(crate) fn world(seed: u64) -> Scenario {
    let mut random = Rng::with_seed(seed);
    let random = &mut random;
    let routes = [1, 1, 1, 1, 2, 3][random.usize(0..6)];
    let troubles: Vec<Vec<Trouble>> = (0..routes).map(|_| troubles(random)).collect();
    let targets: Vec<Target> = troubles.iter().map(|troubles| target(random, troubles)).collect();
    let outage = targets.iter().flat_map(|target| &target.outages).map(|one| one.until).max().unwrap_or_default();
    let longest = targets.iter().flat_map(|target| &target.outages).map(Outage::lasts).max().unwrap_or_default();
    let restarts = if random.u8(0..4) == 0 { random.usize(1..=2) } else { 0 };
    // Of the receives, each restart costs one, and those of a weekend three.
    let most = one_of(random, &[3, 3, 5, 5, 10]) + restarts as u32;
    let mut scenario = Scenario {
        seed,
        slots: one_of(random, &[8, 8, 20, 64]),
        bytes: if random.u8(0..6) == 0 { random.usize(1 << 20..16 << 20) } else { 256 << 20 },
        max_receive_count: (random.u8(0..10) > 0).then_some(most),
        fifo: random.u8(0..4) == 0,
        visibility: if longest > HOUR { HOUR } else { one_of(random, &[30 * SECOND, 2 * MINUTE, 10 * MINUTE]) },
        queue_latency: Duration::from_millis(one_of(random, &[0, 0, 20, 200])),
        targets,
        longest: outage + 48 * HOUR,
        ..Scenario::default()
    };
    let until = if outage > Duration::ZERO { outage } else { 5 * MINUTE };
    for _ in 0..restarts {
        let fate = if random.bool() { Fate::Shutdown } else { Fate::Killed };
        scenario.lives.push((fate, until.mul_f64(random.f64()).min(30 * MINUTE) + SECOND));
    }
    messages(random, &mut scenario);
    scenario
}

/// One kind of trouble for most targets, two or three for some.
fn troubles(random: &mut Rng) -> Vec<Trouble> {
    let number = [1, 1, 1, 1, 2, 3][random.usize(0..6)];
    (0..number).map(|_| one_of(random, &TROUBLES)).collect()
}

fn target(random: &mut Rng, troubles: &[Trouble]) -> Target {
    let mut target = Target::default();
    let latency = Duration::from_millis(one_of(random, &[5, 20, 100, 500, 1_000]));
    target.latency = if random.u8(0..3) == 0 { Latency::Exponential(latency) } else { Latency::Fixed(latency) };
    target.named = match random.u8(0..8) {
        0 | 1 => Named::Always(SECOND),
        2 => Named::Always(Duration::from_secs(one_of(random, &[5, 10, 60, 3_600]))),
        _ => Named::Nothing,
    };
    for trouble in troubles {
        trouble.apply(random, &mut target);
    }
    target
}

impl Trouble {
    fn apply(self, random: &mut Rng, target: &mut Target) {
        match self {
            Trouble::Nothing => {}
            Trouble::Rate => {
                let per_second: f64 = one_of(random, &[0.5, 1.0, 2.0, 5.0, 10.0]);
                let burst = one_of(random, &[1.0, per_second.max(1.0), 2.0 * per_second.max(1.0)]);
                target.limits.push(Limit::Rate { per_second, burst });
            }
            Trouble::Concurrency => target.limits.push(Limit::Concurrency(one_of(random, &[1, 2, 5, 10, 50]))),
            Trouble::Window => {
                let length = one_of(random, &[10, 60]) * SECOND;
                target.limits.push(Limit::Window { calls: one_of(random, &[20, 100, 300]), length });
                if random.bool() {
                    target.named = Named::EndOfWindow;
                }
            }
            Trouble::Outage => target.outages.extend(outages(random)),
            Trouble::WeakReturn => {
                target.outages.extend(outages(random).into_iter().take(1));
                let weak = match random.bool() {
                    true => Limit::Concurrency(one_of(random, &[1, 5])),
                    false => Limit::Rate { per_second: one_of(random, &[1.0, 5.0]), burst: 5.0 },
                };
                target.recovery = Some((weak, one_of(random, &[30 * SECOND, 5 * MINUTE, HOUR])));
            }
            Trouble::Type => {
                for _ in 0..random.usize(1..=2) {
                    let kind = random.usize(0..TYPES);
                    let from = Duration::from_secs(random.u64(0..60));
                    let failing = match random.bool() {
                        true => Failing { kind, from, until: from + Duration::from_secs(random.u64(1..=120)) },
                        false => Failing { kind, from: Duration::ZERO, until: Duration::MAX },
                    };
                    target.failing.push(failing);
                }
            }
            Trouble::Chance => target.random = one_of(random, &[0.1, 0.3, 0.5, 0.8, 0.95]),
            Trouble::Slow => target.latency = Latency::Exponential(one_of(random, &[1, 2, 4]) * SECOND),
            Trouble::Absurd => target.absurd = true,
        }
    }
}

/// One outage, or some short ones: from a second to three days, each order of magnitude alike.
fn outages(random: &mut Rng) -> Vec<Outage> {
    let mut outages = Vec::new();
    let mut from = Duration::from_secs(random.u64(0..120));
    for number in 0..random.usize(1..=3) {
        let most: f64 = if number == 0 { 72.0 * 3600.0 } else { 600.0 };
        let lasts = Duration::from_secs_f64((random.f64() * most.ln()).exp());
        let how = one_of(random, &[Down::Refused, Down::Unavailable, Down::Hangs]);
        outages.push(Outage { from, until: from + lasts, how });
        from += lasts + Duration::from_secs(random.u64(150..400));
    }
    outages
}

fn messages(random: &mut Rng, scenario: &mut Scenario) {
    let routes = scenario.targets.len();
    // Few enough for the slowest target of the world, and some minutes' worth for the rest.
    let slowest = scenario.targets.iter().map(|target| target.slowest_rate(scenario.slots)).fold(f64::MAX, f64::min);
    let backlog = ((slowest * 180.0) as usize + 3 * scenario.slots).clamp(40, 800);
    let few = random.u8(0..12) == 0;
    let backlog = if few { random.usize(1..=5) } else { backlog };
    let groups = one_of(random, &[3, 20, 100]);
    let large = scenario.bytes < 256 << 20 && random.bool();
    let message = |random: &mut Rng, at, nature| Message {
        at,
        route: random.usize(0..routes),
        kind: random.usize(0..TYPES),
        nature,
        bytes: if large && random.u8(0..3) == 0 { random.usize(1_000..300_000) } else { 0 },
        group: random.u32(0..groups),
    };
    let mut all: Vec<Message> = (0..backlog).map(|_| message(random, Duration::ZERO, Nature::Good)).collect();
    let poison = if few || random.u8(0..3) > 0 { 0 } else { random.usize(1..=scenario.slots) };
    let first = random.bool();
    for _ in 0..poison {
        let poison = message(random, Duration::ZERO, Nature::Poison);
        let position = if first { 0 } else { random.usize(0..=all.len()) };
        all.insert(position, poison);
    }
    let failing = scenario.targets.iter().any(|target| !target.failing.is_empty());
    if poison > 0 || failing {
        // The others that it is compared with.
        for number in 0..220 {
            let at = Duration::from_secs(3) * number;
            all.push(message(random, at, Nature::Good));
        }
        scenario.poison_until = 12 * MINUTE;
    }
    all.sort_by_key(|message| message.at);
    scenario.messages = all;
}
