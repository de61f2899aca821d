//! What a good answer says, read with few allocations.
//!
//! This reads what SQS sends, and refuses everything that is odd: a field of another type, one that stands twice, a
//! `null` in a list. Nothing is lost by that, since the SDK then reads the same bytes: see [`judge`](super::judge). What is
//! not used is passed over, whatever it is.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::super::batch::BatchAnswer;
use super::super::received::{Received, time_of};
use crate::queue::interface::{EntryError, Trace, WebhookId, read_md5};

/// A text, borrowed from the answer unless it has escapes in it. (In an `Option` alone, serde would copy each.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    fn shared(self) -> Arc<str> {
        Arc::from(&*self.0)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Messages<'a> {
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    #[serde(borrow)]
    message_id: Option<Text<'a>>,
    #[serde(borrow)]
    receipt_handle: Option<Text<'a>>,
    #[serde(borrow)]
    body: Option<Text<'a>>,
    #[serde(borrow, rename = "MD5OfBody")]
    md5_of_body: Option<Text<'a>>,
    #[serde(borrow)]
    attributes: Option<SystemAttributes<'a>>,
    #[serde(borrow)]
    message_attributes: Option<OfSender<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SystemAttributes<'a> {
    #[serde(borrow)]
    approximate_receive_count: Option<Text<'a>>,
    #[serde(borrow)]
    sent_timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    message_group_id: Option<Text<'a>>,
    #[serde(borrow, rename = "AWSTraceHeader")]
    aws_trace_header: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
struct OfSender<'a> {
    #[serde(borrow)]
    traceparent: Option<Attribute<'a>>,
    #[serde(borrow)]
    webhook_id: Option<Attribute<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute<'a> {
    #[serde(borrow)]
    data_type: Text<'a>,
    #[serde(borrow)]
    string_value: Option<Text<'a>>,
}

/// The messages of an answer to `ReceiveMessage`; none where it is odd.
pub(super) fn messages(answer: &[u8]) -> Option<Vec<Received>> {
    let answer: Messages<'_> = serde_json::from_slice(answer).ok()?;
    Some(answer.messages.unwrap_or_default().into_iter().map(Received::from).collect())
}

impl From<Message<'_>> for Received {
    fn from(message: Message<'_>) -> Received {
        let system = message.attributes.unwrap_or_default();
        let of_sender = message.message_attributes.unwrap_or_default();
        let webhook_id = of_sender.webhook_id;
        Received {
            message_id: message.message_id.map(Text::shared),
            handle: message.receipt_handle.map(Text::shared),
            body: message.body.map(|body| body.0.into_owned()),
            md5: message.md5_of_body.map(|sum| read_md5(&sum.0)),
            receive_count: system.approximate_receive_count.and_then(|count| count.0.parse().ok()),
            sent_at: system.sent_timestamp.and_then(|millis| time_of(&millis.0)),
            group: system.message_group_id.map(Text::shared),
            trace: Trace {
                traceparent: of_sender.traceparent.and_then(|value| value.string_value).map(Text::shared),
                aws_trace_header: system.aws_trace_header.map(Text::shared),
            },
            webhook_id: webhook_id.and_then(|value| WebhookId::of_type(&value.data_type.0, &value.string_value?.0)),
            attributes: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<'a> {
    #[serde(borrow)]
    successful: Option<Vec<Successful<'a>>>,
    #[serde(borrow)]
    failed: Option<Vec<Failed<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Successful<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    sender_fault: bool,
    code: String,
    message: Option<String>,
}

/// The entries of an answer to `DeleteMessageBatch`; none where it is odd.
pub(super) fn batch(answer: &[u8]) -> Option<BatchAnswer> {
    let answer: Batch<'_> = serde_json::from_slice(answer).ok()?;
    let mut read = BatchAnswer::default();
    for entry in answer.successful.into_iter().flatten() {
        read.succeeded(&entry.id.0);
    }
    for entry in answer.failed.into_iter().flatten() {
        let Failed { id, sender_fault, code, message } = entry;
        read.failed(&id.0, EntryError { code, message: message.unwrap_or_default(), sender_fault });
    }
    Some(read)
}
