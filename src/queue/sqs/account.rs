//! Whose account the credentials are of: a help for people, which nothing waits for long and nothing needs.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sts::Client;
use tokio::sync::OnceCell;

use super::connections::Connections;

/// The limit of the question, credentials and attempts included.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Asks STS (`GetCallerIdentity`, which needs no permission), once.
#[derive(Debug)]
pub(super) struct CallerAccount {
    client: Client,
    answer: OnceCell<Option<String>>,
}

impl CallerAccount {
    /// `endpoint` is where STS is, where that is not the region's own.
    pub(super) fn new(sdk: &SdkConfig, region: &str, endpoint: Option<String>) -> Self {
        let limits = TimeoutConfig::builder().operation_timeout(ANSWERED_WITHIN).build();
        let mut config = aws_sdk_sts::config::Builder::from(sdk)
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(Connections::default())
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(limits);
        config.set_endpoint_url(endpoint);
        CallerAccount { client: Client::from_conf(config.build()), answer: OnceCell::new() }
    }

    /// Twelve digits; none where STS does not say, which emulators often have not.
    pub(super) async fn get(&self) -> Option<&str> {
        let asked = self.answer.get_or_init(|| async {
            let answer = self.client.get_caller_identity().send().await;
            let account = answer.ok()?.account?;
            Some(account).filter(|account| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()))
        });
        asked.await.as_deref()
    }
}
