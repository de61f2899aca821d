//! What every verb begins with: the configuration, the queue and its dead-letter queue, and the records of why messages
//! failed.

use std::fs::File;
use std::future::Future;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use stream_sqsd::dead_letters::{DeadLetterError, DeadLetterQueue, Filter, Options, Reader, Records};
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsQueue};
use stream_sqsd::queue::{Queue, QueueError, QueueFacts};
use stream_sqsd::router::Router;
use tokio_util::sync::CancellationToken;

use crate::commands::advice;
use crate::commands::dlq::arguments::{DlqPlace, FilterArguments, LookArguments};
use crate::config::diagnostics::nearest;
use crate::config::secret::Missing;
use crate::config::{self, Config};
use crate::daemon::reasons;
use crate::terminal::exit::{Exit, Failure, say};
use crate::terminal::log;
use crate::terminal::screen::Screen;

/// How long a receive waits for a first message. A long poll of any length asks all servers of the queue, and a person waits
/// for its end.
const WAIT: Duration = Duration::from_secs(3);

/// Where a verb works.
pub(super) struct Place {
    pub(super) config: Config,
    pub(super) screen: Screen,
    pub(super) stop: CancellationToken,
    dlq_url: Option<QueueUrl>,
}

impl Place {
    /// Reads the configuration, and asks nobody yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the arguments or the configuration. Whether a secret of a target may be missing is said by
    /// `missing`.
    pub(super) fn read(place: DlqPlace, missing: Missing, stop: CancellationToken) -> Result<Self, Failure> {
        let dlq_url = place.dlq_url.as_deref().map(|url| QueueUrl::parse(url.trim()));
        let dlq_url = dlq_url.transpose().map_err(|error| Failure::usage(format!("--dlq-url: {error}")))?;
        let config = config::of_run(place.settings, place.config.as_deref(), missing)?;
        let screen = Screen::new();
        log::start_from_warnings(config.log_format, &screen)?;
        Ok(Place { config, screen, stop, dlq_url })
    }

    /// Finds the dead-letter queue.
    ///
    /// # Errors
    ///
    /// Where there is none, where it is the queue itself, and where SQS refuses.
    pub(super) async fn dead_letter_queue(&self) -> Result<SqsQueue, Failure> {
        let connect = async |options| {
            let queue = SqsQueue::connect(Clone::clone(options)).await;
            queue.map_err(|error| advice::not_connected(error, options))
        };
        let queue = self.unless_stopped(connect(&self.config.queue)).await??;
        let dead = match &self.dlq_url {
            Some(url) => {
                let mut options = self.config.queue.clone();
                options.queue = QueueAddress::Url(url.clone());
                self.unless_stopped(connect(&options)).await??
            }
            None => {
                let found = self.unless_stopped(queue.dead_letter_queue()).await?;
                found.map_err(|error| refused(error, &queue))?.ok_or_else(|| no_redrive_policy(&queue))?
            }
        };
        if dead.is_same_queue(&queue) {
            return Err(Failure::usage(format!(
                "{} is the queue itself, not its dead-letter queue: leave out --dlq-url, or name the other one",
                dead.url()
            )));
        }
        Ok(dead)
    }

    /// Opens the dead-letter queue for looking, with these routes, and says what a look costs.
    ///
    /// # Errors
    ///
    /// As [`Place::dead_letter_queue`], and where a look would move messages on.
    pub(super) async fn open(&self, router: Router, look: &LookArguments) -> Result<Opened, Failure> {
        let records = self.records(look)?;
        let queue = Arc::new(self.dead_letter_queue().await?);
        let resource = queue.arn().unwrap_or_else(|| queue.url().to_string());
        let dead = self.open_with(queue.clone(), router, records.clone(), look.force).await?;
        let dead = dead.map_err(|error| failure(error, &resource))?;
        say("Looking at a message counts as a receive, and hides it until this ends.");
        Ok(Opened { dead, queue, records, force: look.force, resource })
    }

    /// The same queue with routes whose handlers are ready.
    ///
    /// # Errors
    ///
    /// As [`Place::open`].
    pub(super) async fn open_again(&self, opened: Opened, router: Router) -> Result<Opened, Failure> {
        let (queue, records) = (opened.queue.clone(), opened.records.clone());
        let dead = self.open_with(queue, router, records, opened.force).await?;
        let dead = dead.map_err(|error| failure(error, &opened.resource))?;
        Ok(Opened { dead, ..opened })
    }

    async fn open_with(
        &self,
        queue: Arc<SqsQueue>,
        router: Router,
        records: Records,
        force: bool,
    ) -> Result<Result<DeadLetterQueue<Arc<SqsQueue>>, DeadLetterError>, Failure> {
        let reader = Reader::new(router).with_records(records).with_inflate_limit(self.config.engine.inflate_limit);
        let options = Options::default().with_wait(WAIT).with_force(force);
        self.unless_stopped(DeadLetterQueue::open(queue, reader, options)).await
    }

    /// Why messages failed, as far as it was written down.
    fn records(&self, look: &LookArguments) -> Result<Records, Failure> {
        let mut records = Records::new();
        let mut read = |path: &Path| records.read(BufReader::new(File::open(path)?));
        for path in self.config.reasons.iter().flat_map(|path| reasons::files(path)) {
            match read(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    say(&format!("cannot read {}, so reasons are missing: {error}", path.display()));
                }
                _ => {}
            }
        }
        for path in &look.reasons {
            let found = read(path);
            let found = found.map_err(|error| Failure::usage(format!("--reasons: {}: {error}", path.display())))?;
            if found == 0 {
                say(&format!("there is no record of a dead letter in {}", path.display()));
            }
        }
        Ok(records)
    }

    /// The filter that the arguments say.
    ///
    /// # Errors
    ///
    /// What is wrong with it, such as a route that there is not.
    pub(super) fn filter(&self, arguments: FilterArguments) -> Result<Filter, Failure> {
        let names: Vec<String> = self.config.routes.iter().map(|route| route.name()).collect();
        for asked in arguments.routes() {
            if !names.contains(asked) {
                let meant = nearest(asked, names.iter().map(String::as_str));
                let meant = meant
                    .map_or_else(|| format!("there are {}", names.join(" ")), |name| format!("did you mean {name}?"));
                let meant = if names.is_empty() { "the configuration has no routes".to_owned() } else { meant };
                return Err(Failure::usage(format!("--route: no route is called {asked:?}; {meant}")));
            }
        }
        arguments.filter().map_err(Failure::usage)
    }

    /// Waits for something that holds no message.
    ///
    /// # Errors
    ///
    /// When a signal comes before it is done.
    pub(super) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! { biased;
            () = self.stop.cancelled() => Err(stopped()),
            done = work => Ok(done),
        }
    }

    /// Completes at a signal.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.clone().cancelled_owned()
    }
}

/// A dead-letter queue that is open.
pub(super) struct Opened {
    pub(super) dead: DeadLetterQueue<Arc<SqsQueue>>,
    pub(super) queue: Arc<SqsQueue>,
    /// Why messages failed, as far as it was written down.
    pub(super) records: Records,
    force: bool,
    /// What permissions name it by.
    resource: String,
}

impl Opened {
    /// About how many messages are in the queue, as SQS said when it was opened.
    pub(super) fn approximately(&self) -> Option<u64> {
        depth(self.dead.facts())
    }

    /// About how many messages are in the queue now, as SQS says; None where it does not.
    pub(super) async fn approximately_now(&self) -> Option<u64> {
        self.queue.facts().await.ok().as_ref().and_then(depth)
    }

    /// What it means that the look failed.
    pub(super) fn failure(&self, error: DeadLetterError) -> Failure {
        failure(error, &self.resource)
    }
}

/// About how many messages a queue holds.
fn depth(facts: &QueueFacts) -> Option<u64> {
    Some(facts.visible? + facts.hidden.unwrap_or(0))
}

/// What it means that SQS refused a call about this queue.
pub(super) fn refused(error: QueueError, queue: &SqsQueue) -> Failure {
    advice::refused(error, &queue.arn().unwrap_or_else(|| queue.url().to_string()))
}

/// What it means that a signal came before anything was held.
pub(super) fn stopped() -> Failure {
    Failure::new(Exit::Interrupted, anyhow!("stopped before anything was done"))
}

fn failure(error: DeadLetterError, resource: &str) -> Failure {
    match error {
        DeadLetterError::OwnRedrivePolicy { .. } => Failure::usage(format!("{error}; --force looks all the same")),
        DeadLetterError::Unreadable(ref cause) => {
            let why = advice::with_remedy(cause, resource);
            Failure::new(Exit::Unavailable, anyhow!("{error}: {why}\n  Or --force looks all the same."))
        }
        DeadLetterError::Queue(error) => advice::refused(error, resource),
        DeadLetterError::Run(error) => Failure::usage(error.to_string()),
        error => error.into(),
    }
}

fn no_redrive_policy(queue: &SqsQueue) -> Failure {
    Failure::usage(format!(
        "{} has no redrive policy, and so no dead-letter queue; one that once belonged to it can be named by --dlq-url",
        queue.url()
    ))
}
