//! Parts of a JSON line, appended.

use crate::event::Event;

pub(super) fn push_string(text: &str, line: &mut Vec<u8>) {
    serde_json::to_writer(line, text).expect("a string becomes JSON, and a Vec takes every write");
}

/// The event as Stream sent it, byte for byte, but that line ends become spaces: in valid JSON they stand between tokens only.
pub(super) fn push_event(event: &Event, line: &mut Vec<u8>) {
    let begin = line.len();
    // With the end, for which a large line would otherwise be moved to twice its room.
    line.reserve(event.json().len() + 2);
    line.extend_from_slice(event.json().as_bytes());
    // Few events have any, and they are found faster than each byte is looked at.
    let mut next = begin;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &line[next..]) {
        line[next + at] = b' ';
        next += at + 1;
    }
}
