//! Handles letters in place: the engine, on the dead-letter queue itself.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::account::{Account, Outcome, OutcomeKind};
use super::filter::Filter;
use super::hold::Standing;
use super::in_place::{Fate, InPlace, VISIBILITY, What};
use super::letter::Reason;
use super::opened::{DeadLetterError, DeadLetterQueue};
use super::scan::{Found, Scan, ScanEnded};
use crate::consumer::{Consumer, RunError, Settings, Unrouted};
use crate::decode::webhook_id_in_envelope;
use crate::queue::{Delivery, MessageId, Queue, Receipt, Trace, WebhookId};
use crate::router::Router;
use crate::telemetry::{FlowState, Monitor};

/// How long a target that is down is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is looked at the targets.
const LOOK: Duration = Duration::from_secs(1);

/// How long the engine's receives wait, which are from memory.
const WAIT: Duration = Duration::from_secs(1);

/// How letters are handled.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RetrySettings {
    /// The settings of the engine: slots, bytes, limits, grace. What a retry decides itself is not heeded: `wait`,
    /// `visibility`, `until_empty`, `unrouted`, `fifo_attempts` and `journal`.
    pub engine: Settings,
    /// How many letters that match are handled, at the most. Default: all.
    pub limit: Option<u64>,
    /// How many letters a second are given to handlers, at the most; more than 0. Default: as fast as the targets take them.
    pub rate: Option<f64>,
}

impl RetrySettings {
    /// These settings of the engine, without limits.
    pub fn new(engine: Settings) -> Self {
        RetrySettings { engine, limit: None, rate: None }
    }

    /// The same with another [`RetrySettings::limit`].
    pub fn with_limit(mut self, limit: Option<u64>) -> Self {
        self.limit = limit;
        self
    }

    /// The same with another [`RetrySettings::rate`].
    pub fn with_rate(mut self, per_second: Option<f64>) -> Self {
        self.rate = per_second;
        self
    }
}

/// What a retry did.
#[derive(Debug)]
#[non_exhaustive]
pub struct RetrySummary {
    /// What became of the messages that were seen.
    pub account: Account,
    /// Why it ended.
    pub ended: RetryEnded,
    /// Whether there may be more in the queue that matches.
    pub at_least: bool,
    /// How many messages could not be made visible: they come back when the hold of [`HOLD`](super::HOLD) runs out.
    pub not_returned: u64,
    /// Of [`RetryEnded::QueueFailed`]: what the queue answered.
    pub failure: Option<DeadLetterError>,
}

/// Why a retry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryEnded {
    /// Everything that could be seen was handled, failed, or did not match.
    Done,
    /// As many were handled as were asked for.
    LimitReached,
    /// Nothing succeeded for 5 minutes, and a target is down.
    TargetDown,
    /// It was told to stop.
    Stopped,
    /// As many messages are held as may be, or the queue says that too many are in flight.
    TooManyInFlight,
    /// The queue refused, or went on failing for a minute; or it refuses deletes, without which nothing should be handled.
    QueueFailed,
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Sends every letter that matches to its handler, in place, and deletes those that succeeded.
    ///
    /// Each is called once, save that one whose target is busy or down is tried again here, as everywhere, and while it is held
    /// the others of its routes that failed; when nothing has succeeded for 5 minutes, the run ends with what is left. Of
    /// several routes those that are done by its record are not called. One that fails stays, and so does an event that no route
    /// takes, whatever [`Settings::unrouted`] says. `done` is told what became of each message as soon as that is certain.
    ///
    /// On a FIFO queue each group is worked on in order, and stops at the first message that was not handled: at one that
    /// failed, and also at one that does not match. SQS shows nothing behind it beyond the ten of one receive, so to skip it
    /// would hold or break the order by chance. What is in the way can be exported and dropped.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError::Run`] when the settings of the engine do not fit together. A queue that fails later ends the run
    /// with [`RetryEnded::QueueFailed`].
    pub async fn retry(
        &self,
        filter: Filter,
        settings: RetrySettings,
        stop: impl Future<Output = ()> + Send + 'static,
        done: impl FnMut(&Outcome),
    ) -> Result<RetrySummary, DeadLetterError> {
        let scan = self.scan(std::future::pending());
        let desk =
            InPlace::new(self.queue.clone(), scan.holds.clone(), scan.fifo, Some(self.reader.clone()), settings.rate);
        let limit = settings.limit.unwrap_or(u64::MAX);
        let mut letters =
            Letters { scan, filter, limit, offered: 0, stopped: BTreeSet::new(), desk: desk.clone(), failure: None };
        let mut tally = Tally { account: Account::default(), done };
        let router = self.reader.router.clone();
        let ran = work(&desk, &mut letters, router, &settings, pin!(stop), &mut tally).await;
        let Letters { scan, failure, stopped, .. } = letters;
        tally.delete_what_was_handled(&scan).await;
        let end = scan.end().await;
        let ended = ran?;
        Ok(RetrySummary {
            account: tally.account,
            ended,
            at_least: ended != RetryEnded::Done || !stopped.is_empty() || desk.stopped_any(),
            not_returned: end.not_returned,
            failure: failure.or(desk.refusal().map(DeadLetterError::Queue)),
        })
    }
}

impl<Q: Queue> Scan<Q> {
    /// Sends an event to its route in the place of one that was found, which is deleted when the handler succeeded: for one
    /// that was edited. Its id, its times and its group stay.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError::Run`] when the settings do not fit together.
    pub async fn handle(
        &mut self,
        found: &Found,
        json: String,
        settings: &RetrySettings,
    ) -> Result<Outcome, DeadLetterError> {
        let id = &found.letter.message_id;
        let receipt = self.holds.receipt(id).unwrap_or_else(|| Receipt { message_id: id.clone(), handle: "".into() });
        let desk = InPlace::new(self.queue.clone(), self.holds.clone(), self.fifo, Some(self.reader.clone()), None);
        desk.offer(Delivery {
            receipt,
            body: json,
            receive_count: found.letter.receive_count,
            sent_at: found.letter.sent_at,
            group: found.letter.group.as_deref().map(Arc::from),
            trace: Trace::default(),
            // Of the body from before: the edited one has no envelope any more.
            webhook_id: WebhookId::among(&found.attributes).or_else(|| webhook_id_in_envelope(&found.body)),
            attributes: None,
        });
        let mut outcomes = Vec::new();
        let mut tally = Tally { account: Account::default(), done: |outcome: &Outcome| outcomes.push(outcome.clone()) };
        let router = self.reader.router.clone();
        let ran = work(&desk, &mut Nothing, router, settings, pin!(self.stop.as_mut()), &mut tally).await;
        tally.delete_what_was_handled(self).await;
        ran?;
        let left = || Outcome::new(id.clone(), OutcomeKind::Left, Some(why_left(None).to_owned()));
        Ok(outcomes.pop().unwrap_or_else(left))
    }
}

/// What brings letters before their handlers.
pub(super) trait Feed {
    /// The next letter to be handled; what is not to be handled is counted instead.
    fn next(&mut self, tally: &mut impl Told) -> Option<Delivery>;

    /// Waits until there may be more. May be dropped at any time.
    async fn wait(&mut self);

    /// Why there will be nothing more, if that is so.
    fn ended(&self) -> Option<RetryEnded>;

    /// Something became of a letter.
    fn settled(&mut self, fate: &Fate);

    /// Ends it, and counts what it still has, which is left for this reason.
    async fn end(&mut self, why: &str, tally: &mut impl Told);
}

/// Who is told what became of each letter.
pub(super) trait Told {
    fn tell(&mut self, outcome: Outcome);
}

/// The account of a run.
pub(super) struct Tally<D> {
    pub(super) account: Account,
    pub(super) done: D,
}

impl<D: FnMut(&Outcome)> Told for Tally<D> {
    fn tell(&mut self, outcome: Outcome) {
        self.account.count(outcome.kind);
        (self.done)(&outcome);
    }
}

impl<D: FnMut(&Outcome)> Tally<D> {
    /// Deletes what was handled and whose delete was not confirmed, once more.
    async fn delete_what_was_handled<Q: Queue>(&mut self, scan: &Scan<Q>) {
        let unconfirmed = |(id, standing)| match standing {
            Standing::Unconfirmed { counted } => Some((id, counted)),
            _ => None,
        };
        let unconfirmed: Vec<(MessageId, bool)> = scan.holds.all().into_iter().filter_map(unconfirmed).collect();
        let ids: Vec<MessageId> = unconfirmed.iter().map(|(id, _)| id.clone()).collect();
        let deleted = scan.holds.delete(&ids).await;
        for (id, counted) in unconfirmed {
            let is_deleted = deleted.contains(&id);
            if is_deleted {
                scan.holds.stands(&id, Standing::Gone);
            }
            let outcome = match is_deleted {
                true => Outcome::new(id, OutcomeKind::Handled, None),
                false => Outcome::new(id, OutcomeKind::Lost, Some("handled, but its delete was not confirmed".into())),
            };
            if !counted {
                self.tell(outcome);
            }
        }
    }
}

/// Runs the engine on what is offered, until there is nothing more, or a reason to stop.
pub(super) async fn work<Q: Queue, F: Feed>(
    desk: &Arc<InPlace<Q>>,
    feed: &mut F,
    router: Router,
    settings: &RetrySettings,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    tally: &mut impl Told,
) -> Result<RetryEnded, RunError> {
    let consumer = Consumer::new(desk.clone(), router, engine(settings)).observed_by(desk.clone());
    let monitor = consumer.monitor();
    let enough = Notify::new();
    let mut run = Box::pin(consumer.run(enough.notified()));
    let mut hope = Hope { since: Instant::now(), monitor };
    let mut ended = None;
    let mut left = Vec::new();
    let ran = loop {
        while ended.is_none()
            && desk.has_room()
            && let Some(letter) = feed.next(tally)
        {
            desk.offer(letter);
        }
        for fate in desk.results() {
            hope.settled(&fate);
            feed.settled(&fate);
            tell(fate, ended, tally);
        }
        let is_idle = desk.is_idle();
        if ended.is_none() {
            ended = match desk.refusal().filter(|_| !mutant!("go-on-when-nothing-can-be-deleted")) {
                Some(_) => Some(RetryEnded::QueueFailed),
                None if hope.is_lost(is_idle) => Some(RetryEnded::TargetDown),
                None => feed.ended().filter(|_| is_idle),
            };
            if ended.is_some() {
                left = desk.close();
                enough.notify_one();
            }
        }
        if ended.is_some() && desk.only_waits_for_refused_deletes() {
            break Ok(());
        }
        let wants_more = ended.is_none() && feed.ended().is_none() && desk.has_room();
        tokio::select! {
            biased;
            summary = &mut run => break summary.map(|_| ()),
            () = &mut stop, if ended.is_none() => {
                ended = Some(RetryEnded::Stopped);
                left = desk.close();
                enough.notify_one();
            }
            () = desk.settled() => {}
            () = feed.wait(), if wants_more => {}
            () = sleep(LOOK) => {}
        }
    };
    drop(run);
    for fate in desk.results() {
        feed.settled(&fate);
        tell(fate, ended, tally);
    }
    let why = why_left(ended);
    let offered = left.into_iter().map(|letter| letter.receipt.message_id);
    for id in offered.chain(desk.unfinished()) {
        tally.tell(Outcome::new(id, OutcomeKind::Left, Some(why.to_owned())));
    }
    feed.end(why, tally).await;
    ran.map(|()| ended.unwrap_or(RetryEnded::Stopped))
}

/// The settings of the engine for letters in place.
fn engine(settings: &RetrySettings) -> Settings {
    Settings {
        wait: WAIT,
        visibility: Some(VISIBILITY),
        until_empty: false,
        unrouted: Unrouted::Leave,
        fifo_attempts: Some(1),
        journal: None,
        ..settings.engine.clone()
    }
}

/// Whether the targets may come to take something yet.
struct Hope {
    /// The last success, or the last time that nothing was to be handled.
    since: Instant,
    monitor: Monitor,
}

impl Hope {
    fn settled(&mut self, fate: &Fate) {
        if matches!(fate.what, What::Handled) {
            self.since = Instant::now();
        }
    }

    fn is_lost(&mut self, is_idle: bool) -> bool {
        if is_idle {
            self.since = Instant::now();
        }
        let waits_for_its_target =
            || self.monitor.flows().iter().any(|flow| flow.retrying > 0 && !matches!(flow.state, FlowState::Flowing));
        self.since.elapsed() >= PATIENCE && waits_for_its_target()
    }
}

/// Why a letter is left that was not tried to the end.
fn why_left(ended: Option<RetryEnded>) -> &'static str {
    match ended {
        Some(RetryEnded::TargetDown) => "nothing succeeded for 5 minutes: its target is down",
        Some(RetryEnded::LimitReached) => "as many were handled as were asked for",
        Some(RetryEnded::QueueFailed) => "the queue failed before it was handled",
        _ => "the run was told to stop before it was handled",
    }
}

/// A message before it in its group was not handled.
const BEHIND: &str = "a message before it in its group was not handled";

fn tell(Fate { message_id, what }: Fate, ended: Option<RetryEnded>, tally: &mut impl Told) {
    let mut record = None;
    let (kind, reason) = match what {
        What::Handled => (OutcomeKind::Handled, None),
        // It is deleted at the end, or it is not.
        What::DeleteUnconfirmed => return,
        What::Failed(failed) => {
            let reason = Reason::by_record(&failed).to_string();
            record = Some(failed);
            (OutcomeKind::Failed, Some(reason))
        }
        What::Behind => (OutcomeKind::Left, Some(BEHIND.to_owned())),
        What::Returned(before, done) => {
            record = done;
            let why = if ended.is_some() { why_left(ended) } else { BEHIND };
            let reason = if before.is_empty() { why.to_owned() } else { format!("{why}; before: {before}") };
            (OutcomeKind::Left, Some(reason))
        }
        What::Lost { at_work: true } => (OutcomeKind::Lost, Some("its hold ran out while it was handled".to_owned())),
        What::Lost { at_work: false } => (OutcomeKind::Lost, Some("its hold ran out before it was handled".to_owned())),
    };
    tally.tell(Outcome { record, ..Outcome::new(message_id, kind, reason) });
}

/// Letters from the dead-letter queue, those that match.
struct Letters<Q> {
    scan: Scan<Q>,
    filter: Filter,
    limit: u64,
    offered: u64,
    /// Groups in which a message does not match: nothing behind it is offered.
    stopped: BTreeSet<Arc<str>>,
    desk: Arc<InPlace<Q>>,
    failure: Option<DeadLetterError>,
}

impl<Q: Queue> Letters<Q> {
    /// Counts a letter that is not to be handled, and returns one that is.
    fn judge(&mut self, delivery: Delivery, tally: &mut impl Told) -> Option<Delivery> {
        let Scan { reader, retention, .. } = &self.scan;
        let matches = self.filter.is_all() || self.filter.matches(&reader.read(&delivery, *retention));
        let group = delivery.group.as_ref().filter(|_| self.scan.fifo);
        let is_behind = self.desk.is_stopped(group) || group.is_some_and(|group| self.stopped.contains(group));
        if matches && !is_behind {
            return Some(delivery);
        }
        if !mutant!("skip-what-does-not-match-in-a-group") {
            self.stopped.extend(group.cloned());
        }
        let (kind, reason) = match matches {
            true => (OutcomeKind::Left, Some(BEHIND.to_owned())),
            false => (OutcomeKind::NotMatched, None),
        };
        let id = delivery.receipt.message_id;
        self.scan.holds.stands(&id, Standing::Judged(kind));
        tally.tell(Outcome::new(id, kind, reason));
        None
    }
}

impl<Q: Queue> Feed for Letters<Q> {
    fn next(&mut self, tally: &mut impl Told) -> Option<Delivery> {
        while self.offered < self.limit {
            let delivery = self.scan.take()?;
            if let Some(letter) = self.judge(delivery, tally) {
                self.offered += 1;
                return Some(letter);
            }
        }
        self.scan.finish();
        None
    }

    async fn wait(&mut self) {
        if let Err(failure) = self.scan.receive().await {
            self.failure = Some(failure);
            self.scan.finish();
        }
    }

    fn ended(&self) -> Option<RetryEnded> {
        if self.failure.is_some() {
            return Some(RetryEnded::QueueFailed);
        }
        if self.offered >= self.limit {
            return Some(RetryEnded::LimitReached);
        }
        match self.scan.ended().filter(|_| self.scan.is_over()) {
            Some(ScanEnded::TooManyInFlight) => Some(RetryEnded::TooManyInFlight),
            other => other.map(|_| RetryEnded::Done),
        }
    }

    fn settled(&mut self, fate: &Fate) {
        if matches!(fate.what, What::Handled) {
            self.scan.look_again();
        }
    }

    async fn end(&mut self, why: &str, tally: &mut impl Told) {
        self.scan.finish();
        self.scan.wait_for_receives().await;
        while let Some(delivery) = self.scan.take() {
            if let Some(letter) = self.judge(delivery, tally) {
                tally.tell(Outcome::new(letter.receipt.message_id, OutcomeKind::Left, Some(why.to_owned())));
            }
        }
    }
}

/// No further letters.
struct Nothing;

impl Feed for Nothing {
    fn next(&mut self, _: &mut impl Told) -> Option<Delivery> {
        None
    }

    async fn wait(&mut self) {
        std::future::pending().await
    }

    fn ended(&self) -> Option<RetryEnded> {
        Some(RetryEnded::Done)
    }

    fn settled(&mut self, _: &Fate) {}

    async fn end(&mut self, _: &str, _: &mut impl Told) {}
}
