//! What is the case at the moment, as opposed to what was counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::flow::{FlowState, TargetFlow};
use super::label::Request;

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// No receive has succeeded yet.
    #[default]
    Starting,
    /// Messages are received.
    Receiving,
    /// Nothing more is received; what is here is finished or returned.
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
    /// The flow to the target of each route, as it was when the engine last looked, and when that was.
    pub(super) flows: Vec<TargetFlow>,
    pub(super) looked: Instant,
    pub(super) polls: BTreeMap<u64, Instant>,
    pub(super) failing: BTreeMap<Request, Failing>,
    pub(super) turned: Instant,
}

impl Now {
    /// At the start: nothing is at work, all slots are free, and nothing is known of the targets of these routes.
    pub(super) fn new(slots_free: usize, routes: impl Iterator<Item = Arc<str>>) -> Self {
        let now = Instant::now();
        Now {
            at_work: 0,
            slots_free,
            bytes: 0,
            flows: routes.map(|route| TargetFlow { route, ..TargetFlow::default() }).collect(),
            looked: now,
            polls: BTreeMap::new(),
            failing: BTreeMap::new(),
            turned: now,
        }
    }

    /// The flow to the target of each route at this moment.
    pub(super) fn flows(&self) -> impl Iterator<Item = TargetFlow> {
        let passed = self.looked.elapsed();
        self.flows.iter().map(move |flow| flow.clone().after(passed))
    }

    /// Whether every target takes all that it is sent.
    pub(super) fn all_flow(&self) -> bool {
        self.flows.iter().all(|flow| flow.state == FlowState::Flowing)
    }

    /// Whether more is there than can be worked on: slots are what holds the daemon up, or the calls that a handler can
    /// make at a time.
    pub(super) fn is_full(&self, slots: usize) -> bool {
        /// With fewer free slots than a receive could fill there are too few.
        const FEW: usize = 10;
        let at_limit = |flow: &TargetFlow| flow.waiting > 0 && flow.calls_limit.is_some_and(|most| flow.calls >= most);
        self.all_flow() && (self.slots_free < FEW.min(slots) || self.flows.iter().any(at_limit))
    }

    pub(super) fn oldest_poll(&self) -> Option<Duration> {
        self.polls.values().map(Instant::elapsed).max()
    }
}

/// What the loop of the engine sees each time that it turns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Occupancy {
    pub(crate) at_work: usize,
    pub(crate) slots_free: usize,
    pub(crate) bytes: usize,
}

/// A kind of request whose last one failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing {
    pub(super) error: &'static str,
    pub(super) times: u64,
    pub(super) since: Instant,
}
