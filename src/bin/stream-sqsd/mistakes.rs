//! Mistakes in the configuration: where they stand, and what is said of them.
//!
//! Here nobody knows what a setting means. All mistakes are gathered, so that a person reads of all of them at once.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::exit::{Exit, Failure};

/// Where a value came from: what an error begins with, so that a person knows where to mend it. In falling rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag, by its name without hyphens.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// A line of a file.
    File {
        /// The file, as it was named.
        file: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
}

impl Origin {
    /// The higher beats the lower.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Origin::Flag(_) => 2,
            Origin::Environment(_) => 1,
            Origin::File { .. } => 0,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => write!(f, "--{flag}"),
            Origin::Environment(name) => f.write_str(name),
            Origin::File { file, line } => write!(f, "{}:{line}", file.display()),
        }
    }
}

/// Something in the configuration that is wrong, or probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where to mend it. None where it is nowhere.
    place: Option<Origin>,
    what: String,
}

impl Mistake {
    /// Where it comes in a list: flags, the environment, the file from above, and what is nowhere.
    fn position(&self) -> (u8, usize) {
        match &self.place {
            Some(Origin::File { line, .. }) => (2, *line),
            Some(Origin::Environment(_)) => (1, 0),
            Some(Origin::Flag(_)) => (0, 0),
            None => (3, 0),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Mistakes as they are found, so that a person reads of all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    wrong: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Mistakes {
    pub(crate) fn wrong(&mut self, place: &Origin, what: impl Into<String>) {
        self.wrong.push(Mistake { place: Some(place.clone()), what: what.into() });
    }

    pub(crate) fn warn(&mut self, place: &Origin, what: impl Into<String>) {
        self.warnings.push(Mistake { place: Some(place.clone()), what: what.into() });
    }

    pub(crate) fn missing(&mut self, what: impl Into<String>) {
        self.wrong.push(Mistake { place: None, what: what.into() });
    }

    /// Whether anything is wrong.
    #[cfg(test)]
    pub(crate) fn any(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// The value, if nothing was wrong with anything.
    pub(crate) fn none_or_else<T>(mut self, value: Option<T>) -> Result<(T, Vec<Mistake>), Failure> {
        self.warnings.sort_by_key(Mistake::position);
        match value {
            Some(value) if self.wrong.is_empty() => Ok((value, self.warnings)),
            _ => Err(self.into_failure()),
        }
    }

    pub(crate) fn into_failure(mut self) -> Failure {
        self.wrong.sort_by_key(Mistake::position);
        let text = match self.wrong.as_slice() {
            [one] => one.to_string(),
            several => {
                let lines: Vec<String> = several.iter().map(|mistake| format!("\n  {mistake}")).collect();
                format!("{} mistakes in the configuration:{}", several.len(), lines.concat())
            }
        };
        Failure::new(Exit::Usage, anyhow::Error::msg(text))
    }
}

/// The name that somebody probably meant: the nearest within two slips of the pen, or three in long ones.
pub(crate) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |name: &&str| strsim::damerau_levenshtein(written, name);
    let allowed = if written.len() > 12 { 3 } else { 2 };
    known.map(|name| (slips(&name), name)).filter(|(slips, _)| *slips <= allowed).min().map(|(_, name)| name)
}

/// Whether a text is words in lower case, as names in a configuration are and generated secrets are not.
pub(crate) fn is_plain_word(text: &str) -> bool {
    text.len() <= 20 && text.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-' | b'.'))
}
