//! The relay over real sockets, into a queue in memory.

mod client;
#[path = "../../support/log.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod log;
#[path = "../../support/until.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod until;
mod requests;
mod spool;
