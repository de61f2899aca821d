//! Any event: the typed parse does not panic, says nothing of the content, and what it writes it reads again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stream_sqsd::event::Event;

fuzz_target!(|json: &str| {
    let Ok(event) = Event::from_json(json) else { return };
    match event.payload() {
        Ok(payload) => {
            let written = serde_json::to_string(&payload).expect("what was read can be written");
            let again = Event::from_json(written).expect("what was written is an event");
            assert_eq!(again.kind(), event.kind());
            assert_eq!(again.payload().expect("what was written can be read"), payload);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
