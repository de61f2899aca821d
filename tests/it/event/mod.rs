//! Events, their kinds and their types.

mod lossless;
