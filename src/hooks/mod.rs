//! The hooks that wait for an answer: before message send, custom commands and pending messages.
//!
//! Stream calls these by HTTP and waits, so they cannot go through a queue. This room has their requests and answers as
//! types, and the signature; the server is yours. It does no I/O. `tests/example/hooks.rs` is a server with axum that takes all
//! three, and the [guide](crate::docs::hooks) says which one is for what.
//!
//! ```
//! use stream_sqsd::hooks::{self, Answer, BeforeMessageSend, HookError};
//!
//! /// `signature` is the header `X-Signature`.
//! fn before_message_send(body: &[u8], signature: &str, secret: &str) -> Result<Answer, HookError> {
//!     let request: BeforeMessageSend = hooks::verify_and_parse(body, signature, secret)?;
//!     let mut message = request.message.unwrap_or_default();
//!     Ok(match message.text.as_deref() {
//!         Some(text) if text.contains("4111 1111 1111 1111") => {
//!             message.text = Some(text.replace("4111 1111 1111 1111", "****"));
//!             Answer::rewrite(message)
//!         }
//!         Some("spam") => Answer::refuse("This message does not meet our guidelines."),
//!         _ => Answer::accept(),
//!     })
//! }
//! # let body = br#"{"message":{"text":"spam"}}"#;
//! # let signature = stream_sqsd::webhook::SigningKey::new("secret").unwrap().sign(body);
//! # let answer = before_message_send(body, &signature, "secret").unwrap();
//! # let refusal = r#"{"message":{"text":"This message does not meet our guidelines.","type":"error"}}"#;
//! # assert_eq!(serde_json::to_string(&answer).unwrap(), refusal);
//! ```
//!
//! **All of these fail open.** After a status of 400 and above, an answer that is late, or none, the message goes through as
//! it was written. So a time limit of your own, shorter than Stream's, decides what happens when your own check is slow.
//!
//! Requests and answers are like the events: every field may be missing, and what is not known is kept in `extra`.

use crate::decode::{DEFAULT_LIMIT, DecodeError, JsonFault};
use crate::event::{NotAnEvent, PayloadError, last_values};
use crate::webhook::{WebhookError, verified};

mod answer;
mod request;

pub use answer::{Answer, button};
pub use request::{BeforeMessageSend, CustomCommand, HookRequest, PendingMessage};

pub mod limits {
    //! How long Stream waits for an answer before the message goes through unchanged.

    use std::time::Duration;

    /// Before message send, unless `before_message_send_hook_attempt_timeout_ms` of the app says otherwise (1 to 5,000 ms).
    /// Stream tries once.
    pub const BEFORE_MESSAGE_SEND: Duration = Duration::from_millis(1_500);

    /// Custom commands.
    pub const CUSTOM_COMMAND: Duration = Duration::from_secs(1);
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The signature is wrong, or the body cannot be read: it is too large, or not a JSON object.
    #[error(transparent)]
    Refused(#[from] WebhookError),
    /// A value is of another kind than its field.
    #[error(transparent)]
    Mismatch(#[from] PayloadError),
}

/// The request in the body of a call of Stream's: inflates it where it is gzip, verifies it, and only then looks at it.
///
/// `signature` is the header `X-Signature`, `secret` the app's API secret. While a secret is rotated, try both. It inflates to at
/// most [`DEFAULT_LIMIT`] bytes, since the body is not authenticated until then; [`verify_and_parse_up_to`] takes a limit of your own.
///
/// # Errors
///
/// See [`HookError`]. [`WebhookError::Signature`] deserves a 401 and everything else a 400; Stream takes both for an acceptance.
pub fn verify_and_parse<T: HookRequest>(body: &[u8], signature: &str, secret: &str) -> Result<T, HookError> {
    verify_and_parse_up_to(body, signature, secret, DEFAULT_LIMIT)
}

/// [`verify_and_parse`] for bodies of at most `limit` bytes, before and after inflation.
///
/// # Errors
///
/// See [`verify_and_parse`]; beyond the limit [`DecodeError::TooLarge`].
pub fn verify_and_parse_up_to<T: HookRequest>(
    body: &[u8],
    signature: &str,
    secret: &str,
    limit: usize,
) -> Result<T, HookError> {
    let json = verified(body, signature, secret, limit)?;
    // Reading a struct takes it for granted that the text is JSON.
    let checked = last_values(&json, []).map_err(|fault| JsonFault::NotAnEvent(NotAnEvent::from(fault)));
    let [] = checked.map_err(|fault| WebhookError::Decode(DecodeError::Json(fault)))?;
    Ok(T::read(&json)?)
}
