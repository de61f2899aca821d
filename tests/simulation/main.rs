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
mod kept;
mod last_receive;
mod leases;
mod order;
mod outage;
mod pace;
mod promises;
mod record;
mod scenario;
mod seeds;
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

use seeds::{in_every_world, number};

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

#[test]
fn every_promise_is_kept_in_every_world() {
    quiet_panics();
    let (seeds, [messages, deleted, dead, lives]) = in_every_world(1_000, 1, |seed| match world::run(seed) {
        Ok(kept) => Ok([kept.messages, kept.deleted, kept.dead_lettered, u64::from(kept.lives)]),
        Err(broken) => Err(format!("{}\nseed {seed}: {}", broken.story, broken.promise)),
    });
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
