//! What every struct of the table can do, seen without its type: hand out its fields to be read, and show what they hold.
//!
//! There is one `Serialize`, one `Debug` and one comparison, on [`View`], for all 350 structs.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Number;
use serde_json::value::RawValue;

use super::extra::Extra;
use super::json::{Cursor, Fault};
use super::timestamp::Timestamp;

/// A struct of the table.
pub(crate) trait Object {
    /// The wire type, for events: it is not a field, since it is always the same.
    fn tag(&self) -> Option<&'static str>;
    fn slot(&mut self, key: &str) -> Option<&mut dyn Slot>;
    fn fields(&self) -> Vec<(&'static str, View<'_>)>;
    fn extra(&self) -> &Extra;
    fn extra_mut(&mut self) -> &mut Extra;
}

/// A field that can be read: an `Option` of something.
pub(crate) trait Slot {
    /// Reads the next value into the field, in place of what was there. `Some` is the JSON of a value that the field
    /// could not hold exactly.
    fn read<'de>(&mut self, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>>;
}

/// What a field, an element or an entry holds.
pub(crate) enum View<'a> {
    /// Absent or null. Written as null in a list, where it keeps a place, and not at all elsewhere.
    Nothing,
    Bool(bool),
    Int(i64),
    Number(&'a Number),
    Text(&'a str),
    Raw(&'a RawValue),
    Time(&'a Timestamp),
    Extra(&'a Extra),
    Object(&'a dyn Object),
    List(Vec<View<'a>>),
    Map(Vec<(&'a str, View<'a>)>),
}

/// The fields of an object that are to be written: those that hold something, less those that stand in `extra` exactly.
fn written<'a>(object: &'a dyn Object) -> impl Iterator<Item = (&'a str, View<'a>)> {
    let extra = object.extra();
    let tag = object.tag().map(|tag| ("type", View::Text(tag)));
    let fields = object.fields().into_iter();
    tag.into_iter().chain(
        fields
            .filter(|(name, view)| !matches!(view, View::Nothing) && (extra.is_empty() || extra.json(name).is_none())),
    )
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            View::Nothing => serializer.serialize_unit(),
            View::Bool(value) => serializer.serialize_bool(*value),
            View::Int(value) => serializer.serialize_i64(*value),
            View::Number(value) => value.serialize(serializer),
            View::Text(value) => serializer.serialize_str(value),
            View::Raw(value) => value.serialize(serializer),
            View::Time(value) => value.serialize(serializer),
            View::Extra(value) => value.serialize(serializer),
            View::Object(object) => {
                let mut map = serializer.serialize_map(None)?;
                for (name, view) in written(*object) {
                    map.serialize_entry(name, &view)?;
                }
                for (name, value) in object.extra().iter() {
                    map.serialize_entry(&name, value)?;
                }
                map.end()
            }
            View::List(elements) => {
                let mut seq = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    seq.serialize_element(element)?;
                }
                seq.end()
            }
            View::Map(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, view) in entries {
                    map.serialize_entry(key, view)?;
                }
                map.end()
            }
        }
    }
}

/// Shows only what is there: an object of sixty fields with two set is two lines.
impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            View::Nothing => f.write_str("null"),
            View::Bool(value) => value.fmt(f),
            View::Int(value) => value.fmt(f),
            View::Number(value) => fmt::Display::fmt(value, f),
            View::Text(value) => value.fmt(f),
            View::Raw(value) => f.write_str(value.get()),
            View::Time(value) => value.fmt(f),
            View::Extra(value) => value.fmt(f),
            View::Object(object) => {
                let extra = object.extra().iter().map(|(name, value)| (name, View::Raw(value)));
                f.debug_map().entries(written(*object)).entries(extra).finish()
            }
            View::List(elements) => f.debug_list().entries(elements).finish(),
            View::Map(entries) => f.debug_map().entries(entries.iter().map(|(key, view)| (key, view))).finish(),
        }
    }
}

impl PartialEq for View<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (View::Nothing, View::Nothing) => true,
            (View::Bool(a), View::Bool(b)) => a == b,
            (View::Int(a), View::Int(b)) => a == b,
            (View::Number(a), View::Number(b)) => a == b,
            (View::Text(a), View::Text(b)) => a == b,
            (View::Raw(a), View::Raw(b)) => a.get() == b.get(),
            (View::Time(a), View::Time(b)) => a.written_like(b),
            (View::Extra(a), View::Extra(b)) => a == b,
            (View::Object(a), View::Object(b)) => same(*a, *b),
            (View::List(a), View::List(b)) => a == b,
            (View::Map(a), View::Map(b)) => a == b,
            _ => false,
        }
    }
}

/// Whether two objects hold the same.
pub(crate) fn same(a: &dyn Object, b: &dyn Object) -> bool {
    a.extra() == b.extra() && a.fields() == b.fields()
}
