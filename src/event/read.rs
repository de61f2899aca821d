//! Reading JSON into the structs of the table: one visitor for all of them.
//!
//! An object hands out its fields by name as [`Slot`]s, and a slot reads itself from a [`Source`], the value that stands
//! next in the JSON. Both are trait objects, so that serde's generic code is compiled once instead of once for each of
//! the 350 structs. That costs two virtual calls for a field, and saves most of the compile time.
//!
//! What goes wrong is a [`Fault`]: where and of which kind, never the value itself, which may be somebody's private text.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::extra::Extra;
use super::write::View;

/// How many objects, lists and maps of the table may stand in each other.
///
/// Raw values do not count. serde_json's own limit is 128; this one is lower so that it is met first, with a message of
/// our own, and so that the stack of a tokio worker (2 MiB) is never in danger.
pub(super) const DEPTH: u32 = 100;

/// A struct of the table.
pub(crate) trait Object {
    /// The wire type, for events: it is no field, since it is always the same.
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
    fn read<'de>(&mut self, source: &mut dyn Source<'de>) -> Result<Option<&'de RawValue>, Box<Fault>>;
}

/// A place that an object is read into. It is opened only when there is an object, so that a null allocates nothing.
pub(crate) trait Open {
    fn open(&mut self) -> &mut dyn Object;
}

/// The value that stands next in the JSON. It is read exactly once.
pub(crate) trait Source<'de> {
    /// A text, or `None` for null.
    fn text(&mut self) -> Result<Option<String>, Box<Fault>>;
    /// Anything, unread.
    fn raw(&mut self) -> Result<&'de RawValue, Box<Fault>>;
    /// An object, read into `place`; or a text, or null.
    fn object_or_text(&mut self, place: &mut dyn Open) -> Result<Found, Box<Fault>>;
    /// A list, `each` called for every element. False for null.
    fn list(&mut self, each: &mut Each<'_, 'de>) -> Result<bool, Box<Fault>>;
    /// An object as a map, `entry` called for every key. False for null.
    fn map(&mut self, entry: &mut Entry<'_, 'de>) -> Result<bool, Box<Fault>>;
}

pub(crate) type Each<'a, 'de> = dyn FnMut(&mut dyn Source<'de>) -> Result<(), Box<Fault>> + 'a;
pub(crate) type Entry<'a, 'de> = dyn FnMut(&str, &mut dyn Source<'de>) -> Result<(), Box<Fault>> + 'a;

/// What stood where an object was looked for.
pub(crate) enum Found {
    Null,
    Object,
    Text(String),
}

/// Why a value did not fit, and the way to it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// What the field can hold.
    pub(super) expected: &'static str,
    /// What stands there, where it is not simply a value of another kind, which is seen from the value.
    pub(super) found: Option<&'static str>,
    /// From the inside to the outside.
    pub(super) path: Vec<Step>,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// The name, and the how manieth key of its object it is: a name can stand twice.
    Key(String, usize),
    Index(usize),
}

impl Fault {
    pub(super) fn expected(expected: &'static str) -> Box<Self> {
        Box::new(Fault { expected, found: None, path: Vec::new() })
    }

    fn found(expected: &'static str, found: &'static str) -> Box<Self> {
        Box::new(Fault { expected, found: Some(found), path: Vec::new() })
    }

    fn at(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.path.push(step);
        self
    }
}

/// Reads `place` from a deserializer of whatever format lends its text, which is serde_json's on a string.
pub(super) fn read_object<'de, D: Deserializer<'de>>(place: &mut dyn Open, deserializer: D) -> Result<(), Box<Fault>> {
    let stash = Stash::default();
    let mut one = One { deserializer: Some(deserializer), stash: &stash, depth: 0 };
    match one.object_or_text(place)? {
        Found::Object => Ok(()),
        Found::Null | Found::Text(_) => Err(Fault::expected("an object")),
    }
}

/// A struct of the table as the place that it is read into.
pub(super) struct Place<T>(pub(super) T);

impl<T: Object> Open for Place<T> {
    fn open(&mut self) -> &mut dyn Object {
        &mut self.0
    }
}

/// `Deserialize` for any struct of the table.
pub(crate) fn deserialize<'de, T: Object + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let mut place = Place(T::default());
    match read_object(&mut place, deserializer) {
        Ok(()) => Ok(place.0),
        Err(fault) => Err(D::Error::custom(fault)),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)?;
        if let Some(found) = self.found {
            write!(f, ", found {found}")?;
        }
        if !self.path.is_empty() {
            write!(f, " at {}", self.path())?;
        }
        Ok(())
    }
}

impl Fault {
    /// The path as people write it: `message.attachments[2].title`.
    pub(super) fn path(&self) -> String {
        let mut text = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Key(name, _) if text.is_empty() => text.push_str(name),
                Step::Key(name, _) => text.extend([".", name]),
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}

/// Where a fault waits while an error of the deserializer, which cannot carry it, travels up through serde.
#[derive(Default)]
struct Stash(Cell<Option<Box<Fault>>>);

impl Stash {
    /// The error that stands for `fault` until [`Stash::take`].
    fn put<E: de::Error>(&self, fault: Box<Fault>) -> E {
        self.0.set(Some(fault));
        E::custom("a value does not fit")
    }

    fn take(&self, otherwise: &'static str) -> Box<Fault> {
        self.0.take().unwrap_or_else(|| Fault::expected(otherwise))
    }
}

/// One value of a deserializer.
struct One<'a, D> {
    deserializer: Option<D>,
    stash: &'a Stash,
    depth: u32,
}

impl<'de, D: Deserializer<'de>> One<'_, D> {
    fn next(&mut self) -> Result<D, Box<Fault>> {
        self.deserializer.take().ok_or_else(|| Fault::found("a value", "that it was read already"))
    }

    fn deeper(&self) -> Result<u32, Box<Fault>> {
        if self.depth < DEPTH {
            Ok(self.depth + 1)
        } else {
            Err(Fault::found("no more than 100 objects and lists in each other", "one more"))
        }
    }
}

impl<'de, D: Deserializer<'de>> Source<'de> for One<'_, D> {
    fn text(&mut self) -> Result<Option<String>, Box<Fault>> {
        Option::<String>::deserialize(self.next()?).map_err(|_| Fault::expected("a text"))
    }

    fn raw(&mut self) -> Result<&'de RawValue, Box<Fault>> {
        <&RawValue>::deserialize(self.next()?)
            .map_err(|_| Fault::found("JSON in a text", "JSON that is read piece by piece"))
    }

    fn object_or_text(&mut self, place: &mut dyn Open) -> Result<Found, Box<Fault>> {
        let visitor = ObjectVisitor { place, stash: self.stash, depth: self.deeper()? };
        self.next()?.deserialize_any(visitor).map_err(|_| self.stash.take("an object"))
    }

    fn list(&mut self, each: &mut Each<'_, 'de>) -> Result<bool, Box<Fault>> {
        let visitor = ListVisitor { each, stash: self.stash, depth: self.deeper()? };
        self.next()?.deserialize_option(visitor).map_err(|_| self.stash.take("a list"))
    }

    fn map(&mut self, entry: &mut Entry<'_, 'de>) -> Result<bool, Box<Fault>> {
        let visitor = MapVisitor { entry, stash: self.stash, depth: self.deeper()? };
        self.next()?.deserialize_option(visitor).map_err(|_| self.stash.take("an object"))
    }
}

/// Hands one value to a function as a [`Source`].
struct Value<'a, 'f, 'de> {
    read: &'a mut Each<'f, 'de>,
    stash: &'a Stash,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mut one = One { deserializer: Some(deserializer), stash: self.stash, depth: self.depth };
        (self.read)(&mut one).map_err(|fault| self.stash.put(fault))
    }
}

/// A key, borrowed where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

fn next_key<'de, A: MapAccess<'de>>(map: &mut A, stash: &Stash) -> Result<Option<Cow<'de, str>>, A::Error> {
    // The JSON is known to be whole, so all that can be wrong with a key is an escape that names half a character.
    map.next_key_seed(Key).inspect_err(|_| stash.0.set(Some(Fault::found("an object", "a key with a lone surrogate"))))
}

struct ObjectVisitor<'a> {
    place: &'a mut dyn Open,
    stash: &'a Stash,
    depth: u32,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Found, E> {
        Ok(Found::Null)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Found, E> {
        Ok(Found::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let object = self.place.open();
        let tagged = object.tag().is_some();
        let (stash, depth) = (self.stash, self.depth);
        // Kept apart until the end: a later value of the same key puts an earlier one out of force, and there are never
        // more of these than fields, so that looking for one is cheap.
        let mut inexact: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        let mut nth = 0;
        while let Some(key) = next_key(&mut map, stash)? {
            let mut kept = None;
            let mut known = true;
            let mut read = |source: &mut dyn Source<'de>| {
                match object.slot(&key) {
                    Some(slot) => kept = slot.read(source)?,
                    None if tagged && key == "type" => drop(source.raw()?),
                    None => {
                        known = false;
                        kept = Some(source.raw()?);
                    }
                }
                Ok(())
            };
            let value = Value { read: &mut read, stash, depth };
            if let Err(error) = map.next_value_seed(value) {
                let fault = stash.take("a value").at(Step::Key(key.into_owned(), nth));
                stash.0.set(Some(fault));
                return Err(error);
            }
            nth += 1;
            if known && !inexact.is_empty() {
                inexact.retain(|(name, _)| *name != key);
            }
            match kept {
                Some(raw) if known => inexact.push((key, raw)),
                Some(raw) => object.extra_mut().push(&key, raw.to_owned()),
                None => {}
            }
        }
        for (key, raw) in inexact {
            object.extra_mut().push(&key, raw.to_owned());
        }
        Ok(Found::Object)
    }
}

struct ListVisitor<'a, 'f, 'de> {
    each: &'a mut Each<'f, 'de>,
    stash: &'a Stash,
    depth: u32,
}

impl<'de> Visitor<'de> for ListVisitor<'_, '_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E: de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut index = 0;
        loop {
            let value = Value { read: &mut *self.each, stash: self.stash, depth: self.depth };
            match seq.next_element_seed(value) {
                Ok(Some(())) => index += 1,
                Ok(None) => return Ok(true),
                Err(error) => {
                    let fault = self.stash.take("a value").at(Step::Index(index));
                    self.stash.0.set(Some(fault));
                    return Err(error);
                }
            }
        }
    }
}

struct MapVisitor<'a, 'f, 'de> {
    entry: &'a mut Entry<'f, 'de>,
    stash: &'a Stash,
    depth: u32,
}

impl<'de> Visitor<'de> for MapVisitor<'_, '_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E: de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut nth = 0;
        while let Some(key) = next_key(&mut map, self.stash)? {
            let mut read = |source: &mut dyn Source<'de>| (self.entry)(&key, source);
            let value = Value { read: &mut read, stash: self.stash, depth: self.depth };
            if let Err(error) = map.next_value_seed(value) {
                let fault = self.stash.take("a value").at(Step::Key(key.into_owned(), nth));
                self.stash.0.set(Some(fault));
                return Err(error);
            }
            nth += 1;
        }
        Ok(true)
    }
}
