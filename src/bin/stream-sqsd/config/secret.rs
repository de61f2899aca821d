//! Secrets: where they come from, and that they go nowhere else.
//!
//! A secret never stands in the configuration file itself, which is copied, committed and pasted into tickets. It is read
//! at the start, and one in a file is read again by handlers that can, when the file changes.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use stream_sqsd::net::secret::{Secret as Source, SecretError};

use crate::config::address;
use crate::config::diagnostics::{Diagnostics, is_plain_word};
use crate::config::document::{Entry, Item};

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    text: String,
    /// Whether it stands in the configuration file itself.
    in_file: bool,
    /// The file that it was read from, where it has one of its own.
    path: Option<PathBuf>,
}

/// What stands for a secret that is missing where that is only warned of: no real one holds a space.
const MISSING: &str = "not here";

impl Secret {
    fn from_elsewhere(text: impl Into<String>) -> Secret {
        Secret { text: text.into(), in_file: false, path: None }
    }

    /// The text, for the one who needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// For a handler that reads it again when its file changes. One that is missing is a word that a handler takes.
    pub(crate) fn source(&self) -> Source {
        match &self.path {
            Some(path) => Source::file(path),
            None if self.is_missing() => Source::from("missing"),
            None => Source::from(self.text.as_str()),
        }
    }

    /// Whether it stands in the configuration file itself, as what need not be secret may.
    pub(crate) fn is_in_file(&self) -> bool {
        self.in_file
    }

    /// As a URL that people may see: all but password and query of one that stands in the file, and of one that is a secret
    /// only where it leads. None where it is not here, or is not a URL.
    pub(crate) fn shown_url(&self) -> Option<String> {
        let url = Some(&self.text).filter(|text| text.contains("://"))?;
        Some(if self.in_file { address::shown(url) } else { address::origin(url) })
    }

    /// The URL that was meant where its scheme is missing, as people may see it; see [`address::with_scheme`].
    pub(crate) fn with_scheme(&self, secure: &str) -> Option<String> {
        let text = address::with_scheme(&self.text, secure).filter(|_| !self.is_missing())?;
        Secret { text, in_file: self.in_file, path: None }.shown_url()
    }

    /// Whether it is missing, which was warned of. What depends on it cannot be judged.
    pub(crate) fn is_missing(&self) -> bool {
        self.text == MISSING
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
    /// It is nothing to speak of: what was asked for does not need it.
    Ignored,
}

/// How a secret is written in the file.
pub(crate) const FORMS: &str = "{ env = \"NAME\" }, { file = \"PATH\" } or, with systemd, { credential = \"NAME\" }";

/// Reads the secret that an entry points to. None is a mistake, which is noted, or a secret that is missing where that is
/// only warned of; then it says so.
pub(crate) fn read(key: &str, entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Option<Secret> {
    let place = entry.place;
    let Item::Section(mut section) = entry.item else {
        let what = format!("`{key}` does not stand in the file itself: write {FORMS}");
        diagnostics.wrong(&place, what);
        return None;
    };
    const KINDS: [&str; 3] = ["env", "file", "credential"];
    let mut given = KINDS.iter().filter_map(|kind| Some((*kind, section.take(kind)?)));
    let (source, second) = (given.next(), given.next());
    drop(given);
    section.finish(&KINDS, |_| None, diagnostics);
    let (Some((kind, name)), None) = (source, second) else {
        diagnostics.wrong(&place, format!("`{key}` comes from one place: {FORMS}"));
        return None;
    };
    let name = name.text(kind, diagnostics)?;
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
                    diagnostics.wrong(&place, what);
                    None
                }
                Missing::Warned => {
                    match kind {
                        "credential" if credentials().is_none() => diagnostics.elsewhere(&place, what),
                        _ => diagnostics.not_here(&place, what, None),
                    }
                    Some(Secret::from_elsewhere(MISSING))
                }
                Missing::Ignored => Some(Secret::from_elsewhere(MISSING)),
            }
        }
    }
}

/// A text that may be secret and need not be.
pub(crate) fn read_or_text(key: &str, entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Option<Secret> {
    match entry.item {
        Item::Text(text) => Some(Secret { text, in_file: true, path: None }),
        _ => read(key, entry, missing, diagnostics),
    }
}

fn from_environment(name: &str) -> Result<Secret, String> {
    let what = match std::env::var(name) {
        // As in a file, a line end at its end is not part of it: `echo` adds one to what is given to Kubernetes.
        Ok(secret) => match secret.trim_end_matches(['\n', '\r']) {
            "" => "is empty",
            secret => return Ok(Secret::from_elsewhere(secret)),
        },
        Err(std::env::VarError::NotPresent) => "is not set",
        Err(std::env::VarError::NotUnicode(_)) => "is not UTF-8",
    };
    Err(format!("{} {what}", show_variable(name)))
}

/// An environment variable as an error may name it. Where its name belongs people write the secret itself, so only what
/// looks like such a name is shown.
pub(crate) fn show_variable(name: &str) -> String {
    let usual = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if usual && (name.contains('_') && name.len() <= 64 || name.len() <= 12) {
        return format!("the environment variable {name}");
    }
    "the environment variable that is named here (not shown, since the name is unusual and may be the secret itself)"
        .to_owned()
}

fn from_file(path: &Path) -> Result<Secret, String> {
    let shown = match path.starts_with("/") || path.starts_with(".") || path.starts_with("..") {
        true => path.display().to_string(),
        // It may be the secret itself.
        false => "the file that is named here".to_owned(),
    };
    match Source::file(path).read() {
        Ok(text) => Ok(Secret { path: Some(path.to_owned()), ..Secret::from_elsewhere(text) }),
        Err(SecretError::Unreadable { source, .. }) => Err(format!("{shown} cannot be read: {source}")),
        Err(SecretError::TooLarge { .. }) => Err(format!("{shown} is too large for a secret")),
        Err(_) => Err(format!("{shown} is empty")),
    }
}

/// Where systemd puts the credentials of a unit.
fn credentials() -> Option<OsString> {
    std::env::var_os("CREDENTIALS_DIRECTORY")
}

/// What systemd hands over by `LoadCredential=` and the like.
fn from_credentials(name: &str) -> Result<Secret, String> {
    if name.contains('/') {
        return Err("what stands here is not the name of a credential: it holds a slash".to_owned());
    }
    match credentials() {
        Some(directory) => from_file(&Path::new(&directory).join(name)),
        None => Err(format!(
            "there are no credentials here (CREDENTIALS_DIRECTORY is not set): a systemd unit gets this one by \
             LoadCredential={}:PATH",
            if is_plain_word(name) { name } else { "NAME" }
        )),
    }
}
