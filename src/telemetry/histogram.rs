//! How often something took how long: counts in fixed steps, cheap enough for every message.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of observations by size. The steps are fixed, so that the histograms of several daemons add up.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// The upper bound of each step, rising. What is larger than all of them is counted in one step more.
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    /// The sum of all observations, in millionths, since there is no atomic float.
    millionths: AtomicU64,
    /// The largest observation since it was last taken, in millionths.
    largest: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Each step: its upper bound, and how many observations were in it or in a lower one.
    pub(crate) steps: Vec<(f64, u64)>,
    /// How many observations there were.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Histogram { bounds, counts, millionths: AtomicU64::default(), largest: AtomicU64::default() }
    }

    /// Counts one observation. What is negative counts as nothing.
    pub(crate) fn observe(&self, value: f64) {
        let step = self.bounds.partition_point(|bound| *bound < value);
        self.counts[step].fetch_add(1, Ordering::Relaxed);
        // A float becomes an integer by cutting, and what is negative or no number becomes nothing.
        let millionths = (value * 1e6) as u64;
        self.millionths.fetch_add(millionths, Ordering::Relaxed);
        self.largest.fetch_max(millionths, Ordering::Relaxed);
    }

    /// The counts now. The number of observations is that of the steps, so that the two agree even if one more is on its
    /// way.
    pub(crate) fn read(&self) -> Reading {
        let mut count = 0;
        let mut up_to = |step: &AtomicU64| {
            count += step.load(Ordering::Relaxed);
            count
        };
        let steps = self.bounds.iter().zip(&self.counts).map(|(bound, step)| (*bound, up_to(step))).collect();
        if let Some(beyond) = self.counts.last() {
            up_to(beyond);
        }
        Reading { steps, count, sum: self.millionths.load(Ordering::Relaxed) as f64 / 1e6 }
    }

    /// The largest observation since this was last asked.
    pub(crate) fn take_largest(&self) -> f64 {
        self.largest.swap(0, Ordering::Relaxed) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_on_a_bound_counts_in_that_bucket() {
        let histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 9.0] {
            histogram.observe(value);
        }
        let reading = histogram.read();
        assert_eq!(reading.steps, [(1.0, 2), (2.0, 3)]);
        assert_eq!((reading.count, reading.sum), (4, 12.0));
        assert_eq!((histogram.take_largest(), histogram.take_largest()), (9.0, 0.0));
    }

    #[test]
    fn what_is_negative_counts_as_nothing() {
        let histogram = Histogram::new(&[1.0]);
        histogram.observe(-5.0);
        let reading = histogram.read();
        assert_eq!((reading.steps, reading.count, reading.sum), (vec![(1.0, 1)], 1, 0.0));
    }
}
