//! Handles messages that are in files, and in no queue.

use std::io;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::account::{Account, Outcome, OutcomeKind};
use super::hold::{Arrival, Holds};
use super::in_place::{Fate, InPlace};
use super::retry::{Feed, RetryEnded, RetrySettings, RetrySummary, Tally, Told, work};
use crate::queue::{Delivery, EntryResult, MessageId, Queue, QueueError, QueueFacts, Receipt, WebhookId};
use crate::router::Router;
use std::sync::Arc;

/// A message that comes from a file: of an export, or of an archive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replayed {
    /// What its handler is told as its id.
    pub message_id: MessageId,
    /// Its body, in any form that is decoded.
    pub body: String,
    /// When it was first sent.
    pub sent_at: Option<SystemTime>,
    /// The id of the webhook that it came by: a hint.
    pub webhook_id: Option<WebhookId>,
}

impl Replayed {
    /// A message whose time is not known.
    pub fn new(message_id: impl Into<MessageId>, body: String) -> Self {
        Replayed { message_id: message_id.into(), body, sent_at: None, webhook_id: None }
    }

    /// The same, first sent at this time.
    pub fn with_sent_at(mut self, sent_at: Option<SystemTime>) -> Self {
        self.sent_at = sent_at;
        self
    }

    /// The same, come by this webhook.
    pub fn with_webhook_id(mut self, webhook_id: Option<WebhookId>) -> Self {
        self.webhook_id = webhook_id;
        self
    }
}

/// Why a replay ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A message could not be read.
    #[error("cannot read the next message")]
    Read(#[source] io::Error),
    /// The engine did not start.
    #[error(transparent)]
    Run(#[from] crate::consumer::RunError),
}

/// Sends messages that are in no queue to their handlers, each once, side by side like those of a standard queue. `done` is
/// told what became of each. A message whose id is at work at that moment is counted as not matched.
///
/// What is left when it ends was not tried to the end: a target that is down, or `stop`. What was not read yet is not counted.
///
/// # Errors
///
/// [`ReplayError`]: the messages cannot be read on, or the settings do not fit together. `done` was told of those before.
pub async fn replay(
    messages: impl Iterator<Item = io::Result<Replayed>> + Send,
    router: Router,
    settings: RetrySettings,
    stop: impl Future<Output = ()> + Send + 'static,
    done: impl FnMut(&Outcome),
) -> Result<RetrySummary, ReplayError> {
    let queue = Arc::new(Nowhere);
    let holds = Holds::new(queue.clone());
    let mut services = JoinSet::new();
    services.spawn(holds.clone().keep());
    let desk = InPlace::new(queue, holds.clone(), false, None, settings.rate);
    let limit = settings.limit.unwrap_or(u64::MAX);
    let mut file = File { messages, holds, limit, offered: 0, is_read: false, failure: None };
    let mut tally = Tally { account: Account::default(), done };
    let ended = work(&desk, &mut file, router, &settings, pin!(stop), &mut tally).await?;
    match file.failure {
        Some(failure) => Err(ReplayError::Read(failure)),
        None => Ok(RetrySummary {
            account: tally.account,
            ended,
            at_least: ended != RetryEnded::Done,
            not_returned: 0,
            failure: None,
        }),
    }
}

/// Messages from a file.
struct File<I> {
    messages: I,
    holds: Arc<Holds<Nowhere>>,
    limit: u64,
    offered: u64,
    is_read: bool,
    failure: Option<io::Error>,
}

impl<I: Iterator<Item = io::Result<Replayed>>> Feed for File<I> {
    fn next(&mut self, tally: &mut impl Told) -> Option<Delivery> {
        while !self.is_read && self.offered < self.limit {
            let Replayed { message_id, body, sent_at, webhook_id } = match self.messages.next() {
                Some(Ok(message)) => message,
                end => {
                    self.is_read = true;
                    self.failure = end.and_then(Result::err);
                    return None;
                }
            };
            let receipt = Receipt { message_id: message_id.clone(), handle: "".into() };
            let delivery = Delivery::new(receipt, body).with_sent_at(sent_at).with_webhook_id(webhook_id);
            if self.holds.arrive(&delivery, Instant::now()) == Arrival::New {
                self.offered += 1;
                return Some(delivery);
            }
            let reason = Some("a message of the same id is being handled".to_owned());
            tally.tell(Outcome::new(message_id, OutcomeKind::NotMatched, reason));
        }
        None
    }

    async fn wait(&mut self) {
        std::future::pending().await
    }

    fn ended(&self) -> Option<RetryEnded> {
        match self.failure {
            Some(_) => Some(RetryEnded::QueueFailed),
            None if self.is_read => Some(RetryEnded::Done),
            None => (self.offered >= self.limit).then_some(RetryEnded::LimitReached),
        }
    }

    fn settled(&mut self, fate: &Fate) {
        self.holds.forget(&fate.message_id);
    }

    async fn end(&mut self, _: &str, _: &mut impl Told) {}
}

/// The queue of messages that are in none: whatever is asked of it succeeds.
#[derive(Debug)]
struct Nowhere;

impl Queue for Nowhere {
    async fn receive(&self, _: usize, wait: Duration, _: Option<Duration>) -> Result<Vec<Delivery>, QueueError> {
        tokio::time::sleep(wait).await;
        Ok(Vec::new())
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        Ok(batch.iter().map(|_| Ok(())).collect())
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        Ok(batch.iter().map(|_| Ok(())).collect())
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        Ok(QueueFacts::default())
    }

    fn reconnect(&self) {}
}
