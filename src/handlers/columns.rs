//! What of an event has a column of its own in a table: pure, and it never fails an event.
//!
//! Only these few fields are read. The typed events know more, at the price of a whole parse, and a row needs no more:
//! its payload has all of it.

use std::time::SystemTime;

use jiff::Timestamp;

use crate::event::{Event, last_values, text_of};

/// The longest id that stands in a column of its own, in bytes. An index takes 2,704 bytes, and no id of Stream's comes
/// near; the payload holds a longer one.
const ID_BYTES: usize = 1024;

/// The first second of PostgreSQL's `timestamptz`, 4714-11-24 BC, counted from 1970. Its last is beyond every year of four
/// digits.
const FIRST_SECOND: i64 = -210_866_803_200;

/// What of an event has a column of its own. Of a key that stands twice the last counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// `cid`, or `call_cid`.
    pub(super) cid: Option<String>,
    /// `user.id`, or `user_id`.
    pub(super) user_id: Option<String>,
    pub(super) created_at: Option<SystemTime>,
}

impl Columns {
    /// Reads what it can: what is of another shape than expected is left out.
    pub(super) fn of(event: &Event) -> Self {
        let keys = ["cid", "call_cid", "user", "user_id", "created_at"];
        let Ok([cid, call_cid, user, user_id, created_at]) = last_values(event.json(), keys) else {
            // An event is a JSON object, so this does not happen.
            return Columns::default();
        };
        // Inside a user that is not an object there is nothing to find.
        let id_of_user = user.and_then(|user| last_values(user, ["id"]).ok()?[0]);
        Columns {
            cid: cid.and_then(id).or_else(|| id(call_cid?)),
            user_id: id_of_user.and_then(id).or_else(|| id(user_id?)),
            created_at: created_at.and_then(time),
        }
    }
}

/// An id that a column and its index can hold.
fn id(value: &str) -> Option<String> {
    let id = text_of(value)?;
    let fits = !id.is_empty() && id.len() <= ID_BYTES && !id.contains('\0');
    fits.then(|| id.into_owned())
}

/// RFC 3339 text, or nanoseconds since 1970; none where a column cannot hold it.
fn time(value: &str) -> Option<SystemTime> {
    let time = match value.parse::<i64>() {
        Ok(nanoseconds) => Timestamp::from_nanosecond(nanoseconds.into()).ok()?,
        Err(_) => text_of(value)?.parse::<Timestamp>().ok()?,
    };
    (time.as_second() >= FIRST_SECOND).then(|| time.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn columns(json: &str) -> Columns {
        Columns::of(&Event::from_json(json).unwrap())
    }

    fn at(seconds: u64, nanoseconds: u32) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds))
    }

    #[test]
    fn columns_are_read_from_where_each_product_has_them() {
        let chat = columns(
            r#"{"type":"message.new","cid":"messaging:1","user":{"name":"U","id":"u1"},"created_at":"2026-01-01T01:00:00.5+01:00"}"#,
        );
        assert_eq!((chat.cid.as_deref(), chat.user_id.as_deref()), (Some("messaging:1"), Some("u1")));
        assert_eq!(chat.created_at, at(1_767_225_600, 500_000_000));
        let call =
            columns(r#"{"type":"call.ended","call_cid":"default:1","user_id":"u2","created_at":1767225600000000007}"#);
        assert_eq!((call.cid.as_deref(), call.user_id.as_deref()), (Some("default:1"), Some("u2")));
        assert_eq!(call.created_at, at(1_767_225_600, 7));
    }

    #[test]
    fn the_last_of_two_keys_counts_and_inner_keys_do_not() {
        let columns = columns(r#"{"type":"a.b","cid":"a","message":{"cid":"inner","user_id":"inner"},"cid":"b"}"#);
        assert_eq!((columns.cid.as_deref(), columns.user_id), (Some("b"), None));
    }

    #[test]
    fn a_time_that_a_column_cannot_hold_is_left_out() {
        let created_at = |time: &str| columns(&format!(r#"{{"type":"a.b","created_at":{time}}}"#)).created_at;
        for held in [r#""-004713-11-24T00:00:00Z""#, r#""9999-12-30T00:00:00Z""#, "9223372036854775807"] {
            assert!(created_at(held).is_some(), "{held}");
        }
        for beyond in [
            r#""-004713-11-23T23:59:59Z""#,
            r#""-009998-01-01T00:00:00Z""#,
            r#""10000-01-01T00:00:00Z""#,
            r#""2026-02-30T00:00:00Z""#,
            "9223372036854775808",
            "1e300",
        ] {
            assert_eq!(created_at(beyond), None, "{beyond}");
        }
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
            &format!("\"{}\"", "x".repeat(ID_BYTES + 1)),
        ] {
            let json =
                format!(r#"{{"type":"a.b","cid":{wrong},"user":{wrong},"created_at":{wrong},"call_cid":"x:1"}}"#);
            // A time that is none is an id like any other.
            let cid = if wrong.contains("2024") { "2024-23-02 00:00:00" } else { "x:1" };
            assert_eq!(columns(&json), Columns { cid: Some(cid.into()), ..Columns::default() }, "{wrong}");
        }
        let deep =
            format!(r#"{{"type":"a.b","cid":"x:1","custom":{}{},"user_id":"u"}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(columns(&deep).user_id.as_deref(), Some("u"));
    }
}
