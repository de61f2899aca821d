//! `stream-sqsd dlq edit`: one event in an editor, handled in the place of the original.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow};
use serde_json::Value;
use stream_sqsd::dead_letters::{Filter, Found, OutcomeKind};
use stream_sqsd::decode;
use stream_sqsd::telemetry::DeadLetterKeeper;
use tokio_util::sync::CancellationToken;

use crate::commands::dlq::arguments::{EditArguments, PaceArguments};
use crate::commands::dlq::finding::find;
use crate::commands::dlq::place::{Opened, Place, stopped};
use crate::commands::dlq::report::Report;
use crate::commands::dlq::retry;
use crate::config::routes::running;
use crate::config::secret::Missing;
use crate::terminal::exit::{Exit, Failure, say};
use crate::terminal::json::{Colours, for_people};

pub(super) async fn edit(arguments: EditArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let EditArguments { id, look, place } = arguments;
    let place = Place::read(place, Missing::Refused, stop)?;
    let opened = place.open(running::names(&place.config.routes), &look).await?;
    let mut original = None;
    find(&place, &opened, std::slice::from_ref(&id), |found| {
        original = Some((found.letter.message_id.clone(), found.body.clone()));
    })
    .await?;
    if place.stop.is_cancelled() {
        return Err(stopped());
    }
    let Some((id, body)) = original else {
        say(&format!("{id} was not found in {}", opened.queue.url()));
        return Ok(Exit::Findings);
    };

    // Nothing is held while somebody writes: how long that takes nobody knows.
    let text = match decode::decode(&body, place.config.engine.inflate_limit) {
        Ok(event) => for_people(event.json(), Colours::Off),
        Err(_) => body.clone(),
    };
    let draft = Draft::create(id.as_str(), &text)?;
    let edited = draft.edit()?;
    if edited == text {
        draft.delete();
        say("it is as it was, so nothing was done");
        return Ok(Exit::Done);
    }
    if !matches!(serde_json::from_str(&edited), Ok(Value::Object(_))) {
        return Err(Failure::usage(format!("this is not a JSON object; it is kept in {}", draft.path.display())));
    }
    let handled = handle(&place, opened, id.as_str(), &body, edited).await;
    match handled {
        Ok(Exit::Done) => draft.delete(),
        _ => say(&format!("what you wrote is kept in {}", draft.path.display())),
    }
    handled
}

/// Finds the message once more, and handles this event in its place.
async fn handle(place: &Place, opened: Opened, id: &str, body: &str, edited: String) -> Result<Exit, Failure> {
    let running = retry::start(place)?;
    let mut report = Report::new(&place.screen, false, running.writes_stdout, None);
    let opened = place.open_again(opened, running.router).await?;
    let filter = Filter::all().with_id(id).map_err(|error| Failure::usage(error.to_string()))?;
    let mut scan = opened.dead.scan(place.stopped());
    let found: Result<Option<Found>, Failure> = loop {
        match scan.next().await {
            Ok(Some(found)) if filter.matches(&found.letter) => break Ok(Some(found)),
            Ok(Some(_)) => {}
            Ok(None) => break Ok(None),
            Err(error) => break Err(opened.failure(error)),
        }
    };
    let settings = retry::settings(place, &PaceArguments { limit: None, rate: None, dry_run: false });
    let outcome = match found {
        Ok(Some(found)) if found.body == body => {
            scan.handle(&found, edited, &settings).await.map(Some).map_err(|error| opened.failure(error))
        }
        Ok(_) => Ok(None),
        Err(failure) => Err(failure),
    };
    let _ = scan.end().await;
    let Some(outcome) = outcome? else {
        say(&format!("{id} is no longer there: somebody else may hold it, or has handled it"));
        return Ok(Exit::Findings);
    };
    if let (Some(keeper), Some(record)) = (retry::keeper(place.config.reasons.as_deref()), &outcome.record) {
        keeper.keep(record);
        keeper.flush();
    }
    report.outcome(&outcome);
    Ok(if outcome.kind == OutcomeKind::Handled { Exit::Done } else { Exit::Findings })
}

/// A file for an editor, which its owner alone can read.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn create(id: &str, text: &str) -> Result<Self, Failure> {
        // What SQS gives as an id could be anything.
        let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let name = format!("stream-sqsd-{id}-{:08x}.json", fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Draft { path })
    }

    /// Opens it in the editor, and returns what stands in it then.
    fn edit(&self) -> Result<String, Failure> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into());
        // By a shell, as git does it: an editor can have arguments.
        let mut command = editor.clone();
        command.push(" \"$1\"");
        let ended = Command::new("/bin/sh").arg("-c").arg(command).arg("sh").arg(&self.path).status();
        let failed = |why: String| {
            let editor = editor.to_string_lossy().into_owned();
            self.delete();
            Failure::new(Exit::Unavailable, anyhow!("the editor {editor:?} {why}, so nothing was done"))
        };
        match ended {
            Ok(status) if status.success() => read(&self.path),
            Ok(status) => Err(failed(format!("ended with {status}"))),
            Err(error) => Err(failed(format!("cannot be started: {error}"))),
        }
    }

    fn delete(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            say(&format!("cannot delete {}, which holds the text of the message: {error}", self.path.display()));
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    Ok(fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?)
}
