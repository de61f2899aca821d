//! A look at single fields of an event, without parsing the rest of it.
//!
//! Only text fields of the event itself are looked at. Whatever else the event holds, valid JSON is enough: a field that
//! cannot be read is a field that is not there.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The text fields of these names, where they are there and text. Of a name that stands twice the last counts.
pub(crate) fn text_fields<const N: usize>(json: &str, names: [&str; N]) -> [Option<String>; N] {
    let mut found = [const { None }; N];
    let mut reader = serde_json::Deserializer::from_str(json);
    // An error ends the look; what was found before it is no use either, since a later one would have counted.
    match reader.deserialize_map(Fields { names: &names, found: &mut found }) {
        Ok(()) => found,
        Err(_) => [const { None }; N],
    }
}

struct Fields<'a> {
    names: &'a [&'a str],
    found: &'a mut [Option<String>],
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(position) = map.next_key_seed(Name(self.names))? {
            let value = map.next_value::<&RawValue>()?;
            if let Some(position) = position {
                self.found[position] = serde_json::from_str(value.get()).ok();
            }
        }
        Ok(())
    }
}

/// A key, read as bytes: as text, one that holds half of a surrogate pair would be an error.
struct Name<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Option<usize>, D::Error> {
        key.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|name| name.as_bytes() == key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        self.visit_bytes(key.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fields_of_the_event_itself_are_found_and_the_last_counts() {
        let json = r#"{"type":"a","nested":{"cid":"no"},"cid":"x","ci\u0064":"messaging:1","team":null,"n":1e400}"#;
        let [kind, cid, team] = text_fields(json, ["type", "cid", "team"]);
        assert_eq!((kind.as_deref(), cid.as_deref(), team), (Some("a"), Some("messaging:1"), None));
    }

    #[test]
    fn odd_json_beside_them_does_not_matter() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let json = format!(r#"{{"\ud800":1,"deep":{deep},"lone":"\udfff","cid":"c:1"}}"#);
        assert_eq!(text_fields(&json, ["cid", "lone"]), [Some("c:1".to_owned()), None]);
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        assert_eq!(text_fields("[1]", ["cid"]), [None]);
        assert_eq!(text_fields(r#"{"cid":"x","#, ["cid"]), [None]);
    }
}
