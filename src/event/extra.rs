//! What the table does not know of an object: kept as it came, read on demand.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::json::{Cursor, raw_value};

/// Keys and their values, in the order of the JSON, each value byte for byte as it was sent.
///
/// Custom fields stand at the top level of the object that they belong to, so this is where they are found:
///
/// ```
/// # use stream_sqsd::event::{Event, message::MessageNew};
/// # let event = Event::from_json(r#"{"type":"message.new","user":{"id":"ann","plan":"gold"}}"#)?;
/// let event: MessageNew = event.parse()?;
/// let user = event.user.ok_or("no user")?;
/// assert_eq!(user.extra.get::<String>("plan"), Some("gold".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A field of the table is found here too when its value could not be held exactly: an integer beyond 64 bits, or `1.0`
/// where an integer is expected. Writing the object then writes the value that stands here, so that nothing is lost; to
/// write a value of your own in such a field, [`remove`](Extra::remove) the key here.
#[derive(Clone, Default)]
pub struct Extra {
    /// As it stands between the braces of an object: one piece of memory, however many there are.
    members: String,
}

impl Extra {
    pub(super) fn from_members(members: &str) -> Self {
        Extra { members: members.to_owned() }
    }

    /// The value under `key`, read as a `T`. None where there is none, where it is null, or where it is not a `T`:
    /// [`raw`](Extra::raw) tells these apart.
    ///
    /// Where the key stands twice, the last one counts.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str::<Option<T>>(self.json(key)?).ok().flatten()
    }

    /// The JSON under `key` as it was sent.
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        self.json(key).and_then(raw_value)
    }

    /// All of it read into a type of yours.
    ///
    /// # Errors
    ///
    /// What serde_json says; mind that its messages quote values.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&format!("{{{}}}", self.members))
    }

    /// Keys and values in the order of the JSON.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, &RawValue)> {
        self.entries().filter_map(|(key, json)| Some((key, raw_value(json)?)))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Puts a value at the end; it counts from now on, whatever stands under the same key.
    pub fn push(&mut self, key: &str, value: &RawValue) {
        self.push_json(key, value.get());
    }

    /// Takes every entry under `key` out and returns the last one.
    pub fn remove(&mut self, key: &str) -> Option<Box<RawValue>> {
        let mut last = None;
        let mut rest = Extra::default();
        for (name, json) in self.entries() {
            if name == key { last = raw_value(json) } else { rest.push_json(&name, json) }
        }
        let last = last?.to_owned();
        *self = rest;
        Some(last)
    }

    /// Keys, and their values as JSON.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        let mut cursor = Cursor::new(&self.members);
        std::iter::from_fn(move || cursor.member())
    }

    pub(super) fn json(&self, key: &str) -> Option<&str> {
        self.entries().filter(|(name, _)| name == key).last().map(|(_, json)| json)
    }

    /// `member` is a key and a value with a colon between them, as they stand in JSON.
    pub(super) fn push_member(&mut self, member: &str) {
        if self.members.is_empty() {
            self.members.reserve(64);
        } else {
            self.members.push(',');
        }
        self.members.push_str(member);
    }

    pub(super) fn push_json(&mut self, key: &str, json: &str) {
        self.push_member(&format!("{}:{json}", serde_json::Value::from(key)));
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.entries().eq(other.entries())
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.iter() {
            map.serialize_entry(&key, value)?;
        }
        map.end()
    }
}
