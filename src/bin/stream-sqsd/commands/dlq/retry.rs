//! `stream-sqsd dlq retry`: handles dead letters where they lie.

use std::path::Path;
use std::time::SystemTime;

use serde_json::json;
use stream_sqsd::dead_letters::{Filter, Letter, RetryEnded, RetrySettings, RetrySummary};
use stream_sqsd::telemetry::DeadLetterKeeper;
use tokio_util::sync::CancellationToken;

use crate::commands::dlq::arguments::{PaceArguments, RetryArguments};
use crate::commands::dlq::place::{Opened, Place};
use crate::commands::dlq::report::Report;
use crate::config::routes::running::{self, Running};
use crate::config::secret::Missing;
use crate::config::units::show_time;
use crate::daemon::reasons::{self, Reasons};
use crate::terminal::exit::{Exit, Failure, say};
use crate::terminal::question::Consent;

pub(super) async fn retry(arguments: RetryArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let RetryArguments { pace, yes, json, filter, look, place } = arguments;
    let missing = if pace.dry_run { Missing::Warned } else { Missing::Refused };
    let place = Place::read(place, missing, stop)?;
    let consent = Consent::of(yes || pace.dry_run, &place.screen)?;
    let filter = place.filter(filter)?;
    let opened = place.open(running::names(&place.config.routes), &look).await?;
    if pace.dry_run {
        return dry_run(&place, &opened, &filter, pace.limit, json).await;
    }

    let before = opened.approximately();
    if !consent.ask(&question(&opened, &filter, before), &place.stop).await? {
        return Ok(Exit::Done);
    }
    let running = start(&place)?;
    let stop = stopped_or_unread(&place, &running);
    let opened = place.open_again(opened, running.router).await?;
    let keeper = keeper(place.config.reasons.as_deref());
    let mut report = Report::new(&place.screen, json, running.writes_stdout, before);
    let settings = settings(&place, &pace);
    let summary = opened.dead.retry(filter, settings, stop, |outcome| {
        if let (Some(keeper), Some(record)) = (&keeper, &outcome.record) {
            keeper.keep(record);
        }
        report.outcome(outcome);
    });
    let mut summary = summary.await.map_err(|error| opened.failure(error))?;
    if let Some(keeper) = keeper {
        keeper.flush();
    }
    let after = opened.approximately_now().await;
    let more = json!({
        "ended": ended(summary.ended), "at_least": summary.at_least,
        "approximate_before": before, "approximate_after": after,
    });
    report.sums(&summary.account, more, &words(&summary, before, after));
    match summary.failure.take() {
        Some(error) => Err(opened.failure(error)),
        None => Ok(exit(&summary)),
    }
}

fn question(opened: &Opened, filter: &Filter, count: Option<u64>) -> String {
    let count = count.map_or("An unknown number of".to_owned(), |count| format!("About {count}"));
    let which = if filter.is_all() { "All of them" } else { "Those that match" };
    format!(
        "{count} messages are in {}. {which} are handled by the configured routes, and deleted where that succeeds.",
        opened.queue.url()
    )
}

/// Makes the handlers ready, beside those of a daemon.
pub(super) fn start(place: &Place) -> Result<Running, Failure> {
    let running = running::start(&place.config.routes, Some(&aside()))?;
    say_aside(&running);
    Ok(running)
}

/// What is appended to the name of a file that the daemon has locked.
pub(crate) fn aside() -> String {
    format!(".dlq-{}", show_time(SystemTime::now()).replace(':', "-"))
}

/// Says which files are written in place of others.
pub(crate) fn say_aside(running: &Running) {
    for (route, path) in &running.aside {
        say(&format!("route {route}: its file is locked, so its events go to {}", path.display()));
    }
}

/// Completes at a signal, or when nobody reads the events any more.
fn stopped_or_unread(place: &Place, running: &Running) -> impl Future<Output = ()> + Send + 'static {
    let (stopped, unread) = (place.stopped(), running.stdout_closed.clone());
    async move {
        tokio::select! { biased;
            () = stopped => {}
            () = unread.wait() => {}
        }
    }
}

/// How letters are handled, as configuration and arguments say.
pub(super) fn settings(place: &Place, pace: &PaceArguments) -> RetrySettings {
    RetrySettings::new(place.config.engine.clone()).with_limit(pace.limit).with_rate(pace.rate.map(f64::from))
}

/// What keeps the reasons of those that fail again, beside the daemon's own file, which it has locked.
pub(super) fn keeper(path: Option<&Path>) -> Option<Reasons> {
    let path = reasons::of_dlq(path?);
    Reasons::start(&path).inspect_err(|failure| say(&format!("{failure}; new reasons are kept in no file"))).ok()
}

/// Why a retry ended, as a stable word.
fn ended(ended: RetryEnded) -> &'static str {
    match ended {
        RetryEnded::Done => "done",
        RetryEnded::LimitReached => "limit_reached",
        RetryEnded::TargetDown => "target_down",
        RetryEnded::Stopped => "stopped",
        RetryEnded::TooManyInFlight => "too_many_in_flight",
        RetryEnded::QueueFailed => "queue_failed",
        _ => "other",
    }
}

/// What a person should know beside the sums.
fn words(summary: &RetrySummary, before: Option<u64>, after: Option<u64>) -> Vec<String> {
    let mut words = Vec::new();
    if let (Some(before), Some(after)) = (before, after) {
        words.push(format!("approximately, SQS says: {before} before, {after} after"));
    }
    words.extend(match summary.ended {
        RetryEnded::TargetDown => Some("nothing succeeded for 5 minutes: a target is down".to_owned()),
        RetryEnded::TooManyInFlight => Some("as many messages are held as SQS allows: there may be more".to_owned()),
        RetryEnded::Done if summary.at_least => {
            Some("there may be more behind these: of each FIFO group only the head can be seen".to_owned())
        }
        _ => None,
    });
    if summary.not_returned > 0 {
        let count = summary.not_returned;
        words.push(format!("{count} messages could not be made visible again: they come back within 5 minutes"));
    }
    words
}

/// With which code it ends.
pub(crate) fn exit(summary: &RetrySummary) -> Exit {
    match summary.ended {
        RetryEnded::Stopped => Exit::Interrupted,
        RetryEnded::TargetDown | RetryEnded::QueueFailed => Exit::Unavailable,
        _ if summary.account.failed > 0 || summary.account.lost > 0 => Exit::Findings,
        _ => Exit::Done,
    }
}

/// Says which route would take each message, and calls nobody.
async fn dry_run(
    place: &Place,
    opened: &Opened,
    filter: &Filter,
    limit: Option<u64>,
    as_json: bool,
) -> Result<Exit, Failure> {
    let mut report = Report::new(&place.screen, as_json, false, opened.approximately());
    let mut scan = opened.dead.scan(place.stopped());
    let (mut seen, mut matched) = (0_u64, 0_u64);
    let looked = loop {
        if limit.is_some_and(|limit| matched >= limit) {
            break Ok(());
        }
        match scan.next().await {
            Ok(Some(found)) => {
                seen += 1;
                if filter.matches(&found.letter) {
                    matched += 1;
                    tell_of_dry_run(&mut report, &found.letter, as_json);
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(opened.failure(error)),
        }
    };
    let end = scan.end().await;
    looked?;
    match as_json {
        true => report.object(&json!({"seen": seen, "matched": matched, "at_least": end.at_least})),
        false => report.line(&format!("seen {seen}, of which {matched} match; nothing was done")),
    }
    Ok(if place.stop.is_cancelled() { Exit::Interrupted } else { Exit::Done })
}

/// Says which route would take a message.
pub(crate) fn tell_of_dry_run(report: &mut Report, letter: &Letter, as_json: bool) {
    let kind = letter.event_type.as_deref();
    if as_json {
        let reason = letter.reason.as_ref().map(ToString::to_string);
        report.object(&json!({
            "message_id": letter.message_id.as_str(), "type": kind, "route": letter.route, "reason": reason,
            "routes": letter.routes, "routes_done": letter.routes_done,
        }));
        return;
    }
    let missing = letter.routes.iter().filter(|route| !letter.routes_done.contains(route));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    let what = match (kind, &letter.route) {
        _ if missing.len() > 1 => format!("goes to the routes {}", missing.join(", ")),
        (_, Some(route)) => format!("goes to the route {route}"),
        (Some(_), None) => "no route takes it".to_owned(),
        (None, None) => "cannot be decoded".to_owned(),
    };
    report.line(&format!("{}  {}  {what}", letter.message_id, kind.unwrap_or("-")));
}
