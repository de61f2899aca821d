//! Foreign text made safe to show.

use std::borrow::Cow;

/// Whether this character, written to a terminal or a log as it is, can do more than be read: a control character (C0, C1
/// or DEL, with which escape sequences begin), the end of a line or paragraph, or one that turns the direction of text, so
/// that what is shown is not what is there.
pub fn is_unsafe_to_show(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || c.is_control()
}

/// Foreign text may carry terminal escapes and line ends; a log line must not.
pub(crate) fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe_to_show) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe_to_show(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}
