//! How each outcome is answered.
//!
//! Stream tries again after 408, 429 and 5xx, and after no other code: what can never succeed must not be one of these, and
//! what may succeed later must be.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::telemetry::RelayOutcome;

/// The code of an outcome, and a line for a person who reads it at the other end. It says nothing that is not known there.
fn code(outcome: RelayOutcome) -> (StatusCode, &'static str) {
    use RelayOutcome::*;
    match outcome {
        Sent | Spooled | Repeated => (StatusCode::OK, ""),
        WrongPath => (StatusCode::NOT_FOUND, "not here\n"),
        WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "only POST is answered here\n"),
        WrongAddress => (StatusCode::FORBIDDEN, "requests from this address are not taken\n"),
        UnknownKey => (StatusCode::UNAUTHORIZED, "unknown API key\n"),
        WrongSignature => (StatusCode::UNAUTHORIZED, "signature mismatch\n"),
        TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
        WrongEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "a body is JSON, or gzip of JSON\n"),
        Damaged => (StatusCode::BAD_REQUEST, "the body is damaged\n"),
        NotAnEvent => (StatusCode::BAD_REQUEST, "this is not an event\n"),
        RefusedByQueue => (StatusCode::BAD_REQUEST, "the queue refuses this event\n"),
        TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
        Busy => (StatusCode::SERVICE_UNAVAILABLE, "too much at once, try again\n"),
        QueueUnavailable | SpoolFull | SpoolFailed => (StatusCode::SERVICE_UNAVAILABLE, "not now, try again\n"),
    }
}

/// The answer to a request.
pub(super) fn answer(outcome: RelayOutcome) -> Response<Full<Bytes>> {
    let (code, text) = code(outcome);
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = code;
    if !text.is_empty() {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if outcome == RelayOutcome::WrongMethod {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    answer
}

/// Whether the event is kept for good.
pub(super) fn is_stored(outcome: RelayOutcome) -> bool {
    matches!(outcome, RelayOutcome::Sent | RelayOutcome::Spooled | RelayOutcome::Repeated)
}
