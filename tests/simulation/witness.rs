//! The queue as the engine sees it, with somebody watching: every call is written down and held against the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use stream_sqsd::queue::memory::MemoryQueue;
use stream_sqsd::queue::{Delivery, EntryResult, MessageId, Queue, QueueError, QueueFacts, Receipt};
use tokio::time::Instant;

/// What the world has planned for a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plan {
    /// Its handler succeeds after this long.
    Fine(Duration),
    /// Its handler fails so often and then succeeds.
    FailsAtFirst(u32),
    /// Its handler always fails.
    AlwaysFails,
    /// Its handler says that the message is bad.
    Bad,
    /// Its handler panics so often and then succeeds.
    Panics(u32),
    /// Its handler never ends.
    Hangs,
    /// Its handler runs until it is told to stop, and then says that all is well.
    EndsWhenTold,
    /// Its handler succeeds while the target is there.
    NeedsTarget,
    /// Its handler says so often that the target is busy, the first time with a delay, and then succeeds.
    BusyAtFirst(u32),
    /// Its handler says that the target is down, always.
    Poison,
    /// Its body is not an event.
    Undecodable,
    /// No route takes it.
    Unrouted,
}

impl Plan {
    /// Whether it will be deleted in the end, if its receives suffice.
    pub(crate) fn can_succeed(self, handler_timeout: Duration) -> bool {
        if let Plan::Fine(takes) = self {
            return takes < handler_timeout;
        }
        !matches!(self, Plan::AlwaysFails | Plan::Bad | Plan::Hangs | Plan::Poison | Plan::Undecodable)
    }
}

/// Everything that is known of a world from outside of the engine.
pub(crate) struct Truth {
    pub(crate) began: Instant,
    pub(crate) history: Vec<String>,
    pub(crate) broken: Option<String>,
    pub(crate) plans: BTreeMap<MessageId, Plan>,
    /// Position within its group of a FIFO queue.
    pub(crate) groups: BTreeMap<MessageId, (String, usize)>,
    pub(crate) calls: BTreeMap<MessageId, u32>,
    /// By which lives each message was handled: in each of them at most once.
    pub(crate) succeeded: BTreeMap<MessageId, BTreeSet<u32>>,
    pub(crate) active: BTreeSet<(u32, MessageId)>,
    /// The newest receipt of each message that a life was given, and when.
    pub(crate) given: BTreeMap<(u32, MessageId), (Receipt, Instant)>,
    /// Which life was given the newest of all.
    pub(crate) newest: BTreeMap<MessageId, u32>,
    pub(crate) deletes_confirmed: BTreeMap<u32, u64>,
    pub(crate) failed_receives: BTreeMap<u32, Vec<Instant>>,
    /// Lives that are over: whatever stops now, stops rightly.
    pub(crate) over: BTreeSet<u32>,
    /// How many lives did not end by themselves.
    pub(crate) killed: usize,
    pub(crate) target_up: bool,
    /// Nothing goes wrong in the queue, and time does not leap: then much more must hold.
    pub(crate) calm: bool,
}

/// The eyes of one process, or of nobody before the first begins. Clones see the same world.
#[derive(Clone)]
pub(crate) struct Witness {
    pub(crate) queue: MemoryQueue,
    /// Which process it is that calls.
    life: u32,
    truth: Arc<Mutex<Truth>>,
    max_receive_count: Option<u32>,
    fifo: bool,
    /// Tell the story while it happens, to see where it does not end.
    loud: bool,
}

impl Witness {
    pub(crate) fn new(queue: MemoryQueue, max_receive_count: Option<u32>, fifo: bool) -> Self {
        let truth = Truth {
            began: Instant::now(),
            history: Vec::new(),
            broken: None,
            plans: BTreeMap::new(),
            groups: BTreeMap::new(),
            calls: BTreeMap::new(),
            succeeded: BTreeMap::new(),
            active: BTreeSet::new(),
            given: BTreeMap::new(),
            newest: BTreeMap::new(),
            deletes_confirmed: BTreeMap::new(),
            failed_receives: BTreeMap::new(),
            over: BTreeSet::new(),
            killed: 0,
            target_up: true,
            calm: false,
        };
        Witness {
            queue,
            life: 0,
            truth: Arc::new(Mutex::new(truth)),
            max_receive_count,
            fifo,
            loud: std::env::var_os("STREAM_SQSD_LOUD").is_some(),
        }
    }

    /// The same for another process.
    pub(crate) fn of(&self, life: u32) -> Self {
        Witness { life, ..self.clone() }
    }

    pub(crate) fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }

    pub(crate) fn tell(&self, what: impl AsRef<str>) {
        let mut truth = self.truth();
        let at = truth.began.elapsed().as_secs_f64();
        if self.loud {
            eprintln!("{at:12.3} s  {}", what.as_ref());
        }
        truth.history.push(format!("{at:12.3} s  {}", what.as_ref()));
    }

    /// A promise is broken: the first one is kept.
    pub(crate) fn broken(&self, what: impl Into<String>) {
        let what = what.into();
        self.tell(format!("BROKEN: {what}"));
        self.truth().broken.get_or_insert(what);
    }

    /// A handler begins to work on a message.
    pub(crate) fn begins(&self, id: &MessageId, slots: usize) -> (Plan, u32, Working) {
        let life = self.life;
        let (plan, call) = {
            let mut truth = self.truth();
            let call = truth.calls.entry(id.clone()).or_default();
            *call += 1;
            let call = *call;
            (truth.plans[id], call)
        };
        self.tell(format!("life {life}: handler of {id} called, call {call} ({plan:?})"));
        if !self.truth().active.insert((life, id.clone())) {
            self.broken(format!("{id} is at work twice at the same time"));
        }
        let active = self.truth().active.iter().filter(|(of, _)| *of == life).count();
        if active > slots {
            self.broken(format!("{active} handlers at work with {slots} slots"));
        }
        if self.truth().succeeded.get(id).is_some_and(|lives| lives.contains(&life)) {
            self.broken(format!("the handler of {id} is called again after it succeeded in the same process"));
        }
        self.check_order(id);
        let waited = self.truth().given.get(&(life, id.clone())).map(|(_, at)| at.elapsed()).unwrap_or_default();
        let first = call == 1 && self.truth().groups.is_empty();
        // A target that was busy or down is sent less for a while, whatever the message.
        let degraded = |plan: &Plan| matches!(plan, Plan::BusyAtFirst(_) | Plan::NeedsTarget | Plan::Poison);
        let most = if self.truth().plans.values().any(degraded) { 300 } else { 1 };
        if self.truth().calm && first && waited > Duration::from_secs(most) {
            self.broken(format!("{id} waited {waited:?} in this process before anybody worked on it"));
        }
        (plan, call, Working { witness: self.clone(), id: id.clone(), ended: false })
    }

    /// Within a group every earlier message must be over: handled, gone, or on its last receive and given up. One that no
    /// route takes has no work that could come too late.
    fn check_order(&self, id: &MessageId) {
        let earlier: Vec<MessageId> = {
            let truth = self.truth();
            let Some((group, position)) = truth.groups.get(id) else { return };
            let before = |other: &MessageId| {
                let (of, at) = &truth.groups[other];
                of == group
                    && at < position
                    && !truth.succeeded.contains_key(other)
                    && truth.plans[other] != Plan::Unrouted
            };
            truth.groups.keys().filter(|other| before(other)).cloned().collect()
        };
        for other in earlier {
            if let Some(receives) = self.queue.receive_count(&other)
                && self.max_receive_count.is_none_or(|most| receives < most)
            {
                self.broken(format!("{id} is worked on before {other}, which comes first in its group"));
            }
        }
    }

    /// SQS takes from one to ten.
    fn check_batch(&self, messages: usize) {
        if !(1..=10).contains(&messages) {
            self.broken(format!("{messages} messages in one call"));
        }
    }

    pub(crate) fn queue_is_fifo(&self) -> bool {
        self.fifo
    }

    /// How many messages are hidden because this process was the last to be given them.
    pub(crate) fn hidden_here(&self) -> usize {
        let ids: Vec<MessageId> = {
            let truth = self.truth();
            truth.newest.iter().filter(|(_, life)| **life == self.life).map(|(id, _)| id.clone()).collect()
        };
        ids.iter().filter(|id| self.queue.hidden_until(id).is_some()).count()
    }

    pub(crate) fn story(&self) -> String {
        self.truth().history.join("\n")
    }
}

/// A handler that is at work.
pub(crate) struct Working {
    witness: Witness,
    id: MessageId,
    ended: bool,
}

impl Working {
    pub(crate) fn succeeds(mut self) {
        self.ended = true;
        let life = self.witness.life;
        self.witness.tell(format!("life {life}: handler of {} succeeds", self.id));
        let mut truth = self.witness.truth();
        let lives = truth.succeeded.entry(self.id.clone()).or_default();
        lives.insert(life);
        let (times, calm, killed) = (lives.len(), truth.calm, truth.killed);
        drop(truth);
        // Only a kill comes between a success and its delete.
        if calm && times > killed + 1 {
            self.witness.broken(format!("{} succeeded {times} times with {killed} kills", self.id));
        }
    }

    pub(crate) fn fails(mut self, how: &str) {
        self.ended = true;
        self.witness.tell(format!("life {}: handler of {} {how}", self.witness.life, self.id));
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if !self.ended {
            self.witness.tell(format!("life {}: handler of {} is dropped", self.witness.life, self.id));
        }
        self.witness.truth().active.remove(&(self.witness.life, self.id.clone()));
    }
}

/// An open receive: to drop it before it has hung is what strands messages.
struct Open {
    witness: Witness,
    opened: Instant,
    wait: Duration,
    answered: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let life = self.witness.life;
        let over = self.witness.truth().over.contains(&life);
        let age = self.opened.elapsed();
        if !over && age < self.wait + Duration::from_secs(2) {
            self.witness.broken(format!("a receive is cancelled after {age:?} of its {:?}", self.wait));
        } else {
            self.witness.tell(format!("life {life}: a receive is given up after {age:?}"));
        }
    }
}

impl Queue for Witness {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let life = self.life;
        let mut open = Open { witness: self.clone(), opened: Instant::now(), wait, answered: false };
        self.check_batch(max);
        let answer = self.queue.receive(max, wait, visibility).await;
        open.answered = true;
        let mut line = format!("life {life}: receive {max} for {wait:?} →");
        match &answer {
            Ok(deliveries) => {
                for delivery in deliveries {
                    let id = &delivery.receipt.message_id;
                    let _ = write!(line, " {id} (receive {})", delivery.receive_count);
                }
            }
            Err(error) => {
                let _ = write!(line, " {error}");
            }
        }
        self.tell(line);
        match &answer {
            Ok(deliveries) => {
                for delivery in deliveries {
                    let id = &delivery.receipt.message_id;
                    self.truth().given.insert((life, id.clone()), (delivery.receipt.clone(), Instant::now()));
                    self.truth().newest.insert(id.clone(), life);
                    let at_work = self.truth().active.iter().any(|(_, other)| other == id);
                    if at_work && self.truth().calm {
                        self.broken(format!("the lease of {id} ran out while its handler was at work"));
                    }
                }
            }
            Err(_) => {
                let now = Instant::now();
                let mut truth = self.truth();
                let failed = truth.failed_receives.entry(life).or_default();
                failed.push(now);
                failed.retain(|at| now.duration_since(*at) < Duration::from_secs(10));
                let failed = failed.len();
                drop(truth);
                // Seven receives may be open at the same time, and all of them fail at once.
                if failed > 22 {
                    self.broken(format!("{failed} failed receives within ten seconds"));
                }
            }
        }
        answer
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        let life = self.life;
        self.check_batch(batch.len());
        for receipt in batch {
            let id = &receipt.message_id;
            let may = {
                let truth = self.truth();
                // What another process has handled, this one cannot know.
                let handled = truth.succeeded.get(id).is_some_and(|lives| lives.contains(&life));
                handled || truth.plans.get(id) == Some(&Plan::Unrouted)
            };
            if !may {
                self.broken(format!("{id} is deleted though its handler did not succeed in this process"));
            }
        }
        let answer = self.queue.delete(batch).await;
        let mut line = format!("life {life}: delete");
        match &answer {
            Ok(entries) => {
                for (receipt, entry) in batch.iter().zip(entries) {
                    let id = &receipt.message_id;
                    let gone = self.queue.receive_count(id).is_none();
                    let how = match entry {
                        Ok(()) if gone => "ok",
                        Ok(()) => "ok, and nothing deleted",
                        Err(error) => &error.code,
                    };
                    let _ = write!(line, " {id} ({how})");
                    let mut truth = self.truth();
                    // With an older receipt an OK says nothing, unless the newer one comes at this very moment.
                    let given = truth.given.get(&(life, id.clone()));
                    let newest = given.is_some_and(|(newest, at)| newest == receipt || at.elapsed().is_zero());
                    if entry.is_ok() && newest {
                        *truth.deletes_confirmed.entry(life).or_default() += 1;
                    }
                }
            }
            Err(error) => {
                let _ = write!(line, " of {} → {error}", batch.len());
            }
        }
        self.tell(line);
        answer
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        self.check_batch(batch.len());
        let answer = self.queue.change_visibility(batch).await;
        let mut line = format!("life {}: hide", self.life);
        for (position, (receipt, delay)) in batch.iter().enumerate() {
            let how = match &answer {
                Ok(entries) => entries[position].as_ref().err().map_or("ok", |error| &error.code).to_owned(),
                Err(error) => error.label().to_owned(),
            };
            let _ = write!(line, " {} for {delay:?} ({how})", receipt.message_id);
        }
        self.tell(line);
        answer
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        self.queue.facts().await
    }

    fn known(&self) -> QueueFacts {
        self.queue.known()
    }

    fn reconnect(&self) {
        self.tell("the connections are opened again");
        self.queue.reconnect();
    }
}
