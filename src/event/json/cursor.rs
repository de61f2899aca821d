//! A cursor through a text that is known to be JSON.
//!
//! The text was checked before it comes here, when the event was made ([`scan`](super::scan)) or by serde_json. So it is not
//! checked again: the cursor only finds its way. Text that is not JSON after all ends in a [`Fault`], never in a panic.
//!
//! A [`Fault`] says where it is and of which kind, never the value itself, which may be somebody's private text.

use std::borrow::Cow;
use std::fmt;

use super::scan::quote_or_escape;

/// How many objects, lists and maps may be entered in each other.
///
/// Raw values do not count. A hundred levels are far from the end of the stack of a tokio worker (2 MiB).
const DEPTH: u32 = 100;

/// Why a value did not fit, and the way to it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The byte of the text at which the value begins.
    pub(crate) at: usize,
    /// What the field can hold.
    pub(crate) expected: &'static str,
    /// What stands there, where it is not simply a value of another kind, which is seen from the value.
    pub(crate) found: Option<&'static str>,
    /// From the inside to the outside.
    path: Vec<Step>,
}

/// One step of the path to a value.
#[derive(Debug)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Fault {
    /// The same fault, seen from one level further out.
    pub(crate) fn under(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.path.push(step);
        self
    }

    /// The path as people write it: `message.attachments[2].title`.
    pub(crate) fn path(&self) -> String {
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

/// A place in a text that is known to be JSON.
pub(crate) struct Cursor<'de> {
    text: &'de str,
    at: usize,
    depth: u32,
}

impl<'de> Cursor<'de> {
    pub(crate) fn new(text: &'de str) -> Self {
        Cursor { text, at: 0, depth: 0 }
    }

    /// The byte of the text at which the cursor stands.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What stands between an earlier place and the cursor.
    #[inline]
    pub(crate) fn since(&self, from: usize) -> &'de str {
        &self.text[from..self.at]
    }

    /// The first byte of what stands next, behind white space; zero, which begins nothing in JSON, at the end.
    pub(crate) fn peek(&mut self) -> u8 {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// The fault of a value of another kind than expected.
    #[cold]
    pub(crate) fn expected(&mut self, expected: &'static str) -> Box<Fault> {
        self.peek();
        Box::new(Fault { at: self.at, expected, found: None, path: Vec::new() })
    }

    #[cold]
    fn found(&self, at: usize, expected: &'static str, found: &'static str) -> Box<Fault> {
        Box::new(Fault { at, expected, found: Some(found), path: Vec::new() })
    }

    /// The fault of a text that is not JSON.
    #[cold]
    fn broken(&self, at: usize) -> Box<Fault> {
        self.found(at, "JSON", "something else")
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'de [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Passes over `bytes` bytes, which were seen to be a value.
    pub(crate) fn pass_over(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Passes over a null, if one stands next.
    pub(crate) fn null(&mut self) -> bool {
        let null = self.peek() == b'n';
        if null {
            self.pass_over("null".len());
        }
        null
    }

    /// A text, or `None` for null.
    pub(crate) fn text(&mut self) -> Result<Option<String>, Box<Fault>> {
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
    pub(crate) fn ends_a_word(byte: Option<&u8>) -> bool {
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
                // Whatever is escaped, it does not end the text.
                Some(escape) => at = escape + 2,
                None => return Err(self.broken(self.at)),
            }
        }
    }

    /// Anything, unread.
    pub(crate) fn raw(&mut self) -> Result<&'de str, Box<Fault>> {
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

    /// An object or a list, in a loop: nesting has no limit where nothing is built from it.
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
    pub(crate) fn enter(&mut self, open: u8, expected: &'static str) -> Result<bool, Box<Fault>> {
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
    pub(crate) fn more(&mut self, open: u8) -> Result<bool, Box<Fault>> {
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
    pub(crate) fn key(&mut self, object: usize) -> Result<Cow<'de, str>, Box<Fault>> {
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

    /// A list, `each` called for every element. False for null.
    pub(crate) fn list(&mut self, each: &mut Each<'_, 'de>) -> Result<bool, Box<Fault>> {
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
    pub(crate) fn map(&mut self, entry: &mut Entry<'_, 'de>) -> Result<bool, Box<Fault>> {
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
    pub(crate) fn members(&mut self) -> Result<Option<&'de str>, Box<Fault>> {
        self.peek();
        let start = self.at;
        let present = self.map(&mut |_, cursor| cursor.raw().map(drop))?;
        Ok(present.then(|| self.text[start + 1..self.at - 1].trim_ascii()))
    }

    /// The member that stands next among [`members`](Cursor::members): its key and its value.
    pub(crate) fn member(&mut self) -> Option<(Cow<'de, str>, &'de str)> {
        if self.peek() == b',' {
            self.at += 1;
            self.peek();
        }
        let key = self.key(self.at).ok()?;
        Some((key, self.raw().ok()?))
    }
}

pub(crate) type Each<'a, 'de> = dyn FnMut(&mut Cursor<'de>) -> Result<(), Box<Fault>> + 'a;
pub(crate) type Entry<'a, 'de> = dyn FnMut(&str, &mut Cursor<'de>) -> Result<(), Box<Fault>> + 'a;
