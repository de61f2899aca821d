//! The handlers that ship, against real files, pipes, processes and sockets.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use stream_sqsd::decode::decode;
use stream_sqsd::event::Event;

#[cfg(feature = "stdout")]
mod stdout;

/// An event of type `message.new` that can be told from others.
fn event(text: &str) -> Event {
    decode(&format!(r#"{{"type":"message.new","message":{{"text":"{text}"}}}}"#), 1 << 20).expect("a good event")
}
