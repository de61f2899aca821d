//! Events of the tests' own making, in the forms in which Stream's arrive.

use std::io::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// A `message.new` that is told from others by its number.
pub(crate) fn event(number: usize) -> Value {
    json!({
        "type": "message.new",
        "cid": "messaging:garden",
        "message": {"id": format!("m-{number}"), "text": "the kettle is on"},
        "number": number,
    })
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The envelope of an SNS notification.
pub(crate) fn envelope(message: &str) -> String {
    json!({
        "Type": "Notification",
        "MessageId": "4ad1ff2c-7bd4-5cc3-9a4d-a0f0c2ab0001",
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:chat",
        "Message": message,
        "Timestamp": "2026-01-01T00:00:00.000Z",
    })
    .to_string()
}
