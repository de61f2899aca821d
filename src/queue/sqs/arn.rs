//! The name of a topic, taken apart. Pure text.

/// The ARN of a topic, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicArn {
    text: String,
    region: String,
    name: String,
}

impl TopicArn {
    /// None where that is not the ARN of a topic.
    pub fn parse(text: &str) -> Option<TopicArn> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts.as_slice() else { return None };
        let is_word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let is_good = is_account && [partition, region, name].into_iter().all(|part| is_word(part));
        is_good.then(|| TopicArn { text: text.to_owned(), region: (*region).to_owned(), name: (*name).to_owned() })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its region, which may be another than the queue's.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The name of the topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it keeps an order, for which it needs group ids.
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_by_its_arn_alone() {
        let arn = TopicArn::parse("arn:aws:sns:eu-west-1:123456789012:chat-events").unwrap();
        assert_eq!((arn.region(), arn.name(), arn.is_fifo()), ("eu-west-1", "chat-events", false));
        for other in [
            "",
            "chat-events",
            "arn:aws:sqs:eu-west-1:123456789012:chat-events",
            "arn:aws:sns:eu-west-1:1:chat-events",
            "arn:aws:sns:eu-west-1:123456789012:",
            "arn:aws:sns:eu-west-1:123456789012:chat events",
            "arn:aws:sns:eu-west-1:123456789012:chat-events:5bb7e2a4",
        ] {
            assert_eq!(TopicArn::parse(other), None, "{other}");
        }
    }
}
