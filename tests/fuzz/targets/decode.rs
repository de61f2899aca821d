//! Any body: no panic, no more than the limit, and what is an event stays the same event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stream_sqsd::decode::{DecodeError, decode, size_hint};

const LIMIT: usize = 64 * 1024;

fuzz_target!(|body: &str| {
    let hint = size_hint(body);
    match decode(body, LIMIT) {
        Ok(event) => {
            assert!(event.json().len() <= LIMIT);
            assert!(!event.kind().name().is_empty());
            // The JSON of an event is the plainest form of a body.
            assert_eq!(decode(event.json(), LIMIT), Ok(event));
        }
        Err(DecodeError::TooLarge { limit }) => assert_eq!(limit, LIMIT),
        // A fault of the body is one with whatever limit.
        Err(error) if hint > 16 * LIMIT => drop(error),
        Err(error) => assert_eq!(decode(body, 16 * LIMIT), Err(error)),
    }
});
