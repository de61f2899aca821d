//! What can go wrong between this program and Stream's API, in words that say what to do.

use std::time::Duration;

use crate::net::client::ClientError;
use crate::net::url::BadUrl;

/// Why there can be no client of the API.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamSetupError {
    /// A key or a secret is empty, or holds what neither can.
    #[error("the {0} is empty or holds characters that it cannot have")]
    Credential(&'static str),
    /// The base URL leads nowhere.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// No proxy or no TLS.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Why a call failed. No text of it holds the API secret or a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// No connection, or one that broke.
    #[error("cannot reach Stream at {origin}")]
    Unreachable {
        /// Scheme, host and port of the base URL.
        origin: String,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("Stream did not answer within {} s", .after.as_secs())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The key, the secret or the token is not accepted.
    #[error("Stream refuses the API key or secret: {message}")]
    Credentials {
        /// Stream's own code: 2 is an unknown key, 43 a signature by another secret.
        code: i64,
        /// Stream's own words.
        message: String,
    },
    /// The app is suspended.
    #[error("Stream has suspended this app: {message}")]
    Suspended {
        /// Stream's own words.
        message: String,
    },
    /// The app still uses the hook system that came before event hooks.
    #[error("the app uses Stream's old hook system, which has no list of event hooks: {message}")]
    OldHooks {
        /// Stream's own words.
        message: String,
    },
    /// The id of a message is empty, or nothing but dots.
    #[error("not the id of a message")]
    MessageId,
    /// Too many calls, and waiting for the next window did not help.
    #[error("Stream limits the rate of this call; try again in a minute")]
    RateLimited,
    /// Any other refusal.
    #[error("Stream answered {status}: {message}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// Stream's own code, where the answer has one.
        code: Option<i64>,
        /// Stream's own words, at most 300 bytes of them.
        message: String,
    },
    /// The answer is not what the API is documented to give: another server may stand at the base URL.
    #[error("the answer is not one of Stream's API: {0}")]
    Answer(String),
}

impl StreamError {
    /// Whether a write that ended like this may have been done all the same.
    pub fn is_uncertain(&self) -> bool {
        match self {
            StreamError::Unreachable { .. } | StreamError::TimedOut { .. } | StreamError::Answer(_) => true,
            StreamError::Refused { status, .. } => *status >= 500 || *status == 408,
            _ => false,
        }
    }

    /// Whether the same question may well be answered a little later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            StreamError::Unreachable { .. } | StreamError::TimedOut { .. } => true,
            StreamError::Refused { status, .. } => *status >= 500 || *status == 408,
            _ => false,
        }
    }
}
