//! `SqsQueue` against scripted answers: the real SDK over real sockets, and a server that says what SQS, the network and
//! proxies say on bad days. No emulator: those accept every key and never break an answer off.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "the bans are for the engine; a test watches it from outside")]

mod server;
mod receive;
mod batch;
mod errors;
mod limits;
mod address;
mod environment;
mod redrive;
mod provision;
