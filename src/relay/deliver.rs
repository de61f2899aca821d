//! Messages to the queue, and what the answer means for each of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{error, warn};

use crate::queue::{EntryError, Outgoing, QueueError, Sender};
use crate::telemetry::{Cause, RelayTelemetry};

/// How often connections are given up, at the most.
const NEW_CONNECTIONS_EVERY: Duration = Duration::from_secs(5);

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// The queue has it.
    Yes,
    /// The queue will never take it.
    Never(String),
    /// It may take it later.
    NotNow,
}

/// The way to the queue. Cheap to clone.
pub(super) struct Courier<S> {
    queue: Arc<S>,
    telemetry: Arc<RelayTelemetry>,
    reconnected: Arc<Mutex<Option<Instant>>>,
    /// Whether what cannot be sent is kept, so that nothing is lost by it.
    has_spool: bool,
}

impl<S> Clone for Courier<S> {
    fn clone(&self) -> Self {
        let (queue, telemetry) = (self.queue.clone(), self.telemetry.clone());
        Courier { queue, telemetry, reconnected: self.reconnected.clone(), has_spool: self.has_spool }
    }
}

impl<S: Sender> Courier<S> {
    pub(super) fn new(queue: Arc<S>, telemetry: Arc<RelayTelemetry>, has_spool: bool) -> Self {
        Courier { queue, telemetry, reconnected: Arc::default(), has_spool }
    }

    pub(super) fn keeps_order(&self) -> bool {
        self.queue.keeps_order()
    }

    /// Sends up to ten messages, which one call may hold, and says what became of each by then.
    pub(super) fn deliver<'a>(
        &'a self,
        messages: &'a [Outgoing],
        by: Instant,
    ) -> Pin<Box<dyn Future<Output = Vec<Delivered>> + Send + 'a>> {
        Box::pin(async move {
            let count = messages.len();
            let failed = match timeout_at(by, self.queue.send_batch(messages)).await {
                Ok(Ok(results)) => {
                    self.telemetry.batches.add(1);
                    return results.into_iter().map(|result| self.of_entry(result)).collect();
                }
                Ok(Err(error)) if blames_the_messages(&error) => {
                    self.telemetry.batches_failed.add(1);
                    return self.each_alone(messages, by, &error).await;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => {
                    self.open_new_connections();
                    "the queue has not answered in time".to_owned()
                }
            };
            self.telemetry.batches_failed.add(1);
            self.say_failed(&failed, count);
            vec![Delivered::NotNow; count]
        })
    }

    /// The call as a whole was refused for what is in it, so one message of it may be to blame.
    async fn each_alone(&self, messages: &[Outgoing], by: Instant, error: &QueueError) -> Vec<Delivered> {
        if messages.len() == 1 {
            return vec![Delivered::Never(error.to_string())];
        }
        let mut delivered = Vec::with_capacity(messages.len());
        for message in messages {
            delivered.extend(self.deliver(std::slice::from_ref(message), by).await);
        }
        delivered
    }

    fn of_entry(&self, result: Result<(), EntryError>) -> Delivered {
        match result {
            Ok(()) => Delivered::Yes,
            Err(error) if error.sender_fault && is_about_the_message(&error.code) => {
                Delivered::Never(error.to_string())
            }
            Err(error) => {
                self.say_failed(&error.to_string(), 1);
                Delivered::NotNow
            }
        }
    }

    fn say_failed(&self, error: &str, events: usize) {
        let cause = Cause::new(("relay", "send"), error);
        let Some(times) = self.telemetry.worth_logging(cause) else { return };
        if self.has_spool {
            warn!(error, events, times, "events cannot be sent to the queue; they go to the spool");
        } else {
            error!(
                error,
                events,
                times,
                "events cannot be sent to the queue and are answered 503: Stream tries each three times within 15 s, and \
                 then they are lost; a `spool` in [relay] keeps them"
            );
        }
    }

    fn open_new_connections(&self) {
        let now = Instant::now();
        let mut last = self.reconnected.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.duration_since(last) >= NEW_CONNECTIONS_EVERY) {
            *last = Some(now);
            self.queue.open_new_connections();
        }
    }
}

fn blames_the_messages(error: &QueueError) -> bool {
    matches!(error, QueueError::Service { code, .. } if is_about_the_message(code))
}

/// Whether the error of this code is one that the message has, and will have at the next attempt too.
///
/// Source: the errors of `SendMessage` and `SendMessageBatch` in the SQS API reference, in the forms of both protocols.
fn is_about_the_message(code: &str) -> bool {
    let code = code.rsplit(['.', '#']).next().unwrap_or(code);
    matches!(
        code,
        "InvalidMessageContents"
            | "InvalidParameterValue"
            | "InvalidParameterValueException"
            | "InvalidAttributeValue"
            | "MissingParameter"
            | "BatchRequestTooLong"
            | "MessageTooLong"
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::queue::EntryResult;

    /// What a scripted queue says to the messages of one call.
    type Script = dyn Fn(usize, &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> + Send + Sync;

    /// A queue that says what a test wants.
    pub(crate) struct Scripted {
        pub(crate) script: Box<Script>,
        /// The bodies of each call.
        pub(crate) calls: Mutex<Vec<Vec<String>>>,
        pub(crate) takes: Duration,
        pub(crate) fifo: bool,
        pub(crate) reconnects: Mutex<u32>,
    }

    impl Scripted {
        pub(crate) fn new(
            script: impl Fn(usize, &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> + Send + Sync + 'static,
        ) -> Self {
            let (calls, reconnects) = (Mutex::default(), Mutex::default());
            Scripted { script: Box::new(script), calls, takes: Duration::ZERO, fifo: false, reconnects }
        }

        /// It takes all messages.
        pub(crate) fn willing() -> Self {
            Scripted::new(|_, batch| Ok(batch.iter().map(|_| Ok(())).collect()))
        }

        pub(crate) fn bodies(&self) -> Vec<String> {
            self.calls.lock().expect("calls").concat()
        }
    }

    impl Sender for Scripted {
        async fn send_batch(&self, batch: &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> {
            let number = {
                let mut calls = self.calls.lock().expect("calls");
                calls.push(batch.iter().map(|message| message.body.clone()).collect());
                calls.len()
            };
            tokio::time::sleep(self.takes).await;
            (self.script)(number, batch)
        }

        fn keeps_order(&self) -> bool {
            self.fifo
        }

        fn open_new_connections(&self) {
            *self.reconnects.lock().expect("a count") += 1;
        }
    }

    pub(crate) fn refused(code: &str, sender_fault: bool) -> EntryResult {
        Err(EntryError { code: code.to_owned(), message: String::new(), sender_fault })
    }

    pub(crate) fn courier(queue: &Arc<Scripted>) -> Courier<Scripted> {
        Courier::new(queue.clone(), Arc::new(RelayTelemetry::new()), false)
    }

    pub(crate) fn messages(bodies: &[&str]) -> Vec<Outgoing> {
        bodies.iter().map(|body| Outgoing::plain((*body).to_owned())).collect()
    }

    fn in_4_s() -> Instant {
        Instant::now() + Duration::from_secs(4)
    }

    #[tokio::test(start_paused = true)]
    async fn each_entry_has_its_own_answer() {
        let queue = Arc::new(Scripted::new(|_, _| {
            Ok(vec![Ok(()), refused("InternalError", false), refused("InvalidMessageContents", true)])
        }));
        let delivered = courier(&queue).deliver(&messages(&["a", "b", "c"]), in_4_s()).await;
        assert!(matches!(&delivered[..], [Delivered::Yes, Delivered::NotNow, Delivered::Never(_)]), "{delivered:?}");
        // What is the sender's fault and not the message's may be put right.
        let queue = Arc::new(Scripted::new(|_, _| Ok(vec![refused("KmsAccessDenied", true)])));
        assert_eq!(courier(&queue).deliver(&messages(&["a"]), in_4_s()).await, [Delivered::NotNow]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_refused_for_a_message_is_taken_apart() {
        let queue = Arc::new(Scripted::new(|_, batch| match batch.iter().any(|message| message.body == "bad") {
            true => Err(QueueError::Service { code: "BatchRequestTooLong".to_owned(), message: String::new() }),
            false => Ok(batch.iter().map(|_| Ok(())).collect()),
        }));
        let delivered = courier(&queue).deliver(&messages(&["a", "bad", "c"]), in_4_s()).await;
        assert!(matches!(&delivered[..], [Delivered::Yes, Delivered::Never(_), Delivered::Yes]), "{delivered:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_given_up_in_time() {
        let queue = Scripted { takes: Duration::from_secs(60), ..Scripted::willing() };
        let queue = Arc::new(queue);
        let courier = courier(&queue);
        let began = Instant::now();
        for reconnects in [1, 1, 2] {
            assert_eq!(courier.deliver(&messages(&["a"]), in_4_s()).await, [Delivered::NotNow]);
            assert_eq!(*queue.reconnects.lock().expect("a count"), reconnects);
        }
        assert_eq!(began.elapsed().as_secs(), 12);
    }
}
