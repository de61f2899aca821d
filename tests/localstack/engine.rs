//! The engine as a library's user runs it: handlers of the test's own, in this process.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use stream_sqsd::consumer::{Consumer, RetryDelay, Settings, Summary};
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsQueue};
use stream_sqsd::router::Router;
use stream_sqsd::telemetry::Monitor;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::endpoint::{REGION, endpoint};
use super::queue::TestQueue;

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

/// A consumer that runs beside the test until it is told to stop.
pub(crate) struct Engine {
    /// A view of it.
    pub(crate) monitor: Monitor,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Summary>,
}

impl Engine {
    pub(crate) async fn start(queue: &TestQueue, router: Router, settings: Settings) -> Engine {
        Engine::start_through(&endpoint(), queue, router, settings).await
    }

    /// The same by another way to LocalStack.
    pub(crate) async fn start_through(endpoint: &str, queue: &TestQueue, router: Router, settings: Settings) -> Engine {
        let config = aws(endpoint);
        let address = QueueAddress::Url(QueueUrl::parse(&queue.url).unwrap());
        let consumer = Consumer::new(SqsQueue::with_config(&config, address).await.unwrap(), router, settings);
        let monitor = consumer.monitor();
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            consumer.run(stopped).await.expect("LocalStack answers the first receive")
        });
        Engine { monitor, stop, run }
    }

    /// Asks it to drain, and waits for the shutdown summary.
    pub(crate) async fn stop(self) -> Summary {
        self.stop.send(()).expect("it runs until it is asked to stop");
        summary(self.run).await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Summary {
        let summary = summary(self.run).await;
        drop(self.stop);
        summary
    }
}

async fn summary(run: JoinHandle<Summary>) -> Summary {
    let summary = timeout(Duration::from_secs(60), run).await.expect("the run ends in time").unwrap();
    assert!(summary.adds_up(), "{summary}");
    summary
}

/// Settings for a test that does not want to wait: short polls, and a failed message comes again after a second. At once
/// would be too soon: it can be here again before the engine knows that it was let go, and is then no new delivery.
pub(crate) fn quick() -> Settings {
    Settings {
        wait: Duration::from_secs(1),
        retry: RetryDelay { min: Duration::from_secs(1), max: Duration::from_secs(1) },
        ..Settings::default()
    }
}
