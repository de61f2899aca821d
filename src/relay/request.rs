//! From a request to a webhook: what is cheap to refuse is refused first, and nothing is believed before its signature is.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::http::request::Parts;
use tokio::time::timeout;

use super::budget::Held;
use super::networks::client;
use super::settings::{App, RelaySettings};
use crate::decode::{self, DecodeError};
use crate::event::Event;
use crate::telemetry::RelayOutcome;

/// How large a body may be as it comes.
pub(super) const RECEIVED_LIMIT: usize = 1024 * 1024;

/// How large it may be inflated.
pub(super) const INFLATED_LIMIT: usize = 4 * 1024 * 1024;

/// How long a body may take, so that what it is stored in has its time before Stream gives up after 6 s.
pub(super) const BODY_LIMIT: Duration = Duration::from_secs(5);

/// How much room a body is given before any of it has come.
const FIRST_ROOM: usize = 8 * 1024;

/// How long a webhook id may be: as long as a deduplication id of SQS.
const LONGEST_ID: usize = 128;

/// What the head of a request says.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) app: &'a App,
    /// `X-Webhook-Id`, where it is one that SQS can carry.
    pub(super) webhook_id: Option<String>,
    /// `X-Webhook-Attempt`, from 1.
    pub(super) attempt: Option<u32>,
    signature: String,
}

#[cfg(test)]
impl<'a> Head<'a> {
    pub(super) fn for_test(app: &'a App, webhook_id: Option<&str>) -> Self {
        Head { app, webhook_id: webhook_id.map(str::to_owned), attempt: Some(2), signature: String::new() }
    }
}

/// A webhook whose signature is right.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) event: Event,
    /// The body as it came, where that was gzip.
    pub(super) gzip: Option<Vec<u8>>,
}

/// The app that a request names by its API key, if it names one. Anyone may know the key.
pub(super) fn app<'a>(settings: &'a RelaySettings, head: &Parts) -> Option<&'a App> {
    let key = text(&head.headers, "x-api-key")?;
    settings.apps.iter().find(|app| app.api_key == key)
}

/// Looks at the head.
///
/// # Errors
///
/// How the request is answered.
pub(super) fn look<'a>(
    settings: &'a RelaySettings,
    head: &Parts,
    length: Option<u64>,
    peer: IpAddr,
) -> Result<Head<'a>, RelayOutcome> {
    if head.uri.path() != settings.path {
        return Err(RelayOutcome::WrongPath);
    }
    if head.method != Method::POST {
        return Err(RelayOutcome::WrongMethod);
    }
    let headers = &head.headers;
    let app = app(settings, head).ok_or(RelayOutcome::UnknownKey)?;
    if length.is_some_and(|length| length > RECEIVED_LIMIT as u64) {
        return Err(RelayOutcome::TooLarge);
    }
    if let Some(allowed) = &settings.allow {
        let forwarded = headers.get_all("x-forwarded-for").iter().map(|value| value.as_bytes());
        // A header map gives its values in one direction only.
        let forwarded: Vec<&[u8]> = forwarded.collect();
        let client = client(peer, forwarded.into_iter(), &settings.trusted_proxies);
        if !client.is_some_and(|client| allowed.contain(client)) {
            return Err(RelayOutcome::WrongAddress);
        }
    }
    // What the bytes are is told from the bytes; an encoding that is neither need not be read.
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    for encoding in encodings.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let encoding = encoding.trim_ascii();
        if ![&b""[..], b"gzip", b"x-gzip", b"identity"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
            return Err(RelayOutcome::WrongEncoding);
        }
    }
    let signature = text(headers, "x-signature").ok_or(RelayOutcome::WrongSignature)?;
    let webhook_id = text(headers, "x-webhook-id")
        .filter(|id| (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
    let attempt = text(headers, "x-webhook-attempt").and_then(|attempt| attempt.parse().ok());
    Ok(Head {
        app,
        webhook_id: webhook_id.map(str::to_owned),
        attempt: attempt.filter(|attempt| *attempt > 0),
        signature: signature.to_owned(),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Reads the body, which takes room as it comes.
///
/// # Errors
///
/// How the request is answered.
pub(super) async fn read<B>(body: B, held: &mut Held) -> Result<Vec<u8>, RelayOutcome>
where
    B: Body<Data = Bytes>,
{
    timeout(BODY_LIMIT, collect(body, held)).await.unwrap_or(Err(RelayOutcome::TooSlow))
}

async fn collect<B: Body<Data = Bytes>>(body: B, held: &mut Held) -> Result<Vec<u8>, RelayOutcome> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(declared.min(FIRST_ROOM));
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        // It ended too soon, or is not what its head says: nobody is there to read the answer.
        let frame = frame.map_err(|_| RelayOutcome::Damaged)?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.remaining() > RECEIVED_LIMIT {
            return Err(RelayOutcome::TooLarge);
        }
        if !held.grow(data.remaining()) {
            return Err(RelayOutcome::Busy);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Inflates the body where it is gzip, verifies it, and only then looks at it.
///
/// # Errors
///
/// How the request is answered.
pub(super) fn open(head: &Head<'_>, body: Vec<u8>) -> Result<Webhook, RelayOutcome> {
    let unread = |error| refused(error, RelayOutcome::Damaged);
    let inflated = match decode::gunzip(&body, INFLATED_LIMIT).map_err(unread)? {
        std::borrow::Cow::Owned(inflated) => Some(inflated),
        std::borrow::Cow::Borrowed(_) => None,
    };
    let json = inflated.as_deref().unwrap_or(&body);
    if !head.app.secrets.iter().any(|secret| secret.verifies(json, &head.signature)) {
        return Err(RelayOutcome::WrongSignature);
    }
    let (json, gzip) = match inflated {
        Some(json) => (json, Some(body)),
        None => (body, None),
    };
    let event = decode::into_text(json).and_then(decode::from_text);
    let event = event.map_err(|error| refused(error, RelayOutcome::NotAnEvent))?;
    Ok(Webhook { event, gzip })
}

fn refused(error: DecodeError, otherwise: RelayOutcome) -> RelayOutcome {
    match error {
        DecodeError::TooLarge { .. } => RelayOutcome::TooLarge,
        _ => otherwise,
    }
}
