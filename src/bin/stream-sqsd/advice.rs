//! What to do about an error of the queue: the second half of the message that a person reads.

use anyhow::anyhow;
use stream_sqsd::queue::QueueError;
use stream_sqsd::queue::sqs::{ConnectError, QueueAddress, SqsOptions};

use crate::exit::{Exit, Failure};

/// The failure that an error of the queue is, with its remedy. `resource` is the ARN of the queue, or what is known of it.
pub(crate) fn refused(error: QueueError, resource: &str) -> Failure {
    let remedy = remedy(&error, resource);
    Failure::new(Exit::Unavailable, anyhow!("{error}{}", and(remedy)))
}

/// The failure that a queue that could not be set up is, with its remedy.
pub(crate) fn not_connected(error: ConnectError, options: &SqsOptions) -> Failure {
    match error {
        ConnectError::Lookup { name, source } => {
            let account = match &options.queue {
                QueueAddress::Name { account: Some(account), .. } => account.as_str(),
                _ => "ACCOUNT",
            };
            let region = options.region.as_deref().unwrap_or("REGION");
            let remedy = remedy(&source, &format!("arn:aws:sqs:{region}:{account}:{name}"));
            Failure::new(
                Exit::Unavailable,
                anyhow!("the queue {name:?} could not be looked up: {source}{}", and(remedy)),
            )
        }
        ConnectError::NoRegion => Failure::usage(format!("{error}; give one by --region, such as --region us-east-1")),
        error => Failure::new(Exit::Usage, error),
    }
}

fn and(remedy: Option<String>) -> String {
    remedy.map(|remedy| format!("\n  {remedy}")).unwrap_or_default()
}

/// What somebody can do about it.
fn remedy(error: &QueueError, resource: &str) -> Option<String> {
    Some(match error {
        QueueError::AccessDenied { action, .. } => {
            format!("Allow {action} on {resource} in a policy of the role or user that this runs as.")
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
