//! Which letters a verb means. It is the same for all of them.

use std::time::SystemTime;

use super::letter::Letter;
use crate::event::Pattern;
use crate::queue::MessageId;

/// The shortest beginning of an id that is taken for it.
const SHORTEST_ID: usize = 8;

/// Which letters are meant: those for which all holds that is said. The default says nothing, and means all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    ids: Vec<String>,
    types: Vec<Pattern>,
    reason: Option<String>,
    routes: Vec<String>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
}

/// Why a filter is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The beginning of an id is too short to name a message.
    #[error("the message id `{}` is too short: give the whole id, or its first {SHORTEST_ID} characters or more", .0.escape_debug())]
    ShortId(String),
}

impl Filter {
    /// Means every letter.
    pub fn all() -> Self {
        Filter::default()
    }

    /// Only the message of this id, or those whose id begins like this. Said several times: any of them.
    ///
    /// # Errors
    ///
    /// [`FilterError::ShortId`] where it has fewer than 8 characters.
    pub fn with_id(mut self, id: &str) -> Result<Self, FilterError> {
        if id.len() < SHORTEST_ID {
            return Err(FilterError::ShortId(id.to_owned()));
        }
        self.ids.push(id.to_ascii_lowercase());
        Ok(self)
    }

    /// Only events of these types, in the language of routes: `message.new`, `message.*`, `*`. What cannot be decoded has no
    /// type. Said several times: any of them.
    pub fn with_type(mut self, pattern: Pattern) -> Self {
        self.types.push(pattern);
        self
    }

    /// Only where the [reason](super::Reason), as it is shown, has this in it; case is ignored.
    pub fn with_reason(mut self, part: &str) -> Self {
        self.reason = Some(part.to_lowercase());
        self
    }

    /// Only what the route of this name takes now, and is not done with. Said several times: any of them.
    pub fn with_route(mut self, name: &str) -> Self {
        self.routes.push(name.to_owned());
        self
    }

    /// Only what was first sent at this time or later.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Only what was first sent before this time.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// Whether nothing was said, so that every letter is meant.
    pub fn is_all(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether a letter is meant.
    pub fn matches(&self, letter: &Letter) -> bool {
        let Filter { ids, types, reason, routes, since, until } = self;
        let time = |holds: &dyn Fn(SystemTime) -> bool| letter.sent_at.is_some_and(holds);
        (ids.is_empty() || self.names(&letter.message_id))
            && (types.is_empty()
                || letter.event_type.as_ref().is_some_and(|name| types.iter().any(|pattern| pattern.matches(name))))
            && reason.as_ref().is_none_or(|part| {
                letter.reason.as_ref().is_some_and(|reason| reason.to_string().to_lowercase().contains(part))
            })
            && (routes.is_empty() || routes.iter().any(|name| letter.waits_for(name)))
            && since.is_none_or(|since| time(&|sent| sent >= since))
            && until.is_none_or(|until| time(&|sent| sent < until))
    }

    fn names(&self, id: &MessageId) -> bool {
        let id = id.as_str();
        self.ids.iter().any(|begin| id.get(..begin.len()).is_some_and(|of_id| of_id.eq_ignore_ascii_case(begin)))
    }
}
