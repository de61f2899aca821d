//! What each error means: from the SDK's many ways to fail to the few that an engine or a person can act on.
//!
//! The error code decides, never the HTTP status alone: SQS answers throttling, a full queue and a missing queue alike
//! with 400. Of what the service says only the first line is passed on, since the rest can hold the signed request.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use tokio::time::Instant;

use crate::queue::interface::QueueError;

/// What an error of the SDK means. `action` is the permission that the call needs.
pub(super) fn queue_error<E>(action: &'static str, started: Instant, error: SdkError<E>) -> QueueError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let after = started.elapsed();
    match &error {
        SdkError::ServiceError(answer) => match answer.err().code() {
            Some(code) => error_of_code(action, code, answer.err().message().unwrap_or_default()),
            None if status.is_some_and(|status| status < 300) => {
                QueueError::BadAnswer { message: causes(answer.err()) }
            }
            // Not SQS has answered but something before it, or SQS in distress.
            None => QueueError::Service {
                code: status.map_or_else(|| "without a status".to_owned(), |status| format!("HTTP {status}")),
                message: one_line(answer.err().message().unwrap_or("without a code")),
            },
        },
        SdkError::TimeoutError(_) => QueueError::TimedOut { after },
        SdkError::ResponseError(_) => QueueError::BadAnswer { message: causes(&error) },
        _ => {
            let message = causes(&error);
            // The type of the timeout is private to the SDK; its words are held by a test.
            let timed_out = message.contains("identity resolver timed out");
            if timed_out || chain(&error).any(|cause| cause.is::<CredentialsError>()) {
                QueueError::Credentials { message: format!("environment, profiles and roles gave none: {message}") }
            } else {
                QueueError::Unreachable { message }
            }
        }
    }
}

/// What an error code of SQS means: those of its JSON protocol and those of its older query protocol, which it still
/// sends beside them.
///
/// Sources: the SQS API reference (common errors, and the errors of each action) and the service model of the SDK.
fn error_of_code(action: &'static str, code: &str, message: &str) -> QueueError {
    let message = one_line(message);
    let bare = code.rsplit('#').next().unwrap_or(code);
    let bare = bare.strip_prefix("AWS.SimpleQueueService.").unwrap_or(bare);
    match bare {
        "OverLimit" => QueueError::OverLimit,
        "RequestThrottled"
        | "RequestThrottledException"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "KmsThrottled"
        | "KMS.ThrottlingException" => QueueError::Throttled { code: bare.to_owned() },
        "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "OptInRequired" => {
            QueueError::AccessDenied { action, message }
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidSecurity"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidAccessKeyId"
        | "NotAuthorized" => {
            let clock = message.contains("Signature expired") || message.contains("Signature not yet current");
            let hint = if clock { "; is the clock of this machine right?" } else { "" };
            QueueError::Credentials { message: format!("{bare}: {message}{hint}") }
        }
        "RequestExpired" | "RequestTimeTooSkewed" => {
            QueueError::Credentials { message: format!("{bare}: {message}; is the clock of this machine right?") }
        }
        // InvalidAddress is what an endpoint says of a queue URL of another region.
        "NonExistentQueue" | "QueueDoesNotExist" | "InvalidAddress" => QueueError::NoSuchQueue { message },
        _ if bare.starts_with("KMS.") || bare.starts_with("Kms") => {
            QueueError::EncryptionKey { code: bare.to_owned(), message }
        }
        _ => QueueError::Service { code: bare.to_owned(), message },
    }
}

/// An error and its causes.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The texts of an error's causes, from the outermost to the root. The SDK's own words for the outermost ("dispatch
/// failure", and then "io error") say nothing and are left out, and so is what a text repeats of the one before it.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in chain(error).skip(1).filter(|cause| !cause.is::<ConnectorError>()) {
        let text = one_line(&cause.to_string());
        if !text.is_empty() && texts.last().is_none_or(|before| !before.contains(&text)) {
            texts.push(text);
        }
    }
    if texts.is_empty() { one_line(&error.to_string()) } else { texts.join(": ") }
}

/// The first line of what the service said, cut to a bounded length. What follows it can be the request as it was signed,
/// session token included.
pub(super) fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(500).collect()
}
