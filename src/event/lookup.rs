//! From the name of a type to its row in the catalogue, and all that begins with it.

use super::catalogue::{AnyPayload, KNOWN, PARSERS};
use super::event::{Event, MAX_TYPE_LENGTH, NotAnEvent};
use super::json::{last_values, text_of};
use super::kind::{EventKind, EventType};
use super::payload::PayloadError;

/// The place of this wire type in [`KNOWN`].
fn position(name: &str) -> Option<usize> {
    KNOWN.binary_search_by(|known| known.name().cmp(name)).ok()
}

impl EventType {
    /// The row of this wire type.
    pub fn find(name: &str) -> Option<&'static EventType> {
        position(name).map(|index| &KNOWN[index])
    }
}

impl EventKind {
    /// The kind of this name, known or not.
    pub fn new(name: &str) -> Self {
        EventKind::from_row(name, EventType::find(name))
    }
}

/// The type of an event, from its value in the JSON.
///
/// A type is held several times (in the event, in logs, in counts), and by a handful of bytes of gzip a sender can make it
/// as long as the whole event. So its length is looked at before anything is made of it.
pub(crate) fn kind_of(value: Option<&str>) -> Result<EventKind, NotAnEvent> {
    /// The longest that one byte can be written: `\u0061`.
    const ESCAPED: usize = 6;
    let value = value.ok_or(NotAnEvent::NoType)?;
    if value.starts_with('"') && value.len() > MAX_TYPE_LENGTH * ESCAPED + 2 {
        return Err(NotAnEvent::LongType);
    }
    match text_of(value) {
        Some(kind) if kind.len() > MAX_TYPE_LENGTH => Err(NotAnEvent::LongType),
        Some(kind) if !kind.is_empty() => Ok(EventKind::new(&kind)),
        _ => Err(NotAnEvent::NoType),
    }
}

impl Event {
    /// An event from its JSON, for tests: an object with a `type` of 1 to [`MAX_TYPE_LENGTH`] bytes. White space around it is not part of the event.
    ///
    /// # Errors
    ///
    /// When it is not that.
    pub fn from_json(json: impl Into<String>) -> Result<Self, NotAnEvent> {
        let mut json = json.into();
        if json.trim_ascii().len() < json.len() {
            json = json.trim_ascii().to_owned();
        }
        let [kind] = last_values(&json, ["type"])?;
        Ok(Event::new(kind_of(kind)?, json))
    }

    /// Parses the event, whatever its type.
    ///
    /// # Errors
    ///
    /// When the type is known and the JSON does not fit it. A type that is not known is none.
    pub fn payload(&self) -> Result<AnyPayload, PayloadError> {
        match position(self.kind().name()) {
            Some(index) => PARSERS[index](self),
            None if self.kind().is_custom() => self.parse().map(|custom| AnyPayload::CustomEvent(Box::new(custom))),
            None => Ok(AnyPayload::Unknown(self.clone())),
        }
    }
}
