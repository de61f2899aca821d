//! How often something that happens again and again is logged. An outage must not flood the log, and a new cause must show.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// How often one cause is logged, at the most. What happens between is counted.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How many new causes of one kind on one route are logged within [`LOG_EVERY`]. Those beyond them are one cause together:
/// a sender or a target may choose the words of an error, and must not choose the size of the log by it.
const NEW_CAUSES: usize = 16;

/// How many causes are remembered. Beyond them those of a kind and a route are one.
const REMEMBERED: usize = 1_024;

/// For how long a cause is remembered since it was last logged, where it happened since.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// What is to be logged: a kind of trouble, where it is on a route which, and its error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause<'a> {
    kind: (&'static str, &'static str),
    /// The number of the route.
    route: Option<usize>,
    /// Empty where the kind says all.
    error: &'a str,
}

impl From<(&'static str, &'static str)> for Cause<'static> {
    fn from(kind: (&'static str, &'static str)) -> Self {
        Cause::new(kind, "")
    }
}

impl<'a> Cause<'a> {
    /// A kind of trouble with its error.
    pub(crate) fn new(kind: (&'static str, &'static str), error: &'a str) -> Self {
        Cause { kind, route: None, error }
    }

    /// The same on the route of this number.
    pub(crate) fn on(self, route: usize) -> Self {
        Cause { route: Some(route), ..self }
    }

    /// A number for the error that is the same for errors which differ in numbers only, such as in ids, times and places.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for word in self.error.split(|c: char| !c.is_alphanumeric()) {
            let is_number = word.bytes().any(|byte| byte.is_ascii_digit());
            // The codes of HTTP and exit codes say something, longer ones are chance.
            if is_number && word.len() > 3 { 0_u8.hash(&mut hasher) } else { word.hash(&mut hasher) }
        }
        // Zero stands for all those that are not told apart.
        hasher.finish().max(1)
    }
}

type Key = ((&'static str, &'static str), Option<usize>, u64);

/// When each cause was last logged.
#[derive(Debug, Default)]
pub(super) struct Throttle(BTreeMap<Key, Logged>);

#[derive(Debug)]
struct Logged {
    first: Instant,
    at: Instant,
    since: u64,
}

impl Throttle {
    /// Whether a cause is to be logged this time, and how often it has happened since it was last.
    pub(super) fn worth_logging(&mut self, cause: Cause<'_>) -> Option<u64> {
        let now = Instant::now();
        let key = (cause.kind, cause.route, cause.digest());
        if let Some(logged) = self.0.get_mut(&key) {
            return logged.again(now);
        }
        self.forget(now);
        let is_new = |logged: &Logged| now.duration_since(logged.first) < LOG_EVERY;
        let alike = self.0.range((cause.kind, cause.route, 1)..=(cause.kind, cause.route, u64::MAX));
        let many = alike.filter(|(_, logged)| is_new(logged)).count() >= NEW_CAUSES;
        let key = if many || self.0.len() >= REMEMBERED { (cause.kind, cause.route, 0) } else { key };
        match self.0.get_mut(&key) {
            Some(logged) => logged.again(now),
            None => {
                self.0.insert(key, Logged { first: now, at: now, since: 0 });
                Some(1)
            }
        }
    }

    /// Forgets causes that would be logged at once anyway.
    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, logged| {
            let age = now.duration_since(logged.at);
            age < LOG_EVERY || (logged.since > 0 && age < FORGOTTEN_AFTER)
        });
    }
}

impl Logged {
    fn again(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if now.duration_since(self.at) < LOG_EVERY {
            return None;
        }
        self.at = now;
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: (&str, &str) = ("handler", "retry");

    fn on(route: usize, error: &str) -> Cause<'_> {
        Cause::new(KIND, error).on(route)
    }

    #[tokio::test(start_paused = true)]
    async fn a_cause_is_logged_at_once_and_then_with_its_count() {
        let mut throttle = Throttle::default();
        let mut told = Vec::new();
        for second in 0..25 {
            told.extend(throttle.worth_logging(KIND.into()).map(|times| (second, times)));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [(0, 1), (10, 10), (20, 10)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_cause_and_a_second_route_always_show() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.worth_logging(on(0, "the row is locked")), Some(1));
        assert_eq!(throttle.worth_logging(on(0, "the row is locked")), None);
        assert_eq!(throttle.worth_logging(on(1, "the row is locked")), Some(1));
        assert_eq!(throttle.worth_logging(on(0, "the endpoint answered 422")), Some(1));
        assert_eq!(throttle.worth_logging(on(0, "the endpoint answered 401")), Some(1));
        let other = Cause { kind: ("handler", "rejected"), ..on(0, "the row is locked") };
        assert_eq!(throttle.worth_logging(other), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_and_ids_make_no_new_cause() {
        let mut throttle = Throttle::default();
        let logged = (0..1_000).filter_map(|n| {
            let error = format!("row {}: 5fea7756-0ea4-451a-a703-a558b933{n:04} is locked", 1_000 + n);
            throttle.worth_logging(on(0, &error))
        });
        assert_eq!(logged.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn chosen_errors_flood_neither_log_nor_memory() {
        let mut throttle = Throttle::default();
        let mut lines = 0;
        for n in 0..60_000_u32 {
            let word: String = n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            lines += usize::from(throttle.worth_logging(on(0, &word)).is_some());
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(throttle.0.len() <= REMEMBERED + 1);
        }
        // In a minute: the new ones and all others together, each ten seconds.
        assert!((6..=7 * (NEW_CAUSES + 1)).contains(&lines), "{lines}");
        assert_eq!(throttle.worth_logging(on(1, "another route")), Some(1), "is not hidden by them");
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded_over_many_routes() {
        let mut throttle = Throttle::default();
        for route in 0..10_000 {
            for error in ["one", "two"] {
                throttle.worth_logging(on(route, error));
            }
        }
        // Beyond the bound there is one for each kind and route, whose number a configuration bounds.
        assert!(throttle.0.len() <= REMEMBERED + 10_000, "{}", throttle.0.len());
    }
}
