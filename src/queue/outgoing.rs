//! What is sent to a queue: the message, how a list is cut into batches, and the trait [`Sender`].

use std::future::Future;
use std::sync::Arc;

use super::interface::{BATCH, EntryResult, MAX_MESSAGE_SIZE, QueueError};

/// The longest MessageGroupId and MessageDeduplicationId.
///
/// Source: `SendMessage` in the SQS API reference.
pub const MAX_GROUP_LENGTH: usize = 128;

/// Where messages are sent to.
///
/// All calls may be made side by side. A future that is dropped abandons its call: the queue may have taken the messages all
/// the same.
pub trait Sender: Send + Sync + 'static {
    /// Sends up to [`BATCH`] messages, together at most [`MAX_MESSAGE_SIZE`] bytes, and answers entry by entry, in the
    /// order of `batch`.
    ///
    /// # Errors
    ///
    /// [`QueueError`] when the call as a whole failed; then any of the messages may have been sent.
    fn send_batch(&self, batch: &[Outgoing]) -> impl Future<Output = Result<Vec<EntryResult>, QueueError>> + Send;

    /// Whether the queue keeps the order within a group and recognises a message that it has, as FIFO queues do.
    fn keeps_order(&self) -> bool;

    /// Forgets pooled connections, so that the next call opens new ones. Called when a call hangs.
    fn open_new_connections(&self);
}

/// A queue that is shared.
impl<S: Sender> Sender for Arc<S> {
    fn send_batch(&self, batch: &[Outgoing]) -> impl Future<Output = Result<Vec<EntryResult>, QueueError>> + Send {
        S::send_batch(self, batch)
    }

    fn keeps_order(&self) -> bool {
        S::keeps_order(self)
    }

    fn open_new_connections(&self) {
        S::open_new_connections(self);
    }
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// The body.
    pub body: String,
    /// Message attributes, as text: name and value.
    pub attributes: Vec<(String, String)>,
    /// The MessageGroupId. A FIFO queue needs one.
    pub group: Option<String>,
    /// The MessageDeduplicationId. A FIFO queue needs one unless it takes the body for it.
    pub deduplication_id: Option<String>,
}

impl Outgoing {
    /// A message whose body is JSON, as Stream sends it without compression: it has no attributes.
    pub fn plain(body: String) -> Self {
        Outgoing { body, attributes: Vec::new(), group: None, deduplication_id: None }
    }

    /// A message whose body is base64 of gzip of JSON, with the attributes that Stream gives it.
    pub fn compressed(body: String) -> Self {
        let attributes =
            [("content_encoding", "gzip"), ("content_type", "application/json"), ("payload_encoding", "base64")];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Outgoing { attributes, ..Outgoing::plain(body) }
    }

    /// Sets [`Outgoing::attributes`]: names and values.
    pub fn with_attributes(mut self, attributes: Vec<(String, String)>) -> Self {
        self.attributes = attributes;
        self
    }

    /// Sets [`Outgoing::group`].
    pub fn with_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Sets [`Outgoing::deduplication_id`].
    pub fn with_deduplication_id(mut self, deduplication_id: impl Into<String>) -> Self {
        self.deduplication_id = Some(deduplication_id.into());
        self
    }

    /// What counts against the limit of a message and of a batch, in bytes: the body, and each attribute with its type.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len() + "String".len());
        self.body.len() + attributes.sum::<usize>()
    }
}

/// Cuts a list into batches that [`Sender::send_batch`] may send. A message that is too large by itself is a batch of its own,
/// which SQS refuses.
pub fn batches(messages: &[Outgoing]) -> impl Iterator<Item = &[Outgoing]> {
    let mut rest = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |message: &&Outgoing| {
            bytes += message.size();
            bytes <= MAX_MESSAGE_SIZE
        };
        let count = rest.iter().take(BATCH).take_while(fits).count().max(1);
        let (batch, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(batch)
    })
}

/// A text as a MessageGroupId: cut to the characters and the length that SQS allows.
pub fn message_group(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(MAX_GROUP_LENGTH).collect()
}
