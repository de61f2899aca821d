//! `stream-sqsd dlq drop`: deletes exactly what an export holds.

use std::fs::File;
use std::io::BufReader;

use anyhow::anyhow;
use serde_json::json;
use stream_sqsd::dead_letters::{DropList, DropListError};
use tokio_util::sync::CancellationToken;

use crate::commands::dlq::arguments::DropArguments;
use crate::commands::dlq::place::Place;
use crate::commands::dlq::report::Report;
use crate::config::routes::running;
use crate::config::secret::Missing;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::question::Consent;

pub(super) async fn drop(arguments: DropArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let DropArguments { exported, yes, look, place } = arguments;
    let place = Place::read(place, Missing::Warned, stop)?;
    let consent = Consent::of(yes, &place.screen)?;
    let shown = exported.display();
    let unreadable = |error: std::io::Error| Failure::new(Exit::NoInput, anyhow!("cannot read {shown}: {error}"));
    let file = File::open(&exported).map_err(unreadable)?;
    // It may come from an export that was killed: what is deleted from the queue must be on disk.
    file.sync_all().map_err(unreadable)?;
    let list = DropList::read(BufReader::new(file)).map_err(|error| match error {
        DropListError::Read(error) => unreadable(error),
        error => Failure::usage(format!("{shown}: {error}")),
    })?;

    let opened = place.open(running::names(&place.config.routes), &look).await?;
    let before = opened.approximately();
    let url = opened.queue.url();
    let what = format!("{} messages in {shown} are deleted from {url}: they are then in this file alone.", list.len());
    if !consent.ask(&what, &place.stop).await? {
        return Ok(Exit::Done);
    }
    let mut report = Report::new(&place.screen, false, false, before);
    let summary = opened.dead.drop_exported(&list, place.stopped(), |outcome| report.outcome(outcome)).await;
    let summary = summary.map_err(|error| opened.failure(error))?;

    let mut words = Vec::new();
    if summary.not_seen > 0 {
        words.push(format!("{} of the file were not seen in the queue", summary.not_seen));
    }
    if summary.other_body > 0 {
        words.push(format!("{} have the id of one in the file and another body: they stay", summary.other_body));
    }
    report.sums(&summary.account, json!({}), &words);
    Ok(match () {
        () if place.stop.is_cancelled() => Exit::Interrupted,
        () if summary.other_body > 0 || summary.account.lost > 0 || summary.account.left > 0 => Exit::Findings,
        () => Exit::Done,
    })
}
