//! What flow control found of the target of a route, as data for those who watch.

use std::sync::Arc;
use std::time::Duration;

/// The flow to the target of one route, as the engine saw it a moment ago.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TargetFlow {
    /// The name of the route.
    pub route: Arc<str>,
    /// What state it is in.
    pub state: FlowState,
    /// Calls that succeed, a second.
    pub rate: f64,
    /// The calls a second that the target is found to take; None where nothing limits them.
    pub rate_limit: Option<f64>,
    /// Calls in flight.
    pub calls: usize,
    /// The calls at the same time that the target is found to take; None where only the slots limit them.
    pub calls_limit: Option<usize>,
    /// How many calls the target refused in the last minute, about.
    pub refused_last_minute: u64,
    /// Messages that wait for their first call.
    pub waiting: usize,
    /// Messages that wait to be called again.
    pub retrying: usize,
    /// Messages that are here for other routes, such as one whose target is down, and that this one is done with.
    pub done: usize,
    /// Of those that wait to be called again, messages that have failed while others succeeded.
    pub doubted: usize,
    /// Of all that wait, messages on their last receive.
    pub on_last_receive: usize,
    /// Types of events that fail while others succeed.
    pub failing_types: Vec<Arc<str>>,
    /// One message fails and nothing else was tried since the last success: nobody can tell whose fault it is.
    pub only_one_fails: bool,
    /// When the first of what is held must be returned to the queue.
    pub returned_in: Option<Duration>,
}

impl TargetFlow {
    /// The words for what can be the case, each of which is told apart in the metrics.
    pub(crate) const WORDS: [&str; 6] = ["flowing", "limited", "paused", "only one fails", "down", "returning"];

    /// What is the case, in stable words: that of [`FlowState::name`], or `only one fails`.
    pub fn word(&self) -> &'static str {
        if self.is_lone_failure() { "only one fails" } else { self.state.name() }
    }

    /// Whether nothing succeeds, and more than one message was tried.
    pub fn is_down(&self) -> bool {
        matches!(self.state, FlowState::Down { .. }) && !self.only_one_fails
    }

    /// Whether nothing succeeds, and only one message was tried: it may be the message or the target.
    pub fn is_lone_failure(&self) -> bool {
        matches!(self.state, FlowState::Down { .. }) && self.only_one_fails
    }

    /// The same, some time after it was looked at.
    pub(super) fn after(mut self, passed: Duration) -> Self {
        let less = |left: Duration| left.saturating_sub(passed);
        self.returned_in = self.returned_in.map(less);
        self.state = match self.state {
            FlowState::Paused { ends_in } => FlowState::Paused { ends_in: less(ends_in) },
            FlowState::Down { lasts, next_probe_in, next_receive_in } => FlowState::Down {
                lasts: lasts + passed,
                next_probe_in: next_probe_in.map(less),
                next_receive_in: next_receive_in.map(less),
            },
            state => state,
        };
        self
    }
}

/// The state of the flow to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowState {
    /// Nothing limits it.
    #[default]
    Flowing,
    /// The target takes a certain rate, or a certain number of calls at the same time.
    Limited,
    /// The target asked to be left alone for so long.
    Paused {
        /// How long that still is.
        ends_in: Duration,
    },
    /// Nothing succeeds.
    Down {
        /// For how long.
        lasts: Duration,
        /// When it is probed next; None while as many probes as may be are in flight, or nothing is held to probe it with.
        next_probe_in: Option<Duration>,
        /// SQS's 12 hours are over: one message at a time is received as the probe, the next one in so long.
        next_receive_in: Option<Duration>,
    },
    /// The target was down or paused, and the rate grows again.
    Returning,
}

impl FlowState {
    /// The stable word for it: in the metrics, on the page.
    pub fn name(self) -> &'static str {
        match self {
            FlowState::Flowing => "flowing",
            FlowState::Limited => "limited",
            FlowState::Paused { .. } => "paused",
            FlowState::Down { .. } => "down",
            FlowState::Returning => "returning",
        }
    }
}
