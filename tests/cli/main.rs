//! The daemon as its user meets it: the binary, with its flags, files, signals, messages and exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and its clock is the real one"
)]

#[path = "../support/mod.rs"]
mod support;
mod queue;
mod decode;
mod config;
mod run;
mod send;
mod relay;
#[cfg(all(target_os = "linux", feature = "test-postgres"))]
mod walkthrough;
mod check;
mod targets;
mod guidance;
mod exits;
mod watch;
mod dead_letters;
mod redrive;
mod dlq;
mod replay;
mod stalls;
mod supervisor;
mod upgrade;
mod describe;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod private;

use support::daemon;
