//! Which events a route takes, and whether that is likely to be what was meant.

use super::catalogue::KNOWN;
use super::kind::EventType;

/// Which events a route takes: one type (`message.new`), all below a dot (`message.*`, `feeds.activity.*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Box<str>);

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is empty.
    #[error("a pattern cannot be empty: `*` takes every event")]
    Empty,
    /// There is white space or a control character in it.
    #[error("white space in the pattern `{}`", .0.escape_debug())]
    WhiteSpace(String),
    /// A star elsewhere than at the end, after a dot or alone.
    #[error(
        "in the pattern `{0}` the star stands for one thing only: `*` alone takes every event, `message.*` all that begin with `message.`"
    )]
    Star(String),
}

impl Pattern {
    /// Reads a pattern. Only its form is checked here; [`Pattern::check`] says whether it matches anything known.
    ///
    /// # Errors
    ///
    /// When the form is not one of the three.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(PatternError::WhiteSpace(text.to_owned()));
        }
        let names = match text.strip_suffix('*') {
            None => text,
            Some("") => "",
            Some(stem) => match stem.strip_suffix('.') {
                Some(names) if !names.is_empty() => names,
                _ => return Err(PatternError::Star(text.to_owned())),
            },
        };
        if names.contains('*') {
            return Err(PatternError::Star(text.to_owned()));
        }
        Ok(Pattern(text.into()))
    }

    /// Whether it takes events of this type.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == &*self.0,
        }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The types of the catalogue that it takes.
    pub fn known(&self) -> impl Iterator<Item = &'static EventType> {
        KNOWN.iter().filter(|known| self.matches(known.name()))
    }

    /// Whether the pattern matches anything known, and if it does not, what may have been meant.
    pub fn check(&self) -> PatternCheck {
        if &*self.0 == "*" || self.known().next().is_some() {
            return PatternCheck::Known;
        }
        let Some(stem) = self.0.strip_suffix('*') else {
            let types = KNOWN.iter().map(|known| known.name().to_owned());
            let (distance, nearest) = nearest(&self.0, types);
            return match self.0.contains('.') {
                true => PatternCheck::Unknown { nearest, distance },
                false => PatternCheck::Custom { nearest: (distance <= MAX_CUSTOM_DISTANCE).then_some(nearest) },
            };
        };
        // `mesage.*`: the known beginnings with a dot at their end, each written as a pattern.
        let dots = KNOWN.iter().flat_map(|known| known.name().match_indices('.').map(|(at, _)| &known.name()[..=at]));
        let (distance, nearest) = nearest(&format!("{stem}*"), dots.map(|stem| format!("{stem}*")));
        PatternCheck::Unknown { nearest, distance }
    }
}

/// How far a name without a dot may be from a known type to be told of it. A custom event may have any name, so this is
/// the same name in another spelling, or a single slip.
const MAX_CUSTOM_DISTANCE: usize = 1;

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Pattern::new(text)
    }
}

/// Whether a pattern matches anything known: the answer of [`Pattern::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternCheck {
    /// It matches at least one known type.
    Known,
    /// It is one name without a dot: a custom event, of which nothing can be known.
    Custom {
        /// The known type that may have been meant, such as `channel.created` for `channel_created`.
        nearest: Option<String>,
    },
    /// It matches no known type. It may be a newer type than this version knows, or misspelt.
    Unknown {
        /// The nearest pattern that does match.
        nearest: String,
        /// How many slips lead there: a letter put in, left out or changed, two letters swapped, or one for another
        /// spelling (`MESSAGE.NEW`) or another word for the same thing (`message.created`).
        distance: usize,
    },
}

impl PatternCheck {
    /// Whether it is so near to a known type, two slips at most, that it must be one: what a configuration file is
    /// refused for. Code, which its author compiles and tests, is only warned, and a custom event may have any name.
    pub fn is_typo(&self) -> bool {
        matches!(self, PatternCheck::Unknown { distance: ..=2, .. })
    }

    /// What to tell the author of `pattern`, as a sentence for a log or an error; None where all is well.
    pub fn warning(&self, pattern: &Pattern) -> Option<String> {
        match self {
            PatternCheck::Known | PatternCheck::Custom { nearest: None } => None,
            PatternCheck::Custom { nearest: Some(nearest) } => Some(format!(
                "`{pattern}` has no dot, so only a custom event of yours can be of this type; did you mean `{nearest}`?"
            )),
            PatternCheck::Unknown { nearest, .. } => Some(format!(
                "the pattern `{pattern}` matches no event type that this version knows; the nearest is `{nearest}`"
            )),
        }
    }
}

/// The nearest of some names, and how many slips lead there.
fn nearest(written: &str, names: impl Iterator<Item = String>) -> (usize, String) {
    let plain = plain(written);
    let distance = |name: &str| {
        let slips = strsim::damerau_levenshtein(written, name);
        let plain_name = self::plain(name);
        // Another spelling counts as one slip, whatever it takes to get there.
        let respelt = strsim::damerau_levenshtein(&plain, &plain_name).max(1);
        let reworded = if means_the_same(&plain, &plain_name) { 1 } else { usize::MAX };
        slips.min(respelt).min(reworded)
    };
    let nearest = names.map(|name| (distance(&name), name)).min();
    nearest.expect("the catalogue is not empty")
}

/// A name without what differs between spellings: `MESSAGE_NEW` and `message-new` are `message.new`.
fn plain(name: &str) -> String {
    name.chars().map(|c| if matches!(c, '_' | '-' | ':' | '/') { '.' } else { c.to_ascii_lowercase() }).collect()
}

/// Words for the same thing. Stream says `message.new` and `channel.created`.
const SAME: &[&[&str]] = &[
    &["new", "created", "added", "sent", "create", "posted"],
    &["updated", "edited", "changed", "modified", "update"],
    &["deleted", "removed", "delete"],
];

/// Whether two names are the same but for their last word, which is another for the same thing.
fn means_the_same(one: &str, other: &str) -> bool {
    let (Some((stem, one)), Some((other_stem, other))) = (one.rsplit_once('.'), other.rsplit_once('.')) else {
        return false;
    };
    stem == other_stem && SAME.iter().any(|words| words.contains(&one) && words.contains(&other))
}
