//! What to do about an error of the queue: the second half of the message that a person reads.

use std::fmt;

use anyhow::anyhow;
use stream_sqsd::queue::QueueError;
use stream_sqsd::queue::sqs::{ConnectError, QueueAddress, SqsOptions, queue_arn, queue_url_of};

use crate::terminal::exit::{Exit, Failure};

/// The failure that an error of the queue is, with its remedy. `resource` is the ARN of the queue, or what is known of it.
pub(crate) fn refused(error: QueueError, resource: &str) -> Failure {
    Failure::new(Exit::Unavailable, anyhow!("{}", with_remedy(&error, resource)))
}

/// The error with its remedy.
pub(crate) fn with_remedy(error: &QueueError, resource: &str) -> String {
    format!("{error}{}", and(remedy(error, resource)))
}

/// The failure that a queue that could not be set up is, with its remedy.
pub(crate) fn not_connected(error: ConnectError, options: &SqsOptions) -> Failure {
    match error {
        ConnectError::Lookup { name, region, source } => {
            let account = match &options.queue {
                QueueAddress::Name { account: Some(account), .. } => account.as_str(),
                _ => "ACCOUNT",
            };
            let remedy = remedy(&source, &queue_arn(&region, account, &name));
            Failure::new(
                Exit::Unavailable,
                anyhow!("the queue {name:?} could not be looked up: {source}{}", and(remedy)),
            )
        }
        ConnectError::NoRegion => Failure::usage(format!("{error}; give one by --region, such as --region us-east-1")),
        // It is what SQS has answered, and no setting.
        error @ ConnectError::BadQueueUrl(_) => Failure::new(Exit::Unavailable, error),
        error => Failure::new(Exit::Usage, error),
    }
}

/// Who was denied what, as far as AWS names them in its message: `User: arn:aws:sts::123456789012:assumed-role/ROLE/SESSION
/// is not authorized to perform: sqs:receivemessage on resource: arn:aws:sqs:us-east-1:123456789012:NAME because …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied<'a> {
    pub(crate) who: Option<Who<'a>>,
    resource: Option<&'a str>,
}

/// Whose policy needs the permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who<'a> {
    Role(&'a str),
    User(&'a str),
}

impl<'a> Denied<'a> {
    pub(crate) fn read(message: &'a str) -> Denied<'a> {
        let word_after = |words| message.split_once(words).and_then(|(_, rest)| rest.split_whitespace().next());
        let part = |text: &'a str| text.split('/').next_back().filter(|name| is_name(name));
        let who = word_after("User: ").filter(|arn| arn.starts_with("arn:")).and_then(|arn| {
            let (kind, rest) = arn.splitn(6, ':').nth(5)?.split_once('/')?;
            match kind {
                "assumed-role" => rest.split('/').next().filter(|name| is_name(name)).map(Who::Role),
                "role" => part(rest).map(Who::Role),
                "user" => part(rest).map(Who::User),
                _ => None,
            }
        });
        let resource = word_after("on resource: ").map(|arn| arn.trim_end_matches(['.', ',']));
        let is_queue = |arn: &&str| queue_url_of(arn).is_some();
        Denied { who, resource: resource.filter(is_queue) }
    }
}

/// Whether IAM allows this name, which is going to stand in a command.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | ',' | '.' | '@' | '_' | '-');
    !text.is_empty() && text.chars().all(allowed)
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Role(name) => write!(f, "the role {name}"),
            Who::User(name) => write!(f, "the user {name}"),
        }
    }
}

fn and(remedy: Option<String>) -> String {
    remedy.map(|remedy| format!("\n  {remedy}")).unwrap_or_default()
}

/// What somebody can do about it.
fn remedy(error: &QueueError, resource: &str) -> Option<String> {
    Some(match error {
        QueueError::AccessDenied { action, message } => {
            let denied = Denied::read(message);
            let resource = denied.resource.unwrap_or(resource);
            let whose = denied.who.map_or_else(|| "the role or user that this runs as".to_owned(), |who| who.to_string());
            format!("Allow {action} on {resource} in a policy of {whose}.")
        }
        QueueError::Credentials { .. } => {
            "Give credentials that are good: by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, by --profile NAME (and \
             `aws sso login` where the profile uses SSO), or by the role of the task or machine. LocalStack takes any, \
             such as AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test."
                .to_owned()
        }
        QueueError::EncryptionKey { .. } => {
            format!(
                "Allow kms:Decrypt (to send, kms:GenerateDataKey too) on the key that encrypts {resource}, in the key's \
                 policy or in one of the role or user that this runs as."
            )
        }
        QueueError::NoSuchQueue { .. } => {
            format!("Is it the right name, account, region and endpoint? Asked for was {resource}.")
        }
        QueueError::Unreachable { .. } | QueueError::TimedOut { .. } => {
            "Is the endpoint the right one, is there a way to it (HTTPS_PROXY, a VPC endpoint, security groups), and does \
             its name resolve?"
                .to_owned()
        }
        QueueError::BadAnswer { .. } => "Is what answers at this endpoint SQS?".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_denied_what_is_taken_from_the_words_of_aws() {
        let read = |who: &str| {
            let message = format!(
                "User: {who} is not authorized to perform: sqs:receivemessage on resource: \
                 arn:aws:sqs:eu-west-1:123456789012:q because no identity-based policy allows it"
            );
            assert_eq!(Denied::read(&message).resource, Some("arn:aws:sqs:eu-west-1:123456789012:q"));
            Denied::read(&message).who.map(|who| who.to_string())
        };
        assert_eq!(read("arn:aws:sts::123456789012:assumed-role/r/i-0").as_deref(), Some("the role r"));
        assert_eq!(read("arn:aws:iam::123456789012:user/a/b").as_deref(), Some("the user b"));
        assert_eq!(read("arn:aws:iam::123456789012:root"), None);
        // It stands in a command that somebody pastes.
        assert_eq!(read("arn:aws:sts::123456789012:assumed-role/$(x)/i-0"), None);
        let nothing = Denied { who: None, resource: None };
        for message in ["", "Access is denied", "User: ada on resource: https://sqs.us-east-1.amazonaws.com/"] {
            assert_eq!(Denied::read(message), nothing, "{message}");
        }
    }
}
