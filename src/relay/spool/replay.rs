//! From the spool to the queue, in order, for as long as there is something in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::keeper::Spool;
use super::record::{Line, Position};
use crate::queue::{BATCH, Outgoing, Sender, batches};
use crate::relay::deliver::{Courier, Delivered};

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(8);

/// How long is waited after a call that failed: at first, and at the most.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// The oldest records that go in one call.
struct Batch {
    messages: Vec<Outgoing>,
    /// The lines of the messages.
    texts: Vec<String>,
    /// Lines that are damaged, which stand between them.
    damaged: Vec<String>,
    end: Position,
}

/// Sends what is in the spool, until it is told to stop: then the call that is under way is finished.
pub(crate) async fn replay<S: Sender>(spool: Arc<Spool>, courier: Courier<S>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match oldest(spool.read(BATCH).await, courier.keeps_order()) {
            Some(batch) => send(batch, &spool, &courier, &stop).await,
            // On its way to the disk, or the disk fails.
            None if spool.is_in_use() => pause(FIRST_DELAY, &stop).await,
            None => tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = spool.filled.notified() => {}
            },
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

/// What goes in the next call. On a FIFO queue no two messages of one group are in it: where the first fails and the second
/// does not, the second would overtake.
fn oldest(lines: Vec<Line>, keeps_order: bool) -> Option<Batch> {
    let mut batch = Batch { messages: Vec::new(), texts: Vec::new(), damaged: Vec::new(), end: lines.first()?.end };
    let mut groups = BTreeSet::new();
    for line in lines {
        match line.message {
            None => batch.damaged.push(line.text),
            Some(message) => {
                let is_second = keeps_order && !groups.insert(message.group.clone());
                batch.messages.push(message);
                let fits = batches(&batch.messages).next().map(<[_]>::len) == Some(batch.messages.len());
                if is_second || !fits {
                    batch.messages.pop();
                    break;
                }
                batch.texts.push(line.text);
            }
        }
        batch.end = line.end;
    }
    Some(batch)
}

/// Sends a batch until each message of it is in the queue, or will never be.
async fn send<S: Sender>(batch: Batch, spool: &Spool, courier: &Courier<S>, stop: &CancellationToken) {
    let Batch { mut messages, mut texts, damaged, end } = batch;
    let records = (messages.len() + damaged.len()) as u64;
    if !damaged.is_empty() {
        error!(records = damaged.len(), "records of the spool are damaged; they are kept in its file set-aside");
    }
    let mut aside = damaged;
    let mut delay = FIRST_DELAY;
    while !messages.is_empty() {
        let delivered = courier.deliver(&messages, Instant::now() + CALL_LIMIT).await;
        let mut left = (Vec::new(), Vec::new());
        let delivered = delivered.into_iter().chain(std::iter::repeat(Delivered::NotNow));
        for ((message, text), delivered) in messages.into_iter().zip(texts).zip(delivered) {
            match delivered {
                Delivered::Yes => {}
                Delivered::NotNow => {
                    left.0.push(message);
                    left.1.push(text);
                }
                Delivered::Never(why) => {
                    error!(error = why, "the queue will never take a spooled event; it is kept in the file set-aside");
                    aside.push(text);
                }
            }
        }
        (messages, texts) = left;
        if !messages.is_empty() {
            pause(delay, stop).await;
            if stop.is_cancelled() {
                return;
            }
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }
    while !spool.advance(end, records, aside.clone()).await {
        // Its disk fails. To send the same again would double it.
        pause(LONGEST_DELAY, stop).await;
        if stop.is_cancelled() {
            return;
        }
    }
    if !spool.is_in_use() {
        info!("the spool is empty: everything in it is in the queue");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use tokio::task::JoinSet;

    use super::*;
    use crate::queue::QueueError;
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
        let stop = CancellationToken::new();
        let mut replaying = JoinSet::new();
        replaying.spawn(replay(spool.clone(), courier(queue), stop.clone()));
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
            // An entry that fails is sent before anything behind its batch.
            4 => {
                Ok((0..batch.len()).map(|at| if at == 2 { refused("InternalError", false) } else { Ok(()) }).collect())
            }
            _ => Ok(batch.iter().map(|_| Ok(())).collect()),
        }));
        append_all(&spool, numbered(0..25)).await;
        replayed(&spool, &queue).await;
        let calls = queue.calls.lock().unwrap().clone();
        assert_eq!(calls[3..].iter().map(Vec::len).collect::<Vec<_>>(), [10, 1, 10, 5]);
        assert_eq!(calls[4], ["2"]);
        assert_eq!(calls[5..].concat(), (10..25).map(|number| number.to_string()).collect::<Vec<_>>());
        spool.close().await;
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_fifo_queue_no_call_holds_a_group_twice() {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        let queue = Arc::new(Scripted { fifo: true, ..Scripted::willing() });
        let grouped = ["a", "b", "a", "a", "b"].into_iter().zip(numbered(0..5));
        append_all(&spool, grouped.map(|(group, message)| message.with_group(group))).await;
        replayed(&spool, &queue).await;
        assert_eq!(*queue.calls.lock().unwrap(), [vec!["0", "1"], vec!["2"], vec!["3", "4"]]);
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
