//! What somebody has to put right at a target: told to the log as an error now and then, and not with every event.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often one kind is told, at the most, also where the target succeeds in between.
const EVERY: Duration = Duration::from_secs(600);

/// How many kinds are told within that time. A target chooses them.
const KINDS: usize = 16;

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Vec<(String, Instant)>>);

impl Complaints {
    /// Whether this kind is to be told now.
    pub(super) fn are_worth_telling(&self, kind: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(_, at)| at.elapsed() < EVERY);
        let new = told.len() < KINDS && told.iter().all(|(known, _)| known != kind);
        if new {
            told.push((kind.to_owned(), Instant::now()));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_is_told_once_in_ten_minutes() {
        let complaints = Complaints::default();
        let mut told = 0;
        for _ in 0..1_200 {
            told += ["401", "403"].iter().filter(|kind| complaints.are_worth_telling(kind)).count();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, 4);
        let many = (0..1_000).filter(|kind| complaints.are_worth_telling(&kind.to_string())).count();
        assert!(many <= KINDS, "{many}");
    }
}
