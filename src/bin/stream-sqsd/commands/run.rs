//! `stream-sqsd run`: consumes a queue until it is asked to stop.

use std::convert::Infallible;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::available_parallelism;

use clap::Args;
use stream_sqsd::consumer::{Consumer, Ended, JournalError, RunError, Summary};
use stream_sqsd::handlers::file::Reopener;
use stream_sqsd::queue::sqs::SqsQueue;
use tokio::runtime::{Builder, Runtime};

use crate::commands::advice;
use crate::config::routes::running::{self, Running};
use crate::config::secret::Missing;
use crate::config::settings;
use crate::config::settings::{Flags, OfRun};
use crate::config::source::ConfigArguments;
use crate::config::units::show_duration;
use crate::config::{self, Config};
use crate::daemon::admin;
use crate::daemon::reasons::Reasons;
use crate::daemon::signals::{Asked, OnHangup, Signals};
use crate::daemon::supervisor;
use crate::terminal::exit::{Exit, Failure, say};
use crate::terminal::log::{self, LogFormat};
use crate::terminal::screen::Screen;
use crate::terminal::stderr;

const RUN_HELP: &str = "\
Credentials and region come from where they always come from on AWS: environment, profile, SSO, or the role of the \
task or the machine. The role needs sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility, and should \
have sqs:GetQueueAttributes.

SIGTERM or SIGINT drains: what is at work is finished or returned, and the exit code is 0. A second one ends at once.
A reader of standard output that goes away while messages wait drains too, and the exit code is 69.
With --until-empty, a run in which nothing succeeds for 15 minutes returns what it holds, and the exit code is 69.

Examples:
  stream-sqsd run --queue-url https://sqs.us-east-1.amazonaws.com/123456789012/chat-events
  stream-sqsd run --queue-url http://127.0.0.1:4566/000000000000/chat-events --until-empty
  stream-sqsd run stream-sqsd.toml";

/// Consume a queue. Without a configuration, events go to standard output, one JSON line each.
#[derive(Debug, Args)]
#[command(after_help = RUN_HELP)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
}

pub(crate) fn run(arguments: RunArguments, signals: Signals) -> Result<Exit, Failure> {
    run_until_asked(arguments, signals).inspect_err(supervisor::gave_up)
}

fn run_until_asked(arguments: RunArguments, signals: Signals) -> Result<Exit, Failure> {
    let screen = Screen::new();
    // A drain waits for the open receive, and a person at the keyboard for the drain.
    let settings = match screen.shows_stderr() {
        true => arguments.settings.unless_set(&settings::WAIT, settings::WAIT_AT_A_TERMINAL),
        false => arguments.settings,
    };
    let config = config::of_run(settings, arguments.config.path(), Missing::Refused)?;
    log::start(config.log_format, &screen)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let handlers = running::start(&config.routes, None)?;
    let reasons = config.reasons.as_deref().map(Reasons::start).transpose()?;
    let asked = signals.drain(if handlers.files.is_empty() { OnHangup::Drain } else { OnHangup::Reopen })?;

    let runtime = runtime()?;
    let log_format = config.log_format;
    // As a task, and so on a thread that has the other tasks too: where `block_on` waits, each message that comes and goes
    // would wake another thread.
    let summary = runtime.block_on(runtime.spawn(consume(config, handlers, reasons.clone(), asked)));
    // What still runs is a handler's own thread, if anything: nobody waits for it any more.
    runtime.shutdown_background();

    if let Some(reasons) = reasons {
        reasons.flush();
    }

    let summary = summary.unwrap_or_else(|failure| resume_unwind(failure.into_panic()));
    let (summary, exit) = summary?;
    if let Some(summary) = summary {
        print_summary(&summary, log_format, &screen);
    }
    Ok(exit)
}

/// With which code a run ends, and otherwise with this one.
fn exit_of(ended: Ended, otherwise: Exit) -> Exit {
    match ended {
        Ended::TargetUnavailable => Exit::Unavailable,
        _ => otherwise,
    }
}

/// Threads for as many cores as there are to use, and none beside this one where that is one.
fn runtime() -> io::Result<Runtime> {
    let one_core = available_parallelism().is_ok_and(|cores| cores.get() == 1);
    if one_core { Builder::new_current_thread() } else { Builder::new_multi_thread() }.enable_all().build()
}

/// Consumes, and returns the summary, none when the run was asked to stop before it began, and how the process ends.
async fn consume(
    config: Config,
    handlers: Running,
    reasons: Option<Reasons>,
    asked: Asked,
) -> Result<(Option<Summary>, Exit), Failure> {
    let queue = tokio::select! { biased;
        () = asked.drain.cancelled() => {
            tracing::info!("stopped before anything was received");
            return Ok((None, Exit::Done));
        }
        queue = SqsQueue::connect(config.queue.clone()) => queue,
    };
    let queue = queue.map_err(|error| advice::not_connected(error, &config.queue))?;
    let resource = queue.arn().unwrap_or_else(|| queue.url().to_string());
    tracing::info!(url = %queue.url(), region = queue.region(), "going to consume");

    let queue = Arc::new(queue);
    let Running { router, stdout_closed, files, .. } = handlers;
    let (wait, grace) = (config.engine.wait, config.engine.grace);
    let mut exit = Exit::Done;
    let shutdown = async {
        let why = tokio::select! { biased;
            () = asked.drain.cancelled() => "asked to stop",
            // It shows when a line cannot be written: messages wait for a reader, so a supervisor is to start it again.
            () = stdout_closed.wait() => {
                exit = Exit::Unavailable;
                "nobody reads standard output any more"
            }
        };
        tracing::info!(
            "{why}; draining: the open long poll returns within {}; a second signal stops at once",
            show_duration(wait)
        );
    };
    let consumer = Consumer::new(queue.clone(), router, config.engine);
    consumer.monitor().counts_dropped_log_lines(stderr::dropped);
    if let Some(reasons) = reasons {
        consumer.monitor().keep_dead_letters(reasons);
    }
    // Answered beside the run, until its end.
    let _watched = admin::serve(config.admin, &config.admin_hosts, consumer.monitor(), &queue).await?;
    let _told = supervisor::keep_notified(consumer.monitor(), grace);
    let summary = tokio::select! { biased;
        never = reopen(&asked, &files) => match never {},
        summary = consumer.run(shutdown) => summary,
    };
    match summary {
        Ok(summary) => {
            let ended = summary.ended;
            if ended == Ended::TargetUnavailable {
                tracing::error!(
                    "the queue is not empty: what is left in it fails, and nothing succeeded for 15 minutes"
                );
            }
            Ok((Some(summary), exit_of(ended, exit)))
        }
        Err(RunError::Queue(error)) => Err(advice::refused(error, &resource)),
        Err(RunError::Settings(error)) => Err(Failure::new(Exit::Usage, error)),
        // A predecessor that is still draining has it open, or its disk fails: another start may succeed.
        Err(RunError::Journal(error @ (JournalError::InUse { .. } | JournalError::Io { .. }))) => {
            Err(Failure::new(Exit::Unavailable, error))
        }
        Err(RunError::Journal(error)) => Err(Failure::new(Exit::Usage, error)),
        Err(error) => Err(error.into()),
    }
}

/// Opens files again whenever that is asked for.
async fn reopen(asked: &Asked, files: &[Reopener]) -> Infallible {
    loop {
        asked.reopen.notified().await;
        tracing::info!("asked to open files again");
        for file in files {
            file.reopen().await;
        }
    }
}

/// Prints the summary for a person, or as one line of the log with each count as a field. It shows whatever RUST_LOG says.
pub(crate) fn print_summary(summary: &Summary, format: LogFormat, screen: &Screen) {
    if !format.is_json(screen) {
        say(&summary.to_string());
        return;
    }
    let c = &summary.counts;
    tracing::info!(
        target: log::SUMMARY,
        received = c.received,
        deleted = c.deleted,
        nacked = c.nacked,
        returned = c.returned,
        interrupted = c.interrupted,
        duplicates = c.duplicates,
        handled = c.handled,
        unrouted = c.unrouted,
        undecodable = c.undecodable,
        handler_errors = c.handler_errors,
        timeouts = c.timeouts,
        panics = c.panics,
        repeats_deleted = c.repeats_deleted,
        leases_lost = c.leases_lost,
        polls = c.polls,
        polls_abandoned = c.polls_abandoned,
        still_hidden = summary.still_hidden,
        still_hidden_ids = summary.still_hidden_ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" "),
        adds_up = summary.adds_up(),
        // One line: what stands below the first is in the fields.
        "{}",
        summary.to_string().lines().next().unwrap_or_default()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_until_empty_that_is_stuck_ends_as_unavailable() {
        assert_eq!(exit_of(Ended::TargetUnavailable, Exit::Done), Exit::Unavailable);
        assert_eq!(Exit::Unavailable as u8, 69);
        for ended in [Ended::Drained, Ended::GraceRanOut, Ended::QueueEmpty] {
            assert_eq!(exit_of(ended, Exit::Done), Exit::Done, "{ended:?}");
            assert_eq!(exit_of(ended, Exit::Unavailable), Exit::Unavailable, "nobody reads: {ended:?}");
        }
    }
}
