//! From the spool to the queue, in order, for as long as there is something in it.
//!
//! While events come, they come through the spool, so it must empty as fast as events are sent without it: several calls are
//! under way at the same time. On a FIFO queue they hold different groups, each of them in order; a standard queue keeps no
//! order that could be lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::keeper::Spool;
use super::record::{Line, Position};
use crate::queue::{BATCH, MAX_MESSAGE_SIZE, Outgoing, Sender};
use crate::relay::deliver::{Courier, Delivered};

/// How many records are read at once, so that a FIFO queue's calls are filled although a group stands in each only once.
const WINDOW: usize = 256;

/// How many calls are under way at the same time.
const CALLS: usize = 8;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(8);

/// How long is waited after a call that failed: at first, and at the most.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Sends what is in the spool, until it is told to stop: then the calls that are under way are finished.
pub(crate) async fn replay<S: Sender>(spool: Arc<Spool>, courier: Courier<S>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let lines = spool.read(WINDOW).await;
        if !lines.is_empty() {
            Window::new(lines).send(&spool, &courier, &stop).await;
        } else if spool.is_in_use() {
            // On its way to the disk, or the disk fails.
            pause(FIRST_DELAY, &stop).await;
        } else {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = spool.filled.notified() => {}
            }
        }
    }
}

/// Waits, unless it is told to stop.
async fn pause(delay: Duration, stop: &CancellationToken) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = sleep(delay) => {}
    }
}

/// Where a record is.
enum State {
    Waiting(Outgoing),
    /// In a call, with the group of its message.
    AtWork(Option<String>),
    InQueue,
    /// The queue will never take it, or it is damaged.
    Aside,
}

/// A record of the window.
struct Record {
    state: State,
    /// Its line.
    text: String,
    /// Where the next one begins.
    end: Position,
}

/// The oldest records of the spool, of which those at the beginning are forgotten when they are in the queue.
struct Window {
    records: Vec<Record>,
    /// How many of them the spool has forgotten.
    forgotten: usize,
}

/// The messages of one call, with their places in the window.
type Call = Vec<(usize, Outgoing)>;

impl Window {
    fn new(lines: Vec<Line>) -> Self {
        let damaged = lines.iter().filter(|line| line.message.is_none()).count();
        if damaged > 0 {
            error!(records = damaged, "records of the spool are damaged; they are kept in its file set-aside");
        }
        let record =
            |Line { message, text, end }| Record { state: message.map_or(State::Aside, State::Waiting), text, end };
        Window { records: lines.into_iter().map(record).collect(), forgotten: 0 }
    }

    /// Sends all of it, or what is possible before it is told to stop. After a call that failed the next one is alone, until
    /// one succeeds.
    async fn send<S: Sender>(mut self, spool: &Spool, courier: &Courier<S>, stop: &CancellationToken) {
        let (mut delay, mut most) = (FIRST_DELAY, CALLS);
        let mut calls = FuturesUnordered::new();
        while self.forget(spool, stop).await {
            while calls.len() < most
                && !stop.is_cancelled()
                && let Some(call) = self.next_call(courier.keeps_order())
            {
                calls.push(deliver(courier, call));
            }
            match calls.next().await {
                Some((call, delivered)) => {
                    let all = self.settle(call, delivered);
                    if !all {
                        most = 0;
                    } else if most > 0 {
                        (delay, most) = (FIRST_DELAY, CALLS);
                    }
                }
                None if most == 0 && !stop.is_cancelled() => {
                    pause(delay, stop).await;
                    (delay, most) = ((delay * 2).min(LONGEST_DELAY), 1);
                }
                None => return,
            }
        }
    }

    /// The oldest messages that may go now. On a FIFO queue no two messages of one group are under way: where the first fails
    /// and the second does not, the second would overtake.
    fn next_call(&mut self, keeps_order: bool) -> Option<Call> {
        let (mut call, mut bytes, mut groups) = (Call::new(), 0, BTreeSet::new());
        for (place, record) in self.records.iter_mut().enumerate().skip(self.forgotten) {
            let message = match &record.state {
                State::Waiting(message) => message,
                State::AtWork(group) => {
                    groups.insert(group.clone());
                    continue;
                }
                State::InQueue | State::Aside => continue,
            };
            let group = message.group.clone();
            if keeps_order && groups.contains(&group) {
                continue;
            }
            bytes += message.size();
            if call.len() == BATCH || (bytes > MAX_MESSAGE_SIZE && !call.is_empty()) {
                break;
            }
            groups.insert(group.clone());
            if let State::Waiting(message) = std::mem::replace(&mut record.state, State::AtWork(group)) {
                call.push((place, message));
            }
        }
        Some(call).filter(|call| !call.is_empty())
    }

    /// Takes the outcome of a call over, and says whether nothing of it is left to send.
    fn settle(&mut self, call: Call, delivered: Vec<Delivered>) -> bool {
        let mut all = true;
        // What the answer leaves out has failed.
        let delivered = delivered.into_iter().chain(std::iter::repeat(Delivered::NotNow));
        for ((place, message), delivered) in call.into_iter().zip(delivered) {
            self.records[place].state = match delivered {
                Delivered::Yes => State::InQueue,
                Delivered::NotNow => {
                    all = false;
                    State::Waiting(message)
                }
                Delivered::Never(why) => {
                    error!(error = why, "the queue will never take a spooled event; it is kept in the file set-aside");
                    State::Aside
                }
            };
        }
        all
    }

    /// Lets the spool forget what need not be kept. False where nothing is left, or it was told to stop.
    async fn forget(&mut self, spool: &Spool, stop: &CancellationToken) -> bool {
        let rest = &self.records[self.forgotten..];
        let over = rest.iter().take_while(|record| matches!(record.state, State::InQueue | State::Aside)).count();
        let Some(last) = rest[..over].last() else { return true };
        let aside = rest[..over].iter().filter(|record| matches!(record.state, State::Aside));
        let aside: Vec<String> = aside.map(|record| record.text.clone()).collect();
        while !spool.advance(last.end, over as u64, aside.clone()).await {
            // Its disk fails. To send the same again would double it.
            pause(LONGEST_DELAY, stop).await;
            if stop.is_cancelled() {
                return false;
            }
        }
        self.forgotten += over;
        if !spool.is_in_use() {
            info!("the spool is empty: everything in it is in the queue");
        }
        self.forgotten < self.records.len()
    }
}

/// Sends the messages of a call, and says what became of each.
async fn deliver<S: Sender>(courier: &Courier<S>, call: Call) -> (Call, Vec<Delivered>) {
    let (places, messages): (Vec<usize>, Vec<Outgoing>) = call.into_iter().unzip();
    let delivered = courier.deliver(&messages, Instant::now() + CALL_LIMIT).await;
    (places.into_iter().zip(messages).collect(), delivered)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::SystemTime;

    use tokio::task::JoinSet;

    use super::*;
    use crate::queue::{EntryResult, QueueError};
    use crate::relay::budget::Budget;
    use crate::relay::deliver::tests::{Scripted, courier, refused};
    use crate::relay::remember::{Memory, Seen, Waiter};
    use crate::relay::settings::SpoolSettings;
    use crate::telemetry::{RelayOutcome, RelayTelemetry};

    fn open(directory: &Path) -> Arc<Spool> {
        let telemetry = Arc::new(RelayTelemetry::new());
        Arc::new(Spool::open(&SpoolSettings::new(directory), || SystemTime::UNIX_EPOCH, telemetry).unwrap())
    }

    fn append(spool: &Spool, message: Outgoing) -> Waiter {
        let budget = Budget::new(0, Arc::new(RelayTelemetry::new()));
        let Seen::First(ticket, waiter) = Memory::default().see(String::new()) else { panic!("nothing is known") };
        spool.append(message, ticket, budget.begin());
        waiter
    }

    async fn append_all(spool: &Spool, bodies: impl IntoIterator<Item = Outgoing>) {
        let waiters: Vec<Waiter> = bodies.into_iter().map(|message| append(spool, message)).collect();
        for waiter in waiters {
            assert_eq!(waiter.outcome().await, RelayOutcome::Spooled);
        }
    }

    fn numbered(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Outgoing> {
        numbers.map(|number| Outgoing::plain(number.to_string()))
    }

    /// Replays until the spool is empty.
    async fn replayed(spool: &Arc<Spool>, queue: &Arc<Scripted>) {
        replayed_by(spool, courier(queue)).await;
    }

    async fn replayed_by<S: Sender>(spool: &Arc<Spool>, courier: Courier<S>) {
        let stop = CancellationToken::new();
        let mut replaying = JoinSet::new();
        replaying.spawn(replay(spool.clone(), courier, stop.clone()));
        while spool.is_in_use() {
            sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        replaying.join_next().await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_comes_back_gets_all_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        let queue = Arc::new(Scripted::new(|call, batch| match call {
            1..=3 => Err(QueueError::Unreachable { message: String::new() }),
            // An entry that fails is the first of the next call.
            4 => {
                Ok((0..batch.len()).map(|at| if at == 2 { refused("InternalError", false) } else { Ok(()) }).collect())
            }
            _ => Ok(batch.iter().map(|_| Ok(())).collect()),
        }));
        append_all(&spool, numbered(0..25)).await;
        replayed(&spool, &queue).await;
        let calls = queue.calls.lock().unwrap().clone();
        // Three at once, then one at a time until one succeeds.
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5, 10, 10, 6]);
        assert_eq!(calls[4][0], "2");
        assert_eq!([&calls[4][1..], &calls[5]].concat(), (10..25).map(|number| number.to_string()).collect::<Vec<_>>());
        spool.close().await;
    }

    /// Messages of these groups, numbered.
    fn grouped<'a>(groups: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = Outgoing> {
        groups.into_iter().zip(numbered(0..u32::MAX)).map(|(group, message)| message.with_group(group))
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_fifo_queue_no_call_holds_a_group_twice() {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        let queue = Arc::new(Scripted { fifo: true, ..Scripted::willing() });
        append_all(&spool, grouped(["a", "b", "a", "a", "b"])).await;
        replayed(&spool, &queue).await;
        assert_eq!(*queue.calls.lock().unwrap(), [vec!["0", "1"], vec!["2", "4"], vec!["3"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_event_holds_back_its_own_channel_alone() {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        let script = Scripted::new(|call, batch| {
            let answer = |body: &str| if (call, body) == (1, "0") { refused("InternalError", false) } else { Ok(()) };
            Ok(batch.iter().map(|message| answer(&message.body)).collect())
        });
        let queue = Arc::new(Scripted { fifo: true, ..script });
        append_all(&spool, grouped(["a", "b", "a", "b"])).await;
        replayed(&spool, &queue).await;
        assert_eq!(*queue.calls.lock().unwrap(), [vec!["0", "1"], vec!["0", "3"], vec!["2"]]);
    }

    /// A FIFO queue that takes a second for each call, and what was sent to it side by side.
    #[derive(Default)]
    struct Slow {
        under_way: Mutex<Vec<Outgoing>>,
        /// Whether a group was in two calls.
        overlap: AtomicBool,
        calls: AtomicUsize,
        most_calls: AtomicUsize,
        taken: Mutex<Vec<Outgoing>>,
    }

    impl Sender for Slow {
        async fn send_batch(&self, batch: &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> {
            {
                let mut under_way = self.under_way.lock().unwrap();
                let groups: BTreeSet<_> = batch.iter().map(|message| &message.group).collect();
                if under_way.iter().any(|message| groups.contains(&message.group)) {
                    self.overlap.store(true, Ordering::Relaxed);
                }
                under_way.extend_from_slice(batch);
            }
            let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_calls.fetch_max(calls, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
            self.calls.fetch_sub(1, Ordering::Relaxed);
            self.under_way.lock().unwrap().retain(|message| !batch.contains(message));
            self.taken.lock().unwrap().extend_from_slice(batch);
            Ok(batch.iter().map(|_| Ok(())).collect())
        }

        fn keeps_order(&self) -> bool {
            true
        }

        fn open_new_connections(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_spool_is_emptied_by_calls_side_by_side_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        let queue = Arc::new(Slow::default());
        // Fewer than all calls have room for.
        let groups: Vec<String> = (0..400).map(|number| format!("group-{}", number % 75)).collect();
        append_all(&spool, grouped(groups.iter().map(String::as_str))).await;
        let telemetry = Arc::new(RelayTelemetry::new());
        replayed_by(&spool, Courier::new(queue.clone(), telemetry, true)).await;
        assert_eq!(queue.most_calls.load(Ordering::Relaxed), CALLS);
        assert!(!queue.overlap.load(Ordering::Relaxed), "a group was in two calls");
        let taken = queue.taken.lock().unwrap();
        assert_eq!(taken.len(), 400);
        let mut last = BTreeMap::new();
        for message in taken.iter() {
            let number: u32 = message.body.parse().unwrap();
            assert!(last.insert(&message.group, number).is_none_or(|before| before < number), "{:?}", message.group);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_queue_never_takes_is_set_aside_and_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        let queue = Arc::new(Scripted::new(|_, batch| {
            let answer = |body: &str| if body == "1" { refused("InvalidMessageContents", true) } else { Ok(()) };
            Ok(batch.iter().map(|message| answer(&message.body)).collect())
        }));
        append_all(&spool, numbered(0..3)).await;
        replayed(&spool, &queue).await;
        let aside = std::fs::read_to_string(directory.path().join("set-aside")).unwrap();
        assert!(aside.contains(r#""body":"1""#) && aside.lines().count() == 1, "{aside}");
    }

    #[tokio::test]
    async fn a_disk_that_notes_nothing_stops_nothing_and_doubles_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        // As on a full disk: the file that the position is written to cannot be written.
        std::fs::create_dir(directory.path().join("position.new")).unwrap();
        let queue = Arc::new(Scripted::willing());
        append_all(&spool, numbered(0..25)).await;
        tokio::time::timeout(Duration::from_secs(20), replayed(&spool, &queue)).await.expect("an empty spool");
        append_all(&spool, numbered(25..26)).await;
        replayed(&spool, &queue).await;
        assert_eq!(queue.bodies(), (0..26).map(|number| number.to_string()).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_replayed_is_not_sent_again_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        let queue = Arc::new(Scripted::new(|call, batch| match call {
            1 => Ok(batch.iter().map(|_| Ok(())).collect()),
            _ => Err(QueueError::Unreachable { message: String::new() }),
        }));
        append_all(&spool, numbered(0..15)).await;
        let stop = CancellationToken::new();
        let mut replaying = JoinSet::new();
        replaying.spawn(replay(spool.clone(), courier(&queue), stop.clone()));
        while queue.calls.lock().unwrap().len() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        replaying.join_next().await.unwrap().unwrap();
        spool.close().await;
        assert_eq!(append(&spool, Outgoing::plain(String::new())).outcome().await, RelayOutcome::Busy, "it is closed");

        let queue = Arc::new(Scripted::willing());
        replayed(&open(directory.path()), &queue).await;
        assert_eq!(queue.bodies(), (10..15).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
