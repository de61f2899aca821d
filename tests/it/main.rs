//! The tests that need nothing but Rust.
// A test that panics has done its work.
#![allow(clippy::unwrap_used)]

mod architecture;
mod corpus;
mod decode;
mod event;
mod webhook;
