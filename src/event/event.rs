//! An event as it came.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{NotAnObject, last_values, text_of};
use super::kind::EventKind;

/// How long the type of an event may be, in bytes. Stream's own are shorter than 50; what is longer than
/// this is not an event.
pub const MAX_TYPE_LENGTH: usize = 256;

/// The event as it came: its kind and its exact JSON. Cheap to clone.
///
/// It is made by [`decode`](crate::decode::decode). Its `Debug` shows kind and length, not what people wrote.
#[derive(Clone)]
pub struct Event(Arc<Whole>);

struct Whole {
    kind: EventKind,
    json: String,
}

impl Event {
    /// `kind` must be the last `type` in `json`, which must be a JSON object.
    pub(crate) fn new(kind: EventKind, json: String) -> Self {
        Event(Arc::new(Whole { kind, json }))
    }

    /// The type.
    pub fn kind(&self) -> &EventKind {
        &self.0.kind
    }

    /// The JSON object, byte for byte as it was sent.
    pub fn json(&self) -> &str {
        &self.0.json
    }

    /// How many bytes of memory its JSON takes: what it was decoded in may have been longer.
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.json.capacity()
    }

    /// The fields of these names at the top level of the event, where they are there and text. Of a key that stands
    /// twice the last counts, as everywhere.
    ///
    /// For conditions and for columns: nothing else of the event is read, so no other field can make it fail.
    pub fn texts<const N: usize>(&self, names: [&str; N]) -> [Option<Cow<'_, str>>; N] {
        match last_values(self.json(), names) {
            Ok(values) => values.map(|value| value.and_then(text_of)),
            // An event is a JSON object, so this does not happen.
            Err(_) => [const { None }; N],
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({}, {} bytes)", self.kind().name().escape_debug(), self.json().len())
    }
}

/// Two events are equal when their JSON is, byte for byte.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

/// As it came. Like all raw JSON it can be written by serde_json alone.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.json()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Why a text is not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnEvent {
    /// It is not JSON, or the JSON is not an object.
    #[error("not a JSON object (line {line} column {column})")]
    NoObject {
        /// The line, from 1.
        line: usize,
        /// The column at which reading stopped.
        column: usize,
    },
    /// It has no `type`, or one that is empty or no text.
    #[error("no `type`")]
    NoType,
    /// Its `type` is longer than [`MAX_TYPE_LENGTH`](MAX_TYPE_LENGTH).
    #[error("its `type` is longer than {} bytes", MAX_TYPE_LENGTH)]
    LongType,
}

impl From<NotAnObject> for NotAnEvent {
    fn from(NotAnObject { line, column }: NotAnObject) -> Self {
        NotAnEvent::NoObject { line, column }
    }
}
