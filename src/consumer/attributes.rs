//! Reads the queue's attributes: at the start, and again in the background until they can be read.
//!
//! A run goes on without them. Until they are known, the queue is what its URL says, and a message's last receive is like
//! every other. The visibility timeout stays the one that the run began with, since leases count on it.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::engine::Engine;
use super::latency::Latency;
use crate::queue::{Queue, QueueError, QueueFacts};
use crate::telemetry::Telemetry;

/// How long reading the queue's attributes may take. They can be done without.
const LIMIT: Duration = Duration::from_secs(10);

/// How soon they are asked for again. It doubles with each failure, up to [`SLOWEST`].
const AGAIN: Duration = Duration::from_secs(5);

/// How often they are asked for at the least, and from the beginning where somebody must act first: a permission that is
/// granted shows within minutes, and one request in ten minutes costs nothing.
const SLOWEST: Duration = Duration::from_secs(600);

/// What came of reading the attributes.
pub(super) type Read = Result<QueueFacts, QueueError>;

/// Reads the attributes once.
pub(super) async fn read<Q: Queue>(queue: &Q, telemetry: &Telemetry, latency: &Latency) -> Read {
    telemetry.attributes_calls.add(1);
    let asked = Instant::now();
    let read = tokio::time::timeout(LIMIT, queue.facts()).await;
    latency.observe(asked.elapsed());
    read.unwrap_or(Err(QueueError::TimedOut { after: LIMIT }))
}

/// Takes in what was read at the start; None: there was no time to. Says why it could not be read, if that is so.
pub(super) fn take_in(engine: &Engine, first: Option<Read>) -> Option<QueueError> {
    let failure = match first {
        Some(Ok(facts)) => {
            engine.facts.learn(facts);
            None
        }
        Some(Err(failure)) => Some(failure),
        None => None,
    };
    if let Some(failure) = &failure {
        warn!(error = %failure, "the queue's attributes cannot be read; going on without them, and asking again");
    }
    announce(engine, "consuming");
    failure
}

/// Asks again until the attributes can be read.
pub(super) async fn ask_again<Q: Queue>(engine: Arc<Engine>, queue: Arc<Q>, mut last: QueueError) {
    let mut pause = AGAIN;
    loop {
        let wait = if last.needs_action() { SLOWEST } else { pause };
        tokio::time::sleep(wait.mul_f64(0.75 + engine.jitter() / 2.0)).await;
        match read(&*queue, &engine.telemetry, &engine.latency).await {
            Ok(facts) => {
                engine.facts.learn(facts);
                return announce(&engine, "the queue's attributes can be read now");
            }
            Err(failure) => last = failure,
        }
        pause = pause.saturating_mul(2).min(SLOWEST);
    }
}

/// Says what the queue is.
fn announce(engine: &Engine, what: &str) {
    let seen = engine.facts.seen(engine.visibility);
    info!(
        queue = seen.name.as_deref().unwrap_or("?"),
        fifo = seen.fifo,
        visibility_seconds = seen.visibility.as_secs_f64(),
        max_receive_count = seen.max_receive_count,
        dead_letter_queue = seen.dead_letter_queue.as_deref(),
        concurrency = engine.settings.concurrency,
        "{what}"
    );
    engine.telemetry.found(seen);
}
