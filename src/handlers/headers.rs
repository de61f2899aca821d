//! The headers of a webhook: ours, those of the settings, and the credentials in `Authorization`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::endpoint::{Authorization, HttpError, HttpSettings};
use crate::net::secret::Secret;

pub(super) const WEBHOOK_ID: HeaderName = HeaderName::from_static("x-webhook-id");
pub(super) const STREAM_WEBHOOK_ID: HeaderName = HeaderName::from_static("x-stream-webhook-id");
pub(super) const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("x-webhook-attempt");
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// What no setting sets: the headers that we set, and those that belong to the connection.
const OURS: [&str; 19] = [
    "content-type",
    "content-encoding",
    "content-length",
    "user-agent",
    "x-webhook-id",
    "x-stream-webhook-id",
    "x-webhook-attempt",
    "x-api-key",
    "x-signature",
    "host",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];

/// The headers that any endpoint may see.
pub(super) fn plain() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static(concat!("stream-sqsd/", env!("CARGO_PKG_VERSION")))),
    ])
}

/// [`plain`], and what only the endpoint of the settings may see. Waits for the disk where secrets are in files.
pub(super) fn of(settings: &HttpSettings) -> Result<HeaderMap, HttpError> {
    let mut headers = plain();
    if let Some(key) = &settings.api_key {
        let key = HeaderValue::from_str(&key.read()?).map_err(|_| HttpError::ApiKey)?;
        headers.insert(API_KEY, key);
    }
    for (name, value) in &settings.headers {
        let refused = |why| HttpError::Header { name: shown(name).to_owned(), why };
        let parsed: HeaderName = name.parse().map_err(|_| refused("is not the name of a header"))?;
        if OURS.contains(&parsed.as_str()) {
            return Err(refused("is set by the daemon itself"));
        }
        if parsed == AUTHORIZATION && settings.authorization.is_some() {
            return Err(HttpError::Authorizations);
        }
        let value = sensitive(&value.read()?).ok_or_else(|| refused("has a value that no header can hold"))?;
        if headers.insert(parsed, value).is_some() {
            return Err(refused("stands there twice"));
        }
    }
    let authorization = match &settings.authorization {
        Some(Authorization::Basic { user, password }) => Some(basic(user, password)?),
        Some(Authorization::Bearer(token)) => Some(bearer(&token.read()?).ok_or(HttpError::Bearer)?),
        Some(Authorization::OAuth2(_)) | None => None,
    };
    headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
    Ok(headers)
}

/// The name of a header as an error may show it. What cannot be one may be a secret that went astray.
pub(crate) fn shown(name: &str) -> &str {
    let can_be = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if can_be { name } else { "…" }
}

fn basic(user: &Secret, password: &Secret) -> Result<HeaderValue, HttpError> {
    let (user, password) = (user.read()?, password.read()?);
    let has_control = |text: &Cow<'_, str>| text.contains(char::is_control);
    if user.is_empty() || user.contains(':') || has_control(&user) || has_control(&password) {
        return Err(HttpError::Basic);
    }
    basic_value(&user, &password).ok_or(HttpError::Basic)
}

pub(super) fn basic_value(user: &str, password: &str) -> Option<HeaderValue> {
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// None where the token is not one: it is a word, which no control character and no space is part of.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let is_word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_word { sensitive(&format!("Bearer {token}")) } else { None }
}

/// None for control characters, and for what is not ASCII: how that is to be read nobody agrees about.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let mut value = HeaderValue::from_str(text).ok().filter(|_| good)?;
    value.set_sensitive(true);
    Some(value)
}
