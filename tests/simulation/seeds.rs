//! Many worlds drawn from seeds, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that the environment gives.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Lives through the worlds of STREAM_SQSD_SEEDS seeds, or of `seeds`, from STREAM_SQSD_FIRST_SEED on, or 0. Returns how many,
/// and what they counted together.
///
/// # Panics
///
/// With what is said of the worlds that broke a promise, of which `enough` are looked for at the most.
pub(crate) fn in_every_world<const N: usize>(
    seeds: u64,
    enough: usize,
    live_through: impl Fn(u64) -> Result<[u64; N], String> + Sync,
) -> (u64, [u64; N]) {
    let seeds = number("STREAM_SQSD_SEEDS").unwrap_or(seeds);
    let first = number("STREAM_SQSD_FIRST_SEED").unwrap_or(0);
    let next = AtomicU64::new(first);
    let (totals, broken) = (Mutex::new([0; N]), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || broken.lock().unwrap().len() >= enough {
                        return;
                    }
                    match live_through(seed) {
                        Ok(counts) => totals.lock().unwrap().iter_mut().zip(counts).for_each(|(all, one)| *all += one),
                        Err(promise) => broken.lock().unwrap().push(promise),
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} worlds broke a promise:\n\n{}", broken.len(), broken.join("\n\n"));
    (seeds, totals.into_inner().unwrap())
}
