//! Events on disk for as long as the queue cannot take them, in order.
//!
//! A thread of its own owns the files, so that a disk that hangs holds up nothing else. It writes what has gathered while it
//! was writing, and makes it durable by one fsync for all of it; only then are those told who wait.

// In reading order: each file imports only from those below it.
mod replay;
mod keeper;
mod disk;
mod steps;
mod record;

pub use disk::SpoolError;
pub(super) use keeper::Spool;
pub(super) use replay::replay;
