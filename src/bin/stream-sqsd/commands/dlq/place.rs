//! What every verb begins with: the configuration, the queue and its dead-letter queue.

use std::future::Future;

use anyhow::anyhow;
use stream_sqsd::queue::QueueError;
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsOptions, SqsQueue};
use tokio_util::sync::CancellationToken;

use crate::cli::dlq::DlqPlace;
use crate::commands::advice;
use crate::config::secret::Missing;
use crate::config::{self, Config};
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::log;
use crate::terminal::screen::Screen;

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
        let file = place.file().map(ToOwned::to_owned);
        let config = config::of_run(place.settings, file.as_deref(), missing)?;
        let screen = Screen::new();
        log::start(config.log_format, &screen)?;
        Ok(Place { config, screen, stop, dlq_url })
    }

    /// Finds the dead-letter queue.
    ///
    /// # Errors
    ///
    /// Where there is none, where it is the queue itself, and where SQS refuses.
    pub(super) async fn dead_letter_queue(&self) -> Result<SqsQueue, Failure> {
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

    /// Waits for something that holds no message.
    ///
    /// # Errors
    ///
    /// When a signal comes before it is done.
    pub(super) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! { biased;
            () = self.stop.cancelled() => Err(Failure::new(Exit::Interrupted, anyhow!("stopped before anything was done"))),
            done = work => Ok(done),
        }
    }
}

/// What it means that SQS refused a call about this queue.
pub(super) fn refused(error: QueueError, queue: &SqsQueue) -> Failure {
    advice::refused(error, &queue.arn().unwrap_or_else(|| queue.url().to_string()))
}

async fn connect(options: &SqsOptions) -> Result<SqsQueue, Failure> {
    SqsQueue::connect(options.clone()).await.map_err(|error| advice::not_connected(error, options))
}

fn no_redrive_policy(queue: &SqsQueue) -> Failure {
    Failure::usage(format!(
        "{} has no redrive policy, and so no dead-letter queue; one that once belonged to it can be named by --dlq-url",
        queue.url()
    ))
}
