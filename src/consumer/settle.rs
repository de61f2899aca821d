//! Deletes, retry delays and releases, ten to a call.
//!
//! Workers hand in single receipts and wait for the answer to theirs; what comes together within a moment goes out in one
//! batch call. Every entry of every answer is read: SQS answers HTTP 200 and names the entries that failed. This room
//! carries out what the worker decided and decides nothing itself.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, warn};

use super::clock::later;
use super::latency::{Latency, calls_for};
use super::lease::Lease;
use crate::queue::{BATCH, EntryError, EntryResult, Queue, QueueError, Receipt};
use crate::telemetry::{Cause, Request, Telemetry};

/// How long the first entry of a batch waits for others. A delete that waits costs nothing but this.
const LINGER: Duration = Duration::from_millis(20);

/// How many calls of one kind may be on their way at the same time; more when many entries wait, and of deletes one for each
/// ten slots, since a slot is taken until its delete is answered.
pub(super) const CALLS: usize = 16;

/// How many entries of one kind may wait to be gathered. A worker that finds no room waits for it.
const WAITING: usize = 10_000;

/// How long one call may take: longer than the queue's own retries need.
const CALL_LIMIT: Duration = Duration::from_secs(20);

/// How long the queue is asked again to hide a message that is nacked. After that its visibility timeout does it.
const NACK_LIMIT: Duration = Duration::from_secs(10);

/// Where workers hand in what is to be settled. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    deletes: mpsc::Sender<Entry<Receipt>>,
    visibility_changes: mpsc::Sender<Entry<(Receipt, Duration)>>,
    telemetry: Arc<Telemetry>,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

/// Why an entry was not carried out.
#[derive(Debug)]
enum Refusal {
    /// The queue refused this entry.
    Entry(EntryError),
    /// The whole call failed, and may have been carried out all the same.
    Call,
}

/// How a delete ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// The queue confirmed it, for the newest receipt.
    Confirmed,
    /// The lease was lost before: whether it is deleted is not known.
    Unconfirmed,
}

impl Settler {
    /// The settler, and the two services that carry out its calls for as long as they are polled.
    pub(crate) fn new<Q: Queue>(
        queue: &Arc<Q>,
        telemetry: &Arc<Telemetry>,
        latency: &Arc<Latency>,
        concurrency: usize,
    ) -> (Self, impl Future<Output = ()> + Send + use<Q>, impl Future<Output = ()> + Send + use<Q>) {
        let (deletes, delete_entries) = mpsc::channel(WAITING);
        let (visibility_changes, visibility_change_entries) = mpsc::channel(WAITING);
        let call = {
            let (queue, telemetry, latency) = (queue.clone(), telemetry.clone(), latency.clone());
            move |batch: Vec<Receipt>| {
                let (queue, telemetry, latency) = (queue.clone(), telemetry.clone(), latency.clone());
                async move {
                    telemetry.delete_calls.add(1);
                    let issued = Instant::now();
                    let answer = tokio::time::timeout(CALL_LIMIT, queue.delete(&batch)).await;
                    latency.observe(issued.elapsed());
                    read(answer, Request::Delete, &telemetry)
                }
            }
        };
        let delete_service = coalesce(delete_entries, CALLS.max(concurrency / BATCH), call);
        let call = {
            let (queue, telemetry, latency) = (queue.clone(), telemetry.clone(), latency.clone());
            move |batch: Vec<(Receipt, Duration)>| {
                let (queue, telemetry, latency) = (queue.clone(), telemetry.clone(), latency.clone());
                async move {
                    telemetry.change_visibility_calls.add(1);
                    let issued = Instant::now();
                    let answer = tokio::time::timeout(CALL_LIMIT, queue.change_visibility(&batch)).await;
                    latency.observe(issued.elapsed());
                    read(answer, Request::ChangeVisibility, &telemetry)
                }
            }
        };
        let visibility_service = coalesce(visibility_change_entries, CALLS, call);
        (Settler { deletes, visibility_changes, telemetry: telemetry.clone() }, delete_service, visibility_service)
    }

    /// Deletes a message whose work is done, again and again until the queue confirms it or the lease is lost.
    ///
    /// The lease is renewed all the while. A call that is on its way is always waited for: its answer may be the
    /// confirmation.
    pub(crate) async fn delete(&self, lease: &Lease, mut jitter: impl FnMut() -> f64) -> Deleted {
        let mut pause = Duration::from_millis(100);
        while let Some(receipt) = lease.receipt() {
            match ask(&self.deletes, receipt.clone()).await {
                // With an older receipt SQS may answer OK and delete nothing. The lease has none any longer when its message has
                // come back as a delivery of its own.
                _ if lease.receipt().as_ref() != Some(&receipt) && !mutant!("believe-an-old-receipt") => continue,
                Ok(()) => return Deleted::Confirmed,
                Err(Refusal::Entry(error)) if error.is_final() => {
                    if let Some(times) =
                        self.telemetry.worth_logging(Cause::new(("delete", "refused"), &error.to_string()))
                    {
                        warn!(message_id = %lease.message_id(), error = %error, times,
                            "a handled message could not be deleted; its repeat will be, without calling the handler");
                    }
                    return Deleted::Unconfirmed;
                }
                Err(Refusal::Entry(error)) => {
                    if let Some(times) =
                        self.telemetry.worth_logging(Cause::new(("delete", "entry"), &error.to_string()))
                    {
                        warn!(message_id = %lease.message_id(), error = %error, times, "a delete failed; trying again");
                    }
                }
                Err(Refusal::Call) => {}
            }
            tokio::select! {
                biased;
                () = lease.lost().wait() => return Deleted::Unconfirmed,
                () = tokio::time::sleep(pause.mul_f64(0.5 + jitter())) => {}
            }
            pause = pause.saturating_mul(2).min(Duration::from_secs(5));
        }
        Deleted::Unconfirmed
    }

    /// Lets a message go, to be received again after `delay`. True when the queue confirmed it; otherwise the message
    /// comes back when its visibility timeout runs out.
    pub(crate) async fn nack(&self, lease: &Lease, delay: Duration) -> bool {
        if !mutant!("renew-what-was-let-go") {
            lease.stop_renewing().await;
        }
        let end = later(Instant::now(), NACK_LIMIT);
        let mut pause = Duration::from_millis(100);
        while let Some(receipt) = lease.receipt() {
            let left = lease.ceiling().saturating_duration_since(Instant::now());
            let delay = delay.min(Duration::from_secs(left.as_secs().saturating_sub(1)));
            // Unlike a delete this needs no second look at the receipt: a lease that is no longer renewed takes no newer
            // one, and a message that is back meanwhile has a lease of its own.
            match ask(&self.visibility_changes, (receipt, delay)).await {
                Ok(()) => return true,
                Err(Refusal::Entry(error)) if error.is_final() => return false,
                Err(_) if lease.is_lost() || later(Instant::now(), pause) > end => return false,
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = pause.saturating_mul(2);
        }
        false
    }
}

/// Hands in one entry and waits for its answer.
async fn ask<T>(entries: &mpsc::Sender<Entry<T>>, item: T) -> Result<(), Refusal> {
    let (answer, answered) = oneshot::channel();
    // The service ends only with the engine; until then a worker that asks it is not polled again.
    entries.send(Entry { item, answer }).await.map_err(|_| Refusal::Call)?;
    answered.await.unwrap_or(Err(Refusal::Call))
}

/// Gathers entries into batches and calls for each, until nobody can hand in any more.
async fn coalesce<T, C, F>(mut entries: mpsc::Receiver<Entry<T>>, least_calls: usize, call: C)
where
    T: Send + 'static,
    C: Fn(Vec<T>) -> F + Send,
    F: Future<Output = Option<Vec<EntryResult>>> + Send + 'static,
{
    let mut calls = JoinSet::new();
    loop {
        let waiting = if mutant!("sixteen-returns-whatever-waits") { 0 } else { entries.len() };
        let first = tokio::select! {
            biased;
            Some(_) = calls.join_next(), if !calls.is_empty() => continue,
            entry = entries.recv(), if calls.len() < calls_for(waiting, least_calls) => entry,
        };
        let Some(first) = first else { break };
        let mut batch = vec![first.item];
        let mut answers = vec![first.answer];
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        while batch.len() < BATCH {
            tokio::select! {
                biased;
                entry = entries.recv() => match entry {
                    Some(entry) => {
                        batch.push(entry.item);
                        answers.push(entry.answer);
                    }
                    None => break,
                },
                () = &mut linger => break,
            }
        }
        let call = call(batch);
        // On the heap once, rather than moved from the stack into the task and about in it.
        calls.spawn(Box::pin(async move {
            let results = call.await.into_iter().flatten().map(|result| result.map_err(Refusal::Entry));
            let results = results.map(|result| if mutant!("ignore-failed-entries") { Ok(()) } else { result });
            // An entry that the queue did not answer for is one that failed.
            let results = results.chain(std::iter::repeat_with(|| Err(Refusal::Call)));
            for (answer, result) in answers.into_iter().zip(results) {
                // Anyone who asked may be gone; then nobody needs the answer.
                let _ = answer.send(result);
            }
        }));
    }
    while calls.join_next().await.is_some() {}
}

/// Reads the answer of a whole call; None when it failed.
fn read(
    answer: Result<Result<Vec<EntryResult>, QueueError>, tokio::time::error::Elapsed>,
    request: Request,
    telemetry: &Telemetry,
) -> Option<Vec<EntryResult>> {
    let failure = match answer {
        Ok(Ok(entries)) => {
            telemetry.requested(request, Ok(()));
            return Some(entries);
        }
        Ok(Err(failure)) => failure,
        Err(_) => QueueError::TimedOut { after: CALL_LIMIT },
    };
    telemetry.requested(request, Err(failure.label()));
    let what = request.label();
    if let Some(times) = telemetry.worth_logging(Cause::new((what, failure.label()), &failure.to_string())) {
        if failure.needs_action() {
            error!(error = %failure, kind = failure.label(), times, "a {what} is refused; handled messages are kept until it is not");
        } else {
            warn!(error = %failure, kind = failure.label(), times, "a {what} failed; trying again");
        }
    }
    None
}
