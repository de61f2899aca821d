//! What can stand in a field: text, numbers, times, objects, and [`List`], [`Map`] and [`IdOr`] of them.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde_json::Number;
use serde_json::value::RawValue;

use super::extra::Extra;
use super::json::{Cursor, Fault, raw_value};
use super::read::read_object;
use super::timestamp::Timestamp;
use super::view::{Object, Slot, View};

/// What a field, an element of a list or an entry of a map can be.
pub(crate) trait Item: Sized {
    /// Reads the next value into `place`, whatever was there; null makes it `None`. The answer is the JSON of a value
    /// that could not be held exactly: `place` has what is nearest to it, or `None`.
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>>;
    fn view(&self) -> View<'_>;
    fn shape() -> Shape;
}

/// The kind of value that a field holds, as the table has it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// An integer.
    Integer,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A [`Timestamp`].
    Time,
    /// An object of whatever keys and values.
    Any,
    /// An object of the table.
    Object(&'static ObjectInfo),
    /// A text (an id or a name), or what the function says.
    IdOr(fn() -> Shape),
    /// A list of what the function says.
    List(fn() -> Shape),
    /// An object with whatever keys and values of what the function says.
    Map(fn() -> Shape),
}

/// A struct of the table: its name and its fields.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The name of the struct, which is Stream's own for everything but events.
    pub name: &'static str,
    /// The fields, in the order of the table.
    pub fields: &'static [FieldInfo],
}

/// A field of the table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FieldInfo {
    /// The key in the JSON.
    pub name: &'static str,
    shape: fn() -> Shape,
}

impl FieldInfo {
    pub(crate) const fn new(name: &'static str, shape: fn() -> Shape) -> Self {
        FieldInfo { name, shape }
    }

    /// What the field holds.
    pub fn shape(&self) -> Shape {
        (self.shape)()
    }
}

/// As in `list of MessageResponse`.
impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Bool => f.write_str("boolean"),
            Shape::Integer => f.write_str("integer"),
            Shape::Number => f.write_str("number"),
            Shape::Text => f.write_str("text"),
            Shape::Time => f.write_str("time"),
            Shape::Any => f.write_str("any object"),
            Shape::Object(info) => f.write_str(info.name),
            Shape::IdOr(inner) => write!(f, "text or {}", inner()),
            Shape::List(inner) => write!(f, "list of {}", inner()),
            Shape::Map(inner) => write!(f, "map of {}", inner()),
        }
    }
}

impl<T: Item> Slot for Option<T> {
    fn read<'de>(&mut self, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        T::read(self, cursor)
    }
}

/// What a field shows: an `Option` of an item.
pub(crate) fn view<T: Item>(field: &Option<T>) -> View<'_> {
    field.as_ref().map_or(View::Nothing, T::view)
}

/// What a field holds, from the type of the field.
pub(crate) trait Shaped {
    fn shape() -> Shape;
}

impl<T: Item> Shaped for Option<T> {
    fn shape() -> Shape {
        T::shape()
    }
}

/// A struct of the table, and how the table describes it.
pub(crate) trait Described: Object + Default {
    const INFO: ObjectInfo;
}

/// `Item::read` for the structs of the table.
pub(crate) fn read_struct<'de, T: Described>(
    place: &mut Option<T>,
    cursor: &mut Cursor<'de>,
) -> Result<Option<&'de str>, Box<Fault>> {
    *place = None;
    if !cursor.null() {
        read_object(cursor, place.insert(T::default()))?;
    }
    Ok(None)
}

/// An object in a field stands in a box, since it may contain its own kind.
impl<T: Described> Item for Box<T> {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        *place = None;
        if !cursor.null() {
            read_object(cursor, &mut **place.insert(Box::default()))?;
        }
        Ok(None)
    }
    fn view(&self) -> View<'_> {
        View::Object(&**self)
    }
    fn shape() -> Shape {
        Shape::Object(&T::INFO)
    }
}

impl Item for String {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        *place = cursor.text()?;
        Ok(None)
    }
    fn view(&self) -> View<'_> {
        View::Text(self)
    }
    fn shape() -> Shape {
        Shape::Text
    }
}

impl Item for bool {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        let (value, length) = match cursor.peek() {
            b't' => (Some(true), "true".len()),
            b'f' => (Some(false), "false".len()),
            b'n' => (None, "null".len()),
            _ => return Err(cursor.expected("a boolean")),
        };
        cursor.pass_over(length);
        *place = value;
        Ok(None)
    }
    fn view(&self) -> View<'_> {
        View::Bool(*self)
    }
    fn shape() -> Shape {
        Shape::Bool
    }
}

/// Up to here every integer has a double of its own.
const EXACT_IN_A_DOUBLE: f64 = 9_007_199_254_740_992.0;

impl Item for i64 {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        if !matches!(cursor.peek(), b'-' | b'0'..=b'9' | b'n') {
            return Err(cursor.expected("an integer"));
        }
        // Eighteen digits cannot be too many.
        let rest = cursor.rest();
        let digits = rest.iter().take(18).take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 && Cursor::ends_a_word(rest.get(digits)) {
            cursor.pass_over(digits);
            *place = Some(rest[..digits].iter().fold(0, |value, digit| 10 * value + i64::from(digit - b'0')));
            return Ok(None);
        }
        let raw = cursor.raw()?;
        *place = raw.parse().ok();
        // `-0` is an integer to Rust and a double to everybody who reads JSON with doubles: it is kept as it came.
        if raw == "null" || (place.is_some() && raw != "-0") {
            return Ok(None);
        }
        let near = raw.parse::<f64>().ok().filter(|near| near.fract() == 0.0 && near.abs() <= EXACT_IN_A_DOUBLE);
        // The cast loses nothing: the value is whole and within 53 bits.
        *place = near.map(|near| near as i64);
        Ok(Some(raw))
    }
    fn view(&self) -> View<'_> {
        View::Int(*self)
    }
    fn shape() -> Shape {
        Shape::Integer
    }
}

impl Item for Number {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        if !matches!(cursor.peek(), b'-' | b'0'..=b'9' | b'n') {
            return Err(cursor.expected("a number"));
        }
        let raw = cursor.raw()?;
        *place = None;
        if raw == "null" {
            return Ok(None);
        }
        // None where it is beyond every double, as 1e400 is.
        *place = serde_json::from_str::<Number>(raw).ok();
        // An integer beyond 64 bits became a double and lost its last digits.
        let exact = place.as_ref().is_some_and(|number| !number.is_f64() || raw.contains(['.', 'e', 'E']));
        Ok((!exact).then_some(raw))
    }
    fn view(&self) -> View<'_> {
        View::Number(self)
    }
    fn shape() -> Shape {
        Shape::Number
    }
}

impl Item for Timestamp {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        cursor.peek();
        if let Some((time, length)) = Timestamp::utc(cursor.rest()) {
            cursor.pass_over(length);
            *place = Some(time);
            return Ok(None);
        }
        let raw = cursor.raw()?;
        *place = (raw != "null").then(|| Timestamp::from_json(raw));
        Ok(None)
    }
    fn view(&self) -> View<'_> {
        View::Time(self)
    }
    fn shape() -> Shape {
        Shape::Time
    }
}

impl Item for Extra {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        *place = cursor.members()?.map(Extra::from_members);
        Ok(None)
    }
    fn view(&self) -> View<'_> {
        View::Extra(self)
    }
    fn shape() -> Shape {
        Shape::Any
    }
}

/// A list. It is a slice of what it holds; a null in it is left out of the slice, and keeps its place when the list is
/// written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    items: Vec<T>,
    /// Before which item each null stands, in rising order; empty in all that Stream is known to send.
    nulls: Vec<usize>,
}

impl<T> List<T> {
    /// The items, without the places of nulls.
    pub fn into_vec(self) -> Vec<T> {
        self.items
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        List { items, nulls: Vec::new() }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<T: Item> Item for List<T> {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        let mut list = List::default();
        let present = cursor.list(&mut |cursor| {
            let mut item = None;
            let kept = T::read(&mut item, cursor)?;
            // Only numbers can be inexact, and the table has no lists of them; one that it gets needs a place here to
            // keep the JSON.
            if kept.is_some() {
                return Err(cursor.expected("a number that is held exactly"));
            }
            match item {
                Some(item) => {
                    // A list of one user would otherwise have room for four, which is kilobytes.
                    if list.items.len() == list.items.capacity() {
                        list.items.reserve_exact(list.items.len().max(1));
                    }
                    list.items.push(item);
                }
                None => list.nulls.push(list.items.len()),
            }
            Ok(())
        })?;
        *place = present.then_some(list);
        Ok(None)
    }
    fn view(&self) -> View<'_> {
        let mut nulls = self.nulls.iter().peekable();
        let mut views = Vec::with_capacity(self.items.len() + self.nulls.len());
        for (index, item) in self.items.iter().enumerate() {
            while nulls.next_if(|place| **place <= index).is_some() {
                views.push(View::Nothing);
            }
            views.push(item.view());
        }
        views.extend(nulls.map(|_| View::Nothing));
        View::List(views)
    }
    fn shape() -> Shape {
        Shape::List(T::shape)
    }
}

/// A JSON object with keys of its own, such as reaction types. It is a `BTreeMap` of what it holds, less the nulls.
#[derive(Clone, Debug)]
pub struct Map<T> {
    entries: BTreeMap<String, T>,
    /// Numbers that `T` cannot hold exactly, as they came.
    inexact: BTreeMap<String, Box<RawValue>>,
}

impl<T> Map<T> {
    /// The entries.
    pub fn into_map(self) -> BTreeMap<String, T> {
        self.entries
    }

    /// The JSON of a value that could not be held exactly, such as an integer beyond 64 bits.
    pub fn inexact(&self, key: &str) -> Option<&RawValue> {
        self.inexact.get(key).map(|raw| &**raw)
    }
}

impl<T: PartialEq> PartialEq for Map<T> {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.inexact.iter(), other.inexact.iter());
        self.entries == other.entries
            && ours.map(|(key, raw)| (key, raw.get())).eq(theirs.map(|(k, raw)| (k, raw.get())))
    }
}

impl<T> From<BTreeMap<String, T>> for Map<T> {
    fn from(entries: BTreeMap<String, T>) -> Self {
        Map { entries, inexact: BTreeMap::new() }
    }
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        BTreeMap::new().into()
    }
}

impl<T> Deref for Map<T> {
    type Target = BTreeMap<String, T>;
    fn deref(&self) -> &BTreeMap<String, T> {
        &self.entries
    }
}

impl<T: Item> Item for Map<T> {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        let mut map = Map::default();
        let present = cursor.map(&mut |key, cursor| {
            let mut item = None;
            let kept = T::read(&mut item, cursor)?;
            // A key that stands twice: the last counts, also when it is null.
            map.entries.remove(key);
            map.inexact.remove(key);
            if let Some(item) = item {
                map.entries.insert(key.to_owned(), item);
            }
            if let Some(raw) = kept.and_then(raw_value) {
                map.inexact.insert(key.to_owned(), raw.to_owned());
            }
            Ok(())
        })?;
        *place = present.then_some(map);
        Ok(None)
    }
    fn view(&self) -> View<'_> {
        let exact = self.entries.iter().filter(|(key, _)| !self.inexact.contains_key(*key));
        let exact = exact.map(|(key, value)| (key.as_str(), value.view()));
        let inexact = self.inexact.iter().map(|(key, raw)| (key.as_str(), View::Raw(raw)));
        View::Map(exact.chain(inexact).collect())
    }
    fn shape() -> Shape {
        Shape::Map(T::shape)
    }
}

/// An id or a name where some events have the whole object. There is no third form, so it can be matched exhaustively.
///
/// The `members` of an event and the `commands` of a channel come in both ways.
#[derive(Clone, Debug, PartialEq)]
pub enum IdOr<T> {
    /// The id, or the name.
    Id(String),
    /// The object.
    Object(Box<T>),
}

impl<T> IdOr<T> {
    /// The object, where it came whole.
    pub fn object(&self) -> Option<&T> {
        match self {
            IdOr::Id(_) => None,
            IdOr::Object(object) => Some(object),
        }
    }
}

impl<T: Described> Item for IdOr<T> {
    fn read<'de>(place: &mut Option<Self>, cursor: &mut Cursor<'de>) -> Result<Option<&'de str>, Box<Fault>> {
        *place = match cursor.peek() {
            b'"' => cursor.text()?.map(IdOr::Id),
            _ => {
                let mut object = None;
                Box::<T>::read(&mut object, cursor)?;
                object.map(IdOr::Object)
            }
        };
        Ok(None)
    }
    fn view(&self) -> View<'_> {
        match self {
            IdOr::Id(id) => View::Text(id),
            IdOr::Object(object) => View::Object(&**object),
        }
    }
    fn shape() -> Shape {
        Shape::IdOr(|| Shape::Object(&T::INFO))
    }
}
