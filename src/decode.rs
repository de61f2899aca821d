//! Stub: replaced by the whole decoder.
use crate::event::Event;

/// Why a body could not be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Stub.
    #[error("invalid JSON payload")]
    Json,
    /// It inflates to more than the limit.
    #[error("too large: inflates to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl DecodeError {
    /// A stable word for the metric.
    pub fn label(&self) -> &'static str {
        match self {
            DecodeError::Json => "invalid JSON payload",
            DecodeError::TooLarge { .. } => "too large",
        }
    }
}

/// How many bytes decoding will need beside the body, as far as the body tells: a hint, since a sender can lie.
pub fn size_hint(body: &str) -> usize {
    body.len()
}

/// Body to event; gives up where a part of it inflates to more than `limit` bytes.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(body: &str, limit: usize) -> Result<Event, DecodeError> {
    if body.len() > limit {
        return Err(DecodeError::TooLarge { limit });
    }
    let v: serde_json::Value = serde_json::from_str(body).map_err(|_| DecodeError::Json)?;
    let kind = v["type"].as_str().filter(|t| !t.is_empty()).ok_or(DecodeError::Json)?;
    Ok(Event::new(kind, body.to_owned()))
}
