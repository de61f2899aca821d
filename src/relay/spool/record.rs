//! A record of the spool: a line of a checksum and a JSON object, so that a person can read it.

use flate2::Crc;
use serde::{Deserialize, Serialize};

use crate::queue::Outgoing;

/// The longest line that is read: the largest message with every character of it escaped, and what stands around it.
pub(super) const LONGEST: u64 = 8 * 1024 * 1024;

/// A place in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// A record as it is read.
pub(crate) struct Line {
    /// What it holds; None where it is damaged.
    pub(crate) message: Option<Outgoing>,
    /// The line itself, without its end.
    pub(crate) text: String,
    /// Where the next one begins.
    pub(crate) end: Position,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// When it was spooled, in milliseconds since 1970.
    spooled_at: u64,
    body: String,
    #[serde(default)]
    attributes: Vec<(String, String)>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    deduplication_id: Option<String>,
}

fn checksum(json: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(json.as_bytes());
    crc.sum()
}

/// A message as a line, with its end.
pub(super) fn line(message: &Outgoing, spooled_at: u64) -> String {
    let Outgoing { body, attributes, group, deduplication_id, .. } = message.clone();
    let record = Record { spooled_at, body, attributes, group, deduplication_id };
    let json = serde_json::to_string(&record).expect("texts and numbers");
    format!("{:08x} {json}\n", checksum(&json))
}

/// The message of a line. None where it is damaged.
pub(super) fn read(line: &str) -> Option<Outgoing> {
    let (sum, json) = line.split_once(' ')?;
    if sum.len() != 8 || u32::from_str_radix(sum, 16).ok()? != checksum(json) {
        return None;
    }
    let record: Record = serde_json::from_str(json).ok()?;
    let mut message = Outgoing::plain(record.body).with_attributes(record.attributes);
    message.group = record.group;
    message.deduplication_id = record.deduplication_id;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_or_not_at_all() {
        let attributes = vec![("webhook_id".to_owned(), "id".to_owned())];
        let message = Outgoing::compressed("H4sI\n\u{7f}\"ä".to_owned()).with_attributes(attributes);
        let message = message.with_group("g").with_deduplication_id("d");
        let written = line(&message, 7);
        let (text, end) = written.split_at(written.len() - 1);
        assert_eq!((end, read(text).as_ref()), ("\n", Some(&message)));
        assert!(!text.contains('\n'));
        let plain = Outgoing::plain("{}".to_owned());
        assert_eq!(read(line(&plain, 0).trim_end()), Some(plain));
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert_eq!(read(&text[..cut]), None, "{cut}");
        }
        assert_eq!(read(&text.replace("H4sI", "H4sJ")), None);
    }
}
