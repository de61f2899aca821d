//! What Stream sends: events, their kinds, and a Rust type for each of them.
//!
//! An [`Event`] is the JSON as it came and its [`EventKind`]. Nothing more of it is read until somebody asks:
//! [`Event::parse`] reads the struct of one type, [`Event::payload`] an enum over all types, and who passes events on
//! needs neither.
//!
//! The structs stand in a module for each family, by names that can be guessed from the wire: `message.new` is
//! [`message::MessageNew`], `feeds.activity.added` is [`feeds::FeedsActivityAdded`]. What they are made of stands in
//! [`object`]. Three things hold for all of them:
//!
//! * **Every field may be missing.** Only the type of an event is certain, so every field is an `Option`.
//! * **Nothing is lost.** What the table does not know is in `extra`, at every level; custom fields stand there too, since
//!   Stream puts them at the top level of the object that they belong to. Parse and serialise, and every value that is
//!   not null is there again.
//! * **A value of the wrong kind is an error**, with the path to it, and never its value.
//!
//! There is no decoding here (that is [`decode`](crate::decode)) and no routing; this room is tables of facts, and knows
//! nothing of queues.
//!
//! # A new type
//!
//! About once a month Stream adds one. Until the table has it, it arrives as [`AnyPayload::Unknown`] and can be routed by
//! its name. To add it, put one row into `catalogue.rs`, in its alphabetical place: wire type, struct name (the wire type
//! without dots and underscores), products and fields. Names and kinds of the fields stand in Stream's own SDKs. Objects
//! that it brings along go into a file of `object/`. The enum, the lookup, the parser, the list of `stream-sqsd events`
//! and the samples that the tests run on all follow from the row; the compiler says what is missing. A new family also
//! gets its name into the list of modules below.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

mod catalogue;
mod extra;
mod field;
mod kind;
pub mod object;
mod pattern;
mod payload;
mod read;
pub mod sample;
mod scan;
mod table;
mod timestamp;
mod write;

pub use catalogue::{
    AnyPayload, KNOWN, appeal, call, campaign, channel, channel_batch_update, custom, export, feeds, flag, ingress,
    member, message, moderation, moderation_check, moderation_rule, notification, reaction, reminder,
    review_queue_item, thread, user, user_group,
};
pub use extra::Extra;
pub use field::{FieldInfo, IdOr, List, Map, ObjectInfo, Shape};
pub(crate) use kind::escape_controls;
pub use kind::{EventKind, EventType, Product, is_unsafe_to_show};
pub use pattern::{Pattern, PatternCheck, PatternError};
pub use payload::{Payload, PayloadError};
pub use scan::NotAnEvent;
pub use timestamp::Timestamp;

pub(crate) use scan::{kind_of, last_values, text_of};

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
    /// An event from its JSON, for tests: an object with a `type` of 1 to [`MAX_TYPE_LENGTH`] bytes. White space around it is no part of the event.
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

    /// Parses the event into the struct of its type.
    ///
    /// # Errors
    ///
    /// When the event is of another type, and when its JSON does not fit.
    pub fn parse<E: Payload>(&self) -> Result<E, PayloadError> {
        if E::takes(self.kind()) { E::from_event(self) } else { Err(PayloadError::other_type(E::TYPE, self.kind())) }
    }

    /// Parses the event, whatever its type.
    ///
    /// # Errors
    ///
    /// When the type is known and the JSON does not fit it. A type that is not known is none.
    pub fn payload(&self) -> Result<AnyPayload, PayloadError> {
        payload::read_any(self)
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

table::structs! {
    /// An event that you or your users defined: any type without a dot that is not Stream's own.
    CustomEvent {
        r#type: String;
        created_at, received_at: Timestamp;
        custom: Extra;
        request_info: Box<object::RequestInfo>;
    }
}

use table::parts::*;
