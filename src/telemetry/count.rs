//! Numbers that only rise: single ones, and those that are told apart by a label.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::Histogram;
use super::label::{CallEnd, OTHER};
use super::outage::Story;

/// How long calls of handlers take, in seconds.
const HANDLER_BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// For what somebody else counts: it is so many by now.
    pub(crate) fn rise_to(&self, n: u64) {
        self.0.fetch_max(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by a stable word, all of which are known beforehand.
#[derive(Debug)]
pub(crate) struct Kinds {
    labels: Box<[&'static str]>,
    /// One for each label, and one for what has none.
    counts: Vec<Count>,
}

impl Kinds {
    pub(super) fn new(labels: &[&'static str]) -> Self {
        Kinds { labels: labels.into(), counts: (0..=labels.len()).map(|_| Count::default()).collect() }
    }

    pub(crate) fn add(&self, label: &str) {
        let at = self.labels.iter().position(|known| *known == label).unwrap_or(self.labels.len());
        self.counts[at].add(1);
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.labels.iter().copied().chain([OTHER]).zip(self.counts.iter().map(Count::get))
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(Count::get).sum()
    }
}

/// What is counted of one route.
#[derive(Debug)]
pub(super) struct RouteCounts {
    pub(super) name: Arc<str>,
    ends: [Count; CallEnd::ALL.len()],
    pub(super) seconds: Histogram,
    pub(super) story: Story,
}

impl RouteCounts {
    pub(super) fn new(name: Arc<str>) -> Self {
        RouteCounts { name, ends: Default::default(), seconds: Histogram::new(HANDLER_BOUNDS), story: Story::default() }
    }

    pub(super) fn add(&self, end: CallEnd) {
        self.ends[end as usize].add(1);
    }

    pub(super) fn count(&self, end: CallEnd) -> u64 {
        self.ends[end as usize].get()
    }

    /// All calls that ended.
    pub(super) fn calls(&self) -> u64 {
        self.ends.iter().map(Count::get).sum()
    }
}

/// How many events of one type were decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeCount {
    pub(super) seen: u64,
    pub(super) known: bool,
}

/// Names of routes that can be told apart: those that stand twice are numbered.
pub(super) fn distinct(names: Vec<Arc<str>>) -> Vec<Arc<str>> {
    let mut distinct: Vec<Arc<str>> = Vec::with_capacity(names.len());
    for name in names {
        let mut free = name.clone();
        let mut number = 1;
        while distinct.contains(&free) {
            number += 1;
            free = format!("{name} ({number})").into();
        }
        distinct.push(free);
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stand_twice_are_numbered() {
        let names = ["a", "b", "a", "a (2)", "a"].map(Arc::from).to_vec();
        assert_eq!(distinct(names), ["a", "b", "a (2)", "a (2) (2)", "a (3)"].map(Arc::from));
    }
}
