//! Whether the queue suits the engine: what its attributes say, and what the daemon is allowed to do with it.

use std::time::Duration;

use serde_json::{Value, json};
use stream_sqsd::consumer::{MIN_VISIBILITY, Settings};
use stream_sqsd::queue::sqs::policy::{STREAMS_ACCOUNT, lets_stream_send, stream_statement};
use stream_sqsd::queue::sqs::{Encryption, QueueAttributes, SqsQueue};
use stream_sqsd::queue::{EntryResult, Queue, QueueError, Receipt};
use stream_sqsd::stream::Auth;

use super::finding::{Examined, Fact, Finding, Grade};
use crate::commands::advice::{Denied, Who};
use crate::config::timeouts;
use crate::config::units::{show_duration, show_size};

/// The largest event that Stream sends, in bytes; what is larger it drops itself.
///
/// Source: Stream's documentation of SQS hooks.
const LARGEST_EVENT: usize = 256 * 1024;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn ask(queue: &SqsQueue, subject: &Subject<'_>, receive: bool) -> Result<Examined, QueueError> {
    let mut found = Examined::default();
    let mut encryption = Encryption::default();
    match queue.attributes().await {
        Ok(attributes) => {
            let dead_letters = match &attributes.redrive {
                Some(redrive) => Some(ask_dead_letter_queue(queue, &redrive.dead_letter_queue).await),
                None => None,
            };
            found = subject.check(&attributes, dead_letters.as_ref().and_then(|answer| answer.as_ref().ok()));
            found.findings.extend(dead_letters.and_then(Result::err));
            if attributes.redrive.is_some() && !subject.keeps_reasons {
                found.facts.push(no_reasons_kept());
            }
            encryption = attributes.encryption;
        }
        Err(QueueError::AccessDenied { message, .. }) => found.findings.push(Finding {
            grade: Grade::Advice,
            what: "the queue's attributes may not be read, so they could not be judged".to_owned(),
            why:
                "The daemon works without: it then hides messages for 60s, counts each as 1MiB before it has come, and \
                  does not know which receive is the last."
                    .to_owned(),
            fix: Some(allow("sqs:GetQueueAttributes", subject.arn, &message)),
        }),
        Err(error) => return Err(error),
    }
    try_to_settle(queue, subject.arn, &mut found.findings).await?;
    if receive {
        try_to_receive(queue, subject.arn, &encryption, &mut found.findings).await?;
    }
    Ok(found)
}

/// The attributes of the dead-letter queue, or what there is to say where they cannot be had.
async fn ask_dead_letter_queue(queue: &SqsQueue, arn: &str) -> Result<QueueAttributes, Finding> {
    queue.attributes_of_dead_letter_queue(arn).await.map_err(|error| match error {
        QueueError::NoSuchQueue { .. } => Finding {
            grade: Grade::Harm,
            what: format!("the dead-letter queue {arn} does not exist"),
            why: "A message that is received too often has nowhere to go.".to_owned(),
            fix: Some(create_dead_letter_queue(name_of(arn))),
        },
        error => Finding {
            grade: Grade::Advice,
            what: format!("the dead-letter queue cannot be looked at: {error}"),
            why: "How long it keeps messages is not known, and neither is how many there are.".to_owned(),
            fix: Some(allow("sqs:GetQueueAttributes", arn, &error.to_string())),
        },
    })
}

/// Whether messages may be deleted and their visibility changed. No message has the handle of this receipt, so nothing is
/// deleted and nothing is hidden: the answer tells whether it would be.
async fn try_to_settle(queue: &SqsQueue, arn: &str, findings: &mut Vec<Finding>) -> Result<(), QueueError> {
    let receipt = Receipt::new("check", "stream-sqsd-check");
    if let Some(message) = denial(queue.delete(std::slice::from_ref(&receipt)).await)? {
        findings.push(Finding {
            grade: Grade::Harm,
            what: "the daemon may not delete messages".to_owned(),
            why: "Every message would be handled again and again, and end up in the dead-letter queue.".to_owned(),
            fix: Some(allow("sqs:DeleteMessage", arn, &message)),
        });
    }
    if let Some(message) = denial(queue.change_visibility(&[(receipt, Duration::from_secs(1))]).await)? {
        findings.push(Finding {
            grade: Grade::Harm,
            what: "the daemon may not change the visibility of messages".to_owned(),
            why:
                "A message whose handler takes longer than the visibility timeout would be handled twice, and no retry \
                  could be delayed."
                    .to_owned(),
            fix: Some(allow("sqs:ChangeMessageVisibility", arn, &message)),
        });
    }
    Ok(())
}

/// Whether messages may be received, which costs one of them a receive.
async fn try_to_receive(
    queue: &SqsQueue,
    arn: &str,
    encryption: &Encryption,
    findings: &mut Vec<Finding>,
) -> Result<(), QueueError> {
    match queue.receive(1, Duration::ZERO, Some(Duration::ZERO)).await {
        Ok(_) => {}
        Err(QueueError::AccessDenied { message, .. }) => findings.push(Finding {
            grade: Grade::Harm,
            what: "the daemon may not receive messages".to_owned(),
            why: "It would not start.".to_owned(),
            fix: Some(allow("sqs:ReceiveMessage", arn, &message)),
        }),
        Err(QueueError::EncryptionKey { code, message }) => findings.push(Finding {
            grade: Grade::Harm,
            what: format!("the queue's encryption key cannot be used ({code}): {message}"),
            why: "Messages cannot be received.".to_owned(),
            fix: Some(allow("kms:Decrypt", &key_arn(encryption, arn), &message)),
        }),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn no_reasons_kept() -> Fact {
    Fact {
        what: "no file keeps why messages are dead-lettered".to_owned(),
        why: "The log alone says it, and `stream-sqsd dlq list` reads it from a file: `reasons` in the section \
              [dead_letters] names one, and --reasons takes a saved JSON log."
            .to_owned(),
    }
}

/// What was said to a call with a receipt that cannot exist if it was denied. Any other answer means that it was allowed.
pub(super) fn denial(answer: Result<Vec<EntryResult>, QueueError>) -> Result<Option<String>, QueueError> {
    match answer {
        Ok(entries) => {
            let refused = entries.into_iter().filter_map(Result::err).find(|error| error.code.contains("Denied"));
            Ok(refused.map(|error| error.message))
        }
        Err(QueueError::AccessDenied { message, .. }) => Ok(Some(message)),
        // SQS may refuse the handle for the call as a whole, which it does after it has looked at the permission.
        Err(QueueError::Service { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The command that gives a permission to anyone who was denied it in these words.
pub(super) fn allow(action: &str, resource: &str, denied: &str) -> String {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}],
    });
    let name = action.replace(':', "-");
    let whose = match Denied::read(denied).who {
        Some(Who::Role(role)) => format!("put-role-policy --role-name {role}"),
        Some(Who::User(user)) => format!("put-user-policy --user-name {user}"),
        None => "put-role-policy --role-name THE_ROLE_OF_THE_DAEMON".to_owned(),
    };
    format!("aws iam {whose} --policy-name stream-sqsd-{name} --policy-document '{policy}'")
}

/// The ARN of the key that encrypts the queue with this ARN; a key without one lies in the queue's region and account.
fn key_arn(encryption: &Encryption, queue: &str) -> String {
    let key = match encryption {
        Encryption::Kms(key) if key.starts_with("arn:") => return key.clone(),
        Encryption::Kms(key) if key.starts_with("alias/") => key.clone(),
        Encryption::Kms(key) => format!("key/{key}"),
        _ => "key/KEY".to_owned(),
    };
    match queue.split(':').collect::<Vec<_>>().as_slice() {
        [arn, partition, _, region, account, _] => format!("{arn}:{partition}:kms:{region}:{account}:{key}"),
        _ => key,
    }
}

/// The command that creates a dead-letter queue, which keeps messages for as long as there is.
fn create_dead_letter_queue(name: &str) -> String {
    let fifo = if name.ends_with(".fifo") { "FifoQueue=true," } else { "" };
    format!("aws sqs create-queue --queue-name {name} --attributes {fifo}MessageRetentionPeriod=1209600")
}

fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

/// How long after its first receive a message fails for the last time that fails at once whenever it is tried: the sum of
/// the delays, without their jitter.
fn last_failure(engine: &Settings, max_receive_count: u32, is_fifo: bool) -> Duration {
    let delay = |failures| engine.retry.after(failures, 0.5);
    let between_receives: Duration = (1..max_receive_count).map(delay).sum();
    if !is_fifo {
        return between_receives;
    }
    // Each receive of a FIFO queue's message is several tries in this process, with the same delays between them.
    let tries = |receive| engine.fifo_attempts.unwrap_or(max_receive_count - receive + 1);
    let within_receives: Duration = (1..=max_receive_count).flat_map(|receive| (1..tries(receive)).map(delay)).sum();
    between_receives + within_receives
}

/// A time of which the small units say nothing, since jitter is more than they are.
fn show_about(time: Duration) -> String {
    const HOUR: u64 = 3600;
    let unit = match time.as_secs() {
        ..600 => return show_duration(time),
        seconds if seconds < 10 * HOUR => 60,
        _ => HOUR,
    };
    show_duration(Duration::from_secs((time.as_secs() + unit / 2) / unit * unit))
}

/// What is judged: a queue, and the engine that is to consume it.
pub(super) struct Subject<'a> {
    pub(super) url: &'a str,
    pub(super) arn: &'a str,
    pub(super) engine: &'a Settings,
    /// Whether a file keeps why messages are dead-lettered.
    pub(super) keeps_reasons: bool,
    /// How Stream proves who it is, where that is known.
    pub(super) auth: Option<Auth>,
    /// Whether Stream sends to a topic, so that the queue has to let that send.
    pub(super) by_topic: bool,
}

impl Subject<'_> {
    /// Everything that the attributes give cause to say.
    fn check(&self, queue: &QueueAttributes, dead_letters: Option<&QueueAttributes>) -> Examined {
        let Examined { mut facts, mut findings } = Examined::default();
        self.check_redrive(queue, &mut facts, &mut findings);
        self.check_times(queue, dead_letters, &mut findings);
        self.check_size(queue, &mut findings);
        self.check_encryption(queue, &mut findings);
        self.check_policy(queue, &mut findings);
        Examined { facts, findings }
    }

    fn check_redrive(&self, queue: &QueueAttributes, facts: &mut Vec<Fact>, findings: &mut Vec<Finding>) {
        let name = name_of(self.arn);
        let set_redrive = |count: u32, dead_letter_queue: &str| {
            let policy = json!({"deadLetterTargetArn": dead_letter_queue, "maxReceiveCount": count.to_string()});
            self.set_attributes(&json!({"RedrivePolicy": policy.to_string()}))
        };
        let Some(redrive) = &queue.redrive else {
            // Of a FIFO queue the dead-letter queue is one too, and its name says so.
            let dead = match name.strip_suffix(".fifo") {
                Some(stem) => format!("{stem}-dead-letter.fifo"),
                None => format!("{name}-dead-letter"),
            };
            let dead_arn = self.arn.strip_suffix(name).unwrap_or_default().to_owned() + &dead;
            findings.push(Finding {
                grade: Grade::Harm,
                what: "there is no dead-letter queue".to_owned(),
                why: "A message that cannot be handled is tried again and again until the queue's retention runs out, and \
                      is lost then."
                    .to_owned(),
                fix: Some(format!(
                    "{} && {}",
                    create_dead_letter_queue(&dead),
                    set_redrive(5, &dead_arn)
                )),
            });
            return;
        };
        let count = redrive.max_receive_count;
        let fix = Some(set_redrive(5, &redrive.dead_letter_queue));
        let last = last_failure(self.engine, count, name.ends_with(".fifo"));
        let about = show_about(last);
        if count == 1 {
            findings.push(Finding {
                grade: Grade::Harm,
                what: "with maxReceiveCount 1 a message is dead-lettered after its first failure".to_owned(),
                why: "A receive is also spent by a crash, a restart and a lost answer, whatever the message. What fails \
                      while others succeed is dead-lettered at once, and where a target fails at random that is one good \
                      message in 500."
                    .to_owned(),
                fix,
            });
        } else if let Some(retention) = queue.retention.filter(|retention| last >= *retention) {
            findings.push(Finding {
                grade: Grade::Harm,
                what: format!(
                    "with maxReceiveCount {count} a failing message would be dead-lettered after about {about}, and the \
                     queue keeps messages for {}",
                    show_duration(retention)
                ),
                why: "It never gets to the dead-letter queue: SQS drops it before.".to_owned(),
                fix,
            });
        } else if count < 3 || last < Duration::from_secs(10) {
            findings.push(Finding {
                grade: Grade::Advice,
                what: format!("with maxReceiveCount {count} a failing message is dead-lettered after about {about}"),
                why: "A receive is also spent by a crash, a restart and a lost answer. A target that is busy or down \
                      spends none, but for one in each 12 hours."
                    .to_owned(),
                fix,
            });
        } else {
            facts.push(Fact {
                what: format!("with maxReceiveCount {count} a failing message is dead-lettered after about {about}"),
                why: format!(
                    "Its last try fails then, or later by the time that the handler takes; SQS moves it when the delay \
                     after it, about {}, is over too.",
                    show_about(self.engine.retry.after(count, 0.5))
                ),
            });
        }
    }

    fn check_times(
        &self,
        queue: &QueueAttributes,
        dead_letters: Option<&QueueAttributes>,
        findings: &mut Vec<Finding>,
    ) {
        // The daemon's own was judged with the rest of the configuration. One that is too short to renew is not used.
        let own = queue.visibility_timeout.filter(|own| self.engine.visibility.is_none() && *own >= MIN_VISIBILITY);
        if let Some(visibility) = own
            && let Some(concern) = timeouts::visibility_concern(visibility, self.engine)
        {
            findings.push(Finding {
                grade: if concern.is_harm { Grade::Harm } else { Grade::Advice },
                what: format!("the visibility timeout is {}", show_duration(visibility)),
                why: concern.why,
                fix: Some(self.set_attributes(&json!({"VisibilityTimeout": "60"}))),
            });
        }
        if let Some(retention) = queue.retention
            && retention < 4 * DAY
        {
            findings.push(Finding {
                grade: if retention < DAY { Grade::Harm } else { Grade::Advice },
                what: format!("the queue keeps messages for {}", show_duration(retention)),
                why: "When nothing consumes for that long, over a weekend say, messages are lost.".to_owned(),
                fix: Some(self.set_attributes(&json!({"MessageRetentionPeriod": "1209600"}))),
            });
        }
        if let (Some(retention), Some(dead)) = (queue.retention, dead_letters.and_then(|dead| dead.retention))
            && dead <= retention
        {
            let fix = queue.redrive.as_ref().map(|redrive| {
                let url = self.url.strip_suffix(name_of(self.arn)).unwrap_or_default();
                let url = format!("{url}{}", name_of(&redrive.dead_letter_queue));
                set_attributes(&url, &json!({"MessageRetentionPeriod": "1209600"}))
            });
            // The longest that there is; then shortening the queue's own is what is left.
            let longest = dead >= 14 * DAY;
            findings.push(Finding {
                grade: if longest { Grade::Advice } else { Grade::Harm },
                what: format!(
                    "the dead-letter queue keeps messages for {}, and the queue for {}",
                    show_duration(dead),
                    show_duration(retention)
                ),
                why: "In a standard dead-letter queue the time counts from when a message was first sent, so one that \
                      waited in the queue for long is lost soon after it was dead-lettered."
                    .to_owned(),
                fix: if longest {
                    Some(self.set_attributes(&json!({"MessageRetentionPeriod": "604800"})))
                } else {
                    fix
                },
            });
        }
        if let Some(delay) = queue.delay.filter(|delay| !delay.is_zero()) {
            findings.push(Finding {
                grade: Grade::Harm,
                what: format!("the queue delays every message by {}", show_duration(delay)),
                why: "Events are handled that much later.".to_owned(),
                fix: Some(self.set_attributes(&json!({"DelaySeconds": "0"}))),
            });
        }
    }

    fn check_size(&self, queue: &QueueAttributes, findings: &mut Vec<Finding>) {
        if let Some(size) = queue.max_message_size
            && size < LARGEST_EVENT
        {
            findings.push(Finding {
                grade: Grade::Harm,
                what: format!("the queue takes messages of up to {} only", show_size(size)),
                why: format!(
                    "Stream sends events of up to {}, and larger ones than the queue takes are lost.",
                    show_size(LARGEST_EVENT)
                ),
                fix: Some(self.set_attributes(&json!({"MaximumMessageSize": "1048576"}))),
            });
        }
        if self.engine.inflate_limit < LARGEST_EVENT {
            findings.push(Finding {
                grade: Grade::Harm,
                what: format!("inflate_limit is {}", show_size(self.engine.inflate_limit)),
                why: format!(
                    "Stream sends events of up to {}, and larger ones than the limit are dead-lettered.",
                    show_size(LARGEST_EVENT)
                ),
                fix: None,
            });
        }
    }

    fn check_encryption(&self, queue: &QueueAttributes, findings: &mut Vec<Finding>) {
        match &queue.encryption {
            encryption if encryption.is_aws_managed() => findings.push(Finding {
                grade: Grade::Harm,
                what: "the queue is encrypted with the key that AWS manages for SQS (alias/aws/sqs)".to_owned(),
                why: "No other account can use that key, so nothing that Stream's account sends arrives.".to_owned(),
                fix: Some(self.set_attributes(&json!({"KmsMasterKeyId": "", "SqsManagedSseEnabled": "true"}))),
            }),
            Encryption::Kms(key) => findings.push(Finding {
                grade: Grade::Advice,
                what: format!("the queue is encrypted with a key of yours ({key})"),
                why: format!(
                    "Its policy must allow kms:GenerateDataKey and kms:Decrypt to arn:aws:iam::{STREAMS_ACCOUNT}:root \
                     (Stream), and kms:Decrypt to the daemon. That cannot be seen from here."
                ),
                fix: None,
            }),
            // Not at all, or with a key of SQS itself, which everybody can use who may use the queue.
            _ => {}
        }
    }

    fn check_policy(&self, queue: &QueueAttributes, findings: &mut Vec<Finding>) {
        // A key of the customer's account needs nothing of the policy, and a topic something else.
        if self.by_topic {
            return;
        }
        if queue.policy.as_deref().is_some_and(lets_stream_send) || self.auth == Some(Auth::Keys) {
            return;
        }
        let policy = json!({"Version": "2012-10-17", "Statement": [stream_statement(self.arn)]});
        let replaces = match queue.policy {
            Some(_) => " It replaces the policy that there is: put the statement into that one instead.",
            None => "",
        };
        let fix = Some(self.set_attributes(&json!({"Policy": policy.to_string()})));
        if self.auth == Some(Auth::Resource) {
            findings.push(Finding {
                grade: Grade::Harm,
                what: "the queue's policy does not let Stream's account send, and the event hook relies on it"
                    .to_owned(),
                why: format!("Stream keeps nothing that it cannot send: each event is lost.{replaces}"),
                fix,
            });
            return;
        }
        findings.push(Finding {
            grade: Grade::Advice,
            what: "the queue's policy does not let Stream's account send".to_owned(),
            why: format!(
                "It must where the hook's sqs_auth_type is `resource`. Where it is `keys`, the key needs the permission \
                 and this does not matter: that is narrower, since the account is that of all apps of Stream's and nothing \
                 that it sends to SQS is signed (deploy/TRUST.md).{replaces}"
            ),
            fix,
        });
    }

    fn set_attributes(&self, attributes: &Value) -> String {
        set_attributes(self.url, attributes)
    }
}

fn set_attributes(url: &str, attributes: &Value) -> String {
    format!("aws sqs set-queue-attributes --queue-url {url} --attributes '{attributes}'")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use stream_sqsd::consumer::Consumer;
    use stream_sqsd::event::Event;
    use stream_sqsd::handler::{Context, HandlerError};
    use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
    use stream_sqsd::router::Router;
    use tokio::time::Instant;

    use super::*;

    /// How long after its first try a message is tried for the last time that always fails.
    async fn last_try(settings: Settings, max_receive_count: u32, fifo: bool) -> Duration {
        let max_receive_count = Some(max_receive_count);
        let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(max_receive_count).with_fifo(fifo));
        queue.send_to_group(r#"{"type":"message.new"}"#, "one group");
        let tries = Arc::new(Mutex::new(Vec::new()));
        let noted = tries.clone();
        let router = Router::new().route("*", move |_: Event, _: Context| {
            noted.lock().expect("no handler panics").push(Instant::now());
            async { Err(HandlerError::retry("it always fails")) }
        });
        let dead = queue.clone();
        let dead_lettered = async move {
            while dead.counts().dead_lettered == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        Consumer::new(queue, router, settings).run(dead_lettered).await.expect("the queue in memory answers");
        let tries = tries.lock().expect("no handler panics");
        *tries.last().expect("it was tried") - tries[0]
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_to_dead_lettering_is_what_the_engine_takes() {
        let engine = |fifo_attempts| Settings::new().with_fifo_attempts(fifo_attempts).with_random_seed(7);
        for (fifo, fifo_attempts, count, seconds) in [
            (false, None, 2, 1),
            (false, None, 5, 15),
            (false, None, 8, 127),
            (true, None, 5, 41),
            (true, Some(1), 5, 15),
            (true, Some(3), 4, 19),
        ] {
            let case = format!("fifo: {fifo}, fifo_attempts: {fifo_attempts:?}, maxReceiveCount: {count}");
            let told = last_failure(&engine(fifo_attempts), count, fifo);
            assert_eq!(told, Duration::from_secs(seconds), "{case}");
            let took = last_try(engine(fifo_attempts), count, fifo).await;
            // Each delay has a jitter of a quarter.
            assert!(took >= told.mul_f64(0.75) && took <= told.mul_f64(1.25), "{case}: {took:?}");
        }
    }

    #[test]
    fn what_is_only_about_right_is_said_without_its_small_units() {
        let about = |seconds| show_about(Duration::from_secs(seconds));
        assert_eq!([15, 511, 599, 600].map(about), ["15s", "8m31s", "9m59s", "10m"]);
        assert_eq!([9123, 35_999, 36_000, 891_123].map(about), ["2h32m", "10h", "10h", "248h"]);
    }
}
