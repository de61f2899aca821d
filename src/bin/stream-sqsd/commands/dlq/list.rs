//! `stream-sqsd dlq list`: how many dead letters there are, why, and when the first will be lost.

use std::time::SystemTime;

use stream_sqsd::dead_letters::{Group, Listing, ScanEnded};
use tokio_util::sync::CancellationToken;

use crate::commands::dlq::arguments::ListArguments;
use crate::commands::dlq::place::{Opened, Place};
use crate::config::routes::running;
use crate::config::secret::Missing;
use crate::config::units::{show_age, show_distance, show_time};
use crate::terminal::exit::{Exit, Failure, print, say};
use crate::terminal::table::{Column, Table};

/// How many characters of an id stand in a table: enough to name its message.
const ID_SHOWN: usize = 8;

pub(super) async fn list(arguments: ListArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let place = Place::read(arguments.place, Missing::Warned, stop)?;
    let filter = place.filter(arguments.filter)?;
    let opened = place.open(running::names(&place.config.routes), &arguments.look).await?;

    let progress = place.screen.progress(opened.approximately(), "{bar:30} {msg} of about {len} seen {elapsed}");
    let mut seen = 0;
    let listing = opened.dead.list(&filter, place.stopped(), |_| {
        seen += 1;
        progress.at(seen);
        progress.message(seen.to_string());
    });
    let listing = listing.await.map_err(|error| opened.failure(error))?;
    drop(progress);

    match arguments.json {
        true => print(&format!("{}\n", serde_json::to_string(&listing)?))?,
        false => print(&for_people(&listing, &opened, &place))?,
    }
    notes(&listing, &opened, &place);
    Ok(if place.stop.is_cancelled() { Exit::Interrupted } else { Exit::Done })
}

fn for_people(listing: &Listing, opened: &Opened, place: &Place) -> String {
    let at_least = if listing.end.at_least { "at least " } else { "" };
    let mut text = format!("{}: {at_least}{} dead letters\n", opened.queue.url(), listing.messages);
    let now = SystemTime::now();
    if let Some(oldest) = listing.oldest_sent_at {
        text.push_str(&format!("the oldest was sent at {}, {}\n", show_time(oldest), show_age(oldest, now)));
    }
    if let Some(lost) = listing.first_lost_at {
        text.push_str(&format!("the first is lost at {}, {}\n", show_time(lost), show_age(lost, now)));
    }
    if listing.groups.is_empty() {
        return text;
    }
    let mut table = Table::new(&[
        Column::number("count"),
        Column::prose("reason"),
        Column::prose("route"),
        Column::prose("types"),
        Column::text("oldest"),
        Column::text("newest"),
        Column::text("one id"),
    ]);
    // A person reads how long ago it was, which is short too; a program the time.
    let is_read = place.screen.width().is_some();
    let time = |time: Option<SystemTime>| match (time, is_read) {
        (None, _) => "-".to_owned(),
        (Some(time), true) => show_distance(time, now),
        (Some(time), false) => show_time(time),
    };
    for group in &listing.groups {
        table.row(row(group, time));
    }
    text.push('\n');
    text.push_str(&table.of(&place.screen));
    text
}

fn row(group: &Group, time: impl Fn(Option<SystemTime>) -> String) -> [String; 7] {
    let or_dash = |text: Option<&String>| text.map_or("-", String::as_str).to_owned();
    let id = group.ids.first().map(|id| id.chars().take(ID_SHOWN).collect());
    [
        group.count.to_string(),
        group.reason.clone().unwrap_or_else(|| "not known".to_owned()),
        or_dash(group.route.as_ref()),
        if group.types.is_empty() { "-".to_owned() } else { group.types.join(" ") },
        time(group.oldest_sent_at),
        time(group.newest_sent_at),
        or_dash(id.as_ref()),
    ]
}

/// What a person should know about the numbers.
fn notes(listing: &Listing, opened: &Opened, place: &Place) {
    if listing.end.ended == ScanEnded::TooManyInFlight {
        say("As many messages are held as SQS allows, so there may be more.");
    } else if listing.end.at_least && opened.queue.url().is_fifo() {
        say("Of each group of a FIFO queue only the first ten messages can be seen.");
    }
    if listing.end.not_returned > 0 {
        let count = listing.end.not_returned;
        say(&format!("{count} messages could not be made visible again: they come back within 5 minutes."));
    }
    let unknown = listing.groups.iter().any(|group| group.reason.is_none());
    if unknown && place.config.reasons.is_none() && opened.records.is_empty() {
        say(
            "Where the reason is not known, the daemon's log has it: save it as JSON and give it by --reasons FILE; or let the \
             daemon keep a file, by `reasons` in the section [dead_letters].",
        );
    }
}
