//! The engine on a queue in memory, in worlds drawn from seeds, under paused time. A world that breaks a promise prints
//! its seed and its story; the same seed tells the same story again:
//!
//! ```text
//! STREAM_SQSD_SEED=17 cargo test --no-default-features --test simulation one_seed -- --nocapture
//! STREAM_SQSD_SEEDS=1000000 cargo test --release --no-default-features --test simulation every_promise -- --nocapture
//! ```

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod dead_letters;
mod dead_world;
mod degraded;
mod disk;
mod drain;
mod draw;
mod fan_out;
mod fan_world;
mod hold;
mod last_receive;
mod leases;
mod order;
mod outage;
mod pace;
mod promises;
mod record;
mod scenario;
mod settlement;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod target;
mod told;
mod until_empty;
mod witness;
mod world;

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(world::SIMULATED) {
                hook(info);
            }
        }));
    });
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_promise_is_kept_in_every_world() {
    quiet_panics();
    let seeds = number("STREAM_SQSD_SEEDS").unwrap_or(1_000);
    let next = AtomicU64::new(0);
    let (messages, deleted, dead, lives) = Default::default();
    let totals: [AtomicU64; 4] = [messages, deleted, dead, lives];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match world::run(seed) {
                        Ok(kept) => {
                            let counts = [kept.messages, kept.deleted, kept.dead_lettered, u64::from(kept.lives)];
                            for (total, count) in totals.iter().zip(counts) {
                                total.fetch_add(count, Ordering::Relaxed);
                            }
                        }
                        Err(broken) => {
                            next.store(seeds, Ordering::Relaxed);
                            println!("{}", broken.story);
                            panic!("seed {seed}: {}", broken.promise);
                        }
                    }
                }
            });
        }
    });
    let [messages, deleted, dead, lives] = totals.map(AtomicU64::into_inner);
    println!("{seeds} worlds: {messages} messages, {deleted} deleted, {dead} dead-lettered, {lives} processes");
    assert!(deleted > 0 && dead > 0, "worlds in which nothing happens prove nothing");
}

#[test]
fn one_seed_tells_its_story() {
    quiet_panics();
    let seed = number("STREAM_SQSD_SEED").unwrap_or(0);
    match world::run(seed) {
        Ok(kept) => println!("{}", kept.history.join("\n")),
        Err(broken) => panic!("{}\nseed {seed}: {}", broken.story, broken.promise),
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    quiet_panics();
    for seed in 0..50 {
        let tell = || match world::run(seed) {
            Ok(kept) => kept.history,
            Err(broken) => vec![broken.story],
        };
        let (first, second) = (tell(), tell());
        if let Some((one, other)) = first.iter().zip(&second).find(|(one, other)| one != other) {
            panic!("seed {seed} tells two stories:\n{one}\n{other}");
        }
        assert_eq!(first.len(), second.len(), "seed {seed} tells two stories");
    }
}
