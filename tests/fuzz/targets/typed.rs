//! Any event: the typed parse does not panic, says nothing of the content, and what it writes it reads again as the same.
//! Nothing that is not null is lost or becomes another value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use stream_sqsd::event::Event;

/// A key of an object that has no value is as good as none.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let present = members.into_iter().filter(|(_, value)| !value.is_null());
            present.map(|(key, value)| (key, without_nulls(value))).collect()
        }
        Value::Array(elements) => elements.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fuzz_target!(|json: &str| {
    let Ok(event) = Event::from_json(json) else { return };
    match event.payload() {
        Ok(payload) => {
            let written = serde_json::to_string(&payload).expect("what was read can be written");
            // Some JSON cannot be held by serde_json, like `1e400` and what is nested deeper than it goes.
            if let Ok(input) = serde_json::from_str(event.json()) {
                let output =
                    serde_json::from_str(&written).expect("what was written can be read as what was read");
                assert_eq!(without_nulls(output), without_nulls(input));
            }
            let again = Event::from_json(written).expect("what was written is an event");
            assert_eq!(again.kind(), event.kind());
            assert_eq!(again.payload().expect("what was written can be read"), payload);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
