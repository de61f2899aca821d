//! Any text: it is an event exactly where serde_json finds an object with a `type` that is a text with something in it.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use stream_sqsd::event::{Event, MAX_TYPE_LENGTH, NotAnEvent};

/// The text of a key or of a value, where it is one that Rust can hold.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(from = "Box<RawValue>")]
struct Text(Option<String>);

impl From<Box<RawValue>> for Text {
    fn from(json: Box<RawValue>) -> Self {
        Text(serde_json::from_str(json.get()).ok())
    }
}

fuzz_target!(|text: &str| {
    let event = Event::from_json(text);
    let json = text.trim_ascii();
    // What is ignored may be as deep and as strange as JSON can be; only the syntax is judged.
    if serde_json::from_str::<IgnoredAny>(json).is_err() || !json.starts_with('{') {
        assert!(matches!(event, Err(NotAnEvent::NoObject { .. })), "{event:?}");
        return;
    }
    let mut members: BTreeMap<Text, Text> = serde_json::from_str(json).expect("an object");
    match members.remove(&Text(Some("type".to_owned()))) {
        Some(Text(Some(kind))) if kind.len() > MAX_TYPE_LENGTH => assert_eq!(event, Err(NotAnEvent::LongType)),
        Some(Text(Some(kind))) if !kind.is_empty() => {
            let event = event.expect("an event");
            assert_eq!((event.kind().name(), event.json()), (&*kind, json));
        }
        // Of one that is very long nobody looks whether it is text.
        _ => assert!(matches!(event, Err(NotAnEvent::NoType | NotAnEvent::LongType)), "{event:?}"),
    }
});
