//! What is remembered until a time, and no more of it than there is room for.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// A map whose entries are forgotten at their times. No call looks at more than it changes.
#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    entries: BTreeMap<K, (Instant, V)>,
    by_time: BTreeSet<(Instant, K)>,
    most: usize,
}

impl<K: Ord + Clone, V> Expiring<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Expiring { entries: BTreeMap::new(), by_time: BTreeSet::new(), most }
    }

    /// Remembers an entry until a time, in place of what was there. Where there is no room, it is not remembered.
    pub(crate) fn insert(&mut self, key: K, value: V, until: Instant) {
        self.remove(&key);
        self.expire(Instant::now());
        if self.entries.len() < self.most {
            self.by_time.insert((until, key.clone()));
            self.entries.insert(key, (until, value));
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some((until, _)) = self.entries.remove(key) {
            self.by_time.remove(&(until, key.clone()));
        }
    }

    /// Forgets what is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.by_time.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, key)) = self.by_time.pop_first()
        {
            self.entries.remove(&key);
        }
    }

    /// An entry that is not over, and until when it holds.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<(Instant, &V)> {
        self.entries.get(key).filter(|(until, _)| *until > now).map(|(until, value)| (*until, value))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_entry_is_there_until_its_time_is_over() {
        let mut map = Expiring::new(2);
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        map.insert("a", 1, at(10));
        map.insert("b", 2, at(20));
        map.insert("c", 3, at(30));
        assert_eq!(map.get(&"c", Instant::now()), None, "there was no room");
        let (ten, twenty) = (at(10), at(20));
        assert_eq!((map.get(&"a", ten), map.get(&"b", ten)), (None, Some((twenty, &2))));
        map.insert("b", 4, at(5));
        tokio::time::advance(Duration::from_secs(10)).await;
        map.expire(Instant::now());
        assert_eq!(map.len(), 0);
        map.insert("d", 5, at(1));
        map.remove(&"d");
        assert_eq!((map.keys().next(), map.by_time.len()), (None, 0));
    }
}
