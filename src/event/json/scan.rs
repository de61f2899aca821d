//! A look at the top level of a JSON object, and a check that the whole of it is JSON.
//!
//! Every event comes through here once, so this is made for speed. A loop of our own is the fast path: it accepts what is
//! plainly JSON. serde_json is the slow path, and decides about everything that the loop does not accept. So only
//! serde_json ever refuses a text, and says where; the loop must never accept what serde_json refuses, which tests hold it
//! to.

use std::fmt;
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::raw::text_of;

/// Where a text stopped being one JSON object: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The values of some keys of a JSON object, the last one where a key stands twice. The whole text is checked to be JSON.
///
/// Nothing is built for what is not asked for, and there is no limit to its depth. That also lets numbers like `1e400` and
/// escapes like `\ud800` pass, which are good JSON that no Rust type can hold.
pub(crate) fn last_values<'de, const N: usize>(
    json: &'de str,
    keys: [&str; N],
) -> Result<[Option<&'de str>; N], NotAnObject> {
    match Check::new(json).last_values(keys) {
        Some(values) => Ok(values),
        None => by_serde_json(json, keys),
    }
}

/// A place in a text, up to which it is known to be JSON. An answer of `None` does not mean that it is none: serde_json is
/// to say.
struct Check<'de> {
    text: &'de str,
    at: usize,
}

impl<'de> Check<'de> {
    fn new(text: &'de str) -> Self {
        Check { text, at: 0 }
    }

    /// See [`last_values`].
    fn last_values<const N: usize>(mut self, keys: [&str; N]) -> Option<[Option<&'de str>; N]> {
        // So a text needs no look at each of its characters. Servers write no line breaks; texts with them take the slow path.
        if self.text.bytes().fold(u8::MAX, u8::min) < b' ' {
            return None;
        }
        let mut values = [None; N];
        self.expect(b'{')?;
        // An object without members is not an event, and rare enough for the slow path.
        loop {
            let key = self.text.get(self.key()?)?;
            self.peek();
            let from = self.at;
            self.value()?;
            if let Some(index) = keys.iter().position(|name| *name == key) {
                values[index] = self.text.get(from..self.at);
            }
            match self.peek() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        self.peek();
        (self.at == self.text.len()).then_some(values)
    }

    /// The first byte behind white space; zero, which begins nothing in JSON, at the end.
    fn peek(&mut self) -> u8 {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let there = self.peek() == byte;
        self.at += 1;
        there.then_some(())
    }

    /// A key without escapes, and its colon; where the key stands.
    #[inline]
    fn key(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let key = self.at..quote_or_escape(bytes, self.at)?;
        if bytes[key.end] != b'"' {
            return None;
        }
        self.at = key.end + 1;
        self.expect(b':')?;
        Some(key)
    }

    /// A text, from behind its first quotation mark.
    fn string(&mut self) -> Option<()> {
        loop {
            let bytes = self.text.as_bytes();
            self.at = quote_or_escape(bytes, self.at)?;
            match &bytes[self.at..] {
                [b'"', ..] => {
                    self.at += 1;
                    return Some(());
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                [b'\\', b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {
                    self.at += 6;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut at = self.at + usize::from(bytes.get(self.at) == Some(&b'-'));
        match digits(at) {
            0 => return None,
            whole if whole > 1 && bytes[at] == b'0' => return None,
            whole => at += whole,
        }
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            at += 1 + fraction;
            if fraction == 0 {
                return None;
            }
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at);
            at += exponent;
            if exponent == 0 {
                return None;
            }
        }
        self.at = at;
        Some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let there = self.text.as_bytes().get(self.at..)?.starts_with(word.as_bytes());
        self.at += word.len();
        there.then_some(())
    }

    /// Any value, in a loop. What is nested deeper than the bits of a word takes the slow path.
    fn value(&mut self) -> Option<()> {
        // A bit for each object or list that is open, the innermost lowest: 1 for an object.
        let mut open = 0_u64;
        let mut depth = 0;
        loop {
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                opening @ (b'{' | b'[') => {
                    self.at += 1;
                    // In ASCII both close by the second byte behind the one that opens.
                    if self.peek() == opening + 2 {
                        self.at += 1;
                    } else {
                        if depth == u64::BITS {
                            return None;
                        }
                        depth += 1;
                        open = open << 1 | u64::from(opening == b'{');
                        if opening == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.number()?,
            }
            // A value has ended, and with it what closes behind it.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let in_object = open & 1 == 1;
                match (self.peek(), in_object) {
                    (b',', _) => {
                        self.at += 1;
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        depth -= 1;
                        open >>= 1;
                    }
                    _ => return None,
                }
            }
        }
    }
}

/// [`last_values`] by serde_json alone.
#[cold]
fn by_serde_json<'de, const N: usize>(json: &'de str, keys: [&str; N]) -> Result<[Option<&'de str>; N], NotAnObject> {
    let mut values = [None; N];
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let scan = Scan { keys: &keys, values: &mut values };
    let read = deserializer.deserialize_map(scan).and_then(|()| deserializer.end());
    // The error is not kept: its message may quote the text.
    read.map_err(|error| NotAnObject { line: error.line(), column: error.column() })?;
    Ok(values)
}

struct Scan<'a, 'k, 'de> {
    keys: &'a [&'k str],
    values: &'a mut [Option<&'de str>],
}

impl<'de> Visitor<'de> for Scan<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Keys are read raw: as text a lone surrogate would fail, and as bytes serde_json lets control characters pass.
        while let Some(key) = map.next_key::<&RawValue>()? {
            match text_of(key.get()).and_then(|key| self.keys.iter().position(|name| *name == key)) {
                Some(index) => self.values[index] = Some(map.next_value::<&RawValue>()?.get()),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Where the next quotation mark or backslash stands at or behind `at`.
///
/// Most keys and many texts end within sixteen bytes, which costs less here than the call of a function.
#[inline]
pub(crate) fn quote_or_escape(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // Of the bytes that are marked the lowest is a zero; those above it may be marked by the borrow.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    for _ in 0..2 {
        let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
        let word = u64::from_le_bytes(*eight);
        let marks = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if marks != 0 {
            return Some(at + (marks.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    Some(at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: [&str; 2] = ["type", "a"];

    /// What the loop says must be what serde_json says, wherever it says something.
    fn agrees(json: &str) -> bool {
        let fast = Check::new(json).last_values(KEYS);
        if let Some(values) = &fast {
            assert_eq!(Ok(values), by_serde_json(json, KEYS).as_ref(), "{json}");
        }
        fast.is_some()
    }

    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\"type\"",
        "\"a\":",
        "\"a\"",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"gr\u{fc}n\u{1}\"",
        "\"a long text without anything in it\"",
        "\"and \\n one, \\\" with\"",
        "0",
        "01",
        "-",
        "-1",
        "1.5",
        "1.",
        ".5",
        "1e9",
        "1E+",
        "1e-07",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n\t\r",
        "\u{b}",
        "\u{a0}",
        "\u{feff}",
        "[]",
        "{}",
        "[1,2]",
    ];

    #[test]
    fn what_stream_sends_takes_the_fast_path() {
        for json in [
            r#"{"type":"message.new"}"#,
            " { \"a\" : [ 1.5e-7 , { } , [ ] , \"\\ud83d\\ude00\" , {\"b\":{\"c\":[-0,true,false,null]}} ] ,\"type\":\"x\"}  ",
            r#"{"a":"\"\\\/\b\f\n\r\t","type":"x"}"#,
        ] {
            assert!(agrees(json), "{json}");
        }
    }

    #[test]
    fn a_damaged_event_is_read_as_serde_json_reads_it() {
        let json = r#"{"type":"x","a":[1.5e-7,{"b":"gr\u00fc\"n","c":[{},[],-0]},true,null],"d":"\ud83d\ude00 and more text"}"#;
        for at in 0..json.len() {
            agrees(&json[..at]);
            for byte in 0..0x80 {
                agrees(&format!("{}{}{}", &json[..at], char::from(byte), &json[at + 1..]));
                agrees(&format!("{}{}{}", &json[..at], char::from(byte), &json[at..]));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_an_object_holds_is_read_as_serde_json_reads_it(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..12),
        ) {
            let inside = pieces.concat();
            for json in [&*inside, &format!("{{\"a\":{inside}}}"), &format!("{{\"type\":[{inside}],\"a\":1}}")] {
                agrees(json);
            }
        }
    }
}
