//! Making the queues: what is there, what is missing, what differs, and how the one becomes the other.
//!
//! A plan is data before anything is done. Nothing is ever deleted, nothing is received, and what differs is changed only
//! where the caller says so.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::account::CallerAccount;
use super::arn::TopicArn;
use super::attributes::{Encryption, QueueAttributes, taken_apart};
use super::errors::queue_error;
use super::policy::{self, BadPolicy};
use super::url::{BadQueueUrl, QueueUrl};
use crate::queue::interface::QueueError;

/// After how many receives a message goes to the dead-letter queue. A receive is also spent by a crash, a restart and a
/// lost answer, so fewer than [`FEWEST_RECEIVES`] dead-letter good messages.
const RECEIVES: u32 = 5;
const FEWEST_RECEIVES: u32 = 3;

/// The longest that SQS keeps a message: 14 days. A dead letter's time runs on from when it was first sent.
const LONGEST_RETENTION: u64 = 14 * 86_400;

/// How long the queue keeps a message: a weekend and more in which nothing consumes, and less than its dead-letter queue.
const RETENTION: u64 = 7 * 86_400;

/// The largest message that SQS takes, 1 MiB, and the largest that Stream sends, 256 KiB.
const LARGEST_MESSAGE: u64 = 1 << 20;
const LARGEST_EVENT: usize = 256 << 10;

/// How long a received message is hidden, in seconds: as long as the daemon assumes where it may not ask.
const VISIBILITY: u64 = 60;

/// How long SQS refuses a name after its queue was deleted: 60 s, and a little more.
const DELETED_RECENTLY: Duration = Duration::from_secs(70);

/// A queue that is there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// Its URL.
    pub url: QueueUrl,
    /// What it says of itself.
    pub attributes: QueueAttributes,
}

impl Found {
    /// Its ARN; empty where the queue does not say.
    pub fn arn(&self) -> &str {
        self.attributes.arn.as_deref().unwrap_or_default()
    }

    /// The account that it is in, where its ARN says so.
    pub fn account(&self) -> Option<&str> {
        self.arn().split(':').nth(4).filter(|account| !account.is_empty())
    }

    /// The name of its dead-letter queue, where it has one.
    pub fn dead_letter_queue(&self) -> Option<String> {
        self.attributes.redrive.as_ref()?.dead_letter_queue.rsplit(':').next().map(str::to_owned)
    }
}

/// An attribute that is not as it should be, in words and as it would be set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Differing {
    /// What it is now: "keeps messages 4 days".
    pub is: String,
    /// What it would become.
    pub wanted: String,
    attribute: (QueueAttributeName, String),
}

/// What is to become of one queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueuePlan {
    /// Its name.
    pub name: String,
    /// The queue, where it is there.
    pub found: Option<Found>,
    /// What it will be in few words, where it is created: "5 receives, then dead-letter".
    pub will_be: Vec<&'static str>,
    /// What differs, where it is there.
    pub differing: Vec<Differing>,
    create: Vec<(QueueAttributeName, String)>,
}

/// What is to become of the queue, its dead-letter queue and Stream's permission.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The dead-letter queue, which is made first.
    pub dead: QueuePlan,
    /// The queue.
    pub main: QueuePlan,
    /// Whether the queue has no dead-letter queue yet and gets this one.
    pub adds_redrive: bool,
    /// Whether the policy does not let Stream send yet and will.
    pub adds_permission: bool,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// Stream cannot send to a FIFO queue by its hooks.
    #[error("{0} is a FIFO queue, and Stream's hooks send no group id that a FIFO queue needs")]
    Fifo(String),
    /// The topic is not there. It is not made, since its ARN names it.
    #[error("there is no topic {}", .0.as_str())]
    NoTopic(TopicArn),
    /// What is there cannot be added to.
    #[error(transparent)]
    Policy(#[from] BadPolicy),
    /// SQS refused.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A queue would be made in the account of the credentials, which may be another than the one that was named.
    #[error(
        "the queue {name} is not in account {owner}, and would be made in that of the credentials, {}",
        account.as_deref().unwrap_or("which may be another")
    )]
    WhoseAccount {
        /// The name of the queue.
        name: String,
        /// The account that was named.
        owner: String,
        /// The account of the credentials, where STS tells it.
        account: Option<String>,
    },
    /// SQS answered with a URL that is not one.
    #[error(transparent)]
    Url(#[from] BadQueueUrl),
}

/// How far the making has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Made {
    /// A queue of this name was created.
    Queue(String),
    /// The queue dead-letters now.
    Redrive(String),
    /// Stream may send to it now.
    Permission(String),
    /// The topic of this name may send to the queue now.
    Way(String),
    /// Attributes of a queue or of a subscription were changed.
    Changed(String),
    /// The queue gets what is published to the topic of this name now.
    Subscription(String),
}

impl Plan {
    /// What the two queues need, from what is there. `allow_stream` where Stream sends by the queue's policy.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::Fifo`].
    pub fn new(
        main: (&str, Option<Found>),
        dead: (&str, Option<Found>),
        allow_stream: bool,
    ) -> Result<Plan, ProvisionError> {
        for (name, _) in [&main, &dead] {
            if name.ends_with(".fifo") {
                return Err(ProvisionError::Fifo((*name).to_owned()));
            }
        }
        let policy = main.1.as_ref().and_then(|found| found.attributes.policy.as_deref());
        let adds_permission = allow_stream && !policy.is_some_and(policy::lets_stream_send);
        let adds_redrive = main.1.as_ref().is_none_or(|found| found.attributes.redrive.is_none());
        Ok(Plan { dead: plan_dead(dead), main: plan_main(main), adds_redrive, adds_permission })
    }

    /// Whether there is nothing to do: with `update`, nothing that differs either.
    pub fn is_empty(&self, update: bool) -> bool {
        let queues = [&self.dead, &self.main];
        let creates = queues.iter().any(|queue| queue.found.is_none());
        let changes = update && queues.iter().any(|queue| !queue.differing.is_empty());
        !(creates || changes || self.adds_redrive || self.adds_permission)
    }
}

/// The attributes, by SQS's names, of a queue that is made, beside its redrive policy.
pub fn new_queue() -> Vec<(&'static str, String)> {
    vec![
        ("VisibilityTimeout", VISIBILITY.to_string()),
        ("MessageRetentionPeriod", RETENTION.to_string()),
        ("MaximumMessageSize", LARGEST_MESSAGE.to_string()),
        ("SqsManagedSseEnabled", "true".to_owned()),
    ]
}

/// The attributes, by SQS's names, of a dead-letter queue that is made.
pub fn new_dead_letter_queue() -> Vec<(&'static str, String)> {
    vec![
        ("MessageRetentionPeriod", LONGEST_RETENTION.to_string()),
        ("MaximumMessageSize", LARGEST_MESSAGE.to_string()),
        ("SqsManagedSseEnabled", "true".to_owned()),
    ]
}

fn by_name(attributes: Vec<(&'static str, String)>) -> Vec<(QueueAttributeName, String)> {
    attributes.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

fn plan_dead((name, found): (&str, Option<Found>)) -> QueuePlan {
    use QueueAttributeName::MessageRetentionPeriod;
    let create = by_name(new_dead_letter_queue());
    let mut differing = Vec::new();
    if let Some(found) = &found {
        let retention = found.attributes.retention.map(|is| is.as_secs()).filter(|is| *is < LONGEST_RETENTION);
        differing.extend(retention.map(|is| Differing {
            is: format!("keeps messages {}", days(is)),
            wanted: format!("{}, since the time counts from the first sending", days(LONGEST_RETENTION)),
            attribute: (MessageRetentionPeriod, LONGEST_RETENTION.to_string()),
        }));
        differing.extend(common(found));
    }
    let will_be = vec!["keeps messages 14 days", "encrypted"];
    QueuePlan { name: name.to_owned(), found, will_be, differing, create }
}

fn plan_main((name, found): (&str, Option<Found>)) -> QueuePlan {
    use QueueAttributeName::RedrivePolicy;
    let create = by_name(new_queue());
    let mut differing = Vec::new();
    if let Some(found) = &found {
        let few = found.attributes.redrive.as_ref().filter(|redrive| redrive.max_receive_count < FEWEST_RECEIVES);
        if let Some(redrive) = few {
            differing.push(Differing {
                is: format!("{} receives, then dead-letter", redrive.max_receive_count),
                wanted: format!("{RECEIVES}, since a restart spends one too"),
                attribute: (RedrivePolicy, redrive_policy(&redrive.dead_letter_queue)),
            });
        }
        differing.extend(common(found));
    }
    let will_be = vec!["5 receives, then dead-letter", "keeps messages 7 days", "encrypted"];
    QueuePlan { name: name.to_owned(), found, will_be, differing, create }
}

/// What both queues should be.
fn common(found: &Found) -> Vec<Differing> {
    use QueueAttributeName::{MaximumMessageSize, SqsManagedSseEnabled};
    let size = found.attributes.max_message_size.filter(|is| *is < LARGEST_EVENT).map(|is| Differing {
        is: format!("takes messages up to {is} bytes"),
        wanted: "1 MiB, since Stream's are up to 256 KiB".to_owned(),
        attribute: (MaximumMessageSize, LARGEST_MESSAGE.to_string()),
    });
    let encryption = (found.attributes.encryption == Encryption::None).then(|| Differing {
        is: "not encrypted".to_owned(),
        wanted: "encrypted with a key of SQS's own".to_owned(),
        attribute: (SqsManagedSseEnabled, "true".to_owned()),
    });
    size.into_iter().chain(encryption).collect()
}

fn days(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600) {
        (1, _) => "1 day".to_owned(),
        (0, hours) => format!("{hours} h"),
        (days, _) => format!("{days} days"),
    }
}

/// The redrive policy of a queue whose dead-letter queue has this ARN.
pub fn redrive_policy(arn: &str) -> String {
    json!({"deadLetterTargetArn": arn, "maxReceiveCount": RECEIVES.to_string()}).to_string()
}

/// Looks at queues and makes them.
#[derive(Debug)]
pub struct Provisioner {
    client: Client,
    region: String,
    /// The account whose queues these are, where it was named.
    owner: Option<String>,
    /// Whether SQS itself is asked, where each account has queues of its own. An emulator makes them in the one that it has.
    is_aws: bool,
    credentials: CallerAccount,
}

impl Provisioner {
    pub(super) fn new(
        client: Client,
        region: String,
        owner: Option<String>,
        is_aws: bool,
        credentials: CallerAccount,
    ) -> Self {
        Provisioner { client, region, owner, is_aws, credentials }
    }

    /// The account of the credentials, by STS (`GetCallerIdentity`); none where it does not answer within 5 s. Asked once.
    pub async fn account(&self) -> Option<&str> {
        self.credentials.get().await
    }

    /// The region of the queues.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The queue with this name, in the account that was named or else in that of the credentials; none where there is none.
    ///
    /// # Errors
    ///
    /// [`ProvisionError`]; the permissions are `sqs:GetQueueUrl` and `sqs:GetQueueAttributes`.
    pub async fn find(&self, name: &str) -> Result<Option<Found>, ProvisionError> {
        let started = Instant::now();
        let answer = self.client.get_queue_url().queue_name(name);
        let answer = answer.set_queue_owner_aws_account_id(self.owner.clone()).send().await;
        let url = match answer.map_err(|error| queue_error("sqs:GetQueueUrl", started, error)) {
            Ok(answer) => QueueUrl::parse(answer.queue_url().unwrap_or_default())?,
            Err(QueueError::NoSuchQueue { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let started = Instant::now();
        let call = self.client.get_queue_attributes().queue_url(url.as_str());
        let answer = call.attribute_names(QueueAttributeName::All).send().await;
        let answer = match answer.map_err(|error| queue_error("sqs:GetQueueAttributes", started, error)) {
            Ok(answer) => answer,
            // Deleted between the two calls.
            Err(QueueError::NoSuchQueue { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Found { url, attributes: taken_apart(&answer.attributes.unwrap_or_default()) }))
    }

    /// Refuses a plan that would make a queue where the credentials' account may not be the one that was named: SQS makes a
    /// queue in the account of the caller, whatever was meant.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::WhoseAccount`] names the first queue.
    pub async fn check(&self, plan: &Plan) -> Result<(), ProvisionError> {
        let missing = [&plan.main, &plan.dead].into_iter().find(|queue| queue.found.is_none());
        let (Some(queue), Some(owner)) = (missing, self.owner.as_ref().filter(|_| self.is_aws)) else { return Ok(()) };
        match self.account().await {
            Some(account) if account == owner => Ok(()),
            account => Err(ProvisionError::WhoseAccount {
                name: queue.name.clone(),
                owner: owner.clone(),
                account: account.map(str::to_owned),
            }),
        }
    }

    /// Carries a plan out, step by step; `made` is told of each. What was made before an error stays, and a second run goes
    /// on from there. What differs is changed with `update` only. Returns the queue.
    ///
    /// # Errors
    ///
    /// [`ProvisionError`]; the permissions are `sqs:CreateQueue`, `sqs:SetQueueAttributes` and those of
    /// [`find`](Provisioner::find).
    pub async fn apply(&self, plan: &Plan, update: bool, mut made: impl FnMut(Made)) -> Result<Found, ProvisionError> {
        // Before anything is made.
        self.check(plan).await?;
        let dead = self.ensure(&plan.dead, None, update, &mut made).await?;
        let redrive = plan.adds_redrive.then(|| redrive_policy(dead.arn()));
        let mut main = self.ensure(&plan.main, redrive.as_deref(), update, &mut made).await?;
        if plan.adds_permission {
            // From what is there now, since somebody may have added a statement after the plan was made.
            let policy = policy::with_stream(main.attributes.policy.as_deref(), main.arn())?;
            self.set(&main, vec![(QueueAttributeName::Policy, policy.clone())]).await?;
            main.attributes.policy = Some(policy);
            made(Made::Permission(plan.main.name.clone()));
        }
        Ok(main)
    }

    /// Lets a topic send to the queue, beside whom it lets already.
    ///
    /// # Errors
    ///
    /// [`ProvisionError`]; the permission is `sqs:SetQueueAttributes`.
    pub async fn let_topic_send(&self, queue: &Found, topic: &TopicArn) -> Result<Made, ProvisionError> {
        let policy = policy::with_topic(queue.attributes.policy.as_deref(), queue.arn(), topic.as_str())?;
        self.set(queue, vec![(QueueAttributeName::Policy, policy)]).await?;
        Ok(Made::Way(topic.name().to_owned()))
    }

    async fn ensure(
        &self,
        plan: &QueuePlan,
        redrive: Option<&str>,
        update: bool,
        made: &mut impl FnMut(Made),
    ) -> Result<Found, ProvisionError> {
        let redrive = redrive.map(|policy| (QueueAttributeName::RedrivePolicy, policy.to_owned()));
        let Some(found) = self.find(&plan.name).await? else {
            self.create(&plan.name, plan.create.iter().cloned().chain(redrive).collect()).await?;
            made(Made::Queue(plan.name.clone()));
            // It has been created, so it is there; and its ARN is what comes next.
            let gone = || QueueError::NoSuchQueue { message: format!("{} is gone again", plan.name) };
            return Ok(self.find(&plan.name).await?.ok_or_else(gone)?);
        };
        if let Some(redrive) = redrive {
            self.set(&found, vec![redrive]).await?;
            made(Made::Redrive(plan.name.clone()));
        }
        if update && !plan.differing.is_empty() {
            self.set(&found, plan.differing.iter().map(|differing| differing.attribute.clone()).collect()).await?;
            made(Made::Changed(plan.name.clone()));
        }
        Ok(found)
    }

    async fn create(&self, name: &str, attributes: HashMap<QueueAttributeName, String>) -> Result<(), ProvisionError> {
        let end = Instant::now() + DELETED_RECENTLY;
        loop {
            let started = Instant::now();
            let call = self.client.create_queue().queue_name(name).set_attributes(Some(attributes.clone()));
            let error = match call.send().await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let recently = error.as_service_error().is_some_and(|error| error.is_queue_deleted_recently());
            if !recently || Instant::now() >= end {
                return Err(queue_error("sqs:CreateQueue", started, error).into());
            }
            sleep(Duration::from_secs(5)).await;
        }
    }

    async fn set(&self, queue: &Found, attributes: Vec<(QueueAttributeName, String)>) -> Result<(), ProvisionError> {
        let call = self.client.set_queue_attributes().queue_url(queue.url.as_str());
        let started = Instant::now();
        let answer = call.set_attributes(Some(attributes.into_iter().collect())).send().await;
        answer.map_err(|error| queue_error("sqs:SetQueueAttributes", started, error))?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use aws_config::{BehaviorVersion, SdkConfig};

    use super::*;

    fn provisioner(owner: Option<&str>, is_aws: bool) -> Provisioner {
        let config = aws_sdk_sqs::Config::builder().behavior_version(BehaviorVersion::v2026_01_12());
        let client = Client::from_conf(config.build());
        // Nobody listens there.
        let sdk = SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).build();
        let credentials = CallerAccount::new(&sdk, "us-east-1", Some("http://127.0.0.1:1".to_owned()));
        Provisioner::new(client, "us-east-1".to_owned(), owner.map(str::to_owned), is_aws, credentials)
    }

    fn found(attributes: &[(&str, &str)]) -> Found {
        let attributes = attributes.iter().map(|(name, value)| ((*name).into(), (*value).to_owned())).collect();
        let url = QueueUrl::parse("https://sqs.us-east-1.amazonaws.com/123456789012/chat").unwrap();
        Found { url, attributes: taken_apart(&attributes) }
    }

    const REDRIVE: &str = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead","maxReceiveCount":"2"}"#;

    #[test]
    fn from_nothing_everything_is_made_and_nothing_differs() {
        let plan = Plan::new(("chat", None), ("chat-dead-letter", None), true).unwrap();
        assert!(plan.adds_redrive && plan.adds_permission && !plan.is_empty(false));
        assert!(plan.main.differing.is_empty() && plan.dead.differing.is_empty());
    }

    #[test]
    fn what_differs_is_named_and_changed_only_on_request() {
        let policy = policy::with_stream(None, "arn:x").unwrap();
        let main = found(&[("RedrivePolicy", REDRIVE), ("MaximumMessageSize", "1024"), ("Policy", &policy)]);
        assert_eq!(main.dead_letter_queue().as_deref(), Some("dead"));
        let dead = found(&[("MessageRetentionPeriod", "345600"), ("KmsMasterKeyId", "alias/mine")]);
        let plan = Plan::new(("chat", Some(main)), ("dead", Some(dead)), true).unwrap();
        let said = |plan: &QueuePlan| plan.differing.iter().map(|one| one.is.clone()).collect::<Vec<_>>();
        assert_eq!(
            said(&plan.main),
            ["2 receives, then dead-letter", "takes messages up to 1024 bytes", "not encrypted"]
        );
        assert_eq!(said(&plan.dead), ["keeps messages 4 days"]);
        assert!(!plan.adds_redrive && !plan.adds_permission);
        assert!(plan.is_empty(false) && !plan.is_empty(true));
    }

    #[test]
    fn a_good_queue_needs_nothing() {
        let policy = policy::with_stream(None, "arn:x").unwrap();
        let redrive = REDRIVE.replace('2', "10");
        let main = found(&[("RedrivePolicy", &redrive), ("SqsManagedSseEnabled", "true"), ("Policy", &policy)]);
        let dead = found(&[("MessageRetentionPeriod", "1209600"), ("SqsManagedSseEnabled", "true")]);
        assert!(Plan::new(("chat", Some(main)), ("dead", Some(dead)), true).unwrap().is_empty(true));
    }

    #[tokio::test]
    async fn on_aws_no_queue_is_made_in_an_account_that_was_not_named() {
        let owner = Some("123456789012");
        let is_refused = async |plan: &Plan, owner, is_aws| match provisioner(owner, is_aws).check(plan).await {
            Ok(()) => None,
            Err(ProvisionError::WhoseAccount { name, .. }) => Some(name),
            Err(error) => panic!("{error}"),
        };
        let nothing = Plan::new(("chat", None), ("dead", None), true).unwrap();
        assert_eq!(is_refused(&nothing, owner, true).await.as_deref(), Some("chat"));
        assert_eq!(is_refused(&nothing, None, true).await, None);
        assert_eq!(is_refused(&nothing, owner, false).await, None, "an emulator has one account");
        let half = Plan::new(("chat", Some(found(&[]))), ("dead", None), true).unwrap();
        assert_eq!(is_refused(&half, owner, true).await.as_deref(), Some("dead"));
        let both = Plan::new(("chat", Some(found(&[]))), ("dead", Some(found(&[]))), true).unwrap();
        assert_eq!(is_refused(&both, owner, true).await, None);
    }

    #[test]
    fn a_fifo_queue_is_refused() {
        assert!(matches!(Plan::new(("chat.fifo", None), ("dead.fifo", None), true), Err(ProvisionError::Fifo(_))));
    }
}
