//! Parse, serialise, and every value that is not null is there again, at its place.

use serde_json::Value;
use stream_sqsd::event::{AnyPayload, Event, KNOWN, Shape, sample};

/// What two JSON texts differ in, where a null and an absent key of an object are the same.
pub(crate) fn difference(input: &Value, output: &Value, path: &str) -> Option<String> {
    match (input, output) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                difference(a, b, &format!("{path}.{key}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{path}[{i}]")))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: {a} became {b}")),
    }
}

pub(super) fn round_trip(json: &str) -> AnyPayload {
    let event = Event::from_json(json).expect("an event");
    let payload = event.payload().unwrap_or_else(|error| panic!("{error} in {json}"));
    let written = serde_json::to_string(&payload).unwrap();
    let (input, output) = (serde_json::from_str(json).unwrap(), serde_json::from_str(&written).unwrap());
    if let Some(difference) = difference(&input, &output, "") {
        panic!("{difference}\nin  {json}\nout {written}");
    }
    payload
}

#[test]
fn the_smallest_and_largest_of_every_type_round_trip() {
    for known in KNOWN {
        for json in [sample::minimal(known), sample::maximal(known)] {
            round_trip(&json);
        }
    }
}

#[test]
fn no_event_stands_where_an_object_of_the_same_name_is_meant() {
    fn look(shape: Shape) {
        match shape {
            Shape::Object(object) => {
                // What all events carry and nothing else does.
                assert!(object.fields.iter().all(|field| field.name != "request_info"), "{}", object.name);
            }
            Shape::IdOr(inner) | Shape::List(inner) | Shape::Map(inner) => look(inner()),
            _ => {}
        }
    }
    KNOWN.iter().flat_map(|known| known.fields()).for_each(|field| look(field.shape()));
}
