//! `stream-sqsd relay`: receives webhooks and puts them into the queue, until it is asked to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stream_sqsd::queue::sqs::{ConnectError, SqsOptions, SqsQueue};
use stream_sqsd::queue::{EntryResult, Outgoing, QueueError, Sender};
use stream_sqsd::relay::{Relay, RelaySettings};
use stream_sqsd::telemetry::RelaySnapshot;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::commands::advice;
use crate::config::settings::{Flags, OfRelay};
use crate::config::source::ConfigArguments;
use crate::config::{self, Config};
use crate::daemon::signals::{Asked, OnHangup, Signals};
use crate::daemon::{admin, supervisor};
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::log;
use crate::terminal::screen::Screen;

const RELAY_HELP: &str = "\
The endpoint is configured in the section [relay], and the app whose signatures are right there or in [stream]. An answer of \
200 means that SQS has the event, or that it is fsynced in the spool. While SQS is out of reach and there is no spool, events \
are answered 503 and Stream tries them again. It starts whether or not SQS can be reached.

The role needs sqs:SendMessage, and sqs:GetQueueUrl for a queue that is named by its name.

SIGTERM or SIGINT ends it: no connection is accepted any more, what is in flight is answered, what is in the spool stays \
there for the next start, and the exit code is 0. A second signal ends at once.

Beside a daemon on the same machine one of the two needs another --admin address.

Examples:
  stream-sqsd relay --config stream-sqsd.toml
  stream-sqsd check --online stream-sqsd.toml";

/// Receive Stream's webhooks by HTTP, verify them, and put them into the queue.
#[derive(Debug, Args)]
#[command(after_help = RELAY_HELP)]
pub(crate) struct RelayArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRelay>,
}

/// How long the start waits for a queue that has to be looked up by its name.
const LOOK_UP: Duration = Duration::from_secs(3);

/// File descriptors for everything that is not a connection of a sender.
const OTHER_FILES: u64 = 128;

pub(crate) fn relay(arguments: RelayArguments, signals: Signals) -> Result<Exit, Failure> {
    run(arguments, signals).inspect_err(supervisor::gave_up)
}

fn run(arguments: RelayArguments, signals: Signals) -> Result<Exit, Failure> {
    let config = config::of_relay(arguments.settings, arguments.config.path())?;
    let Some(relay) = &config.relay else {
        return Err(Failure::usage(
            "there is no section [relay]: write one into the configuration file and name it by --config FILE; \
             `stream-sqsd init` shows what can stand in it",
        ));
    };
    let mut settings = relay.settings(config.stream.as_ref(), config.engine.grace)?;
    log::start(config.log_format, &Screen::new())?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(connections) = files_allow(settings.connections) {
        tracing::warn!(connections, "the limit of open files (ulimit -n) allows only so many connections");
        settings = settings.with_connections(connections);
    }
    let asked = signals.drain(OnHangup::Drain)?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(config, settings, asked));
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config, settings: RelaySettings, asked: Asked) -> Result<Exit, Failure> {
    let Some(of_relay) = &config.relay else { return Err(Failure::internal(anyhow!("no [relay]"))) };
    let queue = Arc::new(LateQueue::find(config.queue.clone()).await?);
    let relay = Relay::new(settings, queue.clone()).map_err(|error| Failure::new(Exit::Usage, error))?;
    let listener = TcpListener::bind(of_relay.listen).await.map_err(|error| {
        let what = anyhow!("cannot listen at {} (`listen` in [relay]): {error}", of_relay.listen);
        Failure::new(Exit::Unavailable, what)
    })?;
    let monitor = relay.monitor();
    let name = queue.shown();
    let _watched = admin::serve_relay(config.admin, &config.admin_hosts, monitor.clone(), &name).await?;
    let _told = supervisor::keep_relay_notified(monitor.clone(), config.engine.grace);
    let scheme = if of_relay.tls.is_some() { "https" } else { "http" };
    tracing::info!(
        address = %listener.local_addr()?,
        queue = name,
        spool = of_relay.spool.as_ref().map(|spool| spool.directory.display().to_string()),
        "webhooks are received at {scheme}://{}{}",
        listener.local_addr()?,
        of_relay.path
    );
    let shutdown = async {
        asked.drain.cancelled().await;
        tracing::info!("asked to stop; finishing what is in flight; a second signal stops at once");
    };
    relay.serve(listener, shutdown).await;
    say_summary(&monitor.snapshot());
    Ok(Exit::Done)
}

/// The outcomes of requests for an app, or that name none, which are not tried again.
const REFUSED: [&str; 8] = [
    "wrong_signature",
    "unknown_api_key",
    "wrong_address",
    "too_large",
    "unsupported_encoding",
    "damaged",
    "not_an_event",
    "refused_by_queue",
];

/// What was done, as one line of the log that shows whatever RUST_LOG says.
fn say_summary(now: &RelaySnapshot) {
    let refused: u64 = REFUSED.map(|word| now.answered(word)).iter().sum();
    let left = now.spool.map_or(0, |spool| spool.events);
    tracing::info!(
        target: log::SUMMARY,
        sent = now.answered("sent"),
        spooled = now.answered("spooled"),
        repeated = now.answered("repeated"),
        refused,
        left_in_spool = left,
        "the relay has ended: {} sent, {} spooled, {} repeated, {refused} refused; events left in the spool: {left}",
        now.answered("sent"),
        now.answered("spooled"),
        now.answered("repeated"),
    );
}

/// How many connections the limit of open files allows, where these are fewer than wanted. It is raised as far as may be.
fn files_allow(wanted: usize) -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let needed = wanted as u64 + OTHER_FILES;
    let raised = limit.maximum.map_or(needed, |most| most.min(needed));
    if limit.current.is_some_and(|current| current < raised) {
        // Where it is refused, the limit is what it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum });
    }
    let current = getrlimit(Resource::Nofile).current?;
    let allowed = usize::try_from(current.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(16);
    (allowed < wanted).then_some(allowed)
}

/// A queue that may not be found yet: one that is named by its name has to be looked up, and the relay starts all the same.
struct LateQueue {
    options: SqsOptions,
    found: OnceCell<SqsQueue>,
}

impl LateQueue {
    /// # Errors
    ///
    /// What somebody has to put right before the queue can be found.
    async fn find(options: SqsOptions) -> Result<Self, Failure> {
        let found = OnceCell::new();
        match timeout(LOOK_UP, SqsQueue::connect(options.clone())).await {
            Ok(Ok(queue)) => {
                // It is empty until here.
                let _ = found.set(queue);
            }
            Ok(Err(ConnectError::Lookup { source, .. })) => {
                tracing::warn!(error = %source, "the queue cannot be looked up yet; it is tried with each event");
            }
            Ok(Err(error)) => return Err(advice::not_connected(error, &options)),
            Err(_) => tracing::warn!("SQS does not answer yet; the queue is looked up with the first event"),
        }
        Ok(LateQueue { options, found })
    }

    /// As people may see it.
    fn shown(&self) -> String {
        match self.found.get() {
            Some(queue) => queue.url().to_string(),
            None => self.options.queue.url().map_or_else(|| self.options.queue.name().to_owned(), ToString::to_string),
        }
    }
}

impl Sender for LateQueue {
    async fn send_batch(&self, batch: &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> {
        let found = self.found.get_or_try_init(|| async {
            SqsQueue::connect(self.options.clone()).await.map_err(|error| match error {
                ConnectError::Lookup { source, .. } => source,
                error => QueueError::Unreachable { message: error.to_string() },
            })
        });
        found.await?.send(batch).await
    }

    fn keeps_order(&self) -> bool {
        self.options.queue.name().ends_with(".fifo")
    }

    fn open_new_connections(&self) {
        if let Some(queue) = self.found.get() {
            queue.open_new_connections();
        }
    }
}
