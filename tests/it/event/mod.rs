//! Events, their kinds and their types.

pub(crate) mod lossless;
mod pattern;
mod payload;
mod property;
mod timestamp;
