//! A look at the top level of a JSON object, without reading what is below it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Why a text is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnEvent {
    /// It is no JSON, or the JSON is no object.
    #[error("no JSON object (line {line} column {column})")]
    NoObject {
        /// The line, from 1.
        line: usize,
        /// The column at which reading stopped.
        column: usize,
    },
    /// It has no `type`, or one that is empty or no text.
    #[error("no `type`")]
    NoType,
}

/// The values of some keys of a JSON object, the last one where a key stands twice. The whole text is checked to be JSON.
///
/// Nothing is built for what is not asked for, and there is no limit to its depth: serde_json skips values in a loop.
/// That also lets numbers like `1e400` and escapes like `\ud800` pass, which are good JSON that no Rust type can hold.
pub(crate) fn last_values<'de, const N: usize>(
    json: &'de str,
    keys: [&str; N],
) -> Result<[Option<&'de RawValue>; N], NotAnEvent> {
    let mut values = [None; N];
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let scan = Scan { keys: &keys, values: &mut values };
    let read = deserializer.deserialize_map(scan).and_then(|()| deserializer.end());
    // The error is not kept: its message may quote the text.
    read.map_err(|error| NotAnEvent::NoObject { line: error.line(), column: error.column() })?;
    Ok(values)
}

/// A JSON value as text, if it is one that Rust can hold.
pub(crate) fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(value.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

struct Scan<'a, 'k, 'de> {
    keys: &'a [&'k str],
    values: &'a mut [Option<&'de RawValue>],
}

impl<'de> Visitor<'de> for Scan<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Keys are read raw: as text a lone surrogate would fail, and as bytes serde_json lets control characters pass.
        while let Some(key) = map.next_key::<&RawValue>()? {
            match text_of(key).and_then(|key| self.keys.iter().position(|name| *name == key)) {
                Some(index) => self.values[index] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Where the next quotation mark, backslash or control character stands at or behind `at`; the end where there is none.
///
/// Eight bytes at a time: most of an event is text.
pub(super) fn special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // The lowest byte that is marked is one that is below `limit`; bytes above it may be marked by the borrow.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*eight);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let marks = (quote | backslash | below(word, 0x20)) & HIGHS;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}
