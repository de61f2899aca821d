//! Stream's own test whether it can send to a queue or a topic.

use serde::{Deserialize, Serialize};

/// What Stream says of its attempt.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Check {
    status: String,
    /// What AWS told Stream, where it failed.
    #[serde(default)]
    pub error: Option<String>,
}

impl Check {
    /// Whether Stream can send.
    pub fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

/// The queue to test in place of the one that is configured, for authentication by keys.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct SqsKeys {
    /// The URL of the queue.
    pub sqs_url: String,
    /// The access key id.
    pub sqs_key: String,
    /// Its secret.
    pub sqs_secret: String,
}

impl SqsKeys {
    /// A queue by its URL, with an access key id and its secret.
    pub fn new(url: impl Into<String>, key: impl Into<String>, secret: impl Into<String>) -> Self {
        SqsKeys { sqs_url: url.into(), sqs_key: key.into(), sqs_secret: secret.into() }
    }
}

/// The topic to test in place of the one that is configured, for authentication by keys.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct SnsKeys {
    /// The ARN of the topic.
    pub sns_topic_arn: String,
    /// The access key id.
    pub sns_key: String,
    /// Its secret.
    pub sns_secret: String,
}

impl SnsKeys {
    /// A topic by its ARN, with an access key id and its secret.
    pub fn new(topic_arn: impl Into<String>, key: impl Into<String>, secret: impl Into<String>) -> Self {
        SnsKeys { sns_topic_arn: topic_arn.into(), sns_key: key.into(), sns_secret: secret.into() }
    }
}
