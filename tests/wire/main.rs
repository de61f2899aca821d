//! The library over real sockets: `SqsQueue` against scripted answers, the client of Stream's REST API against a Stream in
//! this process, and the admin listener.
//!
//! For the queue that is the real SDK, and a server that says what SQS, the network and proxies say on bad days. No
//! emulator: those accept every key and never break an answer off.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and the bans are for the engine; a test watches it from outside"
)]

mod server;
mod receive;
mod batch;
mod errors;
mod limits;
mod address;
mod environment;
mod redrive;
mod provision;

mod admin;
mod stream;
