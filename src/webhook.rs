//! HTTP webhooks: the signature, and the body once it is verified.
//!
//! For those who receive Stream's hooks over HTTP and want the same events. The relay receives them for a queue, and the
//! `http` handler signs as Stream does. Nothing on SQS or SNS is signed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::decode::{self, DecodeError};
use crate::event::Event;

/// Why a webhook is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The signature is not the one of this body and secret, or the secret is empty.
    #[error("signature mismatch")]
    Signature,
    /// The body is not an event.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// An app's API secret, ready to sign many bodies.
///
/// Its `Debug` shows nothing of the secret.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// None where the secret is empty: a forgotten setting, and a secret that everybody knows.
    pub fn new(secret: &str) -> Option<Self> {
        let key = || Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        (!secret.is_empty()).then(|| SigningKey(key()))
    }

    /// The header `X-Signature` for this body: its HMAC-SHA256 in lower-case hex. `body` is the JSON as it is before
    /// compression.
    pub fn sign(&self, body: &[u8]) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut mac = self.0.clone();
        mac.update(body);
        let digest = mac.finalize().into_bytes();
        digest
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|half| char::from(DIGITS[usize::from(half)]))
            .collect()
    }

    /// Whether `signature`, the header `X-Signature`, is the one of this body, which is the JSON as it is before
    /// compression. The comparison takes the same time whatever is wrong.
    pub fn verifies(&self, body: &[u8], signature: &str) -> bool {
        self.sign(body).as_bytes().ct_eq(signature.as_bytes()).into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Whether `signature`, the header `X-Signature`, is the one of `body` under the app's API secret.
///
/// `body` is the JSON as it is before compression; [`verify_and_parse`] takes the body as it came. The comparison takes the
/// same time whatever is wrong. An empty secret verifies nothing.
pub fn verify(body: &[u8], signature: &str, secret: &str) -> bool {
    SigningKey::new(secret).is_some_and(|key| key.verifies(body, signature))
}

/// The event in the body of a webhook: inflates it where it is gzip, verifies it, and only then looks at it.
///
/// It inflates to at most [`decode::DEFAULT_LIMIT`] bytes, since the body is not authenticated until then;
/// [`verify_and_parse_up_to`] takes a limit of your own.
///
/// # Errors
///
/// [`WebhookError::Signature`] where the signature is wrong, otherwise see [`DecodeError`].
pub fn verify_and_parse(body: &[u8], signature: &str, secret: &str) -> Result<Event, WebhookError> {
    verify_and_parse_up_to(body, signature, secret, decode::DEFAULT_LIMIT)
}

/// [`verify_and_parse`] for bodies of at most `limit` bytes, before and after inflation. What Stream sends stays under
/// 256 KiB, so a public endpoint need not spend 16 MiB on an unauthenticated body.
///
/// # Errors
///
/// See [`verify_and_parse`]; beyond the limit [`DecodeError::TooLarge`].
pub fn verify_and_parse_up_to(body: &[u8], signature: &str, secret: &str, limit: usize) -> Result<Event, WebhookError> {
    Ok(decode::from_text(verified(body, signature, secret, limit)?)?)
}

/// The text of a body of at most `limit` bytes, before and after inflation, once its signature was found to be right. All that
/// Stream signs comes through here.
pub(crate) fn verified(body: &[u8], signature: &str, secret: &str, limit: usize) -> Result<String, WebhookError> {
    if body.len() > limit {
        return Err(DecodeError::TooLarge { limit }.into());
    }
    let json = decode::gunzip(body, limit)?;
    if !verify(&json, signature, secret) {
        return Err(WebhookError::Signature);
    }
    Ok(decode::into_text(json.into_owned())?)
}
