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

// In reading order: each imports only from those below it.
pub mod sample;
mod pattern;
mod lookup;
mod catalogue;
mod rows;
pub(crate) mod payload;
#[expect(clippy::module_inception, reason = "it holds the type `Event`")]
mod event;
mod kind;
pub mod object;
pub(crate) mod table;
mod field;
mod read;
mod view;
mod timestamp;
mod extra;
mod text;
mod json;

pub use catalogue::{
    AnyPayload, KNOWN, appeal, call, campaign, channel, channel_batch_update, custom, export, feeds, flag, ingress,
    member, message, moderation, moderation_check, moderation_rule, notification, reaction, reminder,
    review_queue_item, thread, user, user_group,
};
pub use event::{Event, MAX_TYPE_LENGTH, NotAnEvent};
pub use extra::Extra;
pub use field::{FieldInfo, IdOr, List, Map, ObjectInfo, Shape};
pub use kind::{EventKind, EventType, Product};
pub use pattern::{Pattern, PatternCheck, PatternError};
pub use payload::{CustomEvent, Payload, PayloadError};
pub use text::is_unsafe_to_show;
pub use timestamp::Timestamp;

pub(crate) use json::{NotAnObject, last_values, text_of};
pub(crate) use lookup::kind_of;
pub(crate) use text::escape_controls;
