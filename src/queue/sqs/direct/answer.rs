//! What a good answer says, read with few allocations.
//!
//! This reads what SQS sends, and refuses everything that is odd: a field of another type, one that stands twice, a
//! `null` in a list. Nothing is lost by that, since the SDK then reads the same bytes: see [`judge`](super::judge). What is
//! not used is passed over, whatever it is.

use std::borrow::Cow;
use std::sync::Arc;

#[cfg(any(test, fuzzing))]
use hyper::StatusCode;
use serde::{Deserialize, Deserializer};

use super::super::batch::BatchAnswer;
use super::super::received::{Received, time_of};
#[cfg(any(test, fuzzing))]
use super::judge;
#[cfg(any(test, fuzzing))]
use super::pool::Reply;
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
    #[serde(borrow, default, deserialize_with = "present")]
    approximate_receive_count: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    sent_timestamp: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    message_group_id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present", rename = "AWSTraceHeader")]
    aws_trace_header: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
struct OfSender<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    traceparent: Option<Attribute<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    webhook_id: Option<Attribute<'a>>,
}

/// What may be missing, and is not `null` where it is there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
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
    let answer: Messages<'_> = serde_json::from_str(std::str::from_utf8(answer).ok()?).ok()?;
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
    let answer: Batch<'_> = serde_json::from_str(std::str::from_utf8(answer).ok()?).ok()?;
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

/// What the SDK makes of a good answer, in place of [`messages`].
#[cfg(any(test, fuzzing))]
fn messages_by_sdk(answer: &[u8]) -> Option<Vec<Received>> {
    use aws_sdk_sqs::operation::receive_message::ReceiveMessage;

    let reply = Reply { status: StatusCode::OK, headers: Default::default(), body: answer.to_vec() };
    let output = judge::read::<ReceiveMessage>(reply).ok()?;
    Some(output.messages.into_iter().flatten().map(|message| Received::of_sdk(message, false)).collect())
}

/// The same in place of [`batch`].
#[cfg(any(test, fuzzing))]
fn batch_by_sdk(answer: &[u8]) -> Option<BatchAnswer> {
    use aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatch;

    let reply = Reply { status: StatusCode::OK, headers: Default::default(), body: answer.to_vec() };
    let output = judge::read::<DeleteMessageBatch>(reply).ok()?;
    Some(BatchAnswer::of_sdk(output.successful.iter().map(|entry| entry.id()), output.failed))
}

/// Panics where an answer says something else here than by the SDK. What only one of the two reads does not count: this
/// refuses what is odd, and passes over what the SDK refuses in fields that nobody uses.
#[cfg(fuzzing)]
pub fn compare_with_sdk(answer: &[u8]) {
    if let (Some(read), Some(by_sdk)) = (messages(answer), messages_by_sdk(answer)) {
        assert_eq!(read, by_sdk);
    }
    if let (Some(read), Some(by_sdk)) = (batch(answer), batch_by_sdk(answer)) {
        assert_eq!(read, by_sdk);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    /// Draws answers: plain ones as SQS sends them, or odd ones.
    struct Drawn {
        rng: Rng,
        is_odd: bool,
    }

    impl Drawn {
        fn one_in(&mut self, n: u32) -> bool {
            self.rng.u32(..n) == 0
        }

        fn odd(&mut self, n: u32) -> bool {
            self.is_odd && self.one_in(n)
        }

        /// A text between quotes, escaped as one may or as one must.
        fn text(&mut self) -> String {
            const PARTS: [&str; 14] =
                ["0", "7", "a", "H4sI", "{}", "\"", "\\", "/", "\u{1}", "\n", "\u{7f}", "é", "\u{2028}", "🌱"];
            let count = if self.one_in(4) { self.rng.usize(..200) } else { self.rng.usize(..12) };
            let text: String = (0..count).map(|_| PARTS[self.rng.usize(..PARTS.len())]).collect();
            if self.one_in(3) {
                let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                return format!("\"{escaped}\"");
            }
            serde_json::to_string(&text).unwrap()
        }

        /// A value where a text belongs.
        fn value(&mut self) -> String {
            if !self.odd(8) {
                return self.text();
            }
            ["null", "7", "true", "[]", "{}", "\"\\ud800\"", "\"\\x\"", ""][self.rng.usize(..8)].to_owned()
        }

        fn number(&mut self) -> String {
            if self.odd(8) { self.value() } else { format!("\"{}\"", self.rng.u64(..) >> self.rng.u32(..64)) }
        }

        /// An object of some of these members.
        fn object(&mut self, members: Vec<(&str, String)>) -> String {
            let mut members: Vec<String> = members
                .into_iter()
                .filter(|_| !self.one_in(6))
                .map(|(key, value)| format!("\"{key}\":{value}"))
                .collect();
            self.rng.shuffle(&mut members);
            if self.odd(8) && !members.is_empty() {
                members.push(members[0].clone());
            }
            if self.one_in(6) {
                members.push(format!("\"SomethingNew\" : {}", self.text()));
            }
            let between = if self.one_in(3) { " ,\n\t" } else { "," };
            format!("{{{}}}", members.join(between))
        }

        fn list(&mut self, entry: fn(&mut Self) -> String) -> String {
            let entries: Vec<String> = (0..self.rng.usize(..4)).map(|_| entry(self)).collect();
            format!("[{}]", entries.join(","))
        }

        fn attribute(&mut self) -> String {
            let string = self.value();
            let members = vec![("StringValue", string)];
            let object = self.object(members);
            let kind = ["String", "String.x", "Number", "Binary"][self.rng.usize(..4)];
            let between = if object == "{}" { "" } else { "," };
            format!("{{\"DataType\":\"{kind}\"{between}{}", &object[1..])
        }

        fn message(&mut self) -> String {
            if self.odd(16) {
                return "null".to_owned();
            }
            let system = vec![
                ("ApproximateReceiveCount", self.number()),
                ("SentTimestamp", self.number()),
                ("MessageGroupId", self.value()),
                ("AWSTraceHeader", self.value()),
            ];
            let of_sender = vec![("traceparent", self.attribute()), ("webhook_id", self.attribute())];
            let members = vec![
                ("MessageId", self.value()),
                ("ReceiptHandle", self.value()),
                ("Body", self.value()),
                ("MD5OfBody", "\"5D41402ABC4B2A76B9719D911017C592\"".to_owned()),
                ("Attributes", self.object(system)),
                ("MessageAttributes", self.object_without_news(of_sender)),
            ];
            self.object(members)
        }

        /// What is new among the attributes of the sender would be an object.
        fn object_without_news(&mut self, members: Vec<(&str, String)>) -> String {
            let members: Vec<String> = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        }

        fn failed(&mut self) -> String {
            let fault = if self.odd(4) { self.value() } else { self.rng.bool().to_string() };
            let (id, code, message) = (self.number(), self.value(), self.value());
            let optional = self.object(vec![("Message", message)]);
            let between = if optional == "{}" { "" } else { "," };
            format!("{{\"Id\":{id},\"Code\":{code},\"SenderFault\":{fault}{between}{}", &optional[1..])
        }

        fn successful(&mut self) -> String {
            let id = self.number();
            format!("{{\"Id\":{id}}}")
        }

        /// The answer, and whether it is damaged now.
        fn damaged(&mut self, answer: String) -> (Vec<u8>, bool) {
            let mut bytes = answer.into_bytes();
            let is_damaged = self.odd(2);
            if is_damaged {
                let at = self.rng.usize(..bytes.len());
                match self.rng.u32(..3) {
                    0 => bytes.truncate(at),
                    1 => bytes[at] = self.rng.u8(..),
                    _ => bytes.insert(at, b"\"{}[]:,\\0 "[self.rng.usize(..10)]),
                }
            }
            (bytes, is_damaged)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn messages_are_read_as_the_sdk_reads_them(seed: u64, is_odd: bool) {
            let mut drawn = Drawn { rng: Rng::with_seed(seed), is_odd };
            let list = drawn.list(Drawn::message);
            let answer = drawn.object(vec![("Messages", list)]);
            let (answer, is_damaged) = drawn.damaged(answer);
            let read = messages(&answer);
            prop_assert!(is_odd || read.is_some(), "{}", String::from_utf8_lossy(&answer));
            let by_sdk = messages_by_sdk(&answer);
            // Damage to a name makes another of it, which is passed over.
            if read.is_some() && !(is_damaged && by_sdk.is_none()) {
                prop_assert_eq!(read, by_sdk, "{}", String::from_utf8_lossy(&answer));
            }
        }

        #[test]
        fn batches_are_read_as_the_sdk_reads_them(seed: u64, is_odd: bool) {
            let mut drawn = Drawn { rng: Rng::with_seed(seed), is_odd };
            let (successful, failed) = (drawn.list(Drawn::successful), drawn.list(Drawn::failed));
            let answer = drawn.object(vec![("Successful", successful), ("Failed", failed)]);
            let (answer, is_damaged) = drawn.damaged(answer);
            let read = batch(&answer);
            prop_assert!(is_odd || read.is_some(), "{}", String::from_utf8_lossy(&answer));
            let by_sdk = batch_by_sdk(&answer);
            // Damage to a name makes another of it, which is passed over.
            if read.is_some() && !(is_damaged && by_sdk.is_none()) {
                prop_assert_eq!(read, by_sdk, "{}", String::from_utf8_lossy(&answer));
            }
        }
    }
}
