//! One receive.
//!
//! A receive is never cancelled, since SQS may have handed out messages that nobody would know of until their visibility
//! timeout runs out. The one exception is a receive that hangs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Claim;
use crate::queue::{BATCH, Delivery, Queue, QueueError};

/// How much longer than its wait a receive may take before it is given up.
const HUNG_AFTER: Duration = Duration::from_secs(10);

/// The same while draining, when there is no time to lose.
const HUNG_AFTER_DRAINING: Duration = Duration::from_secs(2);

/// One open receive, as asked.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) id: u64,
    /// When it was sent, in the time that leases are counted in.
    pub(super) sent: Instant,
    pub(super) wait: Duration,
    pub(super) visibility: Duration,
    pub(super) claim: Claim,
}

/// What came of one receive.
pub(super) struct Polled {
    pub(super) poll: Poll,
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

/// How a receive ended.
pub(super) enum Outcome {
    /// With messages, or with none.
    Answered(Vec<Delivery>),
    /// With an error.
    Failed(QueueError),
    /// It was given up.
    Hung,
}

impl Poll {
    /// Receives once.
    pub(super) async fn receive<Q: Queue>(self, queue: Arc<Q>, draining: CancellationToken) -> Polled {
        let opened = Instant::now();
        let most = if mutant!("over-fetch") { BATCH } else { self.claim.slots().min(BATCH) };
        let receive = queue.receive(most, self.wait, Some(self.visibility));
        tokio::pin!(receive);
        let outcome = tokio::select! {
            biased;
            answer = &mut receive => Some(answer),
            () = tokio::time::sleep_until(opened + self.wait + HUNG_AFTER), if !mutant!("wait-for-ever-on-a-hung-poll") => None,
            () = draining.cancelled() => {
                let wait = if mutant!("cancel-the-poll") { Duration::ZERO } else { self.wait + HUNG_AFTER_DRAINING };
                tokio::time::timeout_at(opened + wait, &mut receive).await.ok()
            }
        };
        let outcome = match outcome {
            Some(Ok(deliveries)) => Outcome::Answered(deliveries),
            Some(Err(error)) => Outcome::Failed(error),
            None => Outcome::Hung,
        };
        Polled { poll: self, took: opened.elapsed(), outcome }
    }
}
