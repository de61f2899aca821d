//! A queue in memory that keeps the promises of SQS and, on request, its faults.
//!
//! For tests of your own handlers, for the demo and for simulation. It models what SQS promises a consumer: visibility
//! timeouts of at most 12 hours from the receive, receive counts, redrive to a dead-letter queue, a retention period,
//! receipt handles of which the newest counts, FIFO groups that are blocked while one of their messages is in flight, and
//! a [dead-letter queue](MemorySettings::dead_letter_queue) that is a queue too. It is not a stand-in for the wire: latency, limits and error texts of the real service are not here. Its clock is tokio's,
//! so that a test can pause it.
//!
//! ```
//! # use std::time::Duration;
//! use stream_sqsd::consumer::{Consumer, Settings};
//! use stream_sqsd::event::Event;
//! use stream_sqsd::handler::{Context, HandlerError};
//! use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
//! use stream_sqsd::router::Router;
//!
//! async fn picky(event: Event, _ctx: Context) -> Result<(), HandlerError> {
//!     if event.kind().name() == "message.new" { Ok(()) } else { Err(HandlerError::reject("not for me")) }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(1));
//! queue.send(r#"{"type":"message.new"}"#);
//! queue.send(r#"{"type":"message.deleted"}"#);
//! let settings = Settings::new().with_until_empty(true);
//! Consumer::new(queue.clone(), Router::new().route("*", picky), settings).run(std::future::pending()).await?;
//! assert_eq!(queue.counts().deleted, 1);
//! assert_eq!(queue.dead_letters()[0].body, r#"{"type":"message.deleted"}"#);
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::interface::{
    Attributes, Delivery, EntryError, EntryResult, MAX_VISIBILITY, MessageAttribute, MessageId, Queue, QueueError,
    QueueFacts, Receipt, Trace, WebhookId,
};
use super::outgoing::{Outgoing, Sender};

/// A queue in memory. Cheap to clone: clones are handles of the same queue.
#[derive(Clone, Debug)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: MemorySettings,
    state: Mutex<State>,
    /// Told when a message may have become receivable.
    arrived: Notify,
    /// Told when hung calls are to hang no longer.
    reconnected: Notify,
}

/// What kind of queue it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemorySettings {
    /// For how long a received message is hidden when the receive does not say. Default 30 s, as on SQS.
    pub visibility_timeout: Duration,
    /// After how many receives a message goes to the dead-letter queue. Default: never.
    pub max_receive_count: Option<u32>,
    /// The queue that messages go to then: FIFO where this one is. A message keeps its id, its body, its time and its receive
    /// count there; its retention runs on from when it was first sent, on a FIFO queue from the move. Default: none, and
    /// what goes there is known from [`MemoryQueue::dead_letters`] alone.
    pub dead_letter_queue: Option<MemoryQueue>,
    /// Its name, which message ids begin with; default `memory`. Queues that messages move between need different ones.
    pub name: String,
    /// How many messages can be received and not yet deleted; default 120,000, as on SQS. At that limit a receive that waits
    /// is answered with nothing, and one that does not with [`QueueError::OverLimit`].
    pub max_in_flight: usize,
    /// Whether order within a group is kept. Then every message needs a group.
    pub fifo: bool,
    /// How long a message is kept from the time it was sent, also while it is in flight; then it is gone, and not
    /// dead-lettered. Default: for ever.
    pub retention: Option<Duration>,
    /// The time of day that a message is said to have been sent at. Default: none is told.
    pub wall_clock: Option<fn() -> SystemTime>,
    /// What goes wrong. Default: nothing.
    pub faults: Faults,
    /// What the faults are drawn from.
    pub seed: u64,
}

impl Default for MemorySettings {
    fn default() -> Self {
        MemorySettings {
            visibility_timeout: Duration::from_secs(30),
            max_receive_count: None,
            dead_letter_queue: None,
            name: "memory".to_owned(),
            max_in_flight: 120_000,
            fifo: false,
            retention: None,
            wall_clock: None,
            faults: Faults::default(),
            seed: 0,
        }
    }
}

impl MemorySettings {
    /// A standard queue that works, without a dead-letter queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`MemorySettings::visibility_timeout`], at most 12 h.
    pub fn with_visibility_timeout(mut self, visibility_timeout: Duration) -> Self {
        self.visibility_timeout = visibility_timeout;
        self
    }

    /// Sets [`MemorySettings::max_receive_count`], at least 1, or None for no dead-letter queue.
    pub fn with_max_receive_count(mut self, max_receive_count: impl Into<Option<u32>>) -> Self {
        self.max_receive_count = max_receive_count.into();
        self
    }

    /// Sets [`MemorySettings::dead_letter_queue`].
    pub fn with_dead_letter_queue(mut self, queue: MemoryQueue) -> Self {
        self.dead_letter_queue = Some(queue);
        self
    }

    /// Sets [`MemorySettings::name`].
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`MemorySettings::max_in_flight`].
    pub fn with_max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// Sets [`MemorySettings::fifo`].
    pub fn with_fifo(mut self, fifo: bool) -> Self {
        self.fifo = fifo;
        self
    }

    /// Sets [`MemorySettings::retention`], or None to keep messages for ever.
    pub fn with_retention(mut self, retention: impl Into<Option<Duration>>) -> Self {
        self.retention = retention.into();
        self
    }

    /// Sets [`MemorySettings::wall_clock`].
    pub fn with_wall_clock(mut self, wall_clock: fn() -> SystemTime) -> Self {
        self.wall_clock = Some(wall_clock);
        self
    }

    /// Sets [`MemorySettings::faults`].
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Sets [`MemorySettings::seed`].
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// What goes wrong, each as a probability from 0 to 1 for every call (or entry, or message) that it applies to.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// A receive brings, besides, a message that is in flight already. Standard queues only, as on SQS.
    pub duplicate: f64,
    /// A receive is answered by a throttling error, `OverLimit`, or an internal error.
    pub receive_error: f64,
    /// A receive hands out messages and its answer is lost.
    pub receive_answer_lost: f64,
    /// A delete or a change of visibility is answered by an error, and was not carried out.
    pub call_error: f64,
    /// A delete or a change of visibility is carried out, and its answer is lost.
    pub call_answer_lost: f64,
    /// One entry of a delete or of a change of visibility fails, and may succeed when it is tried again.
    pub entry_error: f64,
    /// Reading the queue's attributes is answered by an error.
    pub attributes_error: f64,
    /// A message of a FIFO group that is released makes its whole group receivable, though other messages of it are in
    /// flight or hidden by a retry delay: later ones are handed out before those. So does LocalStack; SQS does not.
    pub overtake: f64,
    /// A call never answers, until [`Queue::reconnect`] or until it is dropped.
    pub hang: f64,
    /// Calls take up to this long.
    pub latency: Duration,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`Faults::duplicate`]: a probability from 0 to 1.
    pub fn with_duplicate(mut self, duplicate: f64) -> Self {
        self.duplicate = duplicate;
        self
    }

    /// Sets [`Faults::receive_error`]: a probability from 0 to 1.
    pub fn with_receive_error(mut self, receive_error: f64) -> Self {
        self.receive_error = receive_error;
        self
    }

    /// Sets [`Faults::receive_answer_lost`]: a probability from 0 to 1.
    pub fn with_receive_answer_lost(mut self, receive_answer_lost: f64) -> Self {
        self.receive_answer_lost = receive_answer_lost;
        self
    }

    /// Sets [`Faults::call_error`]: a probability from 0 to 1.
    pub fn with_call_error(mut self, call_error: f64) -> Self {
        self.call_error = call_error;
        self
    }

    /// Sets [`Faults::call_answer_lost`]: a probability from 0 to 1.
    pub fn with_call_answer_lost(mut self, call_answer_lost: f64) -> Self {
        self.call_answer_lost = call_answer_lost;
        self
    }

    /// Sets [`Faults::entry_error`]: a probability from 0 to 1.
    pub fn with_entry_error(mut self, entry_error: f64) -> Self {
        self.entry_error = entry_error;
        self
    }

    /// Sets [`Faults::attributes_error`]: a probability from 0 to 1.
    pub fn with_attributes_error(mut self, attributes_error: f64) -> Self {
        self.attributes_error = attributes_error;
        self
    }

    /// Sets [`Faults::overtake`]: a probability from 0 to 1.
    pub fn with_overtake(mut self, overtake: f64) -> Self {
        self.overtake = overtake;
        self
    }

    /// Sets [`Faults::hang`]: a probability from 0 to 1.
    pub fn with_hang(mut self, hang: f64) -> Self {
        self.hang = hang;
        self
    }

    /// Sets [`Faults::latency`]: the longest time that a call takes.
    pub fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<u64, Message>,
    ids: BTreeMap<MessageId, u64>,
    /// Messages that can be received, by place and number. A FIFO queue keeps the order in which they were sent; on a
    /// standard queue one that comes back is behind those that wait, so that the same ones are not handed out for ever.
    visible: Visible,
    /// The last place that was given.
    places: u64,
    /// Messages that cannot, by the time when they can.
    hidden: BTreeSet<(Instant, u64)>,
    /// How many messages of a group are in flight.
    in_flight: BTreeMap<Arc<str>, usize>,
    /// Groups that are handed out of once though messages of them are in flight.
    overtaking: BTreeSet<Arc<str>>,
    dead: Vec<DeadLetter>,
    /// When which message expires.
    expiries: BTreeSet<(Instant, u64)>,
    /// The number of the last message that came here.
    last: u64,
    sent: u64,
    redriven: u64,
    receives: u64,
    deleted: u64,
    expired: u64,
    fifo: bool,
    /// The deduplication ids that a FIFO queue was sent, and when.
    deduplicated: BTreeMap<String, Instant>,
    faults: Faults,
    random: fastrand::Rng,
}

/// Messages that can be received, of each group apart: a FIFO queue hands out none of a group that has one in flight, and
/// must not look at each of them to know that.
#[derive(Debug, Default)]
struct Visible {
    groups: BTreeMap<Option<Arc<str>>, BTreeSet<(u64, u64)>>,
    len: usize,
}

impl Visible {
    fn insert(&mut self, message: &Message, number: u64) {
        let of_group = self.groups.entry(message.group.clone()).or_default();
        self.len += usize::from(of_group.insert((message.place, number)));
    }

    fn remove(&mut self, message: &Message, number: u64) {
        let Some(of_group) = self.groups.get_mut(&message.group) else { return };
        self.len -= usize::from(of_group.remove(&(message.place, number)));
        if of_group.is_empty() {
            self.groups.remove(&message.group);
        }
    }

    /// The numbers of those whose group is not blocked, by their places.
    fn in_order(&self, blocked: impl Fn(&str) -> bool) -> impl Iterator<Item = u64> {
        let open = self.groups.iter().filter(move |(group, _)| !group.as_deref().is_some_and(&blocked));
        let mut heads: BTreeMap<_, _> = BTreeMap::new();
        for (_, of_group) in open {
            let mut of_group = of_group.iter();
            heads.extend(of_group.next().map(|head| (*head, of_group)));
        }
        std::iter::from_fn(move || {
            let ((_, number), mut behind) = heads.pop_first()?;
            heads.extend(behind.next().map(|head| (*head, behind)));
            Some(number)
        })
    }
}

#[derive(Debug)]
struct Message {
    id: MessageId,
    body: String,
    /// Those of its sender, all of type `String`.
    attributes: Vec<(String, String)>,
    group: Option<Arc<str>>,
    sent_at: Option<SystemTime>,
    /// Across all queues that it was in, as SQS counts.
    receive_count: u32,
    /// How often it was received here, which is what the redrive policy goes by.
    receives_here: u32,
    /// When it was sent, from which on its retention runs.
    sent: Instant,
    /// The ARN of the queue that it was dead-lettered from.
    source: Option<Arc<str>>,
    /// The number of the newest receipt; 0 before the first.
    receipt: u64,
    /// When it was last received: from then on it can be hidden for 12 hours.
    received: Instant,
    hidden_until: Option<Instant>,
    /// Where it stands among the visible ones.
    place: u64,
    /// When the retention period is over.
    expires: Option<Instant>,
}

impl Message {
    /// What a receive brings that asks for all attributes.
    fn attributes(&self, fifo: bool) -> Attributes {
        let sent_at = self.sent_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        // In the dead-letter queue of a FIFO queue the message id is the deduplication id.
        let deduplication_id = fifo.then(|| self.id.to_string());
        let system = [
            ("ApproximateReceiveCount", Some(self.receive_count.to_string())),
            ("SentTimestamp", sent_at.map(|at| at.as_millis().to_string())),
            ("MessageGroupId", self.group.as_deref().map(str::to_owned)),
            ("MessageDeduplicationId", deduplication_id),
            ("DeadLetterQueueSourceArn", self.source.as_deref().map(str::to_owned)),
        ];
        let system = system.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let of_sender = self.attributes.iter();
        let message = of_sender.map(|(name, value)| (name.clone(), MessageAttribute::new("String", value.as_str())));
        Attributes { system, message: message.collect() }
    }

    fn webhook_id(&self) -> Option<WebhookId> {
        let (_, id) = self.attributes.iter().find(|(name, _)| name == WebhookId::ATTRIBUTE)?;
        WebhookId::new(id)
    }
}

/// The ARN of a queue in memory.
fn arn(name: &str) -> Arc<str> {
    format!("arn:aws:sqs:us-east-1:000000000000:{name}").into()
}

/// A message that went to the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its id.
    pub message_id: MessageId,
    /// Its body.
    pub body: String,
    /// How often it had been received.
    pub receive_count: u32,
}

/// Where the messages of a queue are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryCounts {
    /// How many were ever sent.
    pub sent: u64,
    /// How many can be received now.
    pub visible: u64,
    /// How many are hidden: in flight, or waiting out a retry delay.
    pub hidden: u64,
    /// How many were deleted.
    pub deleted: u64,
    /// How many went to the dead-letter queue.
    pub dead_lettered: u64,
    /// How many were moved elsewhere by [`MemoryQueue::redrive`].
    pub redriven: u64,
    /// How many were not handled within the retention period, and are gone.
    pub expired: u64,
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new(settings: MemorySettings) -> Self {
        let state = State {
            fifo: settings.fifo,
            faults: settings.faults.clone(),
            random: fastrand::Rng::with_seed(settings.seed),
            ..State::default()
        };
        let shared = Shared { settings, state: Mutex::new(state), arrived: Notify::new(), reconnected: Notify::new() };
        MemoryQueue { shared: Arc::new(shared) }
    }

    /// Sends a message with this body.
    pub fn send(&self, body: impl Into<String>) -> MessageId {
        self.put(body.into(), None, None)
    }

    /// Sends a message of a group: of a FIFO queue, or of a tenant of a standard queue.
    pub fn send_to_group(&self, body: impl Into<String>, group: &str) -> MessageId {
        self.put(body.into(), Some(group.into()), None)
    }

    /// Sends a message that is said to have been sent at this time.
    pub fn send_at(&self, body: impl Into<String>, sent_at: SystemTime) -> MessageId {
        self.put(body.into(), None, Some(sent_at))
    }

    /// Sends a message with message attributes of type `String`: names and values.
    pub fn send_with_attributes(&self, body: impl Into<String>, attributes: Vec<(String, String)>) -> MessageId {
        let message = Message { attributes, ..self.message(body.into(), None, None) };
        let id = message.id.clone();
        self.accept(message);
        id
    }

    fn put(&self, body: String, group: Option<Arc<str>>, sent_at: Option<SystemTime>) -> MessageId {
        let message = self.message(body, group, sent_at);
        let id = message.id.clone();
        self.accept(message);
        id
    }

    /// A message that nobody has received yet.
    fn message(&self, body: String, group: Option<Arc<str>>, sent_at: Option<SystemTime>) -> Message {
        let now = Instant::now();
        let id = {
            let mut state = self.state();
            state.last += 1;
            MessageId::from(format!("{}-{:08}", self.shared.settings.name, state.last))
        };
        Message {
            id,
            body,
            attributes: Vec::new(),
            group,
            sent_at: sent_at.or_else(|| self.shared.settings.wall_clock.map(|now| now())),
            receive_count: 0,
            receives_here: 0,
            sent: now,
            source: None,
            receipt: 0,
            received: now,
            hidden_until: None,
            place: 0,
            expires: None,
        }
    }

    /// Takes in a message that is new here.
    fn accept(&self, mut message: Message) {
        let MemorySettings { retention, fifo, .. } = self.shared.settings;
        if fifo && message.source.is_some() {
            message.sent = Instant::now();
        }
        message.expires = retention.map(|retention| message.sent + retention);
        let mut state = self.state();
        state.sent += 1;
        let number = state.sent;
        message.place = state.next_place();
        state.expiries.extend(message.expires.map(|at| (at, number)));
        state.visible.insert(&message, number);
        state.ids.insert(message.id.clone(), number);
        state.messages.insert(number, message);
        drop(state);
        self.shared.arrived.notify_waiters();
    }

    /// Does as much of a move task (`StartMessageMoveTask`) as `most` messages: takes what can be received here and sends it
    /// to another queue as new messages, with new ids, new times and a receive count of 0. Returns how many there were.
    pub fn redrive(&self, to: &MemoryQueue, most: usize) -> usize {
        let moved: Vec<Message> = {
            let mut state = self.state();
            state.show_due(Instant::now());
            let fifo = self.shared.settings.fifo;
            let in_flight = |group: &str| fifo && state.in_flight.contains_key(group);
            let numbers: Vec<u64> = state.visible.in_order(in_flight).take(most).collect();
            state.redriven += numbers.len() as u64;
            numbers.into_iter().filter_map(|number| state.remove(number)).collect()
        };
        let count = moved.len();
        for Message { body, attributes, group, .. } in moved {
            to.accept(Message { attributes, ..to.message(body, group, None) });
        }
        count
    }

    /// Where the messages are now.
    pub fn counts(&self) -> MemoryCounts {
        let mut state = self.state();
        state.show_due(Instant::now());
        MemoryCounts {
            sent: state.sent,
            visible: state.visible.len as u64,
            hidden: state.hidden.len() as u64,
            deleted: state.deleted,
            dead_lettered: state.dead.len() as u64,
            redriven: state.redriven,
            expired: state.expired,
        }
    }

    /// The messages that went to the dead-letter queue, in the order in which they came there.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.state().dead.clone()
    }

    /// The ids and the bodies of all messages that are in the queue, hidden ones included, in the order in which they came.
    pub fn bodies(&self) -> Vec<(MessageId, String)> {
        self.state().messages.values().map(|message| (message.id.clone(), message.body.clone())).collect()
    }

    /// How often a message was received; None when it is no longer in the queue.
    pub fn receive_count(&self, id: &MessageId) -> Option<u32> {
        let state = self.state();
        state.ids.get(id).and_then(|number| state.messages.get(number)).map(|message| message.receive_count)
    }

    /// Until when a message is hidden; None when it can be received or is no longer in the queue.
    pub fn hidden_until(&self, id: &MessageId) -> Option<Instant> {
        let mut state = self.state();
        state.show_due(Instant::now());
        state.ids.get(id).and_then(|number| state.messages.get(number)).and_then(|message| message.hidden_until)
    }

    /// From now on this goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
        self.shared.reconnected.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the way of a call to the queue takes, which may be until the connections are opened again.
    async fn call(&self, lost: impl Fn(&Faults) -> f64) -> Answer {
        let (there, back, hangs, lost) = {
            let mut state = self.state();
            let faults = state.faults.clone();
            let latency = faults.latency.mul_f64(state.random.f64());
            let there = latency.mul_f64(state.random.f64());
            (there, latency - there, state.happens(faults.hang), state.happens(lost(&faults)))
        };
        if hangs {
            self.shared.reconnected.notified().await;
            return Answer { takes: Duration::ZERO, lost: true };
        }
        if !there.is_zero() {
            tokio::time::sleep(there).await;
        }
        Answer { takes: back, lost }
    }

    /// Receives, with all attributes or without.
    async fn take(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
        whole: bool,
    ) -> Result<Vec<Delivery>, QueueError> {
        let settings = &self.shared.settings;
        let answer = self.call(|faults| faults.receive_answer_lost).await;
        let end = Instant::now() + wait;
        let visibility = visibility.unwrap_or(settings.visibility_timeout);
        {
            let mut state = self.state();
            let probability = state.faults.receive_error;
            if state.happens(probability) {
                return Err(state.some_error());
            }
        }
        loop {
            let arrived = self.shared.arrived.notified();
            let (deliveries, dead, next, in_flight) = {
                let mut state = self.state();
                let max = max.min(settings.max_in_flight.saturating_sub(state.hidden.len()));
                let (deliveries, dead) = state.hand_out(max, visibility, settings, whole);
                (deliveries, dead, state.hidden.first().map_or(end, |(at, _)| *at), state.hidden.len())
            };
            self.dead_letter(dead);
            if !deliveries.is_empty() {
                return answer.bring(deliveries).await;
            }
            match in_flight >= settings.max_in_flight {
                true if wait.is_zero() => return Err(QueueError::OverLimit),
                true => return Ok(Vec::new()),
                false if Instant::now() >= end => return Ok(Vec::new()),
                false => {}
            }
            tokio::select! {
                biased;
                () = arrived => {}
                () = tokio::time::sleep_until(next.min(end)) => {}
            }
        }
    }

    /// Moves messages whose receives are used up.
    fn dead_letter(&self, dead: Vec<Message>) {
        let Some(queue) = &self.shared.settings.dead_letter_queue else { return };
        for message in dead {
            let source = Some(arn(&self.shared.settings.name));
            queue.accept(Message { source, receives_here: 0, receipt: 0, hidden_until: None, ..message });
        }
    }

    /// Carries out a batch call, with the faults that can happen to it.
    async fn batch<T>(
        &self,
        batch: &[T],
        carry_out: impl Fn(&mut State, &MemorySettings, &T) -> EntryResult + Send,
    ) -> Result<Vec<EntryResult>, QueueError>
    where
        T: Sync,
    {
        let answer = self.call(|faults| faults.call_answer_lost).await;
        let results = {
            let mut state = self.state();
            let (call_error, entry_error) = (state.faults.call_error, state.faults.entry_error);
            if state.happens(call_error) {
                return Err(state.some_error());
            }
            state.show_due(Instant::now());
            let mut results = Vec::with_capacity(batch.len());
            for entry in batch {
                results.push(if state.happens(entry_error) {
                    Err(entry_failure("InternalError", "not this time"))
                } else {
                    carry_out(&mut state, &self.shared.settings, entry)
                });
            }
            results
        };
        self.shared.arrived.notify_waiters();
        answer.bring(results).await
    }
}

/// The way of an answer from the queue: until it has arrived, only the queue knows what it did.
struct Answer {
    takes: Duration,
    lost: bool,
}

impl Answer {
    async fn bring<T>(self, answer: T) -> Result<T, QueueError> {
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        if self.lost { Err(answer_lost()) } else { Ok(answer) }
    }
}

/// Messages are sent with the faults of calls: an error of the call or of an entry, and an answer that is lost.
impl Sender for MemoryQueue {
    async fn send_batch(&self, batch: &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> {
        let answer = self.call(|faults| faults.call_answer_lost).await;
        let mut results = Vec::with_capacity(batch.len());
        for outgoing in batch {
            let is_known = {
                let mut state = self.state();
                let (call_error, entry_error) = (state.faults.call_error, state.faults.entry_error);
                // The first entry stands for the call.
                if results.is_empty() && state.happens(call_error) {
                    return Err(state.some_error());
                }
                if state.happens(entry_error) {
                    results.push(Err(entry_failure("InternalError", "not this time")));
                    continue;
                }
                state.was_sent_before(outgoing)
            };
            if !is_known {
                let group = outgoing.group.as_deref().map(Arc::from);
                let message = self.message(outgoing.body.clone(), group, None);
                self.accept(Message { attributes: outgoing.attributes.clone(), ..message });
            }
            results.push(Ok(()));
        }
        answer.bring(results).await
    }

    fn keeps_order(&self) -> bool {
        self.shared.settings.fifo
    }

    fn open_new_connections(&self) {
        self.reconnect();
    }
}

impl Queue for MemoryQueue {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.take(max, wait, visibility, false).await
    }

    async fn receive_whole(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.take(max, wait, visibility, true).await
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        self.batch(batch, |state, settings, receipt| state.delete(settings, receipt)).await
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.batch(batch, |state, settings, (receipt, delay)| state.change_visibility(settings, receipt, *delay)).await
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        let answer = self.call(|faults| faults.attributes_error).await;
        let counts = self.counts();
        let settings = &self.shared.settings;
        let facts = QueueFacts {
            visibility_timeout: Some(settings.visibility_timeout),
            max_receive_count: settings.max_receive_count,
            dead_letter_queue: settings.max_receive_count.map(|_| match &settings.dead_letter_queue {
                Some(queue) => arn(&queue.shared.settings.name).to_string(),
                None => "memory-dead-letter".into(),
            }),
            retention: settings.retention,
            visible: Some(counts.visible),
            hidden: Some(counts.hidden),
            ..self.known()
        };
        answer.bring(facts).await
    }

    fn known(&self) -> QueueFacts {
        QueueFacts {
            name: Some(self.shared.settings.name.clone()),
            fifo: self.shared.settings.fifo,
            ..QueueFacts::default()
        }
    }

    fn reconnect(&self) {
        self.shared.reconnected.notify_waiters();
    }
}

/// For how long a FIFO queue recognises a deduplication id.
///
/// Source: `MessageDeduplicationId` of `SendMessage`, five minutes.
const DEDUPLICATED_FOR: Duration = Duration::from_secs(300);

impl State {
    /// Whether a FIFO queue has this message already, by its deduplication id. From now on it has.
    fn was_sent_before(&mut self, outgoing: &Outgoing) -> bool {
        let Some(id) = outgoing.deduplication_id.as_ref().filter(|_| self.fifo) else { return false };
        let now = Instant::now();
        self.deduplicated.retain(|_, sent| now.duration_since(*sent) < DEDUPLICATED_FOR);
        let is_known = self.deduplicated.contains_key(id);
        if !is_known {
            self.deduplicated.insert(id.clone(), now);
        }
        is_known
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.f64() < probability
    }

    fn some_error(&mut self) -> QueueError {
        match self.random.u8(0..3) {
            0 => QueueError::Throttled { code: "RequestThrottled".into() },
            1 => QueueError::OverLimit,
            _ => QueueError::Service { code: "InternalError".into(), message: "not this time".into() },
        }
    }

    /// Removes what has been kept long enough, and makes visible what has been hidden long enough.
    fn show_due(&mut self, now: Instant) {
        while let Some((at, number)) = self.expiries.first().copied()
            && at <= now
        {
            self.remove(number);
            self.expired += 1;
        }
        while let Some((at, number)) = self.hidden.first().copied()
            && at <= now
        {
            self.show(number);
        }
    }

    fn next_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    fn show(&mut self, number: u64) {
        let place = self.next_place();
        let fifo = self.fifo;
        let Some(message) = self.messages.get_mut(&number) else { return };
        if let Some(until) = message.hidden_until.take() {
            self.hidden.remove(&(until, number));
            if !fifo {
                message.place = place;
            }
            self.visible.insert(message, number);
            let group = message.group.clone();
            self.count_in_flight(group, false);
        }
    }

    fn conceal(&mut self, number: u64, until: Instant) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        match message.hidden_until.replace(until) {
            Some(before) => {
                self.hidden.remove(&(before, number));
            }
            None => {
                self.visible.remove(message, number);
                let group = message.group.clone();
                self.count_in_flight(group, true);
            }
        }
        self.hidden.insert((until, number));
    }

    fn count_in_flight(&mut self, group: Option<Arc<str>>, more: bool) {
        let Some(group) = group else { return };
        let count = self.in_flight.entry(group.clone()).or_default();
        if more {
            *count += 1
        } else {
            *count -= 1
        }
        if *count == 0 {
            self.in_flight.remove(&group);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Message> {
        self.show(number);
        let message = self.messages.remove(&number)?;
        self.visible.remove(&message, number);
        self.ids.remove(&message.id);
        if let Some(at) = message.expires {
            self.expiries.remove(&(at, number));
        }
        Some(message)
    }

    /// Up to `max` deliveries, and the messages whose receives turned out to be used up.
    fn hand_out(
        &mut self,
        max: usize,
        visibility: Duration,
        settings: &MemorySettings,
        whole: bool,
    ) -> (Vec<Delivery>, Vec<Message>) {
        let now = Instant::now();
        self.show_due(now);
        let mut chosen = Vec::new();
        let mut dead = Vec::new();
        // A message in flight blocks its group.
        let in_flight = |group: &str| self.in_flight.contains_key(group) && !self.overtaking.contains(group);
        for number in self.visible.in_order(|group| settings.fifo && in_flight(group)) {
            if chosen.len() >= max {
                break;
            }
            let Some(message) = self.messages.get(&number) else { continue };
            if settings.max_receive_count.is_some_and(|most| message.receives_here >= most) {
                dead.push(number);
            } else {
                chosen.push(number);
            }
        }
        let dead: Vec<Message> = dead.into_iter().filter_map(|number| self.remove(number)).collect();
        for Message { id, body, receive_count, .. } in &dead {
            let (message_id, body) = (id.clone(), body.clone());
            self.dead.push(DeadLetter { message_id, body, receive_count: *receive_count });
        }
        let probability = if settings.fifo { 0.0 } else { self.faults.duplicate };
        if chosen.len() < max && !self.hidden.is_empty() && self.happens(probability) {
            let nth = self.random.usize(0..self.hidden.len());
            let within = |message: &Message| settings.max_receive_count.is_none_or(|most| message.receives_here < most);
            if let Some((_, number)) = self.hidden.iter().nth(nth).copied()
                && self.messages.get(&number).is_some_and(within)
            {
                chosen.push(number);
            }
        }
        for number in &chosen {
            if let Some(group) = self.messages.get(number).and_then(|message| message.group.as_ref()) {
                self.overtaking.remove(group);
            }
        }
        let until = now + visibility;
        (chosen.into_iter().filter_map(|number| self.deliver(number, until, settings, whole)).collect(), dead)
    }

    fn deliver(&mut self, number: u64, until: Instant, settings: &MemorySettings, whole: bool) -> Option<Delivery> {
        self.conceal(number, until);
        self.receives += 1;
        let receipt = self.receives;
        let message = self.messages.get_mut(&number)?;
        message.receipt = receipt;
        message.received = Instant::now();
        message.receive_count += 1;
        message.receives_here += 1;
        Some(Delivery {
            receipt: Receipt { message_id: message.id.clone(), handle: format!("{number}/{receipt}").into() },
            body: message.body.clone(),
            receive_count: message.receive_count,
            sent_at: message.sent_at,
            group: message.group.clone(),
            trace: Trace::default(),
            webhook_id: message.webhook_id(),
            attributes: whole.then(|| Box::new(message.attributes(settings.fifo))),
        })
    }

    /// The message that a receipt is of, and whether it is the newest. None when the message is gone.
    fn find(&self, receipt: &Receipt) -> Result<Option<(u64, bool)>, EntryError> {
        let parts =
            receipt.handle.split_once('/').and_then(|(n, r)| Some((n.parse::<u64>().ok()?, r.parse::<u64>().ok()?)));
        let Some((number, receipt)) = parts else {
            return Err(entry_failure("ReceiptHandleIsInvalid", "no receipt handle of this queue"));
        };
        Ok(self.messages.get(&number).map(|message| (number, message.receipt == receipt)))
    }

    fn delete(&mut self, settings: &MemorySettings, receipt: &Receipt) -> EntryResult {
        match self.find(receipt)? {
            // Deleting what is gone is not an error.
            None => Ok(()),
            Some((number, newest)) => {
                let in_flight = self.messages.get(&number).is_some_and(|message| message.hidden_until.is_some());
                if settings.fifo && !(newest && in_flight) {
                    return Err(entry_failure("InvalidParameterValue", "the receipt handle has expired"));
                }
                if newest {
                    self.remove(number);
                    self.deleted += 1;
                }
                // With an older receipt: OK, and nothing is deleted.
                Ok(())
            }
        }
    }

    fn change_visibility(&mut self, settings: &MemorySettings, receipt: &Receipt, delay: Duration) -> EntryResult {
        let gone = || entry_failure("InvalidParameterValue", "the message does not exist or is not available");
        let Some((number, newest)) = self.find(receipt)? else { return Err(gone()) };
        let in_flight = self.messages.get(&number).is_some_and(|message| message.hidden_until.is_some());
        if !in_flight {
            return Err(entry_failure("MessageNotInflight", "the message is not in flight"));
        }
        if !newest {
            return if settings.fifo { Err(gone()) } else { Ok(()) };
        }
        let received = self.messages.get(&number).map(|message| message.received);
        let hidden_for = received.map_or(delay, |received| received.elapsed().saturating_add(delay));
        if hidden_for > MAX_VISIBILITY {
            let reason = "the total visibility timeout of the message is beyond the limit of 43200 seconds";
            return Err(entry_failure("InvalidParameterValue", reason));
        }
        if delay.is_zero() {
            self.show(number);
            let probability = if settings.fifo { self.faults.overtake } else { 0.0 };
            if self.happens(probability)
                && let Some(group) = self.messages.get(&number).and_then(|message| message.group.clone())
            {
                self.overtaking.insert(group);
            }
        } else {
            self.conceal(number, Instant::now() + delay)
        }
        Ok(())
    }
}

fn entry_failure(code: &str, message: &str) -> EntryError {
    let sender_fault = code != "InternalError";
    EntryError { code: code.into(), message: message.into(), sender_fault }
}

fn answer_lost() -> QueueError {
    QueueError::Unreachable { message: "the connection broke before the answer".into() }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn receive(queue: &MemoryQueue, max: usize) -> Vec<Delivery> {
        queue.receive(max, Duration::ZERO, None).await.expect("an answer")
    }

    fn broken(faults: Faults) -> MemoryQueue {
        MemoryQueue::new(MemorySettings { faults, seed: 1, ..Default::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn calls_take_half_of_the_latency_on_average_there_and_back() {
        let queue = MemoryQueue::new(MemorySettings::default());
        queue.send("body");
        let receipt = receive(&queue, 1).await.remove(0).receipt;
        queue.set_faults(Faults { latency: SECOND, ..Default::default() });
        let begun = Instant::now();
        for _ in 0..1000 {
            queue.delete(std::slice::from_ref(&receipt)).await.expect("an answer");
        }
        let took = begun.elapsed().as_secs();
        assert!((450..=550).contains(&took), "a thousand calls took {took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn no_duplicate_of_a_message_without_receives_is_delivered() {
        let faults = Faults { duplicate: 1.0, ..Default::default() };
        let queue =
            MemoryQueue::new(MemorySettings { max_receive_count: Some(2), faults, seed: 1, ..Default::default() });
        let id = queue.send("body");
        for receives in [1, 2, 2] {
            receive(&queue, 10).await;
            assert_eq!(queue.receive_count(&id), Some(receives));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_hidden_for_its_time_and_counts_its_receives() {
        let queue = MemoryQueue::new(MemorySettings { max_receive_count: Some(2), ..Default::default() });
        let id = queue.send("body");
        assert_eq!((queue.receive_count(&id), queue.hidden_until(&id)), (Some(0), None));
        for receives in 1..=2 {
            assert_eq!(receive(&queue, 10).await.len(), 1);
            assert_eq!(queue.hidden_until(&id), Some(Instant::now() + 30 * SECOND));
            assert_eq!(queue.receive_count(&id), Some(receives));
            assert!(receive(&queue, 10).await.is_empty());
            advance(30 * SECOND).await;
        }
        assert!(receive(&queue, 10).await.is_empty(), "its receives are used up");
        assert_eq!(
            queue.dead_letters(),
            [DeadLetter { message_id: id.clone(), body: "body".into(), receive_count: 2 }]
        );
        assert_eq!((queue.receive_count(&id), queue.counts().dead_lettered), (None, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_newest_receipt_deletes() {
        let queue = MemoryQueue::new(MemorySettings::default());
        queue.send("body");
        let first = receive(&queue, 1).await.remove(0).receipt;
        advance(30 * SECOND).await;
        let second = receive(&queue, 1).await.remove(0).receipt;
        assert_ne!(first.handle, second.handle);
        assert_eq!(queue.delete(&[first]).await.expect("an answer"), [Ok(())]);
        assert_eq!(queue.counts().deleted, 0, "SQS says OK and deletes nothing");
        assert_eq!(queue.delete(&[second]).await.expect("an answer"), [Ok(())]);
        assert_eq!(queue.counts().deleted, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_duplicate_is_in_flight_and_within_its_receives() {
        let queue = broken(Faults { duplicate: 1.0, ..Faults::default() });
        let id = queue.send("body");
        assert_eq!(receive(&queue, 10).await.len(), 1);
        assert_eq!(receive(&queue, 10).await[0].receive_count, 2, "it is in flight");
        queue.send("another");
        assert_eq!(receive(&queue, 1).await[0].receive_count, 1, "never more than were asked for");
        assert_eq!(queue.receive_count(&id), Some(2));
        let settings = MemorySettings { max_receive_count: Some(1), ..Default::default() };
        let queue =
            MemoryQueue::new(MemorySettings { faults: Faults { duplicate: 1.0, ..Faults::default() }, ..settings });
        queue.send("body");
        assert_eq!(receive(&queue, 10).await.len(), 1);
        assert!(receive(&queue, 10).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_take_time_and_hang_until_the_reconnect() {
        let queue = broken(Faults { latency: 4 * SECOND, ..Faults::default() });
        let mut times = Vec::new();
        for _ in 0..20 {
            let began = Instant::now();
            receive(&queue, 1).await;
            queue.delete(&[]).await.expect("an answer");
            times.push(began.elapsed());
        }
        assert!(
            times.iter().all(|took| *took < 8 * SECOND) && times.iter().any(|took| *took > 2 * SECOND),
            "{times:?}"
        );
        queue.set_faults(Faults { hang: 1.0, ..Faults::default() });
        let hangs = queue.delete(&[]);
        tokio::pin!(hangs);
        assert!(timeout(3600 * SECOND, &mut hangs).await.is_err());
        Arc::new(queue.clone()).reconnect();
        assert!(timeout(SECOND, hangs).await.expect("it is over").is_err(), "and its answer is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn an_overtaking_queue_delivers_what_is_behind_a_hidden_head() {
        for (overtake, handed_out) in [(0.0, 0), (1.0, 2)] {
            let faults = Faults { overtake, ..Faults::default() };
            let queue = MemoryQueue::new(MemorySettings { fifo: true, faults, ..Default::default() });
            for _ in 0..3 {
                queue.send_to_group("body", "g");
            }
            let mut held = receive(&queue, 2).await;
            let (behind, head) = (held.remove(1).receipt, held.remove(0).receipt);
            queue.change_visibility(&[(head, 30 * SECOND)]).await.expect("an answer").remove(0).expect("a change");
            assert!(receive(&queue, 10).await.is_empty());
            queue.change_visibility(&[(behind, Duration::ZERO)]).await.expect("an answer").remove(0).expect("a change");
            assert_eq!(receive(&queue, 10).await.len(), handed_out);
            assert!(receive(&queue, 10).await.is_empty(), "once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_name_tells_is_known_without_attributes() {
        let settings = MemorySettings { fifo: true, max_receive_count: Some(3), ..Default::default() };
        let queue = Arc::new(MemoryQueue::new(settings));
        assert_eq!(queue.facts().await.expect("an answer").max_receive_count, Some(3));
        queue.set_faults(Faults { attributes_error: 1.0, ..Faults::default() });
        assert!(queue.facts().await.is_err());
        assert_eq!((queue.known().fifo, queue.known().max_receive_count), (true, None));
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_of_all_kinds_and_what_never_happens_draws_nothing() {
        let queue = broken(Faults { receive_error: 1.0, ..Faults::default() });
        let mut labels = BTreeSet::new();
        for _ in 0..50 {
            labels.insert(queue.receive(1, SECOND, None).await.expect_err("an error").label());
        }
        assert_eq!(labels, BTreeSet::from(["throttled", "over_limit", "service"]));
        let queue = broken(Faults { entry_error: 1.0, ..Faults::default() });
        queue.send("body");
        let receipt = receive(&queue, 1).await.remove(0).receipt;
        let failed = queue.delete(&[receipt]).await.expect("an answer").remove(0).expect_err("an error");
        assert!(!failed.is_final() && !failed.sender_fault);
        let unknown = Receipt { message_id: "x".into(), handle: "x".into() };
        queue.set_faults(Faults::default());
        let failed = queue.delete(&[unknown]).await.expect("an answer").remove(0).expect_err("an error");
        assert!(failed.is_final() && failed.sender_fault);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_hidden_beyond_twelve_hours_from_its_receive() {
        let queue = MemoryQueue::new(MemorySettings::default());
        let id = queue.send("body");
        let receipt = receive(&queue, 1).await.remove(0).receipt;
        let ceiling = Instant::now() + MAX_VISIBILITY;
        let hide = |seconds| {
            let (queue, receipt) = (queue.clone(), receipt.clone());
            async move { queue.change_visibility(&[(receipt, seconds * SECOND)]).await.expect("an answer").remove(0) }
        };
        assert_eq!(hide(43_200).await, Ok(()));
        advance(43_000 * SECOND).await;
        let refused = hide(201).await.expect_err("an error");
        assert!(refused.is_final() && refused.sender_fault, "{refused}");
        assert_eq!(queue.hidden_until(&id), Some(ceiling), "what was refused changes nothing");
        assert_eq!(hide(200).await, Ok(()));
        advance(200 * SECOND).await;
        assert_eq!(queue.hidden_until(&id), None);
        let receipt = receive(&queue, 1).await.remove(0).receipt;
        let again = queue.change_visibility(&[(receipt.clone(), MAX_VISIBILITY)]).await.expect("an answer").remove(0);
        assert_eq!(again, Ok(()), "they count from the newest receive");
        let absurd = queue.change_visibility(&[(receipt, Duration::MAX)]).await.expect("an answer").remove(0);
        assert!(absurd.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn retention_ends_a_message_and_does_not_dead_letter_it() {
        let retention = Some(100 * SECOND);
        let queue = MemoryQueue::new(MemorySettings { retention, max_receive_count: Some(2), ..Default::default() });
        assert_eq!(queue.facts().await.expect("facts").retention, retention);
        let in_flight = queue.send("body");
        queue.send("body");
        advance(60 * SECOND).await;
        let later = queue.send("body");
        let receipt = receive(&queue, 1).await.remove(0).receipt;
        queue.change_visibility(&[(receipt.clone(), 60 * SECOND)]).await.expect("an answer");
        advance(39 * SECOND).await;
        assert_eq!(queue.counts().expired, 0);
        advance(SECOND).await;
        let counts = queue.counts();
        assert_eq!((counts.visible, counts.hidden, counts.expired, counts.dead_lettered), (1, 0, 2, 0));
        assert_eq!((queue.receive_count(&in_flight), queue.hidden_until(&in_flight)), (None, None));
        assert_eq!(
            queue.delete(&[receipt]).await.expect("an answer"),
            [Ok(())],
            "deleting what is gone is not an error"
        );
        assert_eq!(queue.counts().deleted, 0);
        assert_eq!(receive(&queue, 10).await[0].receipt.message_id, later);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_is_behind_what_waits_except_in_groups() {
        for fifo in [false, true] {
            let queue = MemoryQueue::new(MemorySettings { fifo, ..Default::default() });
            let [first, second] = ["a", "b"].map(|group| queue.send_to_group("body", group));
            let receipt = receive(&queue, 1).await.remove(0).receipt;
            assert_eq!(receipt.message_id, first);
            queue.change_visibility(&[(receipt, Duration::ZERO)]).await.expect("an answer");
            let next = &receive(&queue, 1).await[0].receipt.message_id;
            assert_eq!(next, if fifo { &first } else { &second });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_stamped_by_the_clock_that_the_settings_name() {
        let noon = || SystemTime::UNIX_EPOCH + 43_200 * SECOND;
        let queue = MemoryQueue::new(MemorySettings { wall_clock: Some(noon), ..Default::default() });
        queue.send("body");
        queue.send_at("body", SystemTime::UNIX_EPOCH);
        let stamps: Vec<_> = receive(&queue, 10).await.iter().map(|delivery| delivery.sent_at).collect();
        assert_eq!(stamps, [Some(noon()), Some(SystemTime::UNIX_EPOCH)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifo_receipt_is_good_while_its_message_is_in_flight() {
        let queue = MemoryQueue::new(MemorySettings { fifo: true, ..Default::default() });
        queue.send_to_group("body", "g");
        let receipt = receive(&queue, 1).await.remove(0).receipt;
        advance(30 * SECOND).await;
        let refused = queue.delete(&[receipt]).await.expect("an answer").remove(0);
        assert!(refused.is_err_and(|error| error.is_final()));
        assert_eq!((queue.counts().visible, queue.counts().deleted), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_letter_keeps_what_sqs_keeps() {
        let hour = 3600 * SECOND;
        let dead = MemoryQueue::new(MemorySettings {
            name: "dead".into(),
            retention: Some(10 * hour),
            max_receive_count: Some(2),
            ..Default::default()
        });
        let queue = MemoryQueue::new(MemorySettings {
            max_receive_count: Some(1),
            dead_letter_queue: Some(dead.clone()),
            ..Default::default()
        });
        let id = queue.send_at("body", SystemTime::UNIX_EPOCH + SECOND);
        receive(&queue, 1).await;
        advance(4 * hour).await;
        assert!(receive(&queue, 1).await.is_empty());
        let found = dead.receive_whole(1, Duration::ZERO, None).await.expect("an answer").remove(0);
        assert_eq!((&found.receipt.message_id, &*found.body, found.receive_count), (&id, "body", 2));
        assert_eq!(found.sent_at, Some(SystemTime::UNIX_EPOCH + SECOND));
        let system = found.attributes.expect("all attributes").system;
        assert_eq!(system["DeadLetterQueueSourceArn"], "arn:aws:sqs:us-east-1:000000000000:memory");
        assert_eq!(system["SentTimestamp"], "1000");
        // Its own redrive policy counts its own receives.
        advance(60 * SECOND).await;
        assert_eq!(receive(&dead, 1).await[0].receive_count, 3);
        advance(60 * SECOND).await;
        assert!(receive(&dead, 1).await.is_empty());
        assert_eq!((dead.counts().dead_lettered, queue.counts().dead_lettered), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_retention_of_a_dead_letter_runs_on_except_in_groups() {
        for fifo in [false, true] {
            let hour = 3600 * SECOND;
            let dead = MemorySettings { name: "dead".into(), retention: Some(10 * hour), fifo, ..Default::default() };
            let dead = MemoryQueue::new(dead);
            let queue = MemorySettings { max_receive_count: Some(1), fifo, ..Default::default() };
            let queue = MemoryQueue::new(MemorySettings { dead_letter_queue: Some(dead.clone()), ..queue });
            queue.send_to_group("body", "g");
            receive(&queue, 1).await;
            advance(6 * hour).await;
            receive(&queue, 1).await;
            advance(5 * hour).await;
            assert_eq!(dead.counts().expired, u64::from(!fifo));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_redrive_makes_new_messages_of_what_is_not_in_flight() {
        let dead = MemoryQueue::new(MemorySettings { name: "dead".into(), ..Default::default() });
        let queue = MemoryQueue::new(MemorySettings::default());
        for body in ["held", "one", "two", "three"] {
            dead.send(body);
        }
        receive(&dead, 1).await;
        assert_eq!((dead.redrive(&queue, 2), dead.redrive(&queue, 10)), (2, 1));
        let moved = receive(&queue, 10).await;
        let moved: Vec<_> = moved.iter().map(|d| (d.receipt.message_id.as_str(), &*d.body, d.receive_count)).collect();
        assert_eq!(
            moved,
            [("memory-00000001", "one", 1), ("memory-00000002", "two", 1), ("memory-00000003", "three", 1)]
        );
        let counts = dead.counts();
        assert_eq!((counts.hidden, counts.visible, counts.redriven), (1, 0, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_limit_in_flight_a_long_poll_brings_nothing_at_once() {
        let queue = MemoryQueue::new(MemorySettings { max_in_flight: 3, ..Default::default() });
        for _ in 0..5 {
            queue.send("body");
        }
        let held = receive(&queue, 10).await;
        assert_eq!(held.len(), 3);
        let begun = Instant::now();
        assert!(queue.receive(10, 20 * SECOND, None).await.expect("an answer").is_empty());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(matches!(queue.receive(10, Duration::ZERO, None).await, Err(QueueError::OverLimit)));
        queue.delete(&[held[0].receipt.clone()]).await.expect("an answer");
        assert_eq!(receive(&queue, 10).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_group_ten_can_be_held_and_no_more_behind_them() {
        let queue = MemoryQueue::new(MemorySettings { fifo: true, ..Default::default() });
        for number in 0..15 {
            queue.send_to_group(number.to_string(), "g");
        }
        let bodies = |held: Vec<Delivery>| held.into_iter().map(|held| held.body).collect::<Vec<_>>();
        let first = bodies(receive(&queue, 10).await);
        assert_eq!(first.len(), 10);
        assert!(receive(&queue, 10).await.is_empty());
        advance(30 * SECOND).await;
        assert_eq!(bodies(receive(&queue, 10).await), first);
    }
}
