//! JSON values as the text that they came as.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// A JSON value as text, if it is one that Rust can hold.
pub(crate) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// `json` as serde_json's raw value; None where it is not one JSON value.
pub(crate) fn raw_value(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).ok()
}
