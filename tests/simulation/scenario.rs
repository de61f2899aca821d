//! One scenario: a queue, messages, targets as they are, and processes one after the other. Run, it gives a [`Record`].

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stream_sqsd::consumer::{Consumer, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::time::Instant;

use crate::record::{Record, Watched};
use crate::target::{Answer, Limit, LiveTarget, Nature, Target};

/// How the state is looked at, apart from the calls themselves.
const LOOK: Duration = Duration::from_secs(1);

/// For how long nothing may be received though there is every reason to.
const STANDS: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) slots: usize,
    pub(crate) bytes: usize,
    pub(crate) max_receive_count: Option<u32>,
    pub(crate) fifo: bool,
    pub(crate) visibility: Duration,
    pub(crate) retention: Option<Duration>,
    /// The longest that a call to the queue takes.
    pub(crate) queue_latency: Duration,
    /// One for each route.
    pub(crate) targets: Vec<Target>,
    /// In the order in which they are sent.
    pub(crate) messages: Vec<Message>,
    /// The processes before the last one.
    pub(crate) lives: Vec<(Fate, Duration)>,
    /// Messages that never succeed are waited for until then.
    pub(crate) poison_until: Duration,
    /// It is over then, whatever is left.
    pub(crate) longest: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) at: Duration,
    pub(crate) route: usize,
    /// The type of its event, among those of its route.
    pub(crate) kind: usize,
    pub(crate) nature: Nature,
    pub(crate) bytes: usize,
    pub(crate) group: u32,
}

impl Default for Message {
    fn default() -> Self {
        Message { at: Duration::ZERO, route: 0, kind: 0, nature: Nature::Good, bytes: 0, group: 0 }
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Shutdown,
    Killed,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            seed: 1,
            slots: 64,
            bytes: 256 << 20,
            max_receive_count: Some(3),
            fifo: false,
            visibility: Duration::from_secs(60),
            retention: None,
            queue_latency: Duration::ZERO,
            targets: vec![Target::default()],
            messages: Vec::new(),
            lives: Vec::new(),
            poison_until: Duration::ZERO,
            longest: Duration::from_secs(24 * 3600),
        }
    }
}

impl Scenario {
    /// One target, and so many good messages that wait for it from the beginning.
    pub(crate) fn of(target: Target, messages: usize) -> Self {
        Scenario { targets: vec![target], messages: vec![Message::default(); messages], ..Scenario::default() }
    }

    /// Whether its target takes a message in the end: never for poison, nor for a type that fails for longer than what
    /// can be told from poison.
    pub(crate) fn can_succeed(&self, message: usize) -> bool {
        let message = &self.messages[message];
        let too_long = Duration::from_secs(300);
        let fails = |target: &Target| {
            target.failing.iter().any(|one| one.kind == message.kind && one.until.saturating_sub(one.from) > too_long)
        };
        message.nature == Nature::Good && !fails(&self.targets[message.route])
    }

    /// Whether the target fails for a message from its first call to the end.
    pub(crate) fn always_fails(&self, message: usize) -> bool {
        let message = &self.messages[message];
        let for_good = |target: &Target| {
            target.failing.iter().any(|one| one.kind == message.kind && one.from.is_zero() && one.until > self.longest)
        };
        message.nature == Nature::Poison || for_good(&self.targets[message.route])
    }

    /// Whether a message of its group comes before it that is never handled. Then it waits until that one is
    /// dead-lettered: as long as it takes where the heads of all groups fail, and for ever without a dead-letter queue.
    pub(crate) fn is_behind_poison(&self, message: usize) -> bool {
        let group = self.messages[message].group;
        self.fifo && (0..message).any(|other| self.messages[other].group == group && !self.can_succeed(other))
    }

    /// What the scenario is, in a few lines.
    pub(crate) fn describe(&self) -> String {
        let Scenario { messages, .. } = self;
        let count = |nature| messages.iter().filter(|message| message.nature == nature).count();
        let without = Scenario { messages: Vec::new(), ..self.clone() };
        let last = messages.last().map(|message| message.at).unwrap_or_default();
        format!(
            "{without:?}\n{} messages, {} poison, {} that time out; the last one sent at {last:?}",
            messages.len(),
            count(Nature::Poison),
            count(Nature::TimesOut),
        )
    }

    pub(crate) fn run(&self) -> Record {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(self.live_through())
    }

    async fn live_through(&self) -> Record {
        BEGAN.set(Some(Instant::now()));
        let queue = MemoryQueue::new(
            MemorySettings::new()
                .with_visibility_timeout(self.visibility)
                .with_max_receive_count(self.max_receive_count)
                .with_fifo(self.fifo)
                .with_retention(self.retention)
                .with_wall_clock(time_of_day)
                .with_faults(Faults::new().with_latency(self.queue_latency))
                .with_seed(self.seed),
        );
        let watched = Watched::new(queue, self.messages.len());
        let targets = self.targets.iter().enumerate();
        let live = |(number, target): (usize, &Target)| {
            Arc::new(LiveTarget::new(target.clone(), watched.began, self.seed ^ (number as u64 + 1)))
        };
        let targets: Vec<_> = targets.map(live).collect();
        let world = async {
            tokio::join!(self.send_all(&watched), self.look(&watched));
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = world => {}
            () = self.live(&watched, &targets) => {}
        }
        watched.look_for_the_dead();
        let mut record = std::mem::take(&mut *watched.record());
        record.end = watched.began.elapsed();
        record.expired = watched.queue.counts().expired;
        record
    }

    async fn send_all(&self, watched: &Watched) {
        for (number, message) in self.messages.iter().enumerate() {
            tokio::time::sleep_until(watched.began + message.at).await;
            let padding = " ".repeat(message.bytes);
            let body = format!(r#"{{"type":"{}.{}"{padding}}}"#, route_name(message.route), message.kind);
            let id = match self.fifo {
                true => watched.queue.send_to_group(body, &message.group.to_string()),
                false => watched.queue.send(body),
            };
            let mut record = watched.record();
            record.ids.insert(id.clone(), number);
            record.id_of.push(id);
            record.sent[number] = Some(watched.began.elapsed());
        }
    }

    async fn live(&self, watched: &Watched, targets: &[Arc<LiveTarget>]) {
        for (number, (fate, after)) in self.lives.iter().enumerate() {
            self.process(&watched.of(number), targets, *fate, tokio::time::sleep(*after)).await;
            tokio::time::sleep(LOOK).await;
        }
        let over = self.over(watched);
        self.process(&watched.of(self.lives.len()), targets, Fate::Killed, over).await;
    }

    async fn process(
        &self,
        watched: &Watched,
        targets: &[Arc<LiveTarget>],
        fate: Fate,
        until: impl Future<Output = ()>,
    ) {
        let settings = Settings::new()
            .with_concurrency(self.slots)
            .with_max_in_flight_bytes(self.bytes)
            .with_random_seed(self.seed)
            .with_wall_clock(time_of_day)
            .with_time_suspended(|| Duration::ZERO);
        let began = watched.began.elapsed();
        let consumer = Consumer::new(watched.clone(), self.router(watched, targets), settings);
        let told = tokio::sync::Notify::new();
        let run = consumer.run(told.notified());
        tokio::pin!(run);
        let ended = tokio::select! {
            biased;
            summary = &mut run => Some(summary),
            () = until => None,
        };
        let ended = match (ended, fate) {
            (None, Fate::Killed) => None,
            (None, Fate::Shutdown) => {
                told.notify_one();
                Some(run.await)
            }
            (ended, _) => ended,
        };
        let mut record = watched.record();
        if !ended.is_none_or(|summary| summary.is_ok_and(|summary| summary.adds_up())) {
            record.wrong.push("a process did not start, or its summary does not add up".into());
        }
        record.lives.push((began, watched.began.elapsed()));
    }

    fn router(&self, watched: &Watched, targets: &[Arc<LiveTarget>]) -> Router {
        let messages: Arc<[Message]> = self.messages.clone().into();
        let mut router = Router::new();
        for (number, target) in targets.iter().enumerate() {
            let (watched, target, messages) = (watched.clone(), target.clone(), messages.clone());
            let groups = self.fifo.then_some(self.max_receive_count);
            router = router.route(&format!("{}.*", route_name(number)), move |_: Event, context: Context| {
                handle(watched.clone(), target.clone(), messages.clone(), groups, number, context)
            });
        }
        router
    }

    /// Waits until it is worth a look: nothing is to be seen before a target that is down is back.
    async fn a_while(&self, watched: &Watched) {
        let now = watched.began.elapsed();
        let back = self.targets.iter().filter_map(|target| target.is_down(now)).map(|outage| outage.until).max();
        let long = back.map_or(LOOK, |back| (back - now).clamp(LOOK, LOOK * 60));
        tokio::time::sleep(long).await;
    }

    /// Looks now and then for the dead, and for a queue that stands.
    async fn look(&self, watched: &Watched) {
        let mut since = None;
        loop {
            self.a_while(watched).await;
            watched.look_for_the_dead();
            let now = watched.began.elapsed();
            if !self.could_receive(watched, now) {
                since = None;
                continue;
            }
            let began = *since.get_or_insert(now);
            if now - began > STANDS && watched.record().last_receive < began {
                let what = format!("nothing was received from {began:?} to {now:?}, though all that it needs is there");
                watched.record().stood.push(what);
                since = None;
            }
        }
    }

    /// Whether nothing stands in the way of a receive that would bring a good message: no receive is open, there are
    /// slots and bytes, and each target was there and took messages not long ago.
    fn could_receive(&self, watched: &Watched, now: Duration) -> bool {
        if self.fifo && (0..self.messages.len()).any(|number| self.always_fails(number)) {
            // The heads of all groups may be such.
            return false;
        }
        let record = watched.record();
        let lately = now < record.last_receive + LOOK * 2;
        if lately || record.open_receives > 0 || record.at_work >= self.slots || !self.targets_are_well(&record, now) {
            return false;
        }
        let (mut held, mut blocked, mut visible) = (0, std::collections::BTreeSet::new(), Vec::new());
        for (number, id) in record.id_of.iter().enumerate().filter(|(number, _)| !record.over[*number]) {
            let message = &self.messages[number];
            match (watched.queue.receive_count(id), watched.queue.hidden_until(id)) {
                (None, _) => {}
                // There is something to do without a receive.
                (Some(_), Some(_)) if self.can_succeed(number) => return false,
                (Some(_), Some(_)) => {
                    held += message.bytes;
                    blocked.insert(message.group);
                }
                (Some(_), None) => visible.push(number),
            }
        }
        let may_come = |number: &usize| !self.fifo || !blocked.contains(&self.messages[*number].group);
        held + (2 << 20) < self.bytes && visible.iter().filter(|number| self.can_succeed(**number)).any(may_come)
    }

    fn targets_are_well(&self, record: &Record, now: Duration) -> bool {
        let lately = |long: Duration| now.saturating_sub(long);
        (0..self.targets.len()).all(|route| {
            let target = &self.targets[route];
            let slow = |limit: &Limit| match limit {
                Limit::Rate { per_second, .. } => *per_second < 0.5,
                _ => false,
            };
            let success =
                || record.calls.iter().rev().find(|call| call.route == route && call.answer == Some(Answer::Taken));
            // Until the first success after an outage the route is rightly taken to be down.
            let down_since = target.outages.iter().rev().find(|one| one.from <= now).map(|one| one.until);
            let was_down = down_since.is_some_and(|back| success().is_none_or(|call| call.ended < back + LOOK * 10));
            // So is one on which nothing has succeeded for about twelve hours: more that always fail than can be held came
            // first.
            let long = lately(Duration::from_secs(11 * 3600));
            let seems_down = !long.is_zero()
                && success().is_none_or(|call| call.ended < long)
                && record.calls.iter().rev().any(|call| call.route == route);
            let calls = || {
                let recent =
                    record.calls.iter().rev().take_while(|call| call.begun >= lately(Duration::from_secs(330)));
                recent.filter(|call| call.route == route)
            };
            let named = calls().any(|call| matches!(call.answer, Some(Answer::Busy(Some(_)))));
            let taken = |within| calls().any(|call| call.answer == Some(Answer::Taken) && call.ended >= lately(within));
            let failed = calls().any(|call| call.answer != Some(Answer::Taken));
            !was_down
                && !seems_down
                && !target.limits_at(now).iter().any(slow)
                && !named
                && (taken(STANDS / 2) || !failed)
        })
    }

    /// Waits until all that can succeed is gone, and poison too or its time is over.
    async fn over(&self, watched: &Watched) {
        let end = watched.began + self.longest;
        let mut first_left = 0;
        while Instant::now() < end {
            self.a_while(watched).await;
            let counts = watched.queue.counts();
            if (counts.sent as usize) < self.messages.len() {
                continue;
            }
            if counts.visible + counts.hidden == 0 {
                return;
            }
            if watched.began.elapsed() >= self.poison_until {
                let record = watched.record();
                let left = |number: &usize| {
                    !record.over[*number] && self.can_succeed(*number) && !self.is_behind_poison(*number)
                };
                first_left = (first_left..self.messages.len()).find(left).unwrap_or(self.messages.len());
                if first_left == self.messages.len() {
                    return;
                }
            }
        }
    }
}

async fn handle(
    watched: Watched,
    target: Arc<LiveTarget>,
    messages: Arc<[Message]>,
    groups: Option<Option<u32>>,
    route: usize,
    context: Context,
) -> Result<(), HandlerError> {
    let working = watched.begins(route, context.message_id());
    let number = watched.record().ids[context.message_id()];
    if let Some(most) = groups {
        check_order(&watched, &messages, number, most);
    }
    let message = messages[number];
    let answer = target.call(message.nature, message.kind).await;
    working.ends(answer);
    answer.outcome()
}

/// Every earlier message of the group is handled, or gone, or on its last receive.
fn check_order(watched: &Watched, messages: &[Message], number: usize, most: Option<u32>) {
    let mut record = watched.record();
    let of_group = |other: &usize| messages[*other].group == messages[number].group && !record.over[*other];
    let waits = |id: &_| watched.queue.receive_count(id).is_some_and(|count| most.is_none_or(|most| count < most));
    let overtaken = (0..number).filter(of_group).find(|other| waits(&record.id_of[*other]));
    if let Some(other) = overtaken {
        record.wrong.push(format!("message {number} is worked on before message {other} of its group"));
    }
}

fn route_name(number: usize) -> char {
    (b'a' + number as u8) as char
}

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The time of day in the scenario of this thread.
fn time_of_day() -> SystemTime {
    let elapsed = BEGAN.get().map(|began| began.elapsed()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + elapsed
}
