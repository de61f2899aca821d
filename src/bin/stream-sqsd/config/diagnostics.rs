//! Mistakes in the configuration: where they stand, and what is said of them.
//!
//! Here nobody knows what a setting means. All mistakes are gathered, so that a person reads of all of them at once.

use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

use stream_sqsd::event::is_unsafe_to_show;

use crate::terminal::exit::{Exit, Failure};

/// Where a value came from: what an error begins with, so that a person knows where to fix it. In falling rank.
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
pub(crate) struct Diagnostic {
    /// Where to fix it. None where it is nowhere.
    place: Option<Origin>,
    what: String,
    absent: Absent,
    fix: Option<String>,
}

/// Whether a warning is about something that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    Nothing,
    /// It is only where the daemon is run: what systemd hands to its unit.
    Here,
    /// A run on this machine does not start without it.
    AndNeeded,
}

impl Diagnostic {
    fn new(place: Option<&Origin>, what: impl Into<String>) -> Self {
        Diagnostic { place: place.cloned(), what: what.into(), absent: Absent::Nothing, fix: None }
    }

    /// Whether it is about what is not on this machine, without which a run does not start.
    pub(crate) fn is_needed(&self) -> bool {
        self.absent == Absent::AndNeeded
    }

    /// The command that fixes it.
    pub(crate) fn fix(&self) -> Option<&str> {
        self.fix.as_deref()
    }

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

/// One line, whatever stands in the configuration and in the names of files and variables.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.place {
            Some(place) => format!("{place}: {}", self.what),
            None => self.what.clone(),
        };
        for c in text.chars() {
            if is_unsafe_to_show(c) { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

/// Mistakes as they are found, so that a person reads of all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    wrong: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn wrong(&mut self, place: &Origin, what: impl Into<String>) {
        self.wrong.push(Diagnostic::new(Some(place), what));
    }

    pub(crate) fn warn(&mut self, place: &Origin, what: impl Into<String>) {
        self.warnings.push(Diagnostic::new(Some(place), what));
    }

    /// A warning of what is not on this machine, without which a run does not start, with the command that fixes it.
    pub(crate) fn not_here(&mut self, place: &Origin, what: impl Into<String>, fix: Option<String>) {
        self.warnings.push(Diagnostic { absent: Absent::AndNeeded, fix, ..Diagnostic::new(Some(place), what) });
    }

    /// A warning of what can only be where the daemon is run.
    pub(crate) fn elsewhere(&mut self, place: &Origin, what: impl Into<String>) {
        self.warnings.push(Diagnostic { absent: Absent::Here, ..Diagnostic::new(Some(place), what) });
    }

    /// A directory that is not on this machine, if it is not.
    pub(crate) fn check_directory(&mut self, place: &Origin, file: &Path) {
        let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
        if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
            let what = format!("there is no directory {}", directory.display());
            self.not_here(place, what, Some(format!("mkdir -p {}", quoted(directory))));
        }
    }

    /// What is found meanwhile to be missing is advice: a run starts without it.
    pub(crate) fn not_needed<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.warnings.len();
        let value = read(self);
        let needed = self.warnings.iter_mut().skip(before).filter(|warning| warning.is_needed());
        needed.for_each(|warning| warning.absent = Absent::Here);
        value
    }

    /// How much is not here, as far as is known by now.
    pub(crate) fn count_not_here(&self) -> usize {
        self.warnings.iter().filter(|warning| warning.absent != Absent::Nothing).count()
    }

    /// Advice that belongs to no place.
    pub(crate) fn advise(&mut self, what: impl Into<String>) {
        self.warnings.push(Diagnostic::new(None, what));
    }

    pub(crate) fn missing(&mut self, what: impl Into<String>) {
        self.wrong.push(Diagnostic::new(None, what));
    }

    /// Whether anything is wrong.
    #[cfg(test)]
    pub(crate) fn any(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// The value, if nothing was wrong with anything.
    pub(crate) fn none_or_else<T>(mut self, value: Option<T>) -> Result<(T, Vec<Diagnostic>), Failure> {
        self.warnings.sort_by_key(Diagnostic::position);
        match value {
            Some(value) if self.wrong.is_empty() => Ok((value, self.warnings)),
            _ => Err(self.into_failure()),
        }
    }

    /// All that is wrong, and the advice beside it: anyone who fixes the one wants to read the other.
    pub(crate) fn into_failure(mut self) -> Failure {
        self.wrong.sort_by_key(Diagnostic::position);
        self.warnings.sort_by_key(Diagnostic::position);
        let mut text = match self.wrong.as_slice() {
            [one] => one.to_string(),
            several => {
                let lines: Vec<String> = several.iter().map(|mistake| format!("\n  {mistake}")).collect();
                format!("{} mistakes in the configuration:{}", several.len(), lines.concat())
            }
        };
        for warning in &self.warnings {
            text.push_str(&format!("\nadvice: {warning}"));
        }
        Failure::new(Exit::Usage, anyhow::Error::msg(text))
    }
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The name that somebody probably meant, whatever its case: the nearest within two slips, one in short names and three in
/// long ones.
pub(crate) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let slips = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let allowed = match lower.chars().count() {
        ..=3 => 1,
        4..=12 => 2,
        _ => 3,
    };
    known.map(|name| (slips(name), name)).filter(|(slips, _)| *slips <= allowed).min().map(|(_, name)| name)
}

/// Whether a text is words in lower case, as names in a configuration are and generated secrets are not.
pub(crate) fn is_plain_word(text: &str) -> bool {
    text.len() <= 20 && text.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-' | b'.'))
}
