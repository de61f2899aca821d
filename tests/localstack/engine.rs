//! The engine as a library's user runs it: handlers of the test's own, in this process.

use std::env;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use stream_sqsd::consumer::{Consumer, RetryDelay, Settings};
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsClient, SqsQueue};
use stream_sqsd::router::Router;

use super::endpoint::{REGION, endpoint};
use super::queue::TestQueue;
use super::support::engine::Running;

/// What a program says of AWS that has LocalStack in its place.
pub(crate) fn aws(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "a test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// A consumer of a queue of LocalStack, which runs beside the test until it is told to stop.
pub(crate) async fn start(queue: &TestQueue, router: Router, settings: Settings) -> Running {
    start_through(&endpoint(), queue, router, settings).await
}

/// The same by another way to LocalStack.
pub(crate) async fn start_through(endpoint: &str, queue: &TestQueue, router: Router, settings: Settings) -> Running {
    let config = aws(endpoint);
    let address = QueueAddress::Url(QueueUrl::parse(&queue.url).unwrap());
    let queue = SqsQueue::with_config(&config, address).await.unwrap().with_client(client());
    Running::start(Consumer::new(queue, router, settings))
}

/// The client that receives and deletes: the AWS SDK where the tester's STREAM_SQSD_CLIENT says so.
fn client() -> SqsClient {
    if env::var("STREAM_SQSD_CLIENT").as_deref() == Ok("sdk") { SqsClient::Sdk } else { SqsClient::Auto }
}

/// Settings for a test that does not want to wait: short polls, and a failed message comes again after a second. At once
/// would be too soon: it can be here again before the engine knows that it was let go, and is then no new delivery.
pub(crate) fn quick() -> Settings {
    Settings::new()
        .with_wait(Duration::from_secs(1))
        .with_retry(RetryDelay::new(Duration::from_secs(1), Duration::from_secs(1)))
}
