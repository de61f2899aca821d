//! What of an event has a column of its own in a table: pure, and it never fails an event.
//!
//! Only these few fields are read. The typed events know more, at the price of a whole parse, and a row needs no more:
//! its payload has all of it.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The longest id that stands in a column of its own, in bytes. An index takes 2,704 bytes, and no id of Stream's comes
/// near; the payload holds a longer one.
const ID_BYTES: usize = 1024;

/// What of an event has a column of its own. Of a key that stands twice the last counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    cid: Option<String>,
    call_cid: Option<String>,
    user: Option<String>,
    user_id: Option<String>,
    created_at: Option<SystemTime>,
}

impl Columns {
    /// Reads what it can: what is of another shape than expected is left out, and never fails the event.
    pub(super) fn of(json: &str) -> Self {
        let mut columns = Columns::default();
        // Where reading ends early, what was read by then stands.
        let _ = serde_json::Deserializer::from_str(json).deserialize_map(ColumnsVisitor(&mut columns));
        columns
    }

    pub(super) fn cid(&self) -> Option<&str> {
        self.cid.as_deref().or(self.call_cid.as_deref())
    }

    pub(super) fn user_id(&self) -> Option<&str> {
        self.user.as_deref().or(self.user_id.as_deref())
    }

    pub(super) fn created_at(&self) -> Option<SystemTime> {
        self.created_at
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Cid,
    CallCid,
    User,
    UserId,
    CreatedAt,
    #[serde(other)]
    Other,
}

struct ColumnsVisitor<'a>(&'a mut Columns);

impl<'de> Visitor<'de> for ColumnsVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            match key {
                Key::Cid => self.0.cid = id(map.next_value()?),
                Key::CallCid => self.0.call_cid = id(map.next_value()?),
                Key::User => self.0.user = user_id(map.next_value()?),
                Key::UserId => self.0.user_id = id(map.next_value()?),
                Key::CreatedAt => self.0.created_at = time(map.next_value()?),
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// An id that a column and its index can hold.
fn id(value: &RawValue) -> Option<String> {
    let id = String::deserialize(value).ok()?;
    let fits = !id.is_empty() && id.len() <= ID_BYTES && !id.contains('\0');
    fits.then_some(id)
}

fn user_id(user: &RawValue) -> Option<String> {
    struct User;

    impl<'de> Visitor<'de> for User {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a user")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                match key.as_ref() {
                    "id" => found = id(map.next_value()?),
                    _ => {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Ok(found)
        }
    }

    user.deserialize_map(User).ok().flatten()
}

/// RFC 3339 text, or nanoseconds since 1970.
fn time(value: &RawValue) -> Option<SystemTime> {
    let time = match i64::deserialize(value) {
        Ok(nanoseconds) => Timestamp::from_nanosecond(nanoseconds.into()).ok()?,
        Err(_) => String::deserialize(value).ok()?.parse().ok()?,
    };
    Some(time.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64, nanoseconds: u32) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds))
    }

    #[test]
    fn columns_are_read_from_where_each_product_has_them() {
        let chat = Columns::of(
            r#"{"type":"message.new","cid":"messaging:1","user":{"name":"U","id":"u1"},"created_at":"2026-01-01T01:00:00.5+01:00"}"#,
        );
        assert_eq!((chat.cid(), chat.user_id()), (Some("messaging:1"), Some("u1")));
        assert_eq!(chat.created_at, at(1_767_225_600, 500_000_000));
        let call = Columns::of(
            r#"{"type":"call.ended","call_cid":"default:1","user_id":"u2","created_at":1767225600000000007}"#,
        );
        assert_eq!((call.cid(), call.user_id()), (Some("default:1"), Some("u2")));
        assert_eq!(call.created_at, at(1_767_225_600, 7));
    }

    #[test]
    fn the_last_of_two_keys_counts_and_inner_keys_are_not_taken_for_outer_ones() {
        let columns = Columns::of(r#"{"cid":"a","message":{"cid":"inner","user_id":"inner"},"cid":"b"}"#);
        assert_eq!((columns.cid(), columns.user_id()), (Some("b"), None));
    }

    #[test]
    fn what_is_of_another_shape_is_left_out_and_the_rest_stands() {
        for wrong in [
            "null",
            "7.5",
            "true",
            "[]",
            r#""""#,
            r#""a\u0000b""#,
            r#""\ud800""#,
            r#"{"id":7}"#,
            r#""2024-23-02 00:00:00""#,
        ] {
            let json = format!(r#"{{"call_cid":{wrong},"user":{wrong},"created_at":{wrong},"cid":"x:1"}}"#);
            let mut columns = Columns::of(&json);
            columns.call_cid = None;
            assert_eq!(columns, Columns { cid: Some("x:1".into()), ..Columns::default() }, "{wrong}");
        }
        assert_eq!(id(&RawValue::from_string(format!("\"{}\"", "x".repeat(2000))).unwrap()), None);
        let deep = format!(r#"{{"cid":"x:1","custom":{}{},"user_id":"u"}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(Columns::of(&deep).user_id(), Some("u"));
    }
}
