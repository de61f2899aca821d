//! Reading JSON into the structs of the table: one function for all of them.
//!
//! This is written by hand because nothing may be lost. An unknown field, and a number that its field cannot hold exactly,
//! is kept in [`extra`](super::extra) byte for byte as it came; serde's derive with `flatten` builds every value again and
//! gives `1e400`, `-0` and lone surrogates back changed, or not at all. Speed is not the reason, though this takes about
//! seven tenths of the time of the derive.
//!
//! An object hands out its fields by name as [`Slot`](super::view::Slot)s, and a slot reads itself from the [`Cursor`]. Slots
//! are trait objects, so that reading an object is compiled once instead of once for each of the 350 structs.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

use super::json::{Cursor, Fault, Step};
use super::view::Object;

/// `Deserialize` for any struct of the table.
pub(crate) fn deserialize<'de, T: Object + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    let mut object = T::default();
    read_object(&mut Cursor::new(json.get()), &mut object).map_err(D::Error::custom)?;
    Ok(object)
}

/// Reads the next value, which must be an object, into a struct of the table.
pub(crate) fn read_object<'de>(cursor: &mut Cursor<'de>, object: &mut dyn Object) -> Result<(), Box<Fault>> {
    cursor.peek();
    let start = cursor.at();
    let tagged = object.tag().is_some();
    // Kept apart until the end: a later value of the same key replaces an earlier one, and there are never
    // more of these than fields, so that looking for one is cheap.
    let mut inexact: Vec<(Cow<'de, str>, &'de str)> = Vec::new();
    let mut more = cursor.enter(b'{', "an object")?;
    while more {
        let member = cursor.at();
        let key = cursor.key(start)?;
        match object.slot(&key) {
            Some(slot) => match slot.read(cursor) {
                Ok(kept) => {
                    if !inexact.is_empty() {
                        inexact.retain(|(name, _)| *name != key);
                    }
                    if let Some(raw) = kept {
                        inexact.push((key, raw));
                    }
                }
                Err(fault) => return Err(fault.under(Step::Key(key.into_owned()))),
            },
            None if tagged && key == "type" => drop(cursor.raw()?),
            None => {
                cursor.raw()?;
                object.extra_mut().push_member(cursor.since(member));
            }
        }
        more = cursor.more(b'{')?;
    }
    for (key, raw) in inexact {
        object.extra_mut().push_json(&key, raw);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::catalogue::message::MessageNew;

    fn is_a_fault(text: &str) -> bool {
        read_object(&mut Cursor::new(text), &mut MessageNew::default()).is_err()
    }

    #[test]
    fn what_is_not_json_after_all_is_a_fault_and_never_a_panic() {
        let json = r#"{"type":"message.new","cid":"gr\u00fc","mine":{"a":["\"",{}]},"watcher_count":1.0,"message":{"attachments":[{}],"custom":{"a":true}}}"#;
        assert!(!is_a_fault(json));
        for at in 0..json.len() {
            assert!(is_a_fault(&json[..at]), "{}", &json[..at]);
            // Not all of this is found out; it is only passed over.
            is_a_fault(&format!("{}{}", &json[..at], &json[at + 1..]));
        }
        for text in [r#"{"mine":}"#, r#"{"mine":,"cid":"a"}"#, r#"{"cid":"a"]"#, r#"{"cid":"a";"mine":1}"#] {
            assert!(is_a_fault(text), "{text}");
        }
        assert!(is_a_fault(r#"{"message":{"attachments":[{}}}"#), "a list ends with a bracket");
    }
}
