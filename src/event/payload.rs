//! From an event as it came to a struct, and what can be wrong on the way.

use super::event::Event;
use super::field::Described;
use super::json::{Cursor, Fault};
use super::kind::EventKind;
use super::object::RequestInfo;
use super::read::read_object;
use super::table::parts::*;
use super::table::structs;
use super::text::escape_controls;
use super::view::Object;
use crate::telemetry::shown;

/// A type that events parse into: each struct of the catalogue for its wire type, [`CustomEvent`] for every custom type,
/// and a struct of your own for a custom type of yours:
///
/// ```
/// # use stream_sqsd::event::{Event, Payload, PayloadError};
/// #[derive(serde::Deserialize)]
/// struct OrderPaid { order: u64 }
///
/// impl Payload for OrderPaid {
///     const TYPE: &'static str = "order-paid";
///
///     fn from_event(event: &Event) -> Result<Self, PayloadError> {
///         Ok(serde_json::from_str(event.json())?)
///     }
/// }
///
/// let event = Event::from_json(r#"{"type":"order-paid","order":7}"#).unwrap();
/// assert_eq!(event.parse::<OrderPaid>().unwrap().order, 7);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the type of an event",
    label = "the handler's first argument is not an owned event type",
    note = "`Router::on` takes `async fn(event: MessageNew, ctx: Context) -> Result<(), HandlerError>`, both arguments owned",
    note = "for whole events take an `Event` and use `Router::route`, `route_named` or `fallback`; `event.json()` is its JSON",
    note = "for a custom event implement `Payload` for a struct of yours"
)]
pub trait Payload: Sized + Send + 'static {
    /// The wire type. For [`CustomEvent`], which has many, it is `*`: ask [`Payload::takes`] what a type takes.
    const TYPE: &'static str;

    /// Whether events of this kind parse into this type.
    fn takes(kind: &EventKind) -> bool {
        kind.name() == Self::TYPE
    }

    /// Parses the event, whatever its kind; [`Event::parse`] looks at the kind first.
    ///
    /// Where a key stands twice the last value counts, but the structs of the catalogue read the first one too, so it
    /// must fit.
    ///
    /// # Errors
    ///
    /// When the JSON does not fit.
    fn from_event(event: &Event) -> Result<Self, PayloadError>;
}

structs! {
    /// An event that you or your users defined: any type without a dot that is not Stream's own.
    CustomEvent {
        r#type: String;
        created_at, received_at: Timestamp;
        custom: Extra;
        request_info: Box<RequestInfo>;
    }
}

impl Payload for CustomEvent {
    const TYPE: &'static str = "*";

    fn takes(kind: &EventKind) -> bool {
        kind.is_custom()
    }

    fn from_event(event: &Event) -> Result<Self, PayloadError> {
        read_payload(event)
    }
}

impl Event {
    /// Parses the event into the struct of its type.
    ///
    /// # Errors
    ///
    /// When the event is of another type, and when its JSON does not fit.
    pub fn parse<E: Payload>(&self) -> Result<E, PayloadError> {
        if E::takes(self.kind()) { E::from_event(self) } else { Err(PayloadError::other_type(E::TYPE, self.kind())) }
    }
}

/// Why an event does not fit the type that it was parsed into. Never quotes a value: it may be somebody's private text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The event is of another type.
    #[error("expected an event of the type {expected}, found {found}")]
    OtherType {
        /// [`Payload::TYPE`].
        expected: &'static str,
        /// What it is.
        found: EventKind,
    },
    /// A value is of another kind than its field.
    #[error("{path} at line {line} column {column}: expected {expected}, found {found}")]
    Mismatch {
        /// The way to the value, as in `message.attachments[2].title`. The names of keys that are not Stream's are part
        /// of it, with control characters escaped. Cut to 120 bytes.
        path: String,
        /// The line of the JSON on which the value begins, from 1.
        line: usize,
        /// The byte of that line at which the value begins, from 1.
        column: usize,
        /// What the field holds.
        expected: &'static str,
        /// The kind of value that stands there, or what is wrong with it.
        found: &'static str,
    },
    /// A type of yours does not read the JSON. Of serde_json's error only the place is kept, since its messages quote
    /// values.
    #[error("line {line} column {column}: the value does not fit")]
    Foreign {
        /// The line of the JSON, from 1.
        line: usize,
        /// The column of that line.
        column: usize,
    },
}

impl From<serde_json::Error> for PayloadError {
    fn from(error: serde_json::Error) -> Self {
        PayloadError::Foreign { line: error.line(), column: error.column() }
    }
}

impl PayloadError {
    pub(super) fn other_type(expected: &'static str, found: &EventKind) -> Self {
        PayloadError::OtherType { expected, found: found.clone() }
    }

    #[cold]
    fn mismatch(json: &str, fault: &Fault) -> Self {
        let (before, value) = json.as_bytes().split_at(fault.at.min(json.len()));
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let found = match (fault.found, value.first()) {
            (Some(found), _) => found,
            (None, Some(b'"')) => "a text",
            (None, Some(b'{')) => "an object",
            (None, Some(b'[')) => "a list",
            (None, Some(b't' | b'f')) => "a boolean",
            (None, Some(b'n')) => "null",
            (None, _) => "a number",
        };
        PayloadError::Mismatch {
            path: shown(&escape_controls(&fault.path())).to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + before.len() - line_start,
            expected: fault.expected,
            found,
        }
    }
}

/// `Payload::from_event` for the structs of the table.
pub(super) fn read_payload<T: Described>(event: &Event) -> Result<T, PayloadError> {
    read_json(event.json())
}

/// A struct of the table from a JSON object, which must have been checked to be one.
pub(crate) fn read_json<T: Described>(json: &str) -> Result<T, PayloadError> {
    let mut object = T::default();
    read_checked(json, &mut object)?;
    Ok(object)
}

/// The part of [`read_json`] that is the same for all types, and is compiled once.
fn read_checked(json: &str, object: &mut dyn Object) -> Result<(), PayloadError> {
    read_object(&mut Cursor::new(json), object).map_err(|fault| PayloadError::mismatch(json, &fault))
}
