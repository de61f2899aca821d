//! What there is to say of the section `[relay]`.

use stream_sqsd::queue::Outgoing;
use stream_sqsd::queue::sqs::SqsQueue;
use stream_sqsd::relay::check_tls;

use super::finding::{Examined, Fact, Finding, Grade};
use crate::config::Config;

/// Looks at the section without asking anybody.
pub(super) fn examine(config: &Config) -> Examined {
    let mut found = Examined::default();
    let Some(relay) = &config.relay else { return found };
    let scheme = if relay.tls.is_some() { "https" } else { "http" };
    found.facts.push(Fact {
        what: format!("`stream-sqsd relay` receives webhooks at {scheme}://{}{}", relay.listen, relay.path),
        why: match (&relay.allow, &relay.tls) {
            (None, _) => "From everywhere: the signature alone tells who has sent them.".to_owned(),
            (Some(_), None) => {
                "From the networks of `allow`. Behind a load balancer its network must stand in `trusted_proxies`."
                    .to_owned()
            }
            (Some(_), Some(_)) => "From the networks of `allow`.".to_owned(),
        },
    });
    // A secret that is not here was warned of.
    if relay.has_no_app(config.stream.as_ref()) {
        found.findings.push(Finding {
            grade: Grade::Harm,
            what: "[relay] names no app, so no signature would be right".to_owned(),
            why: "The relay would not start.".to_owned(),
            fix: Some("write `apps` in [relay], or a section [stream] with api_key and api_secret".to_owned()),
        });
    }
    if let Some(Err(error)) = relay.tls.as_ref().map(check_tls) {
        found.findings.push(Finding {
            grade: Grade::Harm,
            what: format!("the TLS of [relay]: {:#}", anyhow::Error::new(error)),
            why: "The relay would not start.".to_owned(),
            fix: Some("name a certificate and its key in PEM that the relay's user can read".to_owned()),
        });
    }
    if relay.spool.is_none() {
        found.findings.push(Finding {
            grade: Grade::Advice,
            what: "[relay] has no spool".to_owned(),
            why: "While SQS is out of reach events are answered 503, and Stream gives each up after three attempts within \
                  15 s."
                .to_owned(),
            fix: Some("name a directory on a disk that outlives the task, by `spool` in [relay]".to_owned()),
        });
    }
    found
}

/// A message that SQS refuses, after it has looked whether it may be sent.
pub(super) fn refused_message(queue: &SqsQueue) -> Outgoing {
    let message = Outgoing::plain("\u{0}".to_owned());
    match queue.url().is_fifo() {
        true => message.with_group("stream-sqsd-check").with_deduplication_id("stream-sqsd-check"),
        false => message,
    }
}

/// The finding that messages may not be sent.
pub(super) fn may_not_send(fix: String) -> Finding {
    Finding {
        grade: Grade::Harm,
        what: "the relay may not send messages".to_owned(),
        why: "Every webhook would be answered 503, or stay in the spool.".to_owned(),
        fix: Some(fix),
    }
}
