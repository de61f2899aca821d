//! Our own client of the two calls that every message makes, `ReceiveMessage` and `DeleteMessageBatch`: for a third less CPU
//! a message than the SDK's.
//!
//! It sends what the SDK sends, and takes everything from the SDK that is not on the way of each message: the credentials
//! with their cache, the endpoint, and the reading of every answer that is not a plain good one. It does not try again,
//! but for a connection that had been closed and a clock that was wrong.
//!
//! It is never worse than the SDK: where it fails in a way in which the SDK might not, the caller makes the same call by
//! the SDK ([`Outcome::ForTheSdk`]), and after three such in a row there are no calls but by the SDK ([`trust`]).

mod answer;
mod identities;
mod judge;
mod pool;
mod request;
mod trust;

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::delete_message_batch::{
    DeleteMessageBatch, DeleteMessageBatchError, DeleteMessageBatchOutput,
};
use aws_sdk_sqs::operation::receive_message::{ReceiveMessage, ReceiveMessageError, ReceiveMessageOutput};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;

use identities::Identities;
use judge::{Failure, Operation};
use pool::{Dialer, NoReply, Reply};
use request::Requests;

use super::batch::BatchAnswer;
use super::received::Received;
use crate::queue::interface::Receipt;

#[cfg(fuzzing)]
pub use answer::compare_with_sdk;
pub(super) use identities::Settings;
pub(super) use pool::Pool;
pub(super) use request::Ask;
pub(super) use trust::{Call, Trust};

/// Below this the clock is right enough: SQS allows for five minutes.
const WRONG_CLOCK: Duration = Duration::from_secs(240);

/// How a call went.
#[derive(Debug)]
pub(super) enum Outcome<T, E> {
    /// As it would have gone by the SDK.
    Over(Result<T, Failure<E>>),
    /// The SDK may get through where we did not, for this reason.
    ForTheSdk(String),
}

/// The client for one endpoint. Its connections are not here, so that they can be given up.
pub(super) struct Direct {
    requests: Requests,
    identities: Identities,
    dialer: Dialer,
    /// By how many milliseconds SQS's clock is ahead of ours, where that is much.
    ahead: AtomicI64,
    pub(super) trust: Trust,
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl Direct {
    /// None where the endpoint, the way to it or the credentials are of a kind that only the SDK knows.
    pub(super) async fn new(settings: Settings<'_>) -> Option<Direct> {
        let endpoint = settings.endpoint().await?;
        Some(Direct {
            requests: Requests::new(&endpoint, settings.region)?,
            identities: settings.identities()?,
            dialer: Dialer::new(endpoint)?,
            ahead: AtomicI64::new(0),
            trust: Trust::default(),
        })
    }

    pub(super) async fn receive(&self, pool: &Pool, ask: &Ask<'_>) -> Outcome<Vec<Received>, ReceiveMessageError> {
        let of_sdk = |output: ReceiveMessageOutput| {
            output.messages.into_iter().flatten().map(|message| Received::of_sdk(message, false)).collect()
        };
        let body = request::receive(ask);
        match body {
            Ok(body) => self.call::<ReceiveMessage, _>(pool, Call::Receive, body, answer::messages, of_sdk).await,
            Err(error) => Outcome::Over(Err(Box::new(SdkError::construction_failure(error)))),
        }
    }

    pub(super) async fn delete(
        &self,
        pool: &Pool,
        queue_url: &str,
        batch: &[Receipt],
    ) -> Outcome<BatchAnswer, DeleteMessageBatchError> {
        let of_sdk = |output: DeleteMessageBatchOutput| {
            BatchAnswer::of_sdk(output.successful.iter().map(|entry| entry.id()), output.failed)
        };
        match request::delete(queue_url, batch) {
            Ok(body) => self.call::<DeleteMessageBatch, _>(pool, Call::Delete, body, answer::batch, of_sdk).await,
            Err(error) => Outcome::Over(Err(Box::new(SdkError::construction_failure(error)))),
        }
    }

    async fn call<O: Operation, T>(
        &self,
        pool: &Pool,
        call: Call,
        body: Bytes,
        read: fn(&[u8]) -> Option<T>,
        of_sdk: fn(O::Output) -> T,
    ) -> Outcome<T, O::Error> {
        let mut tries_left = 2;
        loop {
            tries_left -= 1;
            let reply = match self.exchange(pool, call, body.clone()).await {
                Ok(reply) => reply,
                Err(outcome) => return outcome,
            };
            if reply.status.is_success() {
                if let Some(read) = read(&reply.body) {
                    self.trust.kept(call);
                    return Outcome::Over(Ok(read));
                }
                let judged = judge::read::<O>(reply);
                if judged.is_ok() {
                    self.trust.broken(call, "an answer was not understood");
                }
                return Outcome::Over(judged.map(of_sdk));
            }
            let date = date_of(&reply);
            let (is_client_error, judged) = (reply.status.is_client_error(), judge::read::<O>(reply));
            let code = judged.as_ref().err().and_then(|error| error.as_service_error()?.code());
            if tries_left > 0 && code.is_some_and(is_of_clock) && self.has_set_clock(date) {
                continue;
            }
            if is_client_error && code.is_none_or(is_doubtful) {
                return Outcome::ForTheSdk(format!("a request was refused: {}", code.unwrap_or("without a code")));
            }
            return Outcome::Over(judged.map(of_sdk));
        }
    }

    async fn exchange<T, E>(&self, pool: &Pool, call: Call, body: Bytes) -> Result<Reply, Outcome<T, E>> {
        let over = |error| Outcome::Over(Err(Box::new(error)));
        let identity = self.identities.current().await.map_err(|error| over(SdkError::construction_failure(error)))?;
        let request = self.requests.signed(call, body, &identity, self.time());
        let request = request.map_err(|error| Outcome::ForTheSdk(format!("a request could not be signed: {error}")))?;
        let unreachable = |source| over(SdkError::dispatch_failure(ConnectorError::io(source)));
        pool.send(&self.dialer, request).await.map_err(|why| match why {
            NoReply::NoTls(error) => Outcome::ForTheSdk(format!("a TLS handshake failed: {error}")),
            NoReply::NotHttp(error) => Outcome::ForTheSdk(format!("an answer was not HTTP/1.1: {error}")),
            NoReply::NotConnected(error) => unreachable(error),
            NoReply::NotInTime => unreachable("the connection did not open in time".into()),
            NoReply::Broken(error) => unreachable(error.into()),
            NoReply::BrokeOff(error) => over(SdkError::response_error(error, judge::nothing())),
            NoReply::TooLarge => over(SdkError::response_error("it is too large", judge::nothing())),
        })
    }

    /// The time as SQS has it.
    fn time(&self) -> SystemTime {
        let now = self.identities.now();
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let time = if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        time.unwrap_or(now)
    }

    /// Goes by SQS's clock from now on, where ours differs much from it. False where it does not.
    fn has_set_clock(&self, date: Option<SystemTime>) -> bool {
        let Some(date) = date else { return false };
        let used = self.time();
        let off = date.duration_since(used).unwrap_or_else(|error| error.duration());
        if off < WRONG_CLOCK {
            return false;
        }
        let now = self.identities.now();
        let ahead = match date.duration_since(now) {
            Ok(ahead) => i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
            Err(error) => i64::try_from(error.duration().as_millis()).map_or(i64::MIN, |behind| -behind),
        };
        self.ahead.store(ahead, Ordering::Relaxed);
        true
    }
}

/// When SQS gave this answer, unless a cache did.
fn date_of(reply: &Reply) -> Option<SystemTime> {
    let header = |name| reply.headers.get(name)?.to_str().ok();
    if header("age").is_some() {
        return None;
    }
    DateTime::from_str(header("date")?, Format::HttpDate).ok()?.try_into().ok()
}

/// Whether a request that was refused with this code may have been signed at a wrong time.
///
/// Source: the SDK's list of such codes, and the common errors of SQS.
fn is_of_clock(code: &str) -> bool {
    matches!(
        bare(code),
        "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "AuthFailure"
            | "RequestTimeTooSkewed"
            | "RequestExpired"
            | "AccessDeniedException"
    )
}

/// Whether a request that was refused with this code may not be one as the SDK would have made it.
///
/// Source: the common errors of SQS. What is refused for whom it comes from or for what it asks is refused to the SDK too.
fn is_doubtful(code: &str) -> bool {
    matches!(
        bare(code),
        "AuthFailure"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "InvalidAction"
            | "InvalidParameterCombination"
            | "InvalidParameterValue"
            | "InvalidQueryParameter"
            | "InvalidSecurity"
            | "InvalidSignatureException"
            | "MalformedInput"
            | "MalformedQueryString"
            | "MissingAction"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "MissingParameter"
            | "NotAuthorized"
            | "RequestExpired"
            | "RequestTimeTooSkewed"
            | "SerializationException"
            | "SignatureDoesNotMatch"
            | "UnknownOperationException"
            | "ValidationError"
            | "ValidationException"
    )
}

fn bare(code: &str) -> &str {
    code.rsplit(['#', '.']).next().unwrap_or(code)
}
