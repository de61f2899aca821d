//! How many bytes of bodies are held, by all requests together.
//!
//! A body is counted as it comes and not as it was declared, so that nobody takes room by a number in a header.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::RelayTelemetry;

/// The bytes that may be held. Base64 of what came gzipped is a third more, which is left out here.
pub(super) const BODY_BYTES: usize = 64 * 1024 * 1024;

/// The room for bodies.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    room: Arc<Semaphore>,
    telemetry: Arc<RelayTelemetry>,
}

/// The room that one event takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub(super) fn new(bytes: usize, telemetry: Arc<RelayTelemetry>) -> Self {
        Budget { room: Arc::new(Semaphore::new(bytes)), telemetry }
    }

    /// No room yet.
    pub(super) fn begin(&self) -> Held {
        Held { budget: self.clone(), permit: None }
    }
}

impl Held {
    /// Takes room for so many bytes more; false where there is none.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let Ok(count) = u32::try_from(bytes) else { return false };
        let Ok(more) = self.budget.room.clone().try_acquire_many_owned(count) else { return false };
        self.budget.telemetry.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.budget.telemetry.body_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}
