//! The attributes of a queue, taken out of SQS's answer.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;

/// The attributes of a queue that a check looks at. Each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueAttributes {
    /// The ARN of the queue.
    pub arn: Option<String>,
    /// How long a received message is hidden.
    pub visibility_timeout: Option<Duration>,
    /// How long the queue keeps a message.
    pub retention: Option<Duration>,
    /// How long a new message is hidden at first.
    pub delay: Option<Duration>,
    /// The largest message that the queue takes, in bytes.
    pub max_message_size: Option<usize>,
    /// Where messages go that are received too often.
    pub redrive: Option<Redrive>,
    /// The policy of the queue, as JSON.
    pub policy: Option<String>,
    /// How messages are encrypted where they lie.
    pub encryption: Encryption,
    /// About how many messages the queue holds: those that can be received, that are hidden and that are delayed.
    pub messages: Option<u64>,
}

/// The redrive policy of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redrive {
    /// The ARN of the dead-letter queue.
    pub dead_letter_queue: String,
    /// After how many receives a message goes there.
    pub max_receive_count: u32,
}

/// How the messages of a queue are encrypted where they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// Not at all.
    #[default]
    None,
    /// With a key that SQS owns (SSE-SQS).
    SqsOwned,
    /// With a key of KMS, by its id, its ARN or its alias.
    Kms(String),
}

impl Encryption {
    /// Whether it is the key that AWS manages for SQS (`alias/aws/sqs`), whose policy nobody can change: only callers of
    /// the queue's own account can use it.
    pub fn is_aws_managed(&self) -> bool {
        matches!(self, Encryption::Kms(key) if key.ends_with("alias/aws/sqs"))
    }
}

/// The attributes of an answer, as far as they are known here.
pub(super) fn taken_apart(attributes: &HashMap<QueueAttributeName, String>) -> QueueAttributes {
    use QueueAttributeName::{
        ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed, ApproximateNumberOfMessagesNotVisible,
        DelaySeconds, KmsMasterKeyId, MaximumMessageSize, MessageRetentionPeriod, Policy, QueueArn, RedrivePolicy,
        SqsManagedSseEnabled, VisibilityTimeout,
    };
    let text = |name| attributes.get(&name).filter(|text| !text.is_empty());
    let number = |name| text(name).and_then(|text| text.parse::<u64>().ok());
    let redrive = text(RedrivePolicy).and_then(|policy| {
        let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
        let count = policy.get("maxReceiveCount")?;
        // AWS has sent the number as text too.
        let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
        let dead_letter_queue = policy.get("deadLetterTargetArn")?.as_str()?.to_owned();
        Some(Redrive { dead_letter_queue, max_receive_count: u32::try_from(count).ok()? })
    });
    let encryption = match (text(KmsMasterKeyId), text(SqsManagedSseEnabled)) {
        (Some(key), _) => Encryption::Kms(key.clone()),
        (None, Some(owned)) if owned == "true" => Encryption::SqsOwned,
        _ => Encryption::None,
    };
    let depths =
        [ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible, ApproximateNumberOfMessagesDelayed];
    QueueAttributes {
        arn: text(QueueArn).cloned(),
        visibility_timeout: number(VisibilityTimeout).map(Duration::from_secs),
        retention: number(MessageRetentionPeriod).map(Duration::from_secs),
        delay: number(DelaySeconds).map(Duration::from_secs),
        max_message_size: number(MaximumMessageSize).and_then(|size| size.try_into().ok()),
        redrive,
        policy: text(Policy).cloned(),
        encryption,
        messages: depths.map(number).into_iter().sum(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_taken_apart_and_what_is_missing_is_missing() {
        use QueueAttributeName as Name;
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead","maxReceiveCount":"5"}"#;
        let given = [
            (Name::VisibilityTimeout, "30"),
            (Name::RedrivePolicy, policy),
            (Name::KmsMasterKeyId, "alias/aws/sqs"),
            (Name::Policy, ""),
            (Name::ApproximateNumberOfMessages, "3"),
        ];
        let attributes = taken_apart(&given.map(|(name, value)| (name, value.to_owned())).into());
        assert_eq!(attributes.visibility_timeout, Some(Duration::from_secs(30)));
        assert_eq!(attributes.redrive.unwrap().max_receive_count, 5);
        assert!(attributes.encryption.is_aws_managed());
        assert_eq!((attributes.policy, attributes.retention, attributes.messages), (None, None, None));
        assert_eq!(taken_apart(&HashMap::new()), QueueAttributes::default());
    }
}
