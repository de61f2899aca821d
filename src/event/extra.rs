//! What the table does not know of an object: kept as it came, read on demand.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

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
pub struct Extra(Vec<(Box<str>, Box<RawValue>)>);

impl Extra {
    /// The value under `key`, read as a `T`. None where there is none, where it is null, or where it is no `T`:
    /// [`raw`](Extra::raw) tells these apart.
    ///
    /// Where the key stands twice, the last one counts.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str::<Option<T>>(self.raw(key)?.get()).ok().flatten()
    }

    /// The JSON under `key` as it was sent.
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(name, _)| **name == *key).map(|(_, value)| &**value)
    }

    /// All of it read into a type of yours.
    ///
    /// # Errors
    ///
    /// What serde_json says; mind that its messages quote values.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&serde_json::to_string(self)?)
    }

    /// Keys and values in the order of the JSON.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a value at the end; it counts from now on, whatever stands under the same key.
    pub fn push(&mut self, key: &str, value: Box<RawValue>) {
        self.0.push((key.into(), value));
    }

    /// Takes every entry under `key` out and returns the last one.
    pub fn remove(&mut self, key: &str) -> Option<Box<RawValue>> {
        let mut last = None;
        for entry in std::mem::take(&mut self.0) {
            if *entry.0 == *key { last = Some(entry.1) } else { self.0.push(entry) }
        }
        last
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.iter().map(|(key, value)| (key, value.get())).eq(other.iter().map(|(key, value)| (key, value.get())))
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, value.get()))).finish()
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
