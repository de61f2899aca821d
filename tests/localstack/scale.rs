//! How large the long runs are, and what they draw from.
//!
//! Without a word they are sized for every day; a variable in the environment makes one as large as there is time for.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// The number that the environment gives, or the one for every day.
pub(crate) fn of(variable: &str, every_day: usize) -> usize {
    match env::var(variable) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {number:?}")),
        Err(_) => every_day,
    }
}

/// Chance, another in each run, from a seed that is printed. What it meets cannot be repeated exactly, since processes
/// and sockets are in it; the same seed draws the same moments and faults.
pub(crate) fn random(test: &str) -> fastrand::Rng {
    const SEED: &str = "STREAM_SQSD_TEST_SEED";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = of(SEED, now.as_micros() as usize % 1_000_000);
    println!("{test}: {SEED}={seed}");
    fastrand::Rng::with_seed(seed as u64)
}
