//! The daemon and the library over the wire, against LocalStack: a queue for each test, and all tests side by side.
//!
//! `tests/run` starts LocalStack and runs these. What LocalStack does not do (duplicates, stale receipts, lost
//! answers, access denied) is not shown here: the simulation and the scripted answers of `tests/wire` do that.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "the bans are for the engine; a test watches it by the real clock")]

#[path = "../support/mod.rs"]
mod support;
mod endpoint;
mod queue;
mod daemon;
mod engine;
mod body;
mod record;
mod scale;
mod proxy;
#[cfg(target_os = "linux")]
#[path = "../soak/process.rs"]
mod process;

mod forms;
mod attributes;
mod failures;
mod targets;
mod leases;
mod many;
mod sns;
mod shutdown;
mod start;
mod provision;
mod setup;
mod walkthrough;
#[path = "../wire/stream/fake.rs"]
#[allow(dead_code, reason = "what only the tests of the client need")]
mod stream;

mod dlq;
mod kill;
mod storm;
mod faults;
mod soak;
mod relay;
