//! Secrets: where they come from, and that they go nowhere else.
//!
//! A secret never stands in the configuration file itself, which is copied, committed and pasted into tickets. It is read
//! once, at the start.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::document::{Entry, Item};
use crate::mistakes::Mistakes;

/// The most that is read of a file that holds a secret.
const MAX_SIZE: u64 = 64 * 1024;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

/// What stands for a secret that is missing where that is only warned of: no real one holds a space.
const MISSING: &str = "not here";

impl Secret {
    /// The text, for the one who needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is missing, which was warned of. What depends on it cannot be judged.
    pub(crate) fn is_missing(&self) -> bool {
        self.0 == MISSING
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What becomes of a secret that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is a mistake.
    Refused,
    /// It is a warning: a configuration may be checked where its secrets are not.
    Warned,
}

/// How a secret is written in the file.
const FORMS: &str = "{ env = \"NAME\" }, { file = \"PATH\" } or, with systemd, { credential = \"NAME\" }";

/// Reads the secret that an entry points to. None is a mistake, which is noted, or a secret that is missing where that is
/// only warned of; then it says so.
pub(crate) fn read(key: &str, entry: Entry, missing: Missing, mistakes: &mut Mistakes) -> Option<Secret> {
    let place = entry.place;
    let Item::Section(mut section) = entry.item else {
        let what = format!("`{key}` does not stand in the file itself: write {FORMS}");
        mistakes.wrong(&place, what);
        return None;
    };
    const KINDS: [&str; 3] = ["env", "file", "credential"];
    let mut given = KINDS.iter().filter_map(|kind| Some((*kind, section.take(kind)?)));
    let (source, second) = (given.next(), given.next());
    drop(given);
    section.finish(&KINDS, |_| None, mistakes);
    let (Some((kind, name)), None) = (source, second) else {
        mistakes.wrong(&place, format!("`{key}` comes from one place: {FORMS}"));
        return None;
    };
    let name = name.text(kind, mistakes)?;
    let found = match kind {
        "env" => from_environment(&name),
        "file" => from_file(Path::new(&name)),
        _ => from_credentials(&name),
    };
    match found {
        Ok(secret) => Some(secret),
        Err(why) => {
            let what = format!("`{key}`: {why}");
            match missing {
                Missing::Refused => {
                    mistakes.wrong(&place, what);
                    None
                }
                Missing::Warned => {
                    mistakes.warn(&place, what);
                    Some(Secret(MISSING.to_owned()))
                }
            }
        }
    }
}

/// A text that may be secret and need not be.
pub(crate) fn read_or_text(key: &str, entry: Entry, missing: Missing, mistakes: &mut Mistakes) -> Option<Secret> {
    match entry.item {
        Item::Text(text) => Some(Secret(text)),
        _ => read(key, entry, missing, mistakes),
    }
}

fn from_environment(name: &str) -> Result<Secret, String> {
    match std::env::var(name) {
        Ok(secret) if !secret.is_empty() => Ok(Secret(secret)),
        Ok(_) => Err(format!("the environment variable {name} is empty")),
        Err(std::env::VarError::NotPresent) => Err(format!("the environment variable {name} is not set")),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("the environment variable {name} is not UTF-8")),
    }
}

fn from_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SIZE + 1).read_to_string(&mut text));
    read.map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if text.len() as u64 > MAX_SIZE {
        return Err(format!("{shown} is too large for a secret"));
    }
    // Editors and `echo` end a file with a line end, which is no part of the secret.
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() { Err(format!("{shown} is empty")) } else { Ok(Secret(secret.to_owned())) }
}

/// What systemd hands over by `LoadCredential=` and the like.
fn from_credentials(name: &str) -> Result<Secret, String> {
    if name.contains('/') {
        return Err(format!("{name:?} is not the name of a credential: it holds a slash"));
    }
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) => from_file(&Path::new(&directory).join(name)),
        None => Err(format!(
            "there are no credentials here (CREDENTIALS_DIRECTORY is not set): a systemd unit gets this one by \
             LoadCredential={name}:PATH"
        )),
    }
}
