//! The library over real sockets: `SqsQueue` against scripted answers, the client of Stream's REST API against a Stream in
//! this process, and the admin listener.
//!
//! For the queue that is our own client, the real SDK, and a server that says what SQS, the network and proxies say on bad
//! days. No emulator: those accept every key and never break an answer off. What a queue promises of receives, deletes,
//! errors and the environment is asked of the SDK alone as well, in `sdk`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and the bans are for the engine; a test watches it from outside"
)]
#![allow(clippy::duplicate_mod, reason = "`sdk` asks the same of the AWS SDK alone")]

mod server;
mod receive;
mod batch;
mod errors;
mod limits;
mod address;
mod environment;
mod redrive;
mod provision;
mod sdk;
mod direct;

mod admin;
mod stream;

/// The client that receives and deletes in the tests that do not say else.
const CLIENT: stream_sqsd::queue::sqs::SqsClient = stream_sqsd::queue::sqs::SqsClient::Auto;
