//! A time as Stream writes it.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use serde::ser::{Serialize, Serializer};

use super::json::raw_value;

/// A point in time: RFC 3339 text with up to nine digits of a second and any offset, or integer nanoseconds since 1970.
///
/// The same field comes in both forms, depending on what wrote the event. What is neither (Stream's campaign
/// documentation shows `2024-23-02 00:00:00`) does not fail the event: it stands here as it was sent, and has no
/// [instant](Timestamp::unix_nanos).
///
/// Two timestamps are equal when their instants are, however they are written; two without an instant, when they are the
/// same text. Order is that of the instants; without an instant there is none.
#[derive(Clone)]
pub struct Timestamp(Form);

/// How it was written. From the first two, which are what Stream's servers write, the text can be made again exactly, so
/// that an event of fifty times keeps fifty numbers and no text.
#[derive(Clone, PartialEq)]
enum Form {
    /// `2026-03-04T05:06:07.123456Z`: nanoseconds since 1970, and how many digits stand behind the point.
    Utc { nanoseconds: i64, digits: u8 },
    /// Nanoseconds since 1970, as an integer.
    Nanoseconds(i64),
    /// Everything else, as JSON.
    Other(Box<Json>),
}

/// Behind a thin pointer, since it is rare: a timestamp then takes two words and not three.
#[derive(Clone, PartialEq)]
struct Json(Box<str>);

impl Timestamp {
    /// This time to the nanosecond, as RFC 3339 in UTC. None where it is not in the years −9999 to 9999.
    pub fn from_system_time(time: SystemTime) -> Option<Self> {
        let instant = jiff::Timestamp::try_from(time).ok()?;
        Some(Timestamp::from_json(&format!("\"{instant}\"")))
    }

    /// `json` must be one JSON value.
    pub(super) fn from_json(json: &str) -> Self {
        match (Timestamp::utc(json.as_bytes()), nanoseconds(json)) {
            (Some((time, _)), _) => time,
            (None, Some(nanoseconds)) => Timestamp(nanoseconds),
            (None, None) => Timestamp(Form::Other(Box::new(Json(json.into())))),
        }
    }

    /// The time that `json` begins with, and how many bytes it is long, where it stands in the form in which Stream writes
    /// almost all times. It is read by hand: an event has fifty of them.
    ///
    /// Years that sixty-four bits of nanoseconds cannot hold are none, and everything that is written in any other way.
    pub(super) fn utc(json: &[u8]) -> Option<(Self, usize)> {
        let (date, rest) = json.split_first_chunk::<20>()?;
        let &[b'"', y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2] = date else {
            return None;
        };
        if [y1, y2, y3, y4, o1, o2, d1, d2, h1, h2, m1, m2, s1, s2].iter().any(|byte| !byte.is_ascii_digit()) {
            return None;
        }
        let (fraction, digits) = match rest {
            [b'.', rest @ ..] => fraction(rest)?,
            _ => (0, 0),
        };
        let point = usize::from(digits > 0);
        let end = point + usize::from(digits);
        if rest.get(end..end + 2) != Some(b"Z\"") {
            return None;
        }
        let two = |tens: u8, ones: u8| 10 * i64::from(tens - b'0') + i64::from(ones - b'0');
        let seconds = since_1970(100 * two(y1, y2) + two(y3, y4), two(o1, o2), two(d1, d2))? * 86_400;
        let (hour, minute, second) = (two(h1, h2), two(m1, m2), two(s1, s2));
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let nanoseconds = (seconds + (hour * 60 + minute) * 60 + second) * 1_000_000_000 + fraction;
        Some((Timestamp(Form::Utc { nanoseconds, digits }), date.len() + end + 2))
    }

    /// Whether both were sent as the same JSON.
    pub(super) fn written_like(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// The time as it was sent: the text between its quotation marks, escapes included, or the JSON where it is not a text.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Other(json) => {
                let json = &*json.0;
                json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json).into()
            }
            _ => self.to_string().into(),
        }
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z, negative before. None where it is neither RFC 3339 nor integer nanoseconds,
    /// or not in the years −9999 to 9999. The parser takes a little more than RFC 3339, such as a space between date and
    /// time.
    pub fn unix_nanos(&self) -> Option<i128> {
        self.instant().map(jiff::Timestamp::as_nanosecond)
    }

    /// The same instant as the standard library's time.
    pub fn system_time(&self) -> Option<SystemTime> {
        self.instant().map(SystemTime::from)
    }

    fn instant(&self) -> Option<jiff::Timestamp> {
        let json = match &self.0 {
            Form::Utc { nanoseconds, .. } | Form::Nanoseconds(nanoseconds) => {
                return jiff::Timestamp::from_nanosecond((*nanoseconds).into()).ok();
            }
            Form::Other(json) => &*json.0,
        };
        if !json.starts_with('"') {
            return jiff::Timestamp::from_nanosecond(json.parse().ok()?).ok();
        }
        serde_json::from_str::<Cow<'_, str>>(json).ok()?.parse().ok()
    }
}

/// The nanoseconds of up to nine digits behind the point, and how many digits there are.
fn fraction(text: &[u8]) -> Option<(i64, u8)> {
    let (mut fraction, mut unit, mut digits) = (0, 1_000_000_000, 0);
    for byte in text.iter().take(9).take_while(|byte| byte.is_ascii_digit()) {
        unit /= 10;
        fraction += i64::from(byte - b'0') * unit;
        digits += 1;
    }
    (digits > 0).then_some((fraction, digits))
}

/// The days from 1970 to a day of the Gregorian calendar, if it is one between 1700 and 2200.
fn since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    /// From the first of March of the year 0 to the first of January 1970.
    const TO_1970: i64 = 719_468;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1700..2200).contains(&year) || !(1..=last).contains(&day) {
        return None;
    }
    // A year that begins with March has its leap day at the end, and its months are 30.6 days up to a rounding.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - TO_1970)
}

fn nanoseconds(json: &str) -> Option<Form> {
    // `-0` would come out as another text.
    json.parse().ok().filter(|_| json != "-0").map(Form::Nanoseconds)
}

/// 1970-01-01T00:00:00Z.
impl Default for Timestamp {
    fn default() -> Self {
        Timestamp(Form::Utc { nanoseconds: 0, digits: 0 })
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        match (self.instant(), other.instant()) {
            (None, None) => self.0 == other.0,
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

/// As [`Timestamp::text`].
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Utc { nanoseconds, digits } => {
                let instant = jiff::Timestamp::from_nanosecond((*nanoseconds).into()).map_err(|_| fmt::Error)?;
                write!(f, "{instant:.*}", usize::from(*digits))
            }
            Form::Nanoseconds(nanoseconds) => nanoseconds.fmt(f),
            Form::Other(_) => f.write_str(&self.text()),
        }
    }
}

/// As JSON.
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Utc { .. } => write!(f, "\"{self}\""),
            Form::Nanoseconds(nanoseconds) => nanoseconds.fmt(f),
            Form::Other(json) => f.write_str(&json.0),
        }
    }
}

/// As it came. Like all raw JSON it can be written by serde_json alone.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Utc { .. } => serializer.collect_str(self),
            Form::Nanoseconds(nanoseconds) => serializer.serialize_i64(*nanoseconds),
            Form::Other(json) => raw_value(&json.0).serialize(serializer),
        }
    }
}
