//! Reading JSON into the structs of the table: one reader for all of them.
//!
//! The text was checked to be JSON before it comes here, when the event was made ([`scan`](super::scan)) or by serde_json.
//! So the reader need not check it again, only find its way: that is why it is not serde_json's, for which reading and
//! checking are one, and it costs a fraction of it. What is no JSON after all ends in a [`Fault`], never in a panic.
//!
//! An object hands out its fields by name as [`Slot`]s, and a slot reads itself from the [`Reader`]. Slots are trait
//! objects, so that reading an object is compiled once instead of once for each of the 350 structs.
//!
//! What goes wrong is a [`Fault`]: where and of which kind, never the value itself, which may be somebody's private text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

use super::extra::Extra;
use super::scan::quote_or_escape;
use super::write::View;

/// How many objects, lists and maps of the table may stand in each other.
///
/// Raw values do not count. A hundred levels are far from the end of the stack of a tokio worker (2 MiB).
const DEPTH: u32 = 100;

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
    fn read<'de>(&mut self, reader: &mut Reader<'de>) -> Result<Option<&'de str>, Box<Fault>>;
}

/// Why a value did not fit, and the way to it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The byte of the text at which the value begins.
    pub(super) at: usize,
    /// What the field can hold.
    pub(super) expected: &'static str,
    /// What stands there, where it is not simply a value of another kind, which is seen from the value.
    pub(super) found: Option<&'static str>,
    /// From the inside to the outside.
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Fault {
    fn under(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.path.push(step);
        self
    }

    /// The path as people write it: `message.attachments[2].title`.
    pub(super) fn path(&self) -> String {
        let mut text = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Key(name) if text.is_empty() => text.push_str(name),
                Step::Key(name) => text.extend([".", name]),
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
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

/// `Deserialize` for any struct of the table.
pub(crate) fn deserialize<'de, T: Object + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    let mut object = T::default();
    Reader::new(json.get()).object(&mut object).map_err(D::Error::custom)?;
    Ok(object)
}

/// A place in a text that is known to be JSON.
pub(crate) struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: u32,
}

impl<'de> Reader<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        Reader { text, at: 0, depth: 0 }
    }

    /// The first byte of what stands next, behind white space; zero, which begins nothing in JSON, at the end.
    pub(super) fn peek(&mut self) -> u8 {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// That the value which stands next is of another kind.
    #[cold]
    pub(super) fn expected(&mut self, expected: &'static str) -> Box<Fault> {
        self.peek();
        Box::new(Fault { at: self.at, expected, found: None, path: Vec::new() })
    }

    #[cold]
    fn found(&self, at: usize, expected: &'static str, found: &'static str) -> Box<Fault> {
        Box::new(Fault { at, expected, found: Some(found), path: Vec::new() })
    }

    /// That the text is no JSON.
    #[cold]
    fn broken(&self, at: usize) -> Box<Fault> {
        self.found(at, "JSON", "something else")
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'de [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Passes over n bytes, which were seen to be a value.
    pub(super) fn pass_over(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Passes over a null, if one stands next.
    pub(super) fn null(&mut self) -> bool {
        let null = self.peek() == b'n';
        if null {
            self.pass_over("null".len());
        }
        null
    }

    /// A text, or `None` for null.
    pub(super) fn text(&mut self) -> Result<Option<String>, Box<Fault>> {
        match self.peek() {
            b'"' => match self.plain_string() {
                Some(text) => Ok(Some(text.to_owned())),
                None => self.escaped_text().map(Some),
            },
            b'n' => {
                self.null();
                Ok(None)
            }
            _ => Err(self.expected("a text")),
        }
    }

    /// What stands between the quotation marks of the text that is next, if there are no escapes in it; else it is not
    /// passed over.
    #[inline]
    fn plain_string(&mut self) -> Option<&'de str> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let end = quote_or_escape(bytes, start)?;
        if bytes[end] != b'"' {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    #[cold]
    fn escaped_text(&mut self) -> Result<String, Box<Fault>> {
        let at = self.at;
        self.pass_over_string()?;
        let json = self.text.get(at..self.at).unwrap_or_default();
        serde_json::from_str(json).map_err(|_| self.found(at, "a text", "a text with a lone surrogate"))
    }

    /// The bytes that can follow a number, `true`, `false` or `null`.
    pub(super) fn ends_a_word(byte: Option<&u8>) -> bool {
        matches!(byte, None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
    }

    fn pass_over_string(&mut self) -> Result<(), Box<Fault>> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        loop {
            match quote_or_escape(bytes, at) {
                Some(end) if bytes[end] == b'"' => {
                    self.at = end + 1;
                    return Ok(());
                }
                // Whatever is escaped, it is no end of the text.
                Some(escape) => at = escape + 2,
                None => return Err(self.broken(self.at)),
            }
        }
    }

    /// Anything, unread.
    pub(super) fn raw(&mut self) -> Result<&'de str, Box<Fault>> {
        let first = self.peek();
        let start = self.at;
        match first {
            b'"' => self.pass_over_string()?,
            b'{' | b'[' => self.pass_over_nested()?,
            _ => self.pass_over_word(),
        }
        match self.text.get(start..self.at) {
            Some(raw) if !raw.is_empty() => Ok(raw),
            _ => Err(self.broken(start)),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn pass_over_word(&mut self) {
        let bytes = self.rest();
        let end = bytes.iter().position(|byte| Self::ends_a_word(Some(byte)));
        self.at += end.unwrap_or(bytes.len());
    }

    /// An object or a list, in a loop: there is no limit to what may stand in each other where nothing is built from it.
    fn pass_over_nested(&mut self) -> Result<(), Box<Fault>> {
        let start = self.at;
        let mut open = 0_usize;
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.pass_over_string()?;
                    continue;
                }
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open -= 1,
                Some(_) => {}
                None => return Err(self.broken(start)),
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// Steps into an object or a list, and says whether there is something in it.
    fn enter(&mut self, open: u8, expected: &'static str) -> Result<bool, Box<Fault>> {
        if self.peek() != open {
            return Err(self.expected(expected));
        }
        if self.depth == DEPTH {
            return Err(self.found(self.at, "no more than 100 objects and lists in each other", "one more"));
        }
        self.depth += 1;
        self.at += 1;
        // A bracket closes by the second byte behind it in ASCII, a brace likewise.
        Ok(self.peek() != open + 2 || self.leave())
    }

    /// Steps out of what was entered; false, since nothing follows in it.
    fn leave(&mut self) -> bool {
        self.at += 1;
        self.depth -= 1;
        false
    }

    /// Whether something follows in what was entered.
    fn more(&mut self, open: u8) -> Result<bool, Box<Fault>> {
        match self.peek() {
            b',' => {
                self.at += 1;
                self.peek();
                Ok(true)
            }
            byte if byte == open + 2 => Ok(self.leave()),
            _ => Err(self.broken(self.at)),
        }
    }

    /// The key that stands next, borrowed where it has no escapes. `object` is where its object begins.
    #[inline]
    pub(super) fn key(&mut self, object: usize) -> Result<Cow<'de, str>, Box<Fault>> {
        if self.peek() != b'"' {
            return Err(self.broken(self.at));
        }
        let key = match self.plain_string() {
            Some(key) => Cow::Borrowed(key),
            None => self.escaped_key(object)?,
        };
        if self.peek() != b':' {
            return Err(self.broken(self.at));
        }
        self.at += 1;
        Ok(key)
    }

    #[cold]
    fn escaped_key(&mut self, object: usize) -> Result<Cow<'de, str>, Box<Fault>> {
        match self.escaped_text() {
            Ok(key) => Ok(Cow::Owned(key)),
            Err(_) => Err(self.found(object, "an object", "a key with a lone surrogate")),
        }
    }

    /// An object of the table.
    pub(super) fn object(&mut self, object: &mut dyn Object) -> Result<(), Box<Fault>> {
        self.peek();
        let start = self.at;
        let tagged = object.tag().is_some();
        // Kept apart until the end: a later value of the same key puts an earlier one out of force, and there are never
        // more of these than fields, so that looking for one is cheap.
        let mut inexact: Vec<(Cow<'de, str>, &'de str)> = Vec::new();
        let mut more = self.enter(b'{', "an object")?;
        while more {
            let member = self.at;
            let key = self.key(start)?;
            match object.slot(&key) {
                Some(slot) => match slot.read(self) {
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
                None if tagged && key == "type" => drop(self.raw()?),
                None => {
                    self.raw()?;
                    object.extra_mut().push_member(&self.text[member..self.at]);
                }
            }
            more = self.more(b'{')?;
        }
        for (key, raw) in inexact {
            object.extra_mut().push_json(&key, raw);
        }
        Ok(())
    }

    /// A list, `each` called for every element. False for null.
    pub(super) fn list(&mut self, each: &mut Each<'_, 'de>) -> Result<bool, Box<Fault>> {
        if self.null() {
            return Ok(false);
        }
        let mut index = 0;
        let mut more = self.enter(b'[', "a list")?;
        while more {
            each(self).map_err(|fault| fault.under(Step::Index(index)))?;
            index += 1;
            more = self.more(b'[')?;
        }
        Ok(true)
    }

    /// An object as a map, `entry` called for every key. False for null.
    pub(super) fn map(&mut self, entry: &mut Entry<'_, 'de>) -> Result<bool, Box<Fault>> {
        if self.null() {
            return Ok(false);
        }
        let start = self.at;
        let mut more = self.enter(b'{', "an object")?;
        while more {
            let key = self.key(start)?;
            if let Err(fault) = entry(&key, self) {
                return Err(fault.under(Step::Key(key.into_owned())));
            }
            more = self.more(b'{')?;
        }
        Ok(true)
    }

    /// An object as a map of whatever values: what stands between its braces. `None` for null.
    pub(super) fn members(&mut self) -> Result<Option<&'de str>, Box<Fault>> {
        self.peek();
        let start = self.at;
        let present = self.map(&mut |_, reader| reader.raw().map(drop))?;
        Ok(present.then(|| self.text[start + 1..self.at - 1].trim_ascii()))
    }

    /// The member that stands next among [`members`](Reader::members): its key and its value.
    pub(super) fn member(&mut self) -> Option<(Cow<'de, str>, &'de str)> {
        if self.peek() == b',' {
            self.at += 1;
            self.peek();
        }
        let key = self.key(self.at).ok()?;
        Some((key, self.raw().ok()?))
    }
}

pub(crate) type Each<'a, 'de> = dyn FnMut(&mut Reader<'de>) -> Result<(), Box<Fault>> + 'a;
pub(crate) type Entry<'a, 'de> = dyn FnMut(&str, &mut Reader<'de>) -> Result<(), Box<Fault>> + 'a;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::message::MessageNew;

    fn is_a_fault(text: &str) -> bool {
        Reader::new(text).object(&mut MessageNew::default()).is_err()
    }

    #[test]
    fn what_is_no_json_after_all_is_a_fault_and_never_a_panic() {
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
