//! What the engine asks of a queue, and what a queue answers.
//!
//! This is the boundary to the outside: [`SqsQueue`](sqs::SqsQueue) keeps the trait over the wire, in the one room
//! that names AWS; [`MemoryQueue`](memory::MemoryQueue) keeps it in memory for simulation, for the demo and for tests of
//! your own handlers. Nothing here decides anything: when to receive, what to delete and how long to hide is the
//! engine's business.

pub mod memory;
#[cfg(feature = "sqs")]
pub mod sqs;
mod outgoing;
mod interface;

pub use interface::*;
pub use outgoing::{MAX_GROUP_LENGTH, Outgoing, Sender, batches, message_group};
