//! The tests that need nothing but Rust.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "the bans are for the engine; a test watches it from outside")]

mod architecture;
mod builders;
mod corpus;
mod decode;
mod event;
#[cfg(all(feature = "hooks", feature = "stream-api"))]
mod hooks;
#[cfg(feature = "relay")]
mod relay;
mod shipped;
mod shutdown;
mod webhook;
mod wording;
