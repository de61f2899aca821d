//! The trait [`Queue`], what goes through it, and its errors.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::telemetry::RequestError;

/// The most messages that one receive may ask for, and the most entries of one batch call.
///
/// Source: the SQS quotas for `ReceiveMessage` and for the batch actions.
pub const BATCH: usize = 10;

/// The longest wait of one receive.
///
/// Source: `WaitTimeSeconds` of `ReceiveMessage`.
pub const MAX_WAIT: Duration = Duration::from_secs(20);

/// The longest time that a message can stay hidden, counted from its receive; renewing does not start it again.
///
/// Source: the SQS quota for the visibility timeout, 12 hours.
pub const MAX_VISIBILITY: Duration = Duration::from_secs(43_200);

/// The largest message that SQS carries, in bytes, when the queue does not say less.
///
/// Source: the SQS quota for messages, 1 MiB.
pub const MAX_MESSAGE_SIZE: usize = 1024 * 1024;

/// What the engine asks of a queue.
///
/// All calls may be made side by side. A future that is dropped abandons its call: the queue may have acted all the
/// same. The engine therefore never drops a receive that it still wants to know the outcome of.
pub trait Queue: Send + Sync + 'static {
    /// Receives up to `max` messages (1 to [`BATCH`]), waiting up to `wait` (at most [`MAX_WAIT`]) for the first one.
    ///
    /// The messages are hidden for `visibility`, or for the queue's own visibility timeout when it is `None`. No
    /// messages and no error is what an empty queue answers.
    ///
    /// # Errors
    ///
    /// [`QueueError`] tells the causes apart. After an error the queue may have handed out messages that nobody got;
    /// they come back when their visibility timeout runs out.
    fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send;

    /// As [`Queue::receive`], and each delivery brings all attributes of its message, for a person who looks at it.
    ///
    /// A queue that wraps another one must pass this on, as it does the calls. Without an implementation of its own it brings
    /// none.
    ///
    /// # Errors
    ///
    /// As [`Queue::receive`].
    fn receive_whole(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send {
        self.receive(max, wait, visibility)
    }

    /// Deletes up to [`BATCH`] messages and answers entry by entry, in the order of `batch`.
    ///
    /// # Errors
    ///
    /// [`QueueError`] when the call as a whole failed; then any of the messages may have been deleted.
    fn delete(&self, batch: &[Receipt]) -> impl Future<Output = Result<Vec<EntryResult>, QueueError>> + Send;

    /// Hides up to [`BATCH`] messages for so long from now (zero shows a message at once) and answers entry by entry,
    /// in the order of `batch`.
    ///
    /// # Errors
    ///
    /// [`QueueError`] when the call as a whole failed; then any of the messages may have been hidden.
    fn change_visibility(
        &self,
        batch: &[(Receipt, Duration)],
    ) -> impl Future<Output = Result<Vec<EntryResult>, QueueError>> + Send;

    /// What is known of the queue. Reading it may be denied, or a part of it may be missing.
    ///
    /// # Errors
    ///
    /// [`QueueError::AccessDenied`] where the permission is missing, which the engine can live with.
    fn facts(&self) -> impl Future<Output = Result<QueueFacts, QueueError>> + Send;

    /// What is known of the queue without asking it, such as from its URL: its name, and whether it keeps order. This is
    /// what the engine goes by while [`Queue::facts`] cannot be read.
    ///
    /// A queue that wraps another one must pass this on, as it does the calls. Nothing is known unless this says so.
    fn known(&self) -> QueueFacts {
        QueueFacts::default()
    }

    /// Forgets pooled connections, so that the next call opens new ones. Called when polls hang.
    fn reconnect(&self);
}

/// A queue that is shared: with a consumer, and with anyone who asks how deep it is.
impl<Q: Queue> Queue for Arc<Q> {
    fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send {
        Q::receive(self, max, wait, visibility)
    }

    fn receive_whole(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send {
        Q::receive_whole(self, max, wait, visibility)
    }

    fn delete(&self, batch: &[Receipt]) -> impl Future<Output = Result<Vec<EntryResult>, QueueError>> + Send {
        Q::delete(self, batch)
    }

    fn change_visibility(
        &self,
        batch: &[(Receipt, Duration)],
    ) -> impl Future<Output = Result<Vec<EntryResult>, QueueError>> + Send {
        Q::change_visibility(self, batch)
    }

    fn facts(&self) -> impl Future<Output = Result<QueueFacts, QueueError>> + Send {
        Q::facts(self)
    }

    fn known(&self) -> QueueFacts {
        Q::known(self)
    }

    fn reconnect(&self) {
        Q::reconnect(self);
    }
}

/// The id that the queue gave to a message: the same at each of its deliveries.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for MessageId {
    fn from(id: T) -> Self {
        MessageId(id.into())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id that Stream gave to a webhook, as its receiver wrote it beside the message: the message attribute
/// `webhook_id` of type `String`, of the SQS message or in the SNS envelope around it.
///
/// **A hint.** Anyone who may send to the queue can set it, to any value. What to be idempotent on is [`MessageId`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookId(Arc<str>);

impl WebhookId {
    /// The name of the message attribute.
    pub const ATTRIBUTE: &'static str = "webhook_id";

    /// The longest that there is, in bytes. Those of Stream's are shorter.
    pub const MAX_LENGTH: usize = 128;

    /// None where it is empty, longer than [`WebhookId::MAX_LENGTH`], or holds anything but printable ASCII: such an attribute is
    /// ignored.
    pub fn new(id: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_LENGTH).contains(&id.len()) && id.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        fits.then(|| WebhookId(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one among the attributes of a message.
    pub fn among(attributes: &Attributes) -> Option<Self> {
        let attribute = attributes.message.get(Self::ATTRIBUTE)?;
        Self::of_type(&attribute.data_type, &attribute.value)
    }

    /// The value of an attribute of this type, which may have a label behind a dot.
    pub(crate) fn of_type(data_type: &str, value: &str) -> Option<Self> {
        let is_text = data_type.split('.').next() == Some("String");
        if is_text { Self::new(value) } else { None }
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What settles one delivery of a message: its receipt handle.
///
/// Each delivery has a new one, and only the newest counts: SQS may answer a delete with an older one by OK and delete
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The message that it belongs to.
    pub message_id: MessageId,
    /// The receipt handle, opaque.
    pub handle: Arc<str>,
}

impl Receipt {
    /// The receipt of one delivery of this message.
    pub fn new(message_id: impl Into<MessageId>, handle: impl Into<Arc<str>>) -> Self {
        Receipt { message_id: message_id.into(), handle: handle.into() }
    }
}

/// One delivery of one message.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// What settles it.
    pub receipt: Receipt,
    /// The body as it came.
    pub body: String,
    /// How often the message was received, this time included: 1 at the first delivery.
    pub receive_count: u32,
    /// When the message was sent to the queue, to the millisecond, where the queue says so.
    pub sent_at: Option<SystemTime>,
    /// The MessageGroupId: the group of a FIFO queue, or the tenant of a fair standard queue.
    pub group: Option<Arc<str>>,
    /// Where the message stands in distributed traces.
    pub trace: Trace,
    /// The id of the webhook that it came by, where somebody says so: a hint.
    pub webhook_id: Option<WebhookId>,
    /// All its attributes, where [`Queue::receive_whole`] was asked for it. Behind a pointer, since the engine holds many
    /// deliveries and asks for none.
    pub attributes: Option<Box<Attributes>>,
}

/// All attributes of one message, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attributes {
    /// Those of the queue, such as `SentTimestamp` and `DeadLetterQueueSourceArn`.
    #[serde(default)]
    pub system: BTreeMap<String, String>,
    /// Those of the sender.
    #[serde(default)]
    pub message: BTreeMap<String, MessageAttribute>,
}

/// One attribute that a sender gave to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MessageAttribute {
    /// Its type: `String`, `Number` or `Binary`, or one of these with a label behind a dot.
    pub data_type: String,
    /// Its value; of a binary one in base64.
    pub value: String,
}

impl Attributes {
    /// No attributes.
    pub fn new() -> Self {
        Attributes::default()
    }
}

impl MessageAttribute {
    /// An attribute of this type; a binary value in base64.
    pub fn new(data_type: impl Into<String>, value: impl Into<String>) -> Self {
        MessageAttribute { data_type: data_type.into(), value: value.into() }
    }
}

impl Delivery {
    /// The first delivery of a message, with nothing known of it but its body.
    pub fn new(receipt: Receipt, body: impl Into<String>) -> Self {
        Delivery {
            receipt,
            body: body.into(),
            receive_count: 1,
            sent_at: None,
            group: None,
            trace: Trace::default(),
            webhook_id: None,
            attributes: None,
        }
    }

    /// Sets [`Delivery::receive_count`], from 1.
    pub fn with_receive_count(mut self, receive_count: u32) -> Self {
        self.receive_count = receive_count;
        self
    }

    /// Sets [`Delivery::sent_at`].
    pub fn with_sent_at(mut self, sent_at: impl Into<Option<SystemTime>>) -> Self {
        self.sent_at = sent_at.into();
        self
    }

    /// Sets [`Delivery::group`].
    pub fn with_group(mut self, group: impl Into<Option<Arc<str>>>) -> Self {
        self.group = group.into();
        self
    }

    /// Sets [`Delivery::trace`].
    pub fn with_trace(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
    }

    /// Sets [`Delivery::webhook_id`].
    pub fn with_webhook_id(mut self, webhook_id: impl Into<Option<WebhookId>>) -> Self {
        self.webhook_id = webhook_id.into();
        self
    }

    /// Sets [`Delivery::attributes`].
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = Some(Box::new(attributes));
        self
    }
}

/// The trace identifiers that came with a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The message attribute `traceparent` of W3C Trace Context.
    pub traceparent: Option<Arc<str>>,
    /// The system attribute `AWSTraceHeader` of AWS X-Ray.
    pub aws_trace_header: Option<Arc<str>>,
}

impl Trace {
    /// No identifiers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`Trace::traceparent`].
    pub fn with_traceparent(mut self, traceparent: impl Into<Arc<str>>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// Sets [`Trace::aws_trace_header`].
    pub fn with_aws_trace_header(mut self, aws_trace_header: impl Into<Arc<str>>) -> Self {
        self.aws_trace_header = Some(aws_trace_header.into());
        self
    }

    /// The id of the trace in [`Trace::traceparent`]: 32 hexadecimal digits, as logs and tracing systems name it. None
    /// where it is not well formed.
    ///
    /// Source: W3C Trace Context, `version-traceid-parentid-flags`, in which an id of zeros is none.
    pub fn trace_id(&self) -> Option<&str> {
        let id = self.traceparent.as_deref()?.split('-').nth(1)?;
        let well_formed = id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (well_formed && id.bytes().any(|b| b != b'0')).then_some(id)
    }

    /// The root of [`Trace::aws_trace_header`], such as `1-5759e988-bd862e3fe1be46a994272793`. None where it is not well
    /// formed.
    ///
    /// Source: the tracing header of AWS X-Ray, `Root=…;Parent=…;Sampled=…` in any order.
    pub fn aws_trace_id(&self) -> Option<&str> {
        let parts = self.aws_trace_header.as_deref()?.split(';');
        let root = parts.filter_map(|part| part.trim().strip_prefix("Root=")).next()?;
        let hex = |part: &str, digits| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
        let mut parts = root.split('-');
        let well_formed = parts.next() == Some("1")
            && parts.next().is_some_and(|time| hex(time, 8))
            && parts.next().is_some_and(|random| hex(random, 24))
            && parts.next().is_none();
        well_formed.then_some(root)
    }
}

/// The MD5 sum of a body, by which SQS tells bodies apart.
pub(crate) fn md5_of(body: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(body.as_bytes()).into())
}

/// An MD5 sum as SQS writes it: 32 hexadecimal digits.
pub(crate) fn read_md5(text: &str) -> Option<u128> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// What is known of a queue; each part may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueFacts {
    /// The name or ARN, for logs.
    pub name: Option<String>,
    /// Whether order within a message group is kept.
    pub fifo: bool,
    /// How long a received message is hidden.
    pub visibility_timeout: Option<Duration>,
    /// The largest message that the queue takes, in bytes.
    pub max_message_size: Option<usize>,
    /// After how many receives a message goes to the dead-letter queue. None: unknown, or no redrive policy.
    pub max_receive_count: Option<u32>,
    /// The name or ARN of the dead-letter queue.
    pub dead_letter_queue: Option<String>,
    /// How long the queue keeps a message, from the time it was sent.
    pub retention: Option<Duration>,
    /// About how many messages could be received now.
    pub visible: Option<u64>,
    /// About how many messages are hidden: in flight, or waiting out a retry delay.
    pub hidden: Option<u64>,
}

impl QueueFacts {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`QueueFacts::name`].
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets [`QueueFacts::fifo`].
    pub fn with_fifo(mut self, fifo: bool) -> Self {
        self.fifo = fifo;
        self
    }

    /// Sets [`QueueFacts::visibility_timeout`].
    pub fn with_visibility_timeout(mut self, visibility_timeout: impl Into<Option<Duration>>) -> Self {
        self.visibility_timeout = visibility_timeout.into();
        self
    }

    /// Sets [`QueueFacts::max_message_size`], in bytes.
    pub fn with_max_message_size(mut self, max_message_size: impl Into<Option<usize>>) -> Self {
        self.max_message_size = max_message_size.into();
        self
    }

    /// Sets [`QueueFacts::max_receive_count`].
    pub fn with_max_receive_count(mut self, max_receive_count: impl Into<Option<u32>>) -> Self {
        self.max_receive_count = max_receive_count.into();
        self
    }

    /// Sets [`QueueFacts::dead_letter_queue`].
    pub fn with_dead_letter_queue(mut self, dead_letter_queue: impl Into<String>) -> Self {
        self.dead_letter_queue = Some(dead_letter_queue.into());
        self
    }

    /// Sets [`QueueFacts::retention`].
    pub fn with_retention(mut self, retention: impl Into<Option<Duration>>) -> Self {
        self.retention = retention.into();
        self
    }

    /// Sets [`QueueFacts::visible`], in messages.
    pub fn with_visible(mut self, visible: impl Into<Option<u64>>) -> Self {
        self.visible = visible.into();
        self
    }

    /// Sets [`QueueFacts::hidden`], in messages.
    pub fn with_hidden(mut self, hidden: impl Into<Option<u64>>) -> Self {
        self.hidden = hidden.into();
        self
    }
}

/// How one entry of a batch call went.
pub type EntryResult = Result<(), EntryError>;

/// Why one entry of a batch call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct EntryError {
    /// The queue's error code, such as `ReceiptHandleIsInvalid`.
    pub code: String,
    /// The queue's own words.
    pub message: String,
    /// Whether the queue says that the request was wrong. A throttled entry is counted as the sender's fault too, so
    /// this does not tell whether to try again: [`EntryError::is_final`] does.
    pub sender_fault: bool,
}

impl EntryError {
    /// A failure that is not the sender's fault.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        EntryError { code: code.into(), message: message.into(), sender_fault: false }
    }

    /// Sets [`EntryError::sender_fault`].
    pub fn with_sender_fault(mut self, sender_fault: bool) -> Self {
        self.sender_fault = sender_fault;
        self
    }

    /// Whether the same call can never succeed: the receipt is no longer good.
    ///
    /// On a FIFO queue that is so as soon as the visibility timeout has run out; on a standard queue when the message is
    /// gone or visible again (`MessageNotInflight`), or when the handle is not one of this queue's.
    pub fn is_final(&self) -> bool {
        let code = self.code.rsplit('.').next().unwrap_or_default();
        matches!(code, "ReceiptHandleIsInvalid" | "MessageNotInflight" | "InvalidParameterValue" | "InvalidIdFormat")
    }
}

/// Why a call to the queue failed, told apart by what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The queue asks for fewer calls. It passes: ask more slowly.
    #[error("the queue asks for fewer calls ({code})")]
    Throttled {
        /// The queue's error code.
        code: String,
    },
    /// Too many messages are in flight (about 120,000 on a standard queue). It passes as messages are settled.
    #[error("too many messages of the queue are in flight (OverLimit)")]
    OverLimit,
    /// The credentials are good and do not allow this call. Somebody must act.
    #[error("access denied to {action}: {message}")]
    AccessDenied {
        /// The permission that is missing, such as `sqs:ReceiveMessage`.
        action: &'static str,
        /// The queue's own words.
        message: String,
    },
    /// There are no credentials, or they are not good (any longer). Somebody must act, unless they renew themselves.
    #[error("no good credentials: {message}")]
    Credentials {
        /// What the chain of providers or the service said.
        message: String,
    },
    /// The key that encrypts the queue cannot be used. Somebody must act.
    #[error("the queue's encryption key cannot be used ({code}): {message}")]
    EncryptionKey {
        /// The queue's error code, such as `KMS.AccessDeniedException`.
        code: String,
        /// The queue's own words.
        message: String,
    },
    /// There is no such queue, in this region and account. Somebody must act.
    #[error("there is no such queue: {message}")]
    NoSuchQueue {
        /// The queue's own words.
        message: String,
    },
    /// The queue did not answer: no address, no connection, or it broke.
    #[error("the queue cannot be reached: {message}")]
    Unreachable {
        /// What failed, down to its cause.
        message: String,
    },
    /// The queue did not answer in time.
    #[error("the queue did not answer within {} s", .after.as_secs())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The queue answered something that cannot be read.
    #[error("the queue's answer cannot be read: {message}")]
    BadAnswer {
        /// What was wrong with it.
        message: String,
    },
    /// The queue answered with another error, such as an internal one.
    #[error("the queue answered {code}: {message}")]
    Service {
        /// The queue's error code, or the HTTP status where it named none.
        code: String,
        /// The queue's own words.
        message: String,
    },
}

impl QueueError {
    /// Whether somebody must act before the call can succeed. Everything else passes by itself.
    pub fn needs_action(&self) -> bool {
        matches!(
            self,
            QueueError::AccessDenied { .. }
                | QueueError::Credentials { .. }
                | QueueError::EncryptionKey { .. }
                | QueueError::NoSuchQueue { .. }
        )
    }

    /// A stable word for the kind of error: the label of the metric.
    pub fn label(&self) -> &'static str {
        let kind = match self {
            QueueError::Throttled { .. } => RequestError::Throttled,
            QueueError::OverLimit => RequestError::OverLimit,
            QueueError::AccessDenied { .. } => RequestError::AccessDenied,
            QueueError::Credentials { .. } => RequestError::Credentials,
            QueueError::EncryptionKey { .. } => RequestError::EncryptionKey,
            QueueError::NoSuchQueue { .. } => RequestError::NoSuchQueue,
            QueueError::Unreachable { .. } => RequestError::Unreachable,
            QueueError::TimedOut { .. } => RequestError::TimedOut,
            QueueError::BadAnswer { .. } => RequestError::BadAnswer,
            QueueError::Service { .. } => RequestError::Service,
        };
        kind.label()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(traceparent: &str, aws: &str) -> Trace {
        Trace { traceparent: Some(traceparent.into()), aws_trace_header: Some(aws.into()) }
    }

    #[test]
    fn a_trace_is_named_by_its_id_alone() {
        let trace = trace(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "Sampled=1; Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
        );
        assert_eq!(trace.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(trace.aws_trace_id(), Some("1-5759e988-bd862e3fe1be46a994272793"));
    }

    #[test]
    fn a_trace_that_is_not_well_formed_has_no_name() {
        let short = "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01";
        let no_hex = "00-4bf92f3577b34da6a3ce929d0e0e473G-00f067aa0ba902b7-01";
        for bad in
            ["", "00", short, no_hex, "00-\u{1b}[31m-x-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"]
        {
            assert_eq!(trace(bad, "").trace_id(), None, "{bad:?}");
        }
        for bad in ["", "Root=", "Root=1-5759e988", "Root=1-5759e988-\u{1b}d862e3fe1be46a994272793", "Root=2-1-1"] {
            assert_eq!(trace("", bad).aws_trace_id(), None, "{bad:?}");
        }
    }

    #[test]
    fn a_refusal_is_final_where_the_receipt_is_no_longer_good() {
        let is_final =
            |code: &str| EntryError { code: code.into(), message: String::new(), sender_fault: true }.is_final();
        for code in ["ReceiptHandleIsInvalid", "AWS.SimpleQueueService.MessageNotInflight", "InvalidParameterValue"] {
            assert!(is_final(code), "{code}");
        }
        assert!(!is_final("InternalError") && !is_final("RequestThrottled"));
    }

    #[test]
    fn each_error_has_its_label_and_says_if_somebody_must_act() {
        let text = String::new;
        let passing = [
            QueueError::Throttled { code: text() },
            QueueError::OverLimit,
            QueueError::Unreachable { message: text() },
            QueueError::TimedOut { after: Duration::ZERO },
            QueueError::BadAnswer { message: text() },
            QueueError::Service { code: text(), message: text() },
        ];
        let lasting = [
            QueueError::AccessDenied { action: "", message: text() },
            QueueError::Credentials { message: text() },
            QueueError::EncryptionKey { code: text(), message: text() },
            QueueError::NoSuchQueue { message: text() },
        ];
        assert!(!passing.iter().any(QueueError::needs_action) && lasting.iter().all(QueueError::needs_action));
        let labels: std::collections::BTreeSet<_> = passing.iter().chain(&lasting).map(QueueError::label).collect();
        assert_eq!(labels.len(), 10);
        assert!(labels.iter().all(|label| label.len() > 6), "{labels:?}");
    }

    #[test]
    fn a_webhook_id_is_short_printable_text_or_ignored() {
        let longest = "x".repeat(128);
        for good in ["0d6e2c1a-7f0b-4b0e-9d55-0f7a4e0f6d3c", "a b~!", "7", &longest] {
            assert_eq!(WebhookId::new(good).expect(good).as_str(), good);
        }
        for bad in ["", "a\nb", "a\tb", "\u{7f}", "é", &format!("{longest}x")] {
            assert_eq!(WebhookId::new(bad), None, "{bad:?}");
        }
        let among = |data_type: &str| {
            let mut attributes = Attributes::new();
            attributes.message.insert("webhook_id".to_owned(), MessageAttribute::new(data_type, "w-1"));
            WebhookId::among(&attributes).map(|id| id.to_string())
        };
        assert_eq!((among("String"), among("String.uuid")), (Some("w-1".into()), Some("w-1".into())));
        assert_eq!((among("Number"), among("Binary"), among("Stringy")), (None, None, None));
    }

    #[test]
    fn an_id_is_shown_as_it_is() {
        let id = MessageId::from("m-1");
        assert_eq!((format!("{id:?}"), id.to_string()), ("m-1".into(), "m-1".into()));
    }
}
