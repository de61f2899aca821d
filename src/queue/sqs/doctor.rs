//! The doctor's questions: what a check wants to know of a queue beyond what the engine needs.
//!
//! It asks and takes the answers apart. What is good and what is not is judged by anyone who asks.

use aws_sdk_sqs::types::QueueAttributeName;
use tokio::time::Instant;

use super::attributes::{QueueAttributes, taken_apart};
use super::errors::queue_error;
use super::queue::SqsQueue;
use super::url::{BadQueueUrl, QueueUrl};
use crate::queue::interface::QueueError;

impl SqsQueue {
    /// The attributes of the queue.
    ///
    /// # Errors
    ///
    /// [`QueueError`]; the permission that it needs is `sqs:GetQueueAttributes`.
    pub async fn attributes(&self) -> Result<QueueAttributes, QueueError> {
        self.attributes_at(self.url.as_str()).await
    }

    /// The attributes of the dead-letter queue with this ARN. It lies in the region and account of the queue, since SQS
    /// allows no other.
    ///
    /// # Errors
    ///
    /// As for [`SqsQueue::attributes`].
    pub async fn attributes_of_dead_letter_queue(&self, arn: &str) -> Result<QueueAttributes, QueueError> {
        let name = arn.rsplit(':').next().unwrap_or(arn);
        let url = self.url.sibling(name).map_err(|error| QueueError::BadAnswer { message: error.to_string() })?;
        self.attributes_at(url.as_str()).await
    }

    async fn attributes_at(&self, url: &str) -> Result<QueueAttributes, QueueError> {
        let call = self.clients().calls.get_queue_attributes().queue_url(url);
        let started = Instant::now();
        let answer = call.attribute_names(QueueAttributeName::All).send().await;
        let answer = answer.map_err(|error| queue_error("sqs:GetQueueAttributes", started, error))?;
        Ok(taken_apart(&answer.attributes.unwrap_or_default()))
    }
}

impl QueueUrl {
    /// The URL of another queue beside this one.
    pub(super) fn sibling(&self, name: &str) -> Result<QueueUrl, BadQueueUrl> {
        let text = self.as_str().trim_end_matches('/');
        let before = text.rsplit_once('/').map_or(text, |(before, _)| before);
        QueueUrl::parse(&format!("{before}/{name}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn the_dead_letter_queue_is_asked_beside_its_queue() {
        let sibling = |url: &str| QueueUrl::parse(url).unwrap().sibling("dead").unwrap().to_string();
        assert_eq!(
            sibling("https://sqs.us-east-1.amazonaws.com/123456789012/chat"),
            "https://sqs.us-east-1.amazonaws.com/123456789012/dead"
        );
        assert_eq!(
            sibling("http://127.0.0.1:4566/queue/us-east-1/000000000000/chat/"),
            "http://127.0.0.1:4566/queue/us-east-1/000000000000/dead"
        );
    }
}
