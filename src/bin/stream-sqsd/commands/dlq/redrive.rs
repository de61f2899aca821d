//! `stream-sqsd dlq redrive`: AWS's own move task, with its progress, and with what it costs said first.

use std::time::Duration;

use anyhow::anyhow;
use serde_json::json;
use stream_sqsd::queue::QueueError;
use stream_sqsd::queue::sqs::{MAX_MOVE_RATE, MoveState, MoveTask, QueueUrl, SqsQueue};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::commands::dlq::arguments::RedriveArguments;
use crate::commands::dlq::place::{Place, refused};
use crate::config::secret::Missing;
use crate::terminal::exit::{Exit, Failure, print, say};
use crate::terminal::question::Consent;
use crate::terminal::screen::Progress;

/// How often SQS is asked how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long a task that was cancelled is waited for.
const CANCELLED_WITHIN: Duration = Duration::from_secs(30);

/// How many questions about a task may fail in a row before nobody waits for it any more.
const FAILURES: u32 = 10;

const COSTS: &str = "\
Each message gets a new id and a new time there: what goes by the id (the postgres key, X-Webhook-Id, the journal) \
recognises no repeat. All of them are moved, also those that will fail again. `stream-sqsd dlq retry` handles them where \
they lie, and keeps their ids.";

pub(super) async fn redrive(arguments: RedriveArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    if arguments.rate.is_some_and(|rate| rate > MAX_MOVE_RATE) {
        return Err(Failure::usage(format!("--rate: SQS moves {MAX_MOVE_RATE} messages a second at the most")));
    }
    let place = Place::read(arguments.place, Missing::Warned, stop)?;
    let consent = Consent::of(arguments.yes, &place.screen)?;
    let queue = place.dead_letter_queue().await?;
    let attributes = place.unless_stopped(queue.attributes()).await?.map_err(|error| refused(error, &queue))?;
    let source = attributes.arn.or_else(|| queue.arn());
    let source = source.ok_or_else(|| Failure::usage(format!("the ARN of {} is not known", queue.url())))?;
    let to = arguments.to.as_deref().map(|to| arn_of(to, &source, &queue)).transpose()?;

    let before = place.unless_stopped(queue.moves(&source)).await?.map_err(|error| refused(error, &queue))?;
    if let Some(task) = before.iter().find(|task| !task.state.is_over()) {
        let moved = task.moved;
        return Err(Failure::new(
            Exit::Unavailable,
            anyhow!("a move task of {} runs already and has moved about {moved}: SQS runs one at a time", queue.url()),
        ));
    }

    let whereto = to.as_deref().map_or("the queue that each came from".to_owned(), str::to_owned);
    let count = attributes.messages.map_or("All".to_owned(), |messages| format!("About {messages}"));
    let what = format!("{count} messages of {} are moved to {whereto}. {COSTS}", queue.url());
    if !consent.ask(&what, &place.stop).await? {
        return Ok(Exit::Done);
    }
    let handle = queue.start_move(&source, to.as_deref(), arguments.rate).await;
    let handle = handle.map_err(|error| refused(error, &queue))?;
    let task = Task { queue: &queue, source: &source, handle };
    let (task, cancelled) = task.watch(&place).await?;
    report(&task, cancelled, arguments.json)
}

/// The ARN of a queue that is named by its URL, its ARN or its name.
fn arn_of(text: &str, source: &str, queue: &SqsQueue) -> Result<String, Failure> {
    let beside = |name: &str| source.rsplit_once(':').map(|(before, _)| format!("{before}:{name}"));
    let arn = match text {
        arn if arn.starts_with("arn:") => Some(arn.to_owned()),
        url if url.contains("://") => {
            let url = QueueUrl::parse(url).map_err(|error| Failure::usage(format!("--to: {error}")))?;
            url.arn_in(queue.region()).or_else(|| beside(url.name()))
        }
        name => beside(name),
    };
    let arn = arn.ok_or_else(|| Failure::usage(format!("--to: {text:?} is not a queue")))?;
    if arn == source {
        return Err(Failure::usage("--to: this is the dead-letter queue itself"));
    }
    // SQS says so too, after the question; emulators do not.
    if arn.ends_with(".fifo") != source.ends_with(".fifo") {
        return Err(Failure::usage(
            "--to: messages of a FIFO queue can only be moved to a FIFO queue, and others to no such",
        ));
    }
    Ok(arn)
}

/// A task that was started here.
struct Task<'a> {
    queue: &'a SqsQueue,
    source: &'a str,
    handle: String,
}

impl Task<'_> {
    /// Shows how far it is until it is over. A signal cancels it.
    async fn watch(&self, place: &Place) -> Result<(MoveTask, bool), Failure> {
        let progress = place.screen.progress(None, "{spinner} {msg} {elapsed}");
        let mut cancelled_at = None;
        let mut failures = 0;
        loop {
            match self.look().await {
                Ok(Some(task)) if task.state.is_over() => return Ok((task, cancelled_at.is_some())),
                Ok(task) => {
                    failures = 0;
                    show(&progress, task.as_ref());
                }
                Err(error) if error.needs_action() || failures >= FAILURES => {
                    say("the task goes on in SQS, where nobody watches it any more");
                    return Err(refused(error, self.queue));
                }
                Err(_) => failures += 1,
            }
            match cancelled_at {
                None => tokio::select! { biased;
                    () = place.stop.cancelled() => {
                        self.cancel().await?;
                        cancelled_at = Some(Instant::now());
                    }
                    () = sleep(ASK_EVERY) => {}
                },
                Some(at) if at.elapsed() > CANCELLED_WITHIN => {
                    return Err(Failure::new(
                        Exit::Interrupted,
                        anyhow!("SQS was told to cancel the task, and has not yet"),
                    ));
                }
                Some(_) => sleep(ASK_EVERY).await,
            }
        }
    }

    async fn cancel(&self) -> Result<(), Failure> {
        match self.queue.cancel_move(&self.handle).await {
            Ok(_) => Ok(()),
            // It may have just come to its end, which the next look shows.
            Err(error) if !error.needs_action() => Ok(()),
            Err(error) => Err(refused(error, self.queue)),
        }
    }

    /// SQS tells the handle only while the task runs; after that it is the newest.
    async fn look(&self) -> Result<Option<MoveTask>, QueueError> {
        let mut tasks = self.queue.moves(self.source).await?;
        let ours = tasks.iter().position(|task| task.handle.as_ref() == Some(&self.handle)).unwrap_or(0);
        Ok((ours < tasks.len()).then(|| tasks.swap_remove(ours)))
    }
}

fn show(progress: &Progress, task: Option<&MoveTask>) {
    let moved = task.map_or(0, |task| task.moved);
    let of = task.and_then(|task| task.to_move).map(|all| format!(" of about {all}")).unwrap_or_default();
    progress.message(format!("about {moved}{of} moved"));
}

/// Says what became of it.
fn report(task: &MoveTask, cancelled: bool, as_json: bool) -> Result<Exit, Failure> {
    let (state, exit) = match &task.state {
        MoveState::Completed => ("completed", Exit::Done),
        MoveState::Cancelled if cancelled => ("cancelled", Exit::Interrupted),
        // By somebody else.
        MoveState::Cancelled => ("cancelled", Exit::Findings),
        _ => ("failed", Exit::Findings),
    };
    if as_json {
        let report = json!({
            "state": state, "approximate_moved": task.moved, "approximate_to_move": task.to_move, "error": task.failure,
        });
        print(&format!("{report}\n"))?;
        return Ok(exit);
    }
    print(&format!("{state}: about {} moved\n", task.moved))?;
    if let Some(failure) = &task.failure {
        say(&format!("SQS says: {failure}"));
        if failure.contains("CouldNotDetermineMessageSource") {
            say(
                "Messages that were sent to the dead-letter queue directly have no queue to go back to: say one by --to.",
            );
        }
    }
    Ok(exit)
}
