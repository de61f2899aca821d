//! A time as Stream writes it.

use std::fmt;
use std::time::SystemTime;

use serde_json::value::RawValue;

/// A point in time: RFC 3339 text with up to nine digits of a second and any offset, or integer nanoseconds since 1970.
///
/// The same field comes in both forms, depending on what wrote the event. What is neither (Stream's campaign
/// documentation shows `2024-23-02 00:00:00`) does not fail the event: it stands here as it was sent, and has no
/// [`instant`](Timestamp::instant).
///
/// Two timestamps are equal when their instants are, whatever they were written like; two that have none, when they are
/// the same text. Order is that of the instants; without an instant there is none.
#[derive(Clone)]
pub struct Timestamp(Box<RawValue>);

impl Timestamp {
    pub(super) fn from_raw(raw: &RawValue) -> Self {
        Timestamp(raw.to_owned())
    }

    pub(super) fn raw(&self) -> &RawValue {
        &self.0
    }

    /// The time as it was sent: the text between its quotation marks, escapes included, or the JSON where it is no text.
    pub fn as_str(&self) -> &str {
        let json = self.0.get();
        json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json)
    }

    /// The instant, to the nanosecond. None where it is neither RFC 3339 nor integer nanoseconds, or not in the years
    /// −9999 to 9999. The parser takes a little more than RFC 3339, such as a space between date and time.
    pub fn instant(&self) -> Option<jiff::Timestamp> {
        let json = self.0.get();
        if !json.starts_with('"') {
            return jiff::Timestamp::from_nanosecond(json.parse().ok()?).ok();
        }
        if json.contains('\\') {
            return serde_json::from_str::<String>(json).ok()?.parse().ok();
        }
        self.as_str().parse().ok()
    }

    /// The instant as the standard library's time, where there is one.
    pub fn system_time(&self) -> Option<SystemTime> {
        self.instant().map(SystemTime::from)
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(instant: jiff::Timestamp) -> Self {
        let raw = RawValue::from_string(format!("\"{instant}\""));
        Timestamp(raw.expect("digits, signs and letters between quotation marks are JSON"))
    }
}

impl Default for Timestamp {
    /// 1970-01-01T00:00:00Z.
    fn default() -> Self {
        jiff::Timestamp::UNIX_EPOCH.into()
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        match (self.instant(), other.instant()) {
            (None, None) => self.as_str() == other.as_str(),
            (a, b) => a == b,
        }
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self.instant(), other.instant()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => (self == other).then_some(std::cmp::Ordering::Equal),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}
