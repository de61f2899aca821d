//! The handlers that ship: what the daemon does with events without a line of Rust written for it.
//!
//! Each takes whole events (`Handler<Event>`), stands in one file and behind one Cargo feature of its name, and is built
//! from settings that are already read: files, flags and secrets are the binary's business. Nothing here knows the queue
//! or the engine. All of them end in the same vocabulary, [`HandlerError`](crate::handler::HandlerError): done, retry,
//! this message is bad, the target is busy, the target is down.
//!
//! | handler | done means | what makes it idempotent |
//! |---|---|---|
//! | `stdout` | the line was written | the reader, on `message_id` |
//! | `file` | the line is on disk | the reader, on `message_id` |
//! | `http` | the endpoint answered 2xx | the endpoint, on `X-Webhook-Id` |
//! | `exec` | the program exited with 0 | the program, on `STREAM_MESSAGE_ID` |
//! | `exec` that stays | the program answered `done` | the program, on `message_id` |
//! | `postgres` | the row is committed | the table's key, the message id |

#![allow(
    clippy::disallowed_methods,
    reason = "handlers deal with the outside: files, processes, and threads that wait for them, by the real clock"
)]

#[cfg(feature = "stdout")]
pub mod stdout;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "exec")]
pub mod exec;
#[cfg(feature = "exec")]
pub mod persistent;
#[cfg(feature = "postgres")]
pub mod postgres;

#[cfg(any(feature = "stdout", feature = "file"))]
mod lines;
#[cfg(any(feature = "stdout", feature = "file", feature = "exec"))]
mod json;
#[cfg(any(feature = "http", feature = "postgres", feature = "exec"))]
mod complaints;
#[cfg(feature = "http")]
mod endpoint;
#[cfg(feature = "http")]
mod template;
#[cfg(feature = "http")]
mod headers;
#[cfg(feature = "http")]
mod oauth2;
#[cfg(feature = "file")]
mod rotation;
#[cfg(feature = "exec")]
mod program;
#[cfg(feature = "exec")]
mod protocol;
#[cfg(feature = "exec")]
mod resident;
#[cfg(feature = "exec")]
mod processes;
#[cfg(feature = "postgres")]
mod table;
#[cfg(feature = "postgres")]
mod columns;
