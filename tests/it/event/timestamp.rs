//! Times in all the forms that they come in.

use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize as _;
use stream_sqsd::event::{Event, Timestamp, message::MessageNew};

fn read(json: &str) -> Timestamp {
    let event = Event::from_json(format!(r#"{{"type":"message.new","created_at":{json}}}"#)).unwrap();
    event.parse::<MessageNew>().unwrap().created_at.unwrap()
}

#[test]
fn rfc_3339_is_read_with_any_offset_and_up_to_nine_digits() {
    let second = UNIX_EPOCH + Duration::from_secs(1_772_600_766);
    for (text, nanos) in [
        (r#""2026-03-04T05:06:06Z""#, 0),
        (r#""2026-03-04t05:06:06z""#, 0),
        (r#""2026-03-04T05:06:06+00:00""#, 0),
        (r#""2026-03-04T07:06:06.5+02:00""#, 500_000_000),
        (r#""2026-03-03T23:36:06.123456-05:30""#, 123_456_000),
        (r#""2026-03-04T05:06:06.123456789Z""#, 123_456_789),
        (r#""2026-03-04T05:06:06.000000001Z""#, 1),
        (r#""2026-03-04T05:06:06\u005a""#, 0),
        ("1772600766000000000", 0),
        ("1772600766123456789", 123_456_789),
    ] {
        assert_eq!(read(text).system_time(), Some(second + Duration::from_nanos(nanos)), "{text}");
    }
    assert_eq!(read("-1").system_time(), Some(UNIX_EPOCH - Duration::from_nanos(1)));
    assert_eq!(read(r#""0001-01-01T00:00:00Z""#).unix_nanos(), Some(-62_135_596_800_000_000_000));
}

#[test]
fn what_is_not_a_time_does_not_fail_the_event_and_is_kept() {
    for (json, text) in [
        (r#""2024-23-02 00:00:00""#, "2024-23-02 00:00:00"),
        (r#""""#, ""),
        (r#""soon""#, "soon"),
        (r#""2026-03-04T05:06:06""#, "2026-03-04T05:06:06"),
        (r#""\ud800""#, r"\ud800"),
        ("1.5", "1.5"),
        ("1e400", "1e400"),
        ("99999999999999999999999999999999999999999", "99999999999999999999999999999999999999999"),
        ("true", "true"),
        ("{}", "{}"),
    ] {
        let time = read(json);
        assert_eq!((&*time.text(), time.unix_nanos(), time.system_time()), (text, None, None));
        assert_eq!(time.to_string(), text);
    }
}

#[test]
fn times_compare_by_their_instant() {
    let z = read(r#""2026-03-04T05:06:06Z""#);
    assert_eq!(z, read(r#""2026-03-04T07:06:06.000+02:00""#));
    assert_eq!(z, read("1772600766000000000"));
    assert!(z < read("1772600766000000001") && z > read(r#""2026-03-04T05:06:05.999Z""#));
    let no_time = read(r#""soon""#);
    assert_eq!(no_time, no_time.clone());
    assert_ne!(no_time, read(r#""later""#));
    assert_ne!(no_time, z);
    assert_eq!((no_time.partial_cmp(&z), z.partial_cmp(&no_time)), (None, None));
}

#[test]
fn a_system_time_becomes_a_timestamp() {
    let time = UNIX_EPOCH + Duration::from_millis(1_772_600_766_700);
    let timestamp = Timestamp::from_system_time(time).unwrap();
    assert_eq!(timestamp.system_time(), Some(time));
    assert_eq!(timestamp.unix_nanos(), Some(1_772_600_766_700_000_000));
    assert_eq!(timestamp.text(), "2026-03-04T05:06:06.7Z");
    assert_eq!(Timestamp::from_system_time(time + Duration::from_secs(400_000_000_000)), None);
    let mut json = serde_json::Deserializer::from_str(r#"{"created_at":7}"#);
    let mut message = MessageNew::deserialize(&mut json).unwrap();
    message.created_at = Some(timestamp);
    assert_eq!(
        serde_json::to_string(&message).unwrap(),
        r#"{"type":"message.new","created_at":"2026-03-04T05:06:06.7Z"}"#
    );
}

#[test]
fn every_day_of_the_calendar_is_read_as_jiff_reads_it() {
    let mut days = 0;
    for year in [1600, 1699, 1700, 1900, 1970, 2000, 2024, 2026, 2100, 2199, 2200, 9999] {
        for (month, day) in (0..14).flat_map(|month| (0..33).map(move |day| (month, day))) {
            for end in ["T00:00:00Z", "T23:59:59.999999999Z", "T24:00:00Z", "T12:60:00Z", "T12:34:56.1234567890Z"] {
                let text = format!("{year}-{month:02}-{day:02}{end}");
                let time = read(&format!("\"{text}\""));
                let expected: Option<jiff::Timestamp> = text.parse().ok();
                assert_eq!(time.unix_nanos(), expected.map(jiff::Timestamp::as_nanosecond), "{text}");
                assert_eq!(time.text(), text);
                days += usize::from(expected.is_some());
            }
        }
    }
    assert!(days > 12 * 2 * 365, "{days}");
}
