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
//! handler that takes an [`Event`](crate::event::Event) gets the event as it came and costs no parse. Where a closure is the
//! handler, it names its error: `Ok::<_, HandlerError>(())`.
//!
//! **Only success deletes.** `Ok(())` means that the work is done for good, and the message is deleted. Every other end
//! (an error, a panic, the time limit, a lost lease) leaves the message in the queue, whose redrive policy carries it to
//! the dead-letter queue in the end. Delivery is at least once: a handler meets the same message again after a crash, so
//! it should be idempotent on [`Context::message_id`].
//!
//! # Share state
//!
//! A handler with state, such as a database pool, is a struct that implements [`Handler`]. It is shared by all calls, so
//! nothing is cloned:
//!
//! ```
//! use stream_sqsd::event::message::MessageNew;
//! use stream_sqsd::prelude::*;
//! # struct Pool;
//! # impl Pool {
//! #     fn size(&self) -> usize { 8 }
//! #     async fn insert(&self, _id: &str, _text: Option<String>) -> std::io::Result<()> { Ok(()) }
//! # }
//!
//! struct SaveMessage {
//!     pool: Pool,
//! }
//!
//! impl Handler<MessageNew> for SaveMessage {
//!     type Error = HandlerError;
//!
//!     async fn handle(&self, event: MessageNew, ctx: Context) -> Result<(), HandlerError> {
//!         let text = event.message.and_then(|message| message.text);
//!         // `insert … on conflict do nothing`, with the message id as the key: at-least-once delivery is harmless then.
//!         self.pool.insert(ctx.message_id().as_str(), text).await.or_target_down()
//!     }
//!
//!     /// The engine never calls it more often at a time than there are connections.
//!     fn max_concurrency(&self) -> Option<usize> {
//!         Some(self.pool.size())
//!     }
//! }
//!
//! let router = Router::new().on(SaveMessage { pool: Pool });
//! ```
//!
//! # Return my own errors
//!
//! Any error passed on by `?` becomes a [`HandlerError`] that asks for a retry, and [`OrFailure`] says it at the place:
//! `.or_reject()?`, `.or_target_down()?`. With an enum of your own, say once for each case what it means:
//!
//! ```
//! use stream_sqsd::event::message::MessageNew;
//! use stream_sqsd::prelude::*;
//!
//! #[derive(Debug, thiserror::Error)]
//! enum ShopError {
//!     #[error("the message has no order")]
//!     NoOrder,
//!     #[error("the database does not answer")]
//!     Database(#[from] std::io::Error),
//! }
//!
//! impl Failure for ShopError {
//!     fn into_handler_error(self) -> HandlerError {
//!         match self {
//!             ShopError::NoOrder => HandlerError::reject(self), // this message never succeeds
//!             ShopError::Database(_) => HandlerError::target_down(self), // tried again, and no receive is spent
//!         }
//!     }
//! }
//!
//! async fn ship(event: MessageNew, _ctx: Context) -> Result<(), ShopError> {
//!     let _message = event.message.ok_or(ShopError::NoOrder)?;
//!     Ok(())
//! }
//!
//! let router = Router::new().on(ship);
//! ```
//!
//! With the feature `anyhow` a handler may return `anyhow::Result<()>`, whose errors ask for a retry.
//!
//! # Test a handler
//!
//! Call it with [`Context::for_test`], or run it through the engine on a
//! [`MemoryQueue`](crate::queue::memory::MemoryQueue), which keeps the promises of SQS and can break them on demand:
//!
//! ```
//! # use stream_sqsd::event::message::MessageNew;
//! # use stream_sqsd::prelude::*;
//! # async fn welcome(_event: MessageNew, _ctx: Context) -> Result<(), HandlerError> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let event = Event::from_json(r#"{"type":"message.new","cid":"messaging:garden"}"#)?.parse()?;
//! assert!(welcome(event, Context::for_test("id-1")).await.is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! How to shut down, read metrics and bring a queue of one's own stands on the [front page](crate#how-do-i).

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::sync::{Notify, SetOnce};
use tokio::time::Instant;

use crate::event::escape_controls;
use crate::queue::{MAX_VISIBILITY, MessageId, Trace, WebhookId};
use crate::telemetry::{ERROR_SHOWN, cut};

/// Works on events of type `E`: an async function, or a type of yours with [state](self#share-state).
///
/// The future is dropped when the handler's time limit or the process's grace runs out, or when the lease of the message
/// is lost (which [`Context::cancelled`] tells): keep no half-done work across an await point that a second delivery
/// could not repair. Work that goes on beyond its future, on a thread or in another process, takes a [`Context::hold`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of `{E}`",
    label = "not a handler of `{E}`",
    note = "a handler is `async fn(event: {E}, ctx: Context) -> Result<(), HandlerError>`, both arguments owned",
    note = "or a type that implements `Handler<{E}>`, which is how a handler has state; a third argument is not possible",
    note = "in either case it is `Send + Sync + 'static`, and its future is `Send`"
)]
pub trait Handler<E>: Send + Sync + 'static {
    /// What the handler fails with: [`HandlerError`], or an error of your own that says [what it means](Failure).
    type Error: Failure;

    /// Works on one event. `Ok` deletes its message.
    ///
    /// # Errors
    ///
    /// The error says what is to become of the message.
    fn handle(&self, event: E, ctx: Context) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// How many events this handler can work on at a time, for instance the connections that it has: the engine then
    /// never calls it for more, and the wait for a place is part of no time limit and says nothing about the target. None,
    /// the default, means as many as the engine has slots
    /// ([`Settings::concurrency`](crate::consumer::Settings::concurrency)). It is asked once, at the start; 0 counts as 1.
    fn max_concurrency(&self) -> Option<usize> {
        None
    }

    /// Where this handler's target is, for the log when it is down and when it is back: scheme, host and port of a URL, or
    /// the name of a file or a program. Never a path of a URL, a user or a secret. None, the default, where there is
    /// nothing to name.
    fn address(&self) -> Option<String> {
        None
    }
}

impl<E, F, Fut> Handler<E> for F
where
    F: Fn(E, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Outcome> + Send,
{
    type Error = <Fut::Output as Outcome>::Error;

    fn handle(&self, event: E, ctx: Context) -> impl Future<Output = Result<(), Self::Error>> + Send {
        // Not an `async` block, which holds what it waits for twice.
        self(event, ctx).map(Outcome::into_result)
    }
}

/// What an async function returns when it is a handler: `Result<(), E>` with a [`Failure`] as `E`. There is nothing else.
#[diagnostic::on_unimplemented(
    message = "a handler does not return `{Self}`",
    label = "this does not return `Result<(), E>`",
    note = "a handler returns `Result<(), HandlerError>`; end it with `Ok(())`, which deletes the message"
)]
pub trait Outcome: Send + sealed::Sealed {
    /// The error.
    type Error: Failure;

    /// Itself.
    ///
    /// # Errors
    ///
    /// Its own.
    fn into_result(self) -> Result<(), Self::Error>;
}

impl<E: Failure> Outcome for Result<(), E> {
    type Error = E;

    fn into_result(self) -> Result<(), E> {
        self
    }
}

mod sealed {
    pub trait Sealed {}

    impl<E> Sealed for Result<(), E> {}
}

/// An error that says what it means for the message, so that a handler may return it.
///
/// [`HandlerError`] is one, `Box<dyn Error + Send + Sync>` (a retry) and, with the feature `anyhow`, `anyhow::Error` (a
/// retry). For an error of your own, say it for each case; see [return my own errors](self#return-my-own-errors).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what it means for the message",
    label = "a handler cannot fail with this",
    note = "return `Result<(), HandlerError>`: `?` turns every error into a `HandlerError` that asks for a retry",
    note = "or implement `Failure` for `{Self}` and say for each case what becomes of the message; for `anyhow::Error` there is the feature `anyhow`"
)]
pub trait Failure: Send + 'static {
    /// What the error means for the message, with the error as its cause.
    fn into_handler_error(self) -> HandlerError;
}

impl Failure for HandlerError {
    fn into_handler_error(self) -> HandlerError {
        self
    }
}

/// A retry.
impl Failure for Box<dyn Error + Send + Sync> {
    fn into_handler_error(self) -> HandlerError {
        HandlerError::retry(self)
    }
}

/// A retry.
#[cfg(feature = "anyhow")]
impl Failure for anyhow::Error {
    fn into_handler_error(self) -> HandlerError {
        HandlerError::retry(self)
    }
}

/// What an error means for the message, said where it happens.
///
/// ```
/// # use stream_sqsd::prelude::*;
/// # async fn query() -> std::io::Result<()> { Ok(()) }
/// async fn count(event: event::message::MessageNew, _ctx: Context) -> Result<(), HandlerError> {
///     let id: u64 = event.message_id.as_deref().unwrap_or("0").parse().or_reject()?;
///     query().await.or_target_down()?;
///     Ok(())
/// }
/// ```
pub trait OrFailure<T>: Sized {
    /// The message can never succeed: [`HandlerError::reject`].
    ///
    /// # Errors
    ///
    /// Where the result is an error.
    fn or_reject(self) -> Result<T, HandlerError>;

    /// The target takes no more for now: [`HandlerError::target_busy`].
    ///
    /// # Errors
    ///
    /// Where the result is an error.
    fn or_target_busy(self) -> Result<T, HandlerError>;

    /// The target cannot do it now: [`HandlerError::target_down`].
    ///
    /// # Errors
    ///
    /// Where the result is an error.
    fn or_target_down(self) -> Result<T, HandlerError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrFailure<T> for Result<T, E> {
    fn or_reject(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::reject)
    }

    fn or_target_busy(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::target_busy)
    }

    fn or_target_down(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::target_down)
    }
}

/// What is known of the delivery that a handler works on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    origin: Arc<Origin>,
    attempt: u32,
    call: Arc<Call>,
}

/// The part of a context that stays the same when a delivery is tried again in this process: what came with its message.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) message_id: MessageId,
    pub(crate) receive_count: u32,
    pub(crate) sent_at: Option<SystemTime>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) trace: Trace,
    pub(crate) webhook_id: Option<WebhookId>,
}

/// What the engine and a handler share about one call of it.
#[derive(Debug)]
pub(crate) struct Call {
    limit: Duration,
    cancellation_grace: Duration,
    /// When the lease ends, whatever the limit.
    latest: Instant,
    clock: Mutex<Clock>,
    cancelled: SetOnce<()>,
    /// Told when nothing holds the message any more.
    released: Notify,
}

#[derive(Debug)]
struct Clock {
    /// When the time limit is over. It does not count while `waiting` is above zero.
    over: Instant,
    waiting: u32,
    holds: u32,
}

impl Call {
    /// A call that begins now: it may take `limit`, ends at `latest`, and when cancelled is dropped after `cancellation_grace`.
    pub(crate) fn new(limit: Duration, latest: Instant, cancellation_grace: Duration) -> Arc<Self> {
        let over = (Instant::now() + limit).min(latest);
        let clock = Mutex::new(Clock { over, waiting: 0, holds: 0 });
        Arc::new(Call { limit, cancellation_grace, latest, clock, cancelled: SetOnce::new(), released: Notify::new() })
    }

    /// When its time is over; while the time limit is paused, when it would be if it started again now.
    fn deadline(&self) -> Instant {
        let clock = self.clock();
        if clock.waiting > 0 { (Instant::now() + self.limit).min(self.latest) } else { clock.over }
    }

    /// Completes when its time is over.
    pub(crate) async fn over(&self) {
        // While it waits, the deadline moves on; looked at once in each limit, it is never missed.
        while Instant::now() < self.deadline() {
            tokio::time::sleep_until(self.deadline()).await;
        }
    }

    /// Tells the handler to stop.
    pub(crate) fn cancel(&self) {
        // An error says that it was cancelled before.
        let _ = self.cancelled.set(());
    }

    /// Completes when no [`Hold`] is left.
    pub(crate) async fn released(&self) {
        loop {
            let released = self.released.notified();
            if self.clock().holds == 0 {
                return;
            }
            released.await;
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a message from being handed back, while work on it goes on beyond its handler: see [`Context::hold`].
#[derive(Debug)]
pub struct Hold(Arc<Call>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.clock().holds -= 1;
        self.0.released.notify_one();
    }
}

/// A handler whose time limit is paused.
struct Waiting<'a>(&'a Call);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut clock = self.0.clock();
        clock.waiting -= 1;
        clock.over = (Instant::now() + self.0.limit).min(self.0.latest);
    }
}

impl Context {
    /// A context for the test of a handler: the first attempt at the first delivery, with a minute of time.
    ///
    /// Needs a tokio runtime, since a deadline is a time of its clock.
    pub fn for_test(message_id: &str) -> Self {
        let hour = Duration::from_secs(3600);
        let call = Call::new(hour / 60, Instant::now() + 12 * hour, Duration::from_secs(1));
        Context::new(message_id.into(), 1, None, None, Trace::default()).attempt_with(1, call)
    }

    pub(crate) fn new(
        message_id: MessageId,
        receive_count: u32,
        sent_at: Option<SystemTime>,
        group: Option<Arc<str>>,
        trace: Trace,
    ) -> Self {
        let origin = Origin { message_id, receive_count, sent_at, group, trace, webhook_id: None };
        Context::of_call(&Arc::new(origin), 0, Call::new(Duration::ZERO, Instant::now(), Duration::ZERO))
    }

    /// Sets [`Context::webhook_id`], for the test of a handler.
    #[must_use]
    pub fn with_webhook_id(mut self, webhook_id: impl Into<Option<WebhookId>>) -> Self {
        if let Some(id) = webhook_id.into() {
            Arc::make_mut(&mut self.origin).webhook_id = Some(id);
        }
        self
    }

    /// The context of one attempt at the same delivery.
    pub(crate) fn attempt_with(&self, attempt: u32, call: Arc<Call>) -> Self {
        Context::of_call(&self.origin, attempt, call)
    }

    /// The context of one call.
    pub(crate) fn of_call(origin: &Arc<Origin>, attempt: u32, call: Arc<Call>) -> Self {
        Context { origin: origin.clone(), attempt, call }
    }

    /// The id that SQS gave to the message: the same at each of its deliveries, and what to be idempotent on.
    pub fn message_id(&self) -> &MessageId {
        &self.origin.message_id
    }

    /// The id that Stream gave to the webhook that the event came by, where its receiver wrote it beside the message
    /// ([`WebhookId`]). At most 128 bytes of printable ASCII.
    ///
    /// **A hint**, for finding an event again in the logs of both sides: anyone who may send to the queue can set it. What to be
    /// idempotent on is [`Context::message_id`].
    pub fn webhook_id(&self) -> Option<&str> {
        self.origin.webhook_id.as_ref().map(WebhookId::as_str)
    }

    /// How often the message was received, this time included. It does not rise when this process tries again.
    pub fn receive_count(&self) -> u32 {
        self.origin.receive_count
    }

    /// The number of this call for this delivery, from 1: it rises when this process tries again without a new receive.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When Stream sent the message to the queue, to the millisecond.
    pub fn sent_at(&self) -> Option<SystemTime> {
        self.origin.sent_at
    }

    /// The MessageGroupId, where the queue has them.
    pub fn group(&self) -> Option<&str> {
        self.origin.group.as_deref()
    }

    /// The trace identifiers that came with the message.
    pub fn trace(&self) -> &Trace {
        &self.origin.trace
    }

    /// When this call's time is over: the handler's time limit or the end of the lease, whichever comes first.
    pub fn deadline(&self) -> Instant {
        self.call.deadline()
    }

    /// Awaits something that other calls of the handler hold for now, such as a connection of its pool.
    ///
    /// The time limit of the call does not count meanwhile, and starts again when the wait is over. So a message that
    /// waited for others never spends a receive for that. The end of the lease, a lost one and a shutdown end the wait too.
    pub async fn pause_timeout<T>(&self, wait: impl Future<Output = T>) -> T {
        self.call.clock().waiting += 1;
        let _waiting = Waiting(&self.call);
        wait.await
    }

    /// Completes when the work is no longer wanted: the lease is lost, the time limit is over, or the grace of the
    /// shutdown is. After [`Context::cancellation_grace`] the handler's future is dropped.
    pub async fn cancelled(&self) {
        self.call.cancelled.wait().await;
    }

    /// Whether [`Context::cancelled`] has completed.
    pub fn is_cancelled(&self) -> bool {
        self.call.cancelled.initialized()
    }

    /// For how long a cancelled handler may still go on: 1 s, or less where the grace of a shutdown is below 12 s.
    pub fn cancellation_grace(&self) -> Duration {
        self.call.cancellation_grace
    }

    /// Keeps the message here for as long as work on it goes on, though the handler's future has ended or was dropped: as
    /// long as the hold lives, the message is neither handed back nor tried again, and its lease is renewed.
    ///
    /// At most for 5 s after the end of the future, and in a shutdown for two thirds of what it keeps for handing back
    /// (2 s of 3 s), so work is ended within [`Context::cancellation_grace`].
    pub fn hold(&self) -> Hold {
        self.call.clock().holds += 1;
        Hold(self.call.clone())
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
/// HandlerError::reject("no channel in the event");
/// HandlerError::target_busy("429 Too Many Requests").after(Duration::from_secs(1));
/// HandlerError::target_down("connection refused");
/// ```
///
/// It does not implement [`Error`] itself, which is what lets every error convert into it.
#[derive(Debug)]
pub struct HandlerError {
    kind: FailureKind,
    after: Option<Duration>,
    cause: Box<dyn Error + Send + Sync>,
}

/// What a handler's error means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// This message failed this time: it is received again after a delay.
    Retry,
    /// This message can never succeed here (a poison message): it stays in the queue until its receives are used up and
    /// SQS moves it to the dead-letter queue.
    Reject,
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
        HandlerError { kind: FailureKind::Retry, after: None, cause: cause.into() }
    }

    /// This message can never succeed: it goes to the dead-letter queue, which SQS does when its receives are used up.
    pub fn reject(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        HandlerError { kind: FailureKind::Reject, after: None, cause: cause.into() }
    }

    /// The target asks for fewer or slower calls, as HTTP's 429 and 503 do, or did not answer in time. The engine lowers
    /// the rate of calls on this route, or their number at a time, and tries again in this process, which spends no
    /// receive. It does not count against the message, unless the call takes much longer than others again and again while
    /// other events of its type succeed.
    ///
    /// With [`HandlerError::after`] the whole route pauses for that long, at most 5 minutes.
    pub fn target_busy(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        HandlerError { kind: FailureKind::TargetBusy, after: None, cause: cause.into() }
    }

    /// The target could not do it, as HTTP's 500 says or a connection that is refused; it may be the message's fault all
    /// the same. The engine tries again in this process, which spends no receive. As long as everything fails it is the
    /// target: it is tried ever more rarely, and few more messages are received. A message that goes on failing while
    /// others of its route succeed is at fault: its receives are spent, and it is dead-lettered 5 minutes after its first
    /// failure at the earliest, or at once where the queue's maxReceiveCount is 1. A delay that is named is not heeded.
    pub fn target_down(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        HandlerError { kind: FailureKind::TargetDown, after: None, cause: cause.into() }
    }

    /// Names the time before which a new attempt is of no use, instead of the engine's own back-off.
    ///
    /// Cut to 12 hours, the longest that SQS hides a message.
    pub fn after(mut self, delay: Duration) -> Self {
        let most = if mutant!("believe-any-delay") { Duration::MAX } else { MAX_VISIBILITY };
        self.after = Some(delay.min(most));
        self
    }

    /// What the error means for the message.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The delay that the handler named, if it named one.
    pub fn delay(&self) -> Option<Duration> {
        self.after
    }

    pub(crate) fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
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
        let second = Duration::from_secs(1);
        let deadline = Instant::now() + 9 * second;
        let call = Call::new(9 * second, deadline + second, second);
        let context = context.attempt_with(2, call.clone());
        assert_eq!((context.message_id().as_str(), context.receive_count(), context.attempt()), ("m", 3, 2));
        assert_eq!((context.sent_at(), context.group(), context.trace()), (Some(sent_at), Some("g"), &trace));
        assert_eq!((context.deadline(), context.cancellation_grace()), (deadline, second));
        assert!(!context.is_cancelled());
        let told = tokio::time::timeout(second, context.cancelled());
        assert!(told.await.is_err());
        call.cancel();
        context.cancelled().await;
        assert!(context.is_cancelled());
        assert_eq!(context.webhook_id(), None);
        let with_webhook = context.with_webhook_id(WebhookId::new("w-1"));
        assert_eq!((with_webhook.webhook_id(), with_webhook.attempt()), (Some("w-1"), 2));
        let for_test = Context::for_test("m");
        assert_eq!((for_test.attempt(), for_test.deadline()), (1, Instant::now() + 60 * second));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_time_limit_does_not_outlast_the_lease() {
        let second = Duration::from_secs(1);
        for (waits, over) in [(0, 10), (4, 14), (25, 35), (95, 100), (200, 100)] {
            let call = Call::new(10 * second, Instant::now() + 100 * second, second);
            let context = Context::for_test("m").attempt_with(1, call.clone());
            let began = Instant::now();
            let working = async {
                context.pause_timeout(tokio::time::sleep(waits * second)).await;
                std::future::pending::<()>().await
            };
            tokio::select! {
                biased;
                () = working => {}
                () = call.over() => {}
            }
            assert_eq!(began.elapsed(), over * second, "{waits}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_released_when_its_last_hold_is_dropped() {
        let second = Duration::from_secs(1);
        let call = Call::new(second, Instant::now(), second);
        let context = Context::for_test("m").attempt_with(1, call.clone());
        call.released().await;
        let (one, other) = (context.hold(), context.hold());
        drop(one);
        assert!(tokio::time::timeout(second, call.released()).await.is_err());
        let began = Instant::now();
        let working = async {
            tokio::time::sleep(second).await;
            drop(other);
        };
        tokio::join!(call.released(), working);
        assert_eq!(began.elapsed(), second);
    }

    #[test]
    fn an_error_says_what_it_means_and_its_causes_in_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("the row\nis locked")]
        struct Outer(#[source] std::io::Error);
        let error = HandlerError::retry(Outer(std::io::Error::other("by \u{1b}[31manother")));
        assert_eq!(error.chain(), r"the row\nis locked: by \u{1b}[31manother");
        assert_eq!(error.to_string(), error.chain());
        assert_eq!((error.kind(), error.delay()), (FailureKind::Retry, None));
        let error = HandlerError::reject("plain").after(Duration::from_secs(5));
        assert_eq!((error.kind(), error.delay()), (FailureKind::Reject, Some(Duration::from_secs(5))));
        assert_eq!(HandlerError::retry("later").after(Duration::MAX).delay(), Some(MAX_VISIBILITY));
        assert_eq!(HandlerError::target_busy("503").kind(), FailureKind::TargetBusy);
        assert_eq!(HandlerError::target_down("500").kind(), FailureKind::TargetDown);
        assert_eq!(escape_controls("plain"), "plain");
        let long = HandlerError::retry("ü".repeat(10_000)).chain();
        assert_eq!(long, "ü".repeat(150), "a target may send a page");
    }
}
