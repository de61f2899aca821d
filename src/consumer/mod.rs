//! The engine.
mod closing;
mod settings;

use std::future::Future;
use std::sync::Arc;

pub use closing::{Closing, Ended};
pub use settings::{GRACE_BEYOND_WAIT, MIN_VISIBILITY, RetryDelay, Settings, SettingsError, Unrouted};

use crate::queue::{Queue, QueueError};
use crate::router::Router;
use crate::telemetry::{Monitor, Telemetry};

/// Receives from a queue, sends each event to its handler, and settles the message.
pub struct Consumer<Q> {
    queue: Arc<Q>,
    router: Router,
    settings: Settings,
    telemetry: Arc<Telemetry>,
}

/// Why a run did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The settings do not fit together.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The queue cannot be consumed: the first receive was refused, or nothing answered.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl<Q: Queue> Consumer<Q> {
    /// Puts a consumer together. Nothing happens before [`Consumer::run`].
    pub fn new(queue: Q, router: Router, settings: Settings) -> Self {
        let telemetry = Arc::new(Telemetry::new(settings.concurrency, settings.wait));
        Consumer { queue: Arc::new(queue), router, settings, telemetry }
    }

    /// A view of this consumer from outside: counts, phase, liveness.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.telemetry.clone())
    }

    /// Consumes until `shutdown` completes, then drains.
    ///
    /// # Errors
    ///
    /// Only at the start.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Closing, RunError> {
        self.settings.check()?;
        let _ = (self.queue, self.router);
        shutdown.await;
        Err(QueueError::OverLimit.into())
    }
}
