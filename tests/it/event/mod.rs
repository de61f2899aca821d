//! Events, their kinds and their types.

mod lossless;
mod pattern;
mod payload;
mod property;
mod timestamp;
