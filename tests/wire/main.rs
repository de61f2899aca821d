//! `SqsQueue` against scripted answers: the real SDK over real sockets, and a server that says what SQS, the network and
//! proxies say on bad days. No emulator: those accept every key and never break an answer off.

#![allow(clippy::unwrap_used)]

mod server;
mod receive;
mod batch;
mod errors;
mod limits;
mod address;
mod environment;
