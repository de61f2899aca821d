//! Random events of every type: nothing is lost, and nothing panics.

use std::fmt::Write as _;

use proptest::prelude::*;
use stream_sqsd::event::{Event, FieldInfo, KNOWN, Shape};

use super::lossless::round_trip;

/// Random bytes to decide by. When they have run out all decisions are 0, which is the simplest there is; so the shorter
/// the tape, the simpler the event, which is how a failure shrinks.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn next(&mut self) -> usize {
        self.0.next().copied().map_or(0, usize::from)
    }

    fn choose<'b>(&mut self, from: &[&'b str]) -> &'b str {
        from[self.next() % from.len()]
    }
}

const TEXTS: &[&str] =
    &["\"\"", "\"hello\"", r#""gr\u00fc\u00dfe \"\\\/\b\f\n\r\t""#, "\"日本\"", r#""\ud83d\ude00""#, "\"</script>\""];
const INTEGERS: &[&str] = &[
    "0",
    "7",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1.0",
    "2.5",
    "-0",
    "1e3",
    "18446744073709551616",
];
const NUMBERS: &[&str] =
    &["0", "-1", "0.1", "1.0", "5e-324", "1.7976931348623157e308", "18446744073709551615", "0.30000000000000004"];
const TIMES: &[&str] = &[
    "\"2026-03-04T05:06:07Z\"",
    "\"2026-03-04T05:06:07.123456789+05:30\"",
    "1772600767123456789",
    "\"\"",
    "\"2024-23-02 00:00:00\"",
    "0",
    "1.5",
    "{\"a\":1}",
];
const ANYTHING: &[&str] = &["null", "1", "\"x\"", "[]", "{}", "[1,[2,{\"a\":null}]]", "{\"type\":\"x\",\"b\":[null]}"];

fn write_fields(json: &mut String, fields: &[FieldInfo], tape: &mut Tape<'_>, depth: u32) {
    for field in fields {
        match tape.next() % 4 {
            0 => {}
            1 => write!(json, ",\"{}\":null", field.name).unwrap(),
            _ => {
                write!(json, ",\"{}\":", field.name).unwrap();
                write_value(json, field.shape(), tape, depth);
            }
        }
    }
    for extra in 0..tape.next() % 3 {
        write!(json, ",\"mine {extra}\":{}", tape.choose(ANYTHING)).unwrap();
    }
}

fn write_value(json: &mut String, shape: Shape, tape: &mut Tape<'_>, depth: u32) {
    match shape {
        Shape::Bool => json.push_str(tape.choose(&["false", "true"])),
        Shape::Integer => json.push_str(tape.choose(INTEGERS)),
        Shape::Number => json.push_str(tape.choose(NUMBERS)),
        Shape::Text => json.push_str(tape.choose(TEXTS)),
        Shape::Time => json.push_str(tape.choose(TIMES)),
        Shape::Any => write!(json, "{{\"a\":{},\"b\":{}}}", tape.choose(ANYTHING), tape.choose(ANYTHING)).unwrap(),
        Shape::Object(_) | Shape::List(_) | Shape::Map(_) if depth == 0 => json.push_str("null"),
        Shape::Object(object) => {
            // A key for the commas to come after, which belongs to nobody.
            json.push_str("{\"first\":0");
            write_fields(json, object.fields, tape, depth - 1);
            json.push('}');
        }
        Shape::IdOr(_) if tape.next().is_multiple_of(2) => json.push_str(tape.choose(TEXTS)),
        Shape::IdOr(inner) => write_value(json, inner(), tape, depth),
        Shape::List(inner) => {
            json.push('[');
            for index in 0..tape.next() % 4 {
                json.push_str(if index > 0 { "," } else { "" });
                if tape.next() % 5 == 4 { json.push_str("null") } else { write_value(json, inner(), tape, depth - 1) }
            }
            json.push(']');
        }
        Shape::Map(inner) => {
            json.push('{');
            for index in 0..tape.next() % 3 {
                write!(json, "{}\"key {index}\":", if index > 0 { "," } else { "" }).unwrap();
                if tape.next() % 5 == 4 { json.push_str("null") } else { write_value(json, inner(), tape, depth - 1) }
            }
            json.push('}');
        }
        _ => unreachable!("a shape that this test does not know"),
    }
}

fn an_event(known: usize, tape: &[u8]) -> String {
    let known = &KNOWN[known % KNOWN.len()];
    let mut json = format!(r#"{{"type":"{}""#, known.name());
    write_fields(&mut json, known.fields(), &mut Tape(tape.iter()), 5);
    json.push('}');
    json
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_event_carries_is_there_again(
        known in 0..KNOWN.len(),
        tape in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let json = an_event(known, &tape);
        let payload = round_trip(&json);
        let event = Event::from_json(&*json).unwrap();
        prop_assert_eq!(event.json(), json);
        prop_assert_eq!(event.payload().unwrap(), payload);
    }

    #[test]
    fn a_value_of_the_wrong_kind_anywhere_never_panics(
        known in 0..KNOWN.len(),
        tape in proptest::collection::vec(any::<u8>(), 0..200),
        pick in any::<proptest::sample::Index>(),
        put in proptest::sample::select(vec!["[\"private\"]", "{\"a\":\"private\"}", "\"private\"", "true", "1e400", "1"]),
    ) {
        let json = an_event(known, &tape);
        let colons: Vec<_> = json.match_indices("\":").map(|(at, _)| at + 2).collect();
        let at = colons[pick.index(colons.len())];
        let length = serde_json::Deserializer::from_str(&json[at..])
            .into_iter::<Box<serde_json::value::RawValue>>().next();
        // A colon in a text is not a place for a value.
        if let Some(Ok(value)) = length {
            let json = format!("{}{put}{}", &json[..at], &json[at + value.get().len()..]);
            match Event::from_json(&*json).map(|event| event.payload()) {
                Ok(Err(error)) => prop_assert!(!error.to_string().contains("private"), "{}", error),
                Ok(Ok(_)) if !json.contains("1e400") => drop(round_trip(&json)),
                _ => {}
            }
        }
    }
}
