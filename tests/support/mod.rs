//! What several test binaries share. Each includes this file by its path, and takes of it what it needs.
#![allow(dead_code, reason = "no binary takes all of it")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "the bans are for the engine; a test watches it from outside")]

#[cfg(feature = "daemon")]
pub(crate) mod daemon;
pub(crate) mod engine;
pub(crate) mod log;
pub(crate) mod page;
#[cfg(feature = "http")]
pub(crate) mod receiver;
pub(crate) mod until;
