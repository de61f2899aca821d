//! The witness of the calls: what was received, what was called when and how it was answered, what was dead-lettered.
//! It judges nothing; the promises are computed from it afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use stream_sqsd::queue::memory::MemoryQueue;
use stream_sqsd::queue::{Delivery, EntryResult, MessageId, Queue, QueueError, QueueFacts, Receipt};
use tokio::time::Instant;

use crate::target::Answer;

/// One call of a handler. Times count from the beginning of the scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) route: usize,
    pub(crate) message: usize,
    pub(crate) life: usize,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    /// None: it was given up by the engine, or the scenario was over.
    pub(crate) answer: Option<Answer>,
}

/// One delivery of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) at: Duration,
    pub(crate) message: usize,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) calls: Vec<Call>,
    pub(crate) received: Vec<Received>,
    pub(crate) dead: Vec<(Duration, usize)>,
    /// When each message was sent; None when it was not yet.
    pub(crate) sent: Vec<Option<Duration>>,
    /// When the handler of each message first succeeded.
    pub(crate) done: Vec<Option<Duration>>,
    /// When each process began, and when it was over.
    pub(crate) lives: Vec<(Duration, Duration)>,
    /// What was wrong while it happened.
    pub(crate) wrong: Vec<String>,
    /// When nothing was received though nothing stood in the way.
    pub(crate) stood: Vec<String>,
    pub(crate) expired: u64,
    pub(crate) end: Duration,
    pub(crate) ids: BTreeMap<MessageId, usize>,
    /// The id of each message that was sent.
    pub(crate) id_of: Vec<MessageId>,
    /// Whether each message was handled or dead-lettered.
    pub(crate) over: Vec<bool>,
    pub(crate) at_work: usize,
    pub(crate) open_receives: usize,
    pub(crate) last_receive: Duration,
}

impl Record {
    /// When the calls of a route succeeded, in order.
    pub(crate) fn successes(&self, route: usize) -> Vec<Duration> {
        let taken = |call: &&Call| call.route == route && call.answer == Some(Answer::Taken);
        let mut successes: Vec<_> = self.calls.iter().filter(taken).map(|call| call.ended).collect();
        successes.sort();
        successes
    }

    /// The lives that began within a time, without the first.
    pub(crate) fn restarts(&self, from: Duration, until: Duration) -> usize {
        self.lives.iter().skip(1).filter(|(began, _)| (from..=until).contains(began)).count()
    }

    /// When a message was dead-lettered.
    pub(crate) fn died(&self, message: usize) -> Option<Duration> {
        self.dead.iter().find(|(_, dead)| *dead == message).map(|(at, _)| *at)
    }

    /// How many of these messages were sent and neither handled nor dead-lettered at a time.
    pub(crate) fn waiting(&self, at: Duration, of: impl Fn(usize) -> bool) -> usize {
        let dead: BTreeMap<usize, Duration> = self.dead.iter().map(|(at, message)| (*message, *at)).collect();
        let over = |when: Option<&Duration>| when.is_some_and(|when| *when <= at);
        let waits = |message: &usize| {
            over(self.sent[*message].as_ref()) && !over(self.done[*message].as_ref()) && !over(dead.get(message))
        };
        (0..self.sent.len()).filter(|message| of(*message)).filter(waits).count()
    }
}

/// The queue as one process sees it, with every receive written down. Clones see the same.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) queue: MemoryQueue,
    pub(crate) began: Instant,
    record: Arc<Mutex<Record>>,
    life: usize,
}

impl Watched {
    pub(crate) fn new(queue: MemoryQueue, messages: usize) -> Self {
        let record = Record {
            sent: vec![None; messages],
            done: vec![None; messages],
            over: vec![false; messages],
            ..Record::default()
        };
        Watched { queue, began: Instant::now(), record: Arc::new(Mutex::new(record)), life: 0 }
    }

    /// The same for another process.
    pub(crate) fn of(&self, life: usize) -> Self {
        Watched { life, ..self.clone() }
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    /// A handler begins.
    pub(crate) fn begins(&self, route: usize, id: &MessageId) -> Working {
        let mut record = self.record();
        let (at, message) = (self.began.elapsed(), record.ids[id]);
        record.at_work += 1;
        let call = Call { route, message, life: self.life, begun: at, ended: at, answer: None };
        record.calls.push(call);
        Working { watched: self.clone(), number: record.calls.len() - 1 }
    }

    /// Writes down what has come to the dead-letter queue.
    pub(crate) fn look_for_the_dead(&self) {
        let known = self.record().dead.len();
        if self.queue.counts().dead_lettered as usize > known {
            let at = self.began.elapsed();
            let mut record = self.record();
            for dead in self.queue.dead_letters().drain(known..) {
                let message = record.ids[&dead.message_id];
                record.dead.push((at, message));
                record.over[message] = true;
            }
        }
    }
}

/// A call that goes on.
pub(crate) struct Working {
    watched: Watched,
    number: usize,
}

impl Working {
    pub(crate) fn ends(&self, answer: Answer) {
        let at = self.watched.began.elapsed();
        let mut record = self.watched.record();
        let call = &mut record.calls[self.number];
        call.answer = Some(answer);
        let message = call.message;
        if answer == Answer::Taken {
            record.done[message].get_or_insert(at);
            record.over[message] = true;
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let at = self.watched.began.elapsed();
        let mut record = self.watched.record();
        // The tasks of a process that was killed are dropped later, also when the scenario is over.
        let Some(call) = record.calls.get_mut(self.number) else { return };
        call.ended = at;
        record.at_work -= 1;
    }
}

/// A receive that goes on.
struct Open<'a>(&'a Watched);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut record = self.0.record();
        record.open_receives = record.open_receives.saturating_sub(1);
        record.last_receive = self.0.began.elapsed();
    }
}

impl Queue for Watched {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.record().open_receives += 1;
        let _open = Open(self);
        let answer = self.queue.receive(max, wait, visibility).await;
        self.look_for_the_dead();
        if let Ok(deliveries) = &answer {
            let at = self.began.elapsed();
            let mut record = self.record();
            for delivery in deliveries {
                let message = record.ids[&delivery.receipt.message_id];
                record.received.push(Received { at, message });
            }
        }
        answer
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.delete(batch).await
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.change_visibility(batch).await
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        self.queue.facts().await
    }

    fn reconnect(&self) {
        self.queue.reconnect();
    }
}
