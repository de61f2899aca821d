//! The dead-letter queue, handled where it lies: look, retry, export, drop.
//!
//! Every promise of this crate ends in "… or it is in the dead-letter queue". This room is what comes after that. Nothing
//! is copied: a retry runs the engine on the dead-letter queue itself, and only success deletes. So there is no moment at
//! which a message exists twice or not at all, and message ids stay, by which handlers recognise what they did before.
//!
//! ```
//! # use stream_sqsd::dead_letters::{DeadLetterQueue, Filter, Options, Reader, RetrySettings};
//! # use stream_sqsd::prelude::*;
//! # async fn forward(_: Event, _: Context) -> Result<(), HandlerError> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let queue = MemoryQueue::new(Default::default());
//! # queue.send(r#"{"type":"message.new"}"#);
//! let reader = Reader::new(Router::new().route("message.*", forward));
//! let dead = DeadLetterQueue::open(queue, reader, Options::default()).await?;
//! let listing = dead.list(&Filter::default(), std::future::pending(), |_| {}).await?;
//! println!("{} messages in {} groups", listing.messages, listing.groups.len());
//! let summary = dead.retry(Filter::default(), RetrySettings::default(), std::future::pending(), |_| {}).await?;
//! assert_eq!(summary.account.handled, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What holds for all of it
//!
//! * **There is no peek.** Each look is a receive: it raises the receive count, and hides the message until it is made
//!   visible again, which happens when the look ends, also when it is told to stop. When its future is dropped, or the
//!   process killed, messages come back after the hold of [`HOLD`]. A queue with a redrive policy of its own is refused
//!   unless [`Options::force`] says otherwise, since each look would bring its messages nearer to the next queue.
//! * **A look is not a snapshot.** It ends when a full long poll brought nothing. Other consumers, and messages that arrive
//!   meanwhile, change what it finds.
//! * **Nothing is deleted** that was not handled ([`DeadLetterQueue::retry`]) or is not in a file
//!   ([`DeadLetterQueue::drop_exported`]).
//! * **Memory is bounded**: no bodies are kept, and of each message that is held its id and its receipt handle. At
//!   [`MOST_HELD`] messages, or when the queue says that too many are in flight, a look ends with what it has.
//! * **FIFO queues** show the head of each group alone, up to ten messages of a group, until these are settled. So a
//!   count is "at least", and a group is worked on in order: see [`DeadLetterQueue::retry`].

// In reading order: each imports only from those below it.
mod replay;
mod retry;
mod in_place;
mod drop;
mod export;
mod list;
mod scan;
mod hold;
mod opened;
mod filter;
mod letter;
mod records;
mod account;

pub use account::{Account, Outcome, OutcomeKind};
pub use drop::{DropList, DropListError, DropSummary};
pub use export::{ExportError, ExportSummary, Exported};
pub use filter::{Filter, FilterError};
pub use letter::{KnownFrom, Letter, Reader, Reason};
pub use list::{Group, Listing};
pub use opened::{DeadLetterError, DeadLetterQueue, HOLD, MOST_HELD, Options};
pub use records::Records;
pub use replay::{ReplayError, Replayed, replay};
pub use retry::{RetryEnded, RetrySettings, RetrySummary};
pub use scan::{Found, Scan, ScanEnd, ScanEnded};
