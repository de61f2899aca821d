//! stream-sqsd
// The rooms in reading order: each imports only from those below it.
pub mod handlers;
#[cfg(feature = "admin")]
pub mod admin;
pub mod consumer;
pub mod router;
pub mod handler;
pub mod decode;
pub mod webhook;
pub mod event;
pub mod queue;
pub mod telemetry;
