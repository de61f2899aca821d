//! The same promises with the AWS SDK alone: what `client = "sdk"` means, and what our own client is held to.

use stream_sqsd::queue::sqs::SqsClient;

const CLIENT: SqsClient = SqsClient::Sdk;

#[path = "server.rs"]
#[allow(dead_code, reason = "some of it is for tests that are not run twice")]
mod server;

#[path = "batch.rs"]
mod batch;
#[path = "environment.rs"]
mod environment;
#[path = "errors.rs"]
mod errors;
#[path = "limits.rs"]
mod limits;
#[path = "receive.rs"]
mod receive;
