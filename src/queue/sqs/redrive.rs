//! Between a queue and its dead-letter queue: where that is, and AWS's own task that moves messages back.
//!
//! Here is what SQS is asked and what it answers. Whether messages should be moved is decided by anyone who asks.

use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::ListMessageMoveTasksResultEntry;
use tokio::time::Instant;

use super::errors::{one_line, queue_error};
use super::queue::SqsQueue;
use super::url::QueueUrl;
use crate::queue::interface::QueueError;

/// The most messages a second that a move task may be told to move.
///
/// Source: `MaxNumberOfMessagesPerSecond` of `StartMessageMoveTask`.
pub const MAX_MOVE_RATE: u32 = 500;

/// How many tasks of a queue are listed.
///
/// Source: `MaxResults` of `ListMessageMoveTasks`, 1 to 10.
const TASKS_LISTED: i32 = 10;

/// A task of SQS that moves all messages of a dead-letter queue to another queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MoveTask {
    /// What it is doing.
    pub state: MoveState,
    /// What cancels it. SQS tells it only while the task runs.
    pub handle: Option<String>,
    /// The ARN of the queue that it moves to; None: to the queue that each message came from.
    pub destination: Option<String>,
    /// About how many messages it has moved.
    pub moved: u64,
    /// About how many messages there were to move when it started.
    pub to_move: Option<u64>,
    /// Why it failed, in the words of SQS.
    pub failure: Option<String>,
    /// When it started.
    pub started_at: Option<SystemTime>,
}

/// The state of a [`MoveTask`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoveState {
    /// It moves messages.
    Running,
    /// It has moved all that there were.
    Completed,
    /// It was told to stop and has not yet.
    Cancelling,
    /// It was told to stop and has. What was moved by then stays where it is.
    Cancelled,
    /// It has stopped by itself: see [`MoveTask::failure`].
    Failed,
    /// A state that this version does not know.
    Other(String),
}

impl MoveState {
    /// Whether messages may still be moved.
    pub fn is_over(&self) -> bool {
        matches!(self, MoveState::Completed | MoveState::Cancelled | MoveState::Failed)
    }

    fn of(text: &str) -> Self {
        match text {
            "RUNNING" => MoveState::Running,
            "COMPLETED" => MoveState::Completed,
            "CANCELLING" => MoveState::Cancelling,
            "CANCELLED" => MoveState::Cancelled,
            "FAILED" => MoveState::Failed,
            other => MoveState::Other(one_line(other)),
        }
    }
}

impl SqsQueue {
    /// The dead-letter queue of this queue, on the same connections and credentials; None where it has no redrive policy.
    ///
    /// Its URL is asked for by `GetQueueUrl`. Where that is not allowed it is taken to lie beside this queue's own, since SQS
    /// allows a dead-letter queue in the same region and account only.
    ///
    /// # Errors
    ///
    /// [`QueueError`]; the permission that it needs is `sqs:GetQueueAttributes` on this queue.
    pub async fn dead_letter_queue(&self) -> Result<Option<SqsQueue>, QueueError> {
        let Some(redrive) = self.attributes().await?.redrive else { return Ok(None) };
        self.at_arn(&redrive.dead_letter_queue).await.map(Some)
    }

    /// The queue with this ARN, on the same connections and credentials. It must lie in the same region.
    ///
    /// # Errors
    ///
    /// [`QueueError`], also where there is no such queue.
    pub async fn at_arn(&self, arn: &str) -> Result<SqsQueue, QueueError> {
        let bad = |message: String| QueueError::BadAnswer { message };
        let ["arn", _, "sqs", region, account, name] = arn.split(':').collect::<Vec<_>>()[..] else {
            return Err(bad(format!("{:?} is not the ARN of a queue", one_line(arn))));
        };
        if region != self.region() {
            let message = format!("{} lies in another region than {}", one_line(arn), self.url);
            return Err(QueueError::NoSuchQueue { message });
        }
        let started = Instant::now();
        let call = self.clients().calls.get_queue_url().queue_name(name).queue_owner_aws_account_id(account);
        let url = match call.send().await.map_err(|error| queue_error("sqs:GetQueueUrl", started, error)) {
            Ok(answer) => QueueUrl::parse(answer.queue_url().unwrap_or_default()),
            Err(QueueError::AccessDenied { .. }) => self.url.sibling(name),
            Err(error) => return Err(error),
        };
        Ok(self.with_url(url.map_err(|error| bad(error.to_string()))?))
    }

    /// Whether this is the same queue as another, however their URLs are written.
    pub fn is_same_queue(&self, other: &SqsQueue) -> bool {
        let account = |queue: &SqsQueue| queue.url.account().map(str::to_owned);
        let accounts_differ = account(self).zip(account(other)).is_some_and(|(one, other)| one != other);
        self.region() == other.region() && self.url().name() == other.url().name() && !accounts_differ
    }

    /// Starts a task that moves all messages of the dead-letter queue `source`, and returns its handle. Without
    /// `destination` each goes to the queue that it came from. `rate` is messages a second, 1 to [`MAX_MOVE_RATE`]; without
    /// it SQS finds one.
    ///
    /// It goes on in SQS, whatever becomes of this process. Each message that it moves has a new id and a new time.
    ///
    /// # Errors
    ///
    /// [`QueueError`]; the permissions that it needs are `sqs:StartMessageMoveTask`, `sqs:ReceiveMessage`,
    /// `sqs:DeleteMessage` and `sqs:GetQueueAttributes` on the source, and `sqs:SendMessage` on the destination.
    pub async fn start_move(
        &self,
        source: &str,
        destination: Option<&str>,
        rate: Option<u32>,
    ) -> Result<String, QueueError> {
        let rate = rate.map(|rate| i32::try_from(rate.clamp(1, MAX_MOVE_RATE)).unwrap_or(i32::MAX));
        let call = self.clients().calls.start_message_move_task().source_arn(source);
        let call = call.set_destination_arn(destination.map(str::to_owned)).set_max_number_of_messages_per_second(rate);
        let started = Instant::now();
        let answer = call.send().await.map_err(|error| queue_error("sqs:StartMessageMoveTask", started, error))?;
        answer.task_handle.ok_or_else(|| QueueError::BadAnswer { message: "it holds no task handle".to_owned() })
    }

    /// The last move tasks of the dead-letter queue with this ARN, the newest first.
    ///
    /// # Errors
    ///
    /// [`QueueError`]; the permission that it needs is `sqs:ListMessageMoveTasks`.
    pub async fn moves(&self, source: &str) -> Result<Vec<MoveTask>, QueueError> {
        let call = self.clients().calls.list_message_move_tasks().source_arn(source).max_results(TASKS_LISTED);
        let started = Instant::now();
        let answer = call.send().await.map_err(|error| queue_error("sqs:ListMessageMoveTasks", started, error))?;
        Ok(answer.results.unwrap_or_default().into_iter().map(task).collect())
    }

    /// Tells a move task to stop, and returns about how many messages it has moved. They stay where they are.
    ///
    /// # Errors
    ///
    /// [`QueueError`]; the permission that it needs is `sqs:CancelMessageMoveTask`.
    pub async fn cancel_move(&self, handle: &str) -> Result<u64, QueueError> {
        let started = Instant::now();
        let answer = self.clients().calls.cancel_message_move_task().task_handle(handle).send().await;
        let answer = answer.map_err(|error| queue_error("sqs:CancelMessageMoveTask", started, error))?;
        Ok(count(answer.approximate_number_of_messages_moved()))
    }
}

fn task(entry: ListMessageMoveTasksResultEntry) -> MoveTask {
    let text = |text: &String| one_line(text);
    let since_1970 = (entry.started_timestamp > 0).then(|| Duration::from_millis(count(entry.started_timestamp)));
    MoveTask {
        state: MoveState::of(entry.status().unwrap_or_default()),
        destination: entry.destination_arn.as_ref().map(text),
        moved: count(entry.approximate_number_of_messages_moved),
        to_move: entry.approximate_number_of_messages_to_move.map(count),
        failure: entry.failure_reason.as_ref().map(text),
        started_at: since_1970.and_then(|time| SystemTime::UNIX_EPOCH.checked_add(time)),
        handle: entry.task_handle,
    }
}

/// A count of SQS's, which cannot be negative.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
