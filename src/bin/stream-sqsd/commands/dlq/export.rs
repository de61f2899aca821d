//! `stream-sqsd dlq export`: messages to a file, byte for byte.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::anyhow;
use stream_sqsd::dead_letters::{ExportError, ScanEnded};
use tokio_util::sync::CancellationToken;

use crate::commands::dlq::arguments::ExportArguments;
use crate::commands::dlq::place::Place;
use crate::config::routes::running;
use crate::config::secret::Missing;
use crate::terminal::exit::{Exit, Failure, print, say};
use crate::terminal::question::Consent;

pub(super) async fn export(arguments: ExportArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let ExportArguments { file: path, yes, filter, look, place } = arguments;
    let place = Place::read(place, Missing::Warned, stop)?;
    let consent = Consent::of(yes, &place.screen)?;
    let filter = place.filter(filter)?;
    let shown = path.display();
    if path.symlink_metadata().is_ok() {
        return Err(is_there(&path));
    }
    let opened = place.open(running::names(&place.config.routes), &look).await?;
    let count = opened.approximately().map_or("An unknown number of".to_owned(), |count| format!("About {count}"));
    let which = if filter.is_all() { "All of them" } else { "Those that match" };
    let url = opened.queue.url();
    let what =
        format!("{count} messages are in {url}. {which} are written to {shown}, with their text; none is deleted.");
    if !consent.ask(&what, &place.stop).await? {
        return Ok(Exit::Done);
    }

    let mut file = create(&path)?;
    let progress = place.screen.progress(opened.approximately(), "{bar:30} {msg} of about {len} seen {elapsed}");
    let mut seen = 0;
    let summary = opened.dead.export(&filter, &mut file, place.stopped(), |_| {
        seen += 1;
        progress.at(seen);
        progress.message(seen.to_string());
    });
    let summary = summary.await;
    drop(progress);
    let kept = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| on_disk(&file, &path));
    let not_written = |error: io::Error| {
        Failure::new(Exit::Unavailable, anyhow!("cannot write to {shown}, which is not whole: delete it: {error}"))
    };
    let summary = summary.map_err(|error| match error {
        ExportError::Write(error) => not_written(error),
        ExportError::Queue(error) => opened.failure(error),
        error => error.into(),
    })?;
    kept.map_err(not_written)?;

    let at_least = if summary.end.at_least { "; there may be more" } else { "" };
    print(&format!("{shown}: {} messages, of {} seen{at_least}\n", summary.exported, summary.end.seen))?;
    if summary.end.ended == ScanEnded::TooManyInFlight {
        say("As many messages are held as SQS allows: drop what is exported, and export again.");
    }
    Ok(if place.stop.is_cancelled() { Exit::Interrupted } else { Exit::Done })
}

/// A new file for its owner alone.
fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => Ok(BufWriter::new(file)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(is_there(path)),
        Err(error) => Err(Failure::usage(format!("cannot write {}: {error}", path.display()))),
    }
}

fn is_there(path: &Path) -> Failure {
    Failure::usage(format!("{} is there already, and was left as it is", path.display()))
}

/// Waits until the file, and its name, are on disk.
fn on_disk(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
