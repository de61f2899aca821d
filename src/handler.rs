//! The page that you read to write a handler: [`Handler`], [`Context`], [`HandlerError`].
//!
//! A handler is an async function of an event and its context:
//!
//! ```
//! use stream_sqsd::event::message::MessageNew;
//! use stream_sqsd::handler::{Context, HandlerError};
//!
//! async fn welcome(event: MessageNew, ctx: Context) -> Result<(), HandlerError> {
//!     println!("{} in {:?}", ctx.message_id(), event.cid);
//!     Ok(())
//! }
//! ```
//!
//! The type of its first argument is its route: `Router::new().on(welcome)` sends it each `message.new`, parsed. A
//! handler that takes an [`Event`](crate::event::Event) gets the event as it came and costs no parse.
//!
//! **Only success deletes.** `Ok(())` means that the work is done for good, and the message is deleted. Every other end
//! (an error, a panic, the time limit, a lost lease) leaves the message in the queue, whose redrive policy carries it to
//! the dead-letter queue in the end. Delivery is at least once: a handler meets the same message again after a crash, so
//! it should be idempotent on [`Context::message_id`].

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::event::escape_controls;
use crate::queue::{MessageId, Trace};
use crate::telemetry::{ERROR_SHOWN, cut};

/// What works on events of type `E`: an async function, or a type of yours with state.
///
/// The future is dropped when the handler's time limit or the process's grace runs out, or when the lease of the message
/// is lost (which [`Context::cancelled`] tells): keep no half-done work across an await point that a second delivery
/// could not mend.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of `{E}`",
    label = "not a handler of `{E}`",
    note = "a handler is `async fn(event: {E}, ctx: Context) -> Result<(), HandlerError>`, both arguments owned",
    note = "or a type that implements `Handler<{E}>`; in either case `Send + Sync + 'static`, and so is its future"
)]
pub trait Handler<E>: Send + Sync + 'static {
    /// Works on one event. `Ok` deletes its message.
    ///
    /// # Errors
    ///
    /// A [`HandlerError`] says what is to become of the message; any other error becomes one by `?`, as a retry.
    fn handle(&self, event: E, ctx: Context) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

impl<E, F, Fut> Handler<E> for F
where
    F: Fn(E, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), HandlerError>> + Send,
{
    fn handle(&self, event: E, ctx: Context) -> impl Future<Output = Result<(), HandlerError>> + Send {
        self(event, ctx)
    }
}

/// What is known of the delivery that a handler works on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    delivery: Arc<Facts>,
    attempt: u32,
    deadline: Instant,
    cancelled: CancellationToken,
}

/// The part of a context that stays the same when a delivery is tried again in this process.
#[derive(Debug)]
struct Facts {
    message_id: MessageId,
    receive_count: u32,
    sent_at: Option<SystemTime>,
    group: Option<Arc<str>>,
    trace: Trace,
}

impl Context {
    /// A context for the test of a handler: the first attempt at the first delivery, with a minute of time.
    ///
    /// Needs a tokio runtime, since a deadline is a time of its clock.
    pub fn for_test(message_id: &str) -> Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        Context::new(message_id.into(), 1, None, None, Trace::default()).attempt_with(
            1,
            deadline,
            CancellationToken::new(),
        )
    }

    pub(crate) fn new(
        message_id: MessageId,
        receive_count: u32,
        sent_at: Option<SystemTime>,
        group: Option<Arc<str>>,
        trace: Trace,
    ) -> Self {
        Context {
            delivery: Arc::new(Facts { message_id, receive_count, sent_at, group, trace }),
            attempt: 0,
            deadline: Instant::now(),
            cancelled: CancellationToken::new(),
        }
    }

    /// The context of one attempt at the same delivery.
    pub(crate) fn attempt_with(&self, attempt: u32, deadline: Instant, cancelled: CancellationToken) -> Self {
        Context { delivery: self.delivery.clone(), attempt, deadline, cancelled }
    }

    /// The id that SQS gave to the message: the same at each of its deliveries, and what to be idempotent on.
    pub fn message_id(&self) -> &MessageId {
        &self.delivery.message_id
    }

    /// How often the message was received, this time included. It does not rise when this process tries again.
    pub fn receive_count(&self) -> u32 {
        self.delivery.receive_count
    }

    /// The number of this call for this delivery, from 1: it rises when this process tries again without a new receive.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When Stream sent the message to the queue, to the millisecond.
    pub fn sent_at(&self) -> Option<SystemTime> {
        self.delivery.sent_at
    }

    /// The MessageGroupId, where the queue has them.
    pub fn group(&self) -> Option<&str> {
        self.delivery.group.as_deref()
    }

    /// The trace identifiers that came with the message.
    pub fn trace(&self) -> &Trace {
        &self.delivery.trace
    }

    /// When this call's time is over: the handler's time limit or the end of the lease, whichever comes first.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Completes when the work is no longer wanted: the lease is lost, the time limit is over, or the grace of the
    /// shutdown is. Soon after it the handler's future is dropped.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether [`Context::cancelled`] has completed.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
}

/// Why a handler did not do its work, and what is to become of the message.
///
/// Any error converts into one that asks for a retry, so `?` does what most people mean. For the other outcomes say so:
///
/// ```
/// # use std::time::Duration;
/// # use stream_sqsd::handler::HandlerError;
/// HandlerError::retry("the row is locked").after(Duration::from_secs(5));
/// HandlerError::bad("no channel in the event");
/// HandlerError::target_busy("429 Too Many Requests").after(Duration::from_secs(1));
/// HandlerError::target_down("connection refused");
/// ```
///
/// It does not implement [`Error`] itself, which is what lets every error convert into it.
#[derive(Debug)]
pub struct HandlerError {
    failure: Failure,
    after: Option<Duration>,
    cause: Box<dyn Error + Send + Sync>,
}

/// What a handler's error means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This message failed this time: it is received again after a delay.
    Retry,
    /// This message can never succeed here: it stays in the queue until its receives are used up and SQS moves it to the
    /// dead-letter queue.
    Bad,
    /// The target takes no more for now, whatever the message: events are sent to it more slowly, and this one is tried
    /// again in this process, which spends no receive.
    TargetBusy,
    /// The target cannot do this work now: it is tried again in this process, which spends no receive, unless others of
    /// the same route succeed meanwhile, so that it must be the message.
    TargetDown,
}

impl HandlerError {
    /// This message failed this time, and may succeed later.
    pub fn retry(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        HandlerError { failure: Failure::Retry, after: None, cause: cause.into() }
    }

    /// This message can never succeed: it goes to the dead-letter queue, which SQS does when its receives are used up.
    pub fn bad(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        HandlerError { failure: Failure::Bad, after: None, cause: cause.into() }
    }

    /// The target asks for fewer or slower calls, as HTTP's 429 and 503 do, or did not answer in time. It never counts
    /// against the message: the engine lowers the rate or the concurrency of this route and tries again.
    pub fn target_busy(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        HandlerError { failure: Failure::TargetBusy, after: None, cause: cause.into() }
    }

    /// The target is down, whatever the message. While it is, nothing more is received for it.
    pub fn target_down(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        HandlerError { failure: Failure::TargetDown, after: None, cause: cause.into() }
    }

    /// Names the time before which a new attempt is of no use, instead of the engine's own back-off.
    ///
    /// Cut to 12 hours, the longest that SQS hides a message.
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = Some(delay);
        self
    }

    /// What the error means for the message.
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// The delay that the handler named, if it named one.
    pub fn delay(&self) -> Option<Duration> {
        self.after
    }

    /// The cause and its causes in one line, with control characters escaped and cut to 300 bytes: fit for a log.
    pub fn chain(&self) -> String {
        let mut text = self.cause.to_string();
        let mut next = self.cause.source();
        while let Some(error) = next {
            text = format!("{text}: {error}");
            next = error.source();
        }
        let mut text = escape_controls(&text).into_owned();
        text.truncate(cut(&text, ERROR_SHOWN).len());
        text
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(cause: E) -> Self {
        HandlerError::retry(cause)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_context_tells_what_came_with_the_delivery_and_when_to_stop() {
        let trace = Trace { traceparent: Some("00-a-b-01".into()), aws_trace_header: None };
        let sent_at = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let context = Context::new("m".into(), 3, Some(sent_at), Some("g".into()), trace.clone());
        let stop = CancellationToken::new();
        let deadline = Instant::now() + Duration::from_secs(9);
        let context = context.attempt_with(2, deadline, stop.clone());
        assert_eq!((context.message_id().as_str(), context.receive_count(), context.attempt()), ("m", 3, 2));
        assert_eq!((context.sent_at(), context.group(), context.trace()), (Some(sent_at), Some("g"), &trace));
        assert_eq!(context.deadline(), deadline);
        assert!(!context.is_cancelled());
        let told = tokio::time::timeout(Duration::from_secs(1), context.cancelled());
        assert!(told.await.is_err());
        stop.cancel();
        context.cancelled().await;
        assert!(context.is_cancelled());
        let for_test = Context::for_test("m");
        assert_eq!((for_test.attempt(), for_test.deadline()), (1, Instant::now() + Duration::from_secs(60)));
    }

    #[test]
    fn an_error_says_what_it_means_and_its_causes_in_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("the row\nis locked")]
        struct Outer(#[source] std::io::Error);
        let error = HandlerError::retry(Outer(std::io::Error::other("by \u{1b}[31manother")));
        assert_eq!(error.chain(), r"the row\nis locked: by \u{1b}[31manother");
        assert_eq!(error.to_string(), error.chain());
        assert_eq!((error.failure(), error.delay()), (Failure::Retry, None));
        let error = HandlerError::bad("plain").after(Duration::from_secs(5));
        assert_eq!((error.failure(), error.delay()), (Failure::Bad, Some(Duration::from_secs(5))));
        assert_eq!(HandlerError::target_busy("503").failure(), Failure::TargetBusy);
        assert_eq!(HandlerError::target_down("500").failure(), Failure::TargetDown);
        assert_eq!(escape_controls("plain"), "plain");
        let long = HandlerError::retry("ü".repeat(10_000)).chain();
        assert_eq!(long, "ü".repeat(150), "a target may send a page");
    }
}
