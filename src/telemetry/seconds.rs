//! Times as JSON: seconds, and ages instead of moments, so that a reader needs no clock that agrees with ours.

use std::time::Duration;

use serde::Serializer;
use tokio::time::Instant;

pub(super) fn of<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

pub(super) fn since<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    of(&at.elapsed(), serializer)
}
