//! A dead-letter queue that is open: what it is, how it is looked through, and why it may be refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::letter::Reader;
use crate::queue::{MAX_WAIT, Queue, QueueError, QueueFacts};

/// For how long a look hides what it receives; renewed where the look takes longer.
pub const HOLD: Duration = Duration::from_secs(300);

/// How many messages one look holds at the same time, at the most: SQS lets about 120,000 of a queue be in flight, and others
/// need some of them.
pub const MOST_HELD: usize = 100_000;

/// How a dead-letter queue is looked through.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long a receive waits for a first message, above 0 to 20 s; default 20 s. A look ends after one that brought
    /// nothing, and one that is told to stop waits for the open one.
    pub wait: Duration,
    /// Whether to look although the queue has a redrive policy of its own, or may not be asked for it. Default: no.
    pub force: bool,
    /// The time of day. Default: the system's.
    pub wall_clock: fn() -> SystemTime,
}

impl Default for Options {
    fn default() -> Self {
        let wall_clock = crate::consumer::Settings::default().wall_clock;
        Options { wait: MAX_WAIT, force: false, wall_clock }
    }
}

impl Options {
    /// The same with another [`Options::wait`].
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The same with another [`Options::force`].
    pub fn with_force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// The same with another [`Options::wall_clock`].
    pub fn with_wall_clock(mut self, wall_clock: fn() -> SystemTime) -> Self {
        self.wall_clock = wall_clock;
        self
    }
}

/// Why a dead-letter queue is not handled, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// Each look counts as a receive, and this queue moves its messages on when they were received too often.
    #[error(
        "the queue has a redrive policy of its own: each look counts as a receive, and after {max_receive_count} its \
         messages move to {}", .dead_letter_queue.as_deref().unwrap_or("another queue")
    )]
    OwnRedrivePolicy {
        /// After how many receives.
        max_receive_count: u32,
        /// The name or ARN of the queue that they move to.
        dead_letter_queue: Option<String>,
    },
    /// Whether the queue has a redrive policy of its own cannot be read.
    #[error("the queue's attributes cannot be read, so nobody knows whether a look moves its messages on")]
    Unreadable(#[source] QueueError),
    /// The queue refuses the calls, or has answered none for too long.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The engine did not start.
    #[error(transparent)]
    Run(#[from] crate::consumer::RunError),
}

/// A dead-letter queue, and how its messages are read.
#[derive(Debug)]
pub struct DeadLetterQueue<Q> {
    pub(super) queue: Arc<Q>,
    pub(super) facts: QueueFacts,
    pub(super) reader: Arc<Reader>,
    pub(super) options: Options,
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Reads the queue's attributes, and nothing else yet.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError::OwnRedrivePolicy`] and [`DeadLetterError::Unreadable`], unless [`Options::force`] is set.
    pub async fn open(queue: Q, reader: Reader, options: Options) -> Result<Self, DeadLetterError> {
        let facts = match queue.facts().await {
            Ok(QueueFacts { max_receive_count: Some(max_receive_count), dead_letter_queue, .. }) if !options.force => {
                return Err(DeadLetterError::OwnRedrivePolicy { max_receive_count, dead_letter_queue });
            }
            Ok(facts) => facts,
            Err(_) if options.force => queue.known(),
            Err(failure) => return Err(DeadLetterError::Unreadable(failure)),
        };
        Ok(DeadLetterQueue { queue: Arc::new(queue), facts, reader: Arc::new(reader), options })
    }

    /// What the queue said of itself when it was opened: about how many messages it holds, for how long it keeps them.
    pub fn facts(&self) -> &QueueFacts {
        &self.facts
    }
}
