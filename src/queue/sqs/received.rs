//! A message as it came, whichever client received it, and the delivery that it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::queue::interface::{
    Attributes, Delivery, MessageAttribute, QueueError, Receipt, Trace, WebhookId, md5_of, read_md5,
};

/// The message attribute of W3C Trace Context.
pub(super) const TRACEPARENT: &str = "traceparent";

/// How every gzip begins in base64. It ends in a checksum of what it holds and the length of that, which decoding looks at:
/// summing up the body as well would take a twelfth of the CPU that such a message costs.
const GZIP_IN_BASE64: &str = "H4sI";

/// A message of which nothing is checked yet.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Received {
    pub(super) message_id: Option<Arc<str>>,
    pub(super) handle: Option<Arc<str>>,
    pub(super) body: Option<String>,
    /// `MD5OfBody`, where there is one; none within where it is not an MD5 sum.
    pub(super) md5: Option<Option<u128>>,
    pub(super) receive_count: Option<u64>,
    pub(super) sent_at: Option<SystemTime>,
    pub(super) group: Option<Arc<str>>,
    pub(super) trace: Trace,
    pub(super) webhook_id: Option<WebhookId>,
    /// All attributes, where they were asked for.
    pub(super) attributes: Option<Box<Attributes>>,
}

impl Received {
    /// What the SDK made of a message; with all its attributes where it is to be `whole`.
    pub(super) fn of_sdk(message: Message, whole: bool) -> Received {
        use MessageSystemAttributeName::{ApproximateReceiveCount, AwsTraceHeader, MessageGroupId, SentTimestamp};
        let of_sender = |name| message.message_attributes.as_ref()?.get(name);
        let webhook_id = of_sender(WebhookId::ATTRIBUTE);
        let text = |name| system_attribute(&message, name);
        Received {
            receive_count: text(ApproximateReceiveCount).and_then(|count| count.parse().ok()),
            sent_at: text(SentTimestamp).and_then(time_of),
            group: text(MessageGroupId).map(Arc::from),
            trace: Trace {
                traceparent: of_sender(TRACEPARENT).and_then(|value| value.string_value()).map(Arc::from),
                aws_trace_header: text(AwsTraceHeader).map(Arc::from),
            },
            webhook_id: webhook_id.and_then(|value| WebhookId::of_type(value.data_type(), value.string_value()?)),
            attributes: whole.then(|| Box::new(attributes(&message))),
            md5: message.md5_of_body.as_deref().map(read_md5),
            message_id: message.message_id.map(Arc::from),
            handle: message.receipt_handle.map(Arc::from),
            body: message.body,
        }
    }

    /// The message as a delivery, or what is wrong with it.
    fn checked(self) -> Result<Delivery, &'static str> {
        let message_id = self.message_id.filter(|id| !id.is_empty()).ok_or("it has no message id")?;
        let handle = self.handle.filter(|handle| !handle.is_empty()).ok_or("it has no receipt handle")?;
        let body = self.body.ok_or("it has no body")?;
        let checks_itself = body.starts_with(GZIP_IN_BASE64);
        if !checks_itself && self.md5.is_some_and(|expected| expected != Some(md5_of(&body))) {
            return Err("its body is not the one that was sent: the MD5 sums differ");
        }
        Ok(Delivery {
            receipt: Receipt { message_id: message_id.into(), handle },
            body,
            receive_count: u32::try_from(self.receive_count.unwrap_or(1)).unwrap_or(u32::MAX),
            sent_at: self.sent_at,
            group: self.group,
            trace: self.trace,
            webhook_id: self.webhook_id,
            attributes: self.attributes,
        })
    }
}

/// The deliveries of one answer. What is damaged is left out and stays in the queue; on a FIFO queue so is what comes
/// after it in its group, since it would overtake.
pub(super) fn deliveries(messages: Vec<Received>, is_fifo: bool) -> Result<Vec<Delivery>, QueueError> {
    let count = messages.len();
    let mut good = Vec::with_capacity(count);
    let mut damaged: Vec<(Option<Arc<str>>, &'static str)> = Vec::new();
    for message in messages {
        let (group, message_id) = (message.group.clone(), message.message_id.clone());
        let behind = is_fifo && damaged.iter().any(|(other, _)| other.is_none() || *other == group);
        let what = match message.checked() {
            _ if behind => "a message before it in its group is damaged",
            Ok(delivery) => {
                good.push(delivery);
                continue;
            }
            Err(what) => what,
        };
        tracing::warn!(
            message_id = message_id.as_deref().unwrap_or("none"),
            "a message is left in the queue until its visibility timeout runs out: {what}"
        );
        damaged.push((group, what));
    }
    match damaged.first() {
        Some((_, what)) if good.is_empty() => {
            Err(QueueError::BadAnswer { message: format!("none of {count} messages can be used: {what}") })
        }
        _ => Ok(good),
    }
}

/// A time as SQS writes it: milliseconds since 1970.
pub(super) fn time_of(millis: &str) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))
}

/// All attributes of a message.
fn attributes(message: &Message) -> Attributes {
    let system = message.attributes.iter().flatten();
    let system = system.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect();
    let of_sender = message.message_attributes.iter().flatten();
    let of_sender = of_sender.map(|(name, attribute)| {
        let binary = attribute.binary_value().map(|bytes| STANDARD.encode(bytes));
        let value = binary.or_else(|| attribute.string_value().map(str::to_owned)).unwrap_or_default();
        (name.clone(), MessageAttribute { data_type: attribute.data_type().to_owned(), value })
    });
    Attributes { system, message: of_sender.collect() }
}

fn system_attribute(message: &Message, name: MessageSystemAttributeName) -> Option<&str> {
    message.attributes.as_ref()?.get(&name).map(String::as_str)
}
