//! What is the case at the moment, as opposed to what was counted.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::label::Request;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No receive has succeeded yet.
    Starting,
    /// Messages are received.
    Receiving,
    /// Nothing more is received; what is here is finished or handed back.
    Draining,
    /// The run is over.
    Ended,
}

impl Phase {
    /// Whether messages are received: after the first good receive, and until the drain begins.
    pub fn is_ready(self) -> bool {
        self == Phase::Receiving
    }

    /// The phase in one word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Receiving => "receiving",
            Phase::Draining => "draining",
            Phase::Ended => "ended",
        }
    }
}

/// What is the case at the moment, as opposed to what was counted.
#[derive(Debug, Clone)]
pub(super) struct Now {
    pub(super) at_work: usize,
    pub(super) slots_free: usize,
    pub(super) bytes: usize,
    /// By the number of the route: since when its target is down.
    pub(super) breakers_open: BTreeMap<usize, Instant>,
    pub(super) polls: BTreeMap<u64, Instant>,
    pub(super) failing: BTreeMap<Request, Failing>,
    pub(super) turned: Instant,
}

impl Now {
    /// At the start: nothing is at work, and all slots are free.
    pub(super) fn new(slots_free: usize) -> Self {
        Now {
            at_work: 0,
            slots_free,
            bytes: 0,
            breakers_open: BTreeMap::new(),
            polls: BTreeMap::new(),
            failing: BTreeMap::new(),
            turned: Instant::now(),
        }
    }

    pub(super) fn oldest_poll(&self) -> Option<Duration> {
        self.polls.values().map(Instant::elapsed).max()
    }
}

/// What the loop of the engine sees each time that it turns.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) at_work: usize,
    pub(crate) slots_free: usize,
    pub(crate) bytes: usize,
    /// The numbers of the routes whose target is down.
    pub(crate) breakers_open: Vec<usize>,
}

/// A kind of request whose last one failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing {
    pub(super) error: &'static str,
    pub(super) times: u64,
    pub(super) since: Instant,
}
