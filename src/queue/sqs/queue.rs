//! [`SqsQueue`]: how it is found, what it is asked, and what its answers mean.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{IdentityCache, SharedHttpClient, StalledStreamProtectionConfig};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use aws_types::service_config::ServiceConfigKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use super::account::CallerAccount;
#[cfg(feature = "sns")]
use super::arn::TopicArn;
use super::connections::Connections;
use super::errors::{one_line, queue_error};
use super::provision::Provisioner;
#[cfg(feature = "sns")]
use super::topic::Topic;
use super::url::{self, BadQueueUrl, QueueUrl};
use crate::queue::interface::{
    Attributes, BATCH, Delivery, EntryError, EntryResult, MAX_VISIBILITY, MAX_WAIT, MessageAttribute, Queue,
    QueueError, QueueFacts, Receipt, Trace, WebhookId, md5_of, read_md5,
};
use crate::queue::outgoing::{Outgoing, Sender};

/// The limit of one attempt at any call but a receive. SQS answers such a call within tens of milliseconds: what takes
/// seconds is a dead connection, and a lease may be waiting behind it.
const ATTEMPT: Duration = Duration::from_secs(8);

/// The limit of any call but a receive, with the attempts that the SDK makes (three, unless AWS_MAX_ATTEMPTS says else).
const CALL: Duration = Duration::from_secs(20);

/// The limit of a receive. It is the last resort, for those who call without the engine: the engine's own watchdog is
/// sooner, and must be, since it counts what it gives up.
const POLL: Duration = MAX_WAIT.saturating_add(Duration::from_secs(15));

/// The limit for getting credentials. It is below [`ATTEMPT`], so that missing credentials are called by their name.
const CREDENTIALS: Duration = Duration::from_secs(6);

/// For how long SQS answers a repeated `ReceiveRequestAttemptId` with the same messages.
///
/// Source: `ReceiveRequestAttemptId` of `ReceiveMessage`, five minutes.
const ATTEMPT_ID_GOOD_FOR: Duration = Duration::from_secs(300);

/// How many lost receives of a FIFO queue are remembered: more than that, and the queue has been away altogether.
const LOST_ATTEMPTS: usize = 64;

/// Where a queue is and how to get there. What is left out comes from the environment, as for all that runs on AWS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqsOptions {
    /// The queue.
    pub queue: QueueAddress,
    /// The region of a queue that is given by name. Beside a URL that names another one it is refused.
    pub region: Option<String>,
    /// The profile of the shared configuration, in place of AWS_PROFILE.
    pub profile: Option<String>,
    /// The endpoint, in place of AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL and the profile's.
    pub endpoint_url: Option<String>,
}

impl SqsOptions {
    /// Options that say which queue it is and leave everything else to the environment.
    pub fn new(queue: QueueAddress) -> Self {
        SqsOptions { queue, region: None, profile: None, endpoint_url: None }
    }
}

/// How a queue is named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueAddress {
    /// By its URL. The region in it beats every other.
    Url(QueueUrl),
    /// By its name, which costs a call of GetQueueUrl at the start, and its permission.
    Name {
        /// The name of the queue.
        name: String,
        /// The account of the queue where it is not the caller's own.
        account: Option<String>,
    },
}

impl QueueAddress {
    /// Whether this can be the address of the queue with this URL. A name fits the queue of this name in any account.
    pub fn is_at(&self, url: &str) -> bool {
        match self {
            QueueAddress::Url(ours) => ours.as_str() == url,
            QueueAddress::Name { name, .. } => url.rsplit('/').next() == Some(name),
        }
    }

    /// Its URL, where it is named by that.
    pub fn url(&self) -> Option<&QueueUrl> {
        match self {
            QueueAddress::Url(url) => Some(url),
            QueueAddress::Name { .. } => None,
        }
    }

    /// The name of the queue.
    pub fn name(&self) -> &str {
        match self {
            QueueAddress::Url(url) => url.name(),
            QueueAddress::Name { name, .. } => name,
        }
    }

    /// The account of the queue, where it is named: in the URL, or beside the name.
    pub fn account(&self) -> Option<&str> {
        match self {
            QueueAddress::Url(url) => url.account(),
            QueueAddress::Name { account, .. } => account.as_deref(),
        }
    }
}

/// Why a queue could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The region in the URL and the one that was asked for are two.
    #[error("the queue URL says region {in_url} and the region that was asked for is {asked}: leave out the latter")]
    RegionContradicts {
        /// The region that the URL names.
        in_url: String,
        /// The region that was asked for.
        asked: String,
    },
    /// Nothing says which region it is.
    #[error("no region: neither the queue URL nor AWS_REGION nor the profile names one")]
    NoRegion,
    /// The endpoint is not a URL.
    #[error("{url:?} is not the URL of an endpoint (it looks like http://127.0.0.1:4566)")]
    BadEndpoint {
        /// What was given, without what may be secret.
        url: String,
    },
    /// The name could not be turned into a URL, see [`QueueError`].
    #[error("the queue {name:?} could not be looked up")]
    Lookup {
        /// The name of the queue.
        name: String,
        /// The region in which it was looked for.
        region: String,
        /// What SQS said.
        #[source]
        source: QueueError,
    },
    /// The name was turned into something that is not a queue URL.
    #[error(transparent)]
    BadQueueUrl(#[from] BadQueueUrl),
}

/// A queue of Amazon SQS.
pub struct SqsQueue {
    pub(super) url: QueueUrl,
    region: String,
    config: aws_sdk_sqs::config::Builder,
    clients: RwLock<Clients>,
    lost: Mutex<Vec<LostAttempt>>,
}

impl fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsQueue").field("url", &self.url).field("region", &self.region).finish_non_exhaustive()
    }
}

/// Two clients on the same connections and credentials. They differ in their limits and in who tries again.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// For receives: tried once. A second long poll inside the first would end after the engine's watchdog, which would
    /// give it up with messages in its hands; and the engine is to see and count each receive that failed.
    polls: Client,
    /// For everything else.
    pub(super) calls: Client,
}

/// A receive of a FIFO queue of which no answer came. Its messages block their groups until they are visible again,
/// unless a further receive with the same id brings them.
#[derive(Debug)]
struct LostAttempt {
    id: String,
    since: Instant,
}

impl SqsQueue {
    /// Finds the queue. By URL this asks nobody, so that a wrong queue shows at the first call; by name it makes a call
    /// of `GetQueueUrl`.
    ///
    /// The region is the one in the URL, or `options.region`, or what AWS_REGION and the profile say, or where the
    /// machine runs; for a host that is not of AWS it is `us-east-1` if nothing says else.
    ///
    /// The endpoint is `options.endpoint_url`, or what AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL and the profile say, or
    /// the region's own. A URL whose host is a VPC endpoint, or not of AWS at all (LocalStack, ElasticMQ, a company's
    /// own name for it), is its own endpoint: that is where this queue is, and nothing else is known of it.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(options: SqsOptions) -> Result<SqsQueue, ConnectError> {
        let sdk = load(&options).await?;
        SqsQueue::assemble(&sdk, options.queue, options.endpoint_url).await
    }

    /// What makes queues where this one is, or is to be: it need not be there.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn provisioner(options: &SqsOptions) -> Result<Provisioner, ConnectError> {
        let sdk = load(options).await?;
        SqsQueue::provisioner_of(&sdk, &options.queue, options.endpoint_url.clone())
    }

    /// What makes a topic send to the queue. The topic may be in another region.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    #[cfg(feature = "sns")]
    pub async fn topic(options: &SqsOptions, topic: TopicArn) -> Result<Topic, ConnectError> {
        let sdk = load(options).await?;
        let configured = configure(&sdk, options.queue.url(), options.endpoint_url.clone())?;
        let endpoint = configured.endpoint_beside(&sdk, "SNS");
        Ok(Topic::new(&sdk, topic, endpoint))
    }

    /// As [`provisioner`](SqsQueue::provisioner), for a program that has an AWS configuration of its own.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub fn provisioner_with_config(config: &SdkConfig, queue: &QueueAddress) -> Result<Provisioner, ConnectError> {
        SqsQueue::provisioner_of(config, queue, None)
    }

    fn provisioner_of(
        sdk: &SdkConfig,
        queue: &QueueAddress,
        endpoint: Option<String>,
    ) -> Result<Provisioner, ConnectError> {
        let configured = configure(sdk, queue.url(), endpoint)?;
        let credentials = CallerAccount::new(sdk, &configured.region, configured.endpoint_beside(sdk, "STS"));
        let Configured { config, region, is_aws, .. } = configured;
        let owner = queue.account().map(str::to_owned);
        Ok(Provisioner::new(Clients::new(&config).calls, region, owner, is_aws, credentials))
    }

    /// Finds the queue for a program that has an AWS configuration of its own: credentials of another account, say.
    ///
    /// Region and endpoint are found as in [`connect`](SqsQueue::connect). The HTTP client, the time limits and the retries
    /// are those of this crate, since the engine's promises rest on them.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn with_config(config: &SdkConfig, queue: QueueAddress) -> Result<SqsQueue, ConnectError> {
        SqsQueue::assemble(config, queue, None).await
    }

    async fn assemble(
        sdk: &SdkConfig,
        queue: QueueAddress,
        endpoint: Option<String>,
    ) -> Result<SqsQueue, ConnectError> {
        let Configured { config, region, .. } = configure(sdk, queue.url(), endpoint)?;
        let clients = Clients::new(&config);
        let url = match queue {
            QueueAddress::Url(url) => url,
            QueueAddress::Name { name, account } => look_up(&clients.calls, &region, &name, account).await?,
        };
        Ok(SqsQueue { url, region, config, clients: RwLock::new(clients), lost: Mutex::new(Vec::new()) })
    }

    /// Another queue in the same region, on the same connections and credentials.
    pub(super) fn with_url(&self, url: QueueUrl) -> SqsQueue {
        let (region, config) = (self.region.clone(), self.config.clone());
        SqsQueue { url, region, config, clients: RwLock::new(self.clients()), lost: Mutex::new(Vec::new()) }
    }

    /// The URL of the queue.
    pub fn url(&self) -> &QueueUrl {
        &self.url
    }

    /// The region of the queue.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The ARN of the queue, which is what permissions name. None where the URL names no account.
    pub fn arn(&self) -> Option<String> {
        self.url.arn_in(&self.region)
    }

    /// Sends up to [`BATCH`] messages and answers entry by entry, in the order of `batch`.
    ///
    /// All bodies and attributes together may hold [`MAX_MESSAGE_SIZE`](crate::queue::MAX_MESSAGE_SIZE) bytes:
    /// [`batches`](crate::queue::batches) cuts a list that way. An entry
    /// that failed can be sent again; after an error of the whole call any of the messages may have been sent, and on a
    /// standard queue sending them again doubles them.
    ///
    /// # Errors
    ///
    /// [`QueueError`] when the call as a whole failed.
    pub async fn send(&self, batch: &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let entries = batch.iter().enumerate().map(|(position, message)| {
            let entry = SendMessageBatchRequestEntry::builder().id(position.to_string()).message_body(&message.body);
            let entry = entry
                .set_message_group_id(message.group.clone())
                .set_message_deduplication_id(message.deduplication_id.clone());
            let entry = message.attributes.iter().fold(entry, |entry, (name, value)| {
                let value = MessageAttributeValue::builder().data_type("String").string_value(value);
                entry.message_attributes(name, value.build().expect("the data type is set"))
            });
            entry.build().expect("id and body are set")
        });
        let call = self.clients().calls.send_message_batch();
        let call = call.queue_url(self.url.as_str()).set_entries(Some(entries.collect()));
        let started = Instant::now();
        let answer = call.send().await.map_err(|error| queue_error("sqs:SendMessage", started, error))?;
        Ok(by_position(batch.len(), answer.successful.iter().map(|entry| entry.id()), answer.failed))
    }

    pub(super) fn clients(&self) -> Clients {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Receives, with all attributes or with those that the engine uses.
    async fn take(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
        whole: bool,
    ) -> Result<Vec<Delivery>, QueueError> {
        use MessageSystemAttributeName::{All, ApproximateReceiveCount, AwsTraceHeader, MessageGroupId, SentTimestamp};
        let used = vec![ApproximateReceiveCount, SentTimestamp, MessageGroupId, AwsTraceHeader];
        // By their names, and not all: others may be long, and count against what one answer holds.
        let of_sender: &[&str] = if whole { &["All"] } else { &[TRACEPARENT, WebhookId::ATTRIBUTE] };
        let attempt = self.url.is_fifo().then(|| Attempt::begin(&self.lost));
        let call = self.clients().polls.receive_message();
        let call = call
            .queue_url(self.url.as_str())
            .max_number_of_messages(max.clamp(1, BATCH) as i32)
            // Rounded down: an answer never comes later than was asked.
            .wait_time_seconds(wait.min(MAX_WAIT).as_secs() as i32)
            .set_visibility_timeout(visibility.map(whole_seconds))
            .set_message_system_attribute_names(Some(if whole { vec![All] } else { used }))
            .set_message_attribute_names(Some(of_sender.iter().map(|name| name.to_string()).collect()))
            .set_receive_request_attempt_id(attempt.as_ref().map(|attempt| attempt.id.clone()));
        let started = Instant::now();
        let answer = call.send().await.map_err(|error| queue_error("sqs:ReceiveMessage", started, error));
        if let Some(attempt) = attempt {
            attempt.end(&answer);
        }
        self.deliveries(answer?.messages.unwrap_or_default(), whole)
    }

    /// The deliveries of one answer. What is damaged is left out and stays in the queue; on a FIFO queue so is what comes
    /// after it in its group, since it would overtake.
    fn deliveries(&self, messages: Vec<Message>, whole: bool) -> Result<Vec<Delivery>, QueueError> {
        let count = messages.len();
        let mut good = Vec::with_capacity(count);
        let mut damaged: Vec<(Option<String>, &'static str)> = Vec::new();
        for message in messages {
            let group = system_attribute(&message, MessageSystemAttributeName::MessageGroupId).map(str::to_owned);
            let message_id = message.message_id.clone();
            let behind = self.url.is_fifo() && damaged.iter().any(|(other, _)| other.is_none() || *other == group);
            let attributes = whole.then(|| Box::new(attributes(&message)));
            let what = match delivery(message) {
                _ if behind => "a message before it in its group is damaged",
                Ok(delivery) => {
                    good.push(Delivery { attributes, ..delivery });
                    continue;
                }
                Err(what) => what,
            };
            tracing::warn!(
                message_id = message_id.as_deref().unwrap_or("none"),
                "a message is left in the queue until its visibility timeout runs out: {what}"
            );
            damaged.push((group, what));
        }
        match damaged.first() {
            Some((_, what)) if good.is_empty() => {
                Err(QueueError::BadAnswer { message: format!("none of {count} messages can be used: {what}") })
            }
            _ => Ok(good),
        }
    }
}

impl Queue for SqsQueue {
    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.take(max, wait, visibility, false).await
    }

    async fn receive_whole(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.take(max, wait, visibility, true).await
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let entries = batch.iter().enumerate().map(|(position, receipt)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(position.to_string());
            entry.receipt_handle(&*receipt.handle).build().expect("id and handle are set")
        });
        let call = self.clients().calls.delete_message_batch();
        let call = call.queue_url(self.url.as_str()).set_entries(Some(entries.collect()));
        let started = Instant::now();
        let answer = call.send().await.map_err(|error| queue_error("sqs:DeleteMessage", started, error))?;
        Ok(by_position(batch.len(), answer.successful.iter().map(|entry| entry.id()), answer.failed))
    }

    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let entries = batch.iter().enumerate().map(|(position, (receipt, time))| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(position.to_string());
            let entry = entry.receipt_handle(&*receipt.handle).visibility_timeout(whole_seconds(*time));
            entry.build().expect("id and handle are set")
        });
        let call = self.clients().calls.change_message_visibility_batch();
        let call = call.queue_url(self.url.as_str()).set_entries(Some(entries.collect()));
        let started = Instant::now();
        let answer = call.send().await.map_err(|error| queue_error("sqs:ChangeMessageVisibility", started, error))?;
        Ok(by_position(batch.len(), answer.successful.iter().map(|entry| entry.id()), answer.failed))
    }

    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible, MaximumMessageSize,
            MessageRetentionPeriod, RedrivePolicy, VisibilityTimeout,
        };
        let names = vec![
            ApproximateNumberOfMessages,
            ApproximateNumberOfMessagesNotVisible,
            MaximumMessageSize,
            MessageRetentionPeriod,
            RedrivePolicy,
            VisibilityTimeout,
        ];
        let call = self.clients().calls.get_queue_attributes();
        let call = call.queue_url(self.url.as_str()).set_attribute_names(Some(names));
        let started = Instant::now();
        let answer = call.send().await.map_err(|error| queue_error("sqs:GetQueueAttributes", started, error))?;

        let attributes = answer.attributes.unwrap_or_default();
        let number = |name| attributes.get(&name).and_then(|value| value.parse::<u64>().ok());
        // {"deadLetterTargetArn":"…","maxReceiveCount":5}, where AWS has sent the number as text too.
        let redrive: Option<serde_json::Value> =
            attributes.get(&RedrivePolicy).and_then(|policy| serde_json::from_str(policy).ok());
        let redrive = |name| redrive.as_ref().and_then(|policy| policy.get(name));
        let count = |value: &serde_json::Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        Ok(QueueFacts {
            visibility_timeout: number(VisibilityTimeout).map(Duration::from_secs),
            max_message_size: number(MaximumMessageSize).and_then(|size| size.try_into().ok()),
            max_receive_count: redrive("maxReceiveCount").and_then(count).and_then(|count| count.try_into().ok()),
            dead_letter_queue: redrive("deadLetterTargetArn").and_then(|arn| arn.as_str()).map(str::to_owned),
            retention: number(MessageRetentionPeriod).map(Duration::from_secs),
            visible: number(ApproximateNumberOfMessages),
            hidden: number(ApproximateNumberOfMessagesNotVisible),
            ..self.known()
        })
    }

    /// SQS puts into the name whether a queue keeps order.
    fn known(&self) -> QueueFacts {
        let (name, fifo) = (Some(self.url.name().to_owned()), self.url.is_fifo());
        QueueFacts { name, fifo, ..QueueFacts::default() }
    }

    /// Makes new clients with an empty pool. Credentials stay: they are cached beside the clients, not in them.
    fn reconnect(&self) {
        let clients = Clients::new(&self.config);
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
    }
}

impl Sender for SqsQueue {
    async fn send_batch(&self, batch: &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> {
        self.send(batch).await
    }

    fn keeps_order(&self) -> bool {
        self.url.is_fifo()
    }

    fn open_new_connections(&self) {
        Queue::reconnect(self);
    }
}

impl Clients {
    fn new(config: &aws_sdk_sqs::config::Builder) -> Clients {
        let config = config.clone().http_client(SharedHttpClient::new(Connections::default()));
        let polls = config
            .clone()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(POLL).build())
            // An endpoint that sends its headers at once and the body when there is a message (a proxy, an emulator) is
            // silent for the whole wait, which is not a stalled stream.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let limits = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(CALL);
        let calls = config.timeout_config(limits.build());
        Clients { polls: Client::from_conf(polls.build()), calls: Client::from_conf(calls.build()) }
    }
}

/// One receive of a FIFO queue, by the id under which SQS repeats its answer. Dropped without an end (the engine gave it
/// up), it is lost as well.
struct Attempt<'a> {
    id: String,
    lost: &'a Mutex<Vec<LostAttempt>>,
    answered: bool,
}

impl<'a> Attempt<'a> {
    /// Takes up the oldest receive that was lost and can still be repeated, or begins a new one.
    #[allow(
        clippy::disallowed_methods,
        reason = "an id that nobody else has, not a draw that a simulation must repeat"
    )]
    fn begin(lost: &'a Mutex<Vec<LostAttempt>>) -> Self {
        let mut known = lost.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|attempt| attempt.since.elapsed() < ATTEMPT_ID_GOOD_FOR);
        let id = if known.is_empty() { format!("{:032x}", fastrand::u128(..)) } else { known.remove(0).id };
        Attempt { id, lost, answered: false }
    }

    fn end<T>(mut self, answer: &Result<T, QueueError>) {
        use QueueError::{BadAnswer, TimedOut, Unreachable};
        self.answered = !matches!(answer, Err(Unreachable { .. } | TimedOut { .. } | BadAnswer { .. }));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            if lost.len() < LOST_ATTEMPTS {
                lost.push(LostAttempt { id: std::mem::take(&mut self.id), since: Instant::now() });
            }
        }
    }
}

/// What environment, profile and options say of AWS.
async fn load(options: &SqsOptions) -> Result<SdkConfig, ConnectError> {
    let SqsOptions { queue, region: asked, profile, endpoint_url } = options;
    let url = queue.url();
    let in_url = url.and_then(QueueUrl::region);
    if let (Some(in_url), Some(asked)) = (in_url, asked)
        && in_url != asked
    {
        return Err(ConnectError::RegionContradicts { in_url: in_url.to_owned(), asked: asked.clone() });
    }

    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(Connections::default());
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    let region = in_url.map(str::to_owned).or_else(|| asked.clone());
    let off_aws = endpoint_url.is_some() || url.is_some_and(|url| url.endpoint() == url::Endpoint::Origin);
    loader = match region {
        Some(region) => loader.region(Region::new(region)),
        // Here the instance is not asked for its region: off AWS that costs seconds and brings nothing.
        None if off_aws => {
            let mut profiles = ProfileFileRegionProvider::builder();
            if let Some(profile) = profile {
                profiles = profiles.profile_name(profile);
            }
            let environment = EnvironmentVariableRegionProvider::new();
            loader.region(RegionProviderChain::first_try(environment).or_else(profiles.build()))
        }
        None => loader,
    };
    Ok(loader.load().await)
}

/// What the clients of a queue are made of.
struct Configured {
    config: aws_sdk_sqs::config::Builder,
    region: String,
    /// Where SQS is asked, where that is not the region's own endpoint.
    endpoint: Option<String>,
    /// Whether SQS itself is asked, and no emulator of it.
    is_aws: bool,
}

impl Configured {
    /// Where another service is asked: where the environment says, or else at the same emulator. None is the region's own.
    fn endpoint_beside(&self, sdk: &SdkConfig, service_id: &str) -> Option<String> {
        configured_endpoint(sdk, service_id).or_else(|| self.endpoint.clone().filter(|_| !self.is_aws))
    }
}

/// The settings of the clients for a queue with this URL, or for one whose URL is not known.
fn configure(sdk: &SdkConfig, url: Option<&QueueUrl>, endpoint: Option<String>) -> Result<Configured, ConnectError> {
    let mut config = aws_sdk_sqs::config::Builder::from(sdk).behavior_version(BehaviorVersion::v2026_01_12());
    config.set_identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS).build());
    let mut endpoint = endpoint.or_else(|| configured_endpoint(sdk, "SQS"));
    match url.map(|url| (url, url.endpoint())) {
        Some((url, url::Endpoint::Origin)) => {
            endpoint.get_or_insert_with(|| url.origin().to_owned());
        }
        Some((_, url::Endpoint::Variant { fips, dual_stack })) if endpoint.is_none() => {
            // What the environment asks for beyond that stays asked for.
            config = if fips { config.use_fips(true) } else { config };
            config = if dual_stack { config.use_dual_stack(true) } else { config };
        }
        _ => {}
    }
    if let Some(url) = endpoint.as_ref().filter(|url| url::host_in(url).is_none()) {
        return Err(ConnectError::BadEndpoint { url: url::printable(url) });
    }

    let region = url.and_then(QueueUrl::region).map(str::to_owned);
    let region = region.or_else(|| sdk.region().map(|region| region.to_string()));
    let region = match (region, &endpoint) {
        (Some(region), _) => region,
        (None, Some(_)) => "us-east-1".to_owned(),
        (None, None) => return Err(ConnectError::NoRegion),
    };
    let is_aws = endpoint.as_deref().and_then(url::host_in).is_none_or(url::is_of_aws);
    config = config.region(Region::new(region.clone()));
    config.set_endpoint_url(endpoint.clone());
    Ok(Configured { config, region, endpoint, is_aws })
}

async fn look_up(client: &Client, region: &str, name: &str, account: Option<String>) -> Result<QueueUrl, ConnectError> {
    let failed = |source| ConnectError::Lookup { name: name.to_owned(), region: region.to_owned(), source };
    let started = Instant::now();
    let answer = client.get_queue_url().queue_name(name).set_queue_owner_aws_account_id(account).send().await;
    let answer = answer.map_err(|error| failed(queue_error("sqs:GetQueueUrl", started, error)))?;
    let url = answer.queue_url.ok_or_else(|| failed(QueueError::BadAnswer { message: "it holds no URL".into() }))?;
    Ok(QueueUrl::parse(&url)?)
}

/// The endpoint that environment or profile name for a service, or for all services.
fn configured_endpoint(sdk: &SdkConfig, service_id: &str) -> Option<String> {
    let key =
        ServiceConfigKey::builder().service_id(service_id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let of_service = key.ok().and_then(|key| sdk.service_config()?.load_config(key));
    of_service.or_else(|| sdk.endpoint_url().map(str::to_owned))
}

/// The message attribute of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// How every gzip begins in base64. It ends in a checksum of what it holds and the length of that, which decoding looks at:
/// summing up the body as well would take a twelfth of the CPU that such a message costs.
const GZIP_IN_BASE64: &str = "H4sI";

/// A message as a delivery, or what is wrong with it.
fn delivery(message: Message) -> Result<Delivery, &'static str> {
    let number = |name| system_attribute(&message, name).and_then(|value| value.parse::<u64>().ok());
    let receive_count = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
    let sent_at = number(MessageSystemAttributeName::SentTimestamp);
    let sent_at = sent_at.and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
    let text = |name| system_attribute(&message, name).map(Arc::<str>::from);
    let group = text(MessageSystemAttributeName::MessageGroupId);
    let aws_trace_header = text(MessageSystemAttributeName::AwsTraceHeader);
    let of_sender = |name| message.message_attributes.as_ref()?.get(name);
    let traceparent = of_sender(TRACEPARENT).and_then(|value| value.string_value()).map(Arc::from);
    let webhook_id = of_sender(WebhookId::ATTRIBUTE);
    let webhook_id = webhook_id.and_then(|value| WebhookId::of_type(value.data_type(), value.string_value()?));

    let message_id = message.message_id.filter(|id| !id.is_empty()).ok_or("it has no message id")?;
    let handle = message.receipt_handle.filter(|handle| !handle.is_empty()).ok_or("it has no receipt handle")?;
    let body = message.body.ok_or("it has no body")?;
    let checks_itself = body.starts_with(GZIP_IN_BASE64);
    if !checks_itself && message.md5_of_body.is_some_and(|expected| read_md5(&expected) != Some(md5_of(&body))) {
        return Err("its body is not the one that was sent: the MD5 sums differ");
    }
    Ok(Delivery {
        receipt: Receipt { message_id: message_id.into(), handle: handle.into() },
        body,
        receive_count: u32::try_from(receive_count).unwrap_or(u32::MAX),
        sent_at,
        group,
        trace: Trace { traceparent, aws_trace_header },
        webhook_id,
        attributes: None,
    })
}

/// All attributes of a message.
fn attributes(message: &Message) -> Attributes {
    let system = message.attributes.iter().flatten();
    let system = system.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect();
    let of_sender = message.message_attributes.iter().flatten();
    let of_sender = of_sender.map(|(name, attribute)| {
        let binary = attribute.binary_value().map(|bytes| STANDARD.encode(bytes));
        let value = binary.or_else(|| attribute.string_value().map(str::to_owned)).unwrap_or_default();
        (name.clone(), MessageAttribute { data_type: attribute.data_type().to_owned(), value })
    });
    Attributes { system, message: of_sender.collect() }
}

fn system_attribute(message: &Message, name: MessageSystemAttributeName) -> Option<&str> {
    message.attributes.as_ref()?.get(&name).map(String::as_str)
}

/// Rounded up, so that a message is never visible sooner than was asked.
fn whole_seconds(time: Duration) -> i32 {
    let time = time.min(MAX_VISIBILITY);
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)) as i32
}

/// The answer to a batch, in the order of its entries. An entry that the answer does not mention has failed.
fn by_position<'a>(
    count: usize,
    successful: impl Iterator<Item = &'a str>,
    failed: Vec<BatchResultErrorEntry>,
) -> Vec<EntryResult> {
    let mut answers: HashMap<usize, EntryResult> = HashMap::with_capacity(count);
    answers.extend(successful.filter_map(|id| Some((id.parse().ok()?, Ok(())))));
    // After the successful ones: an entry that stands in both lists has failed.
    answers.extend(failed.into_iter().filter_map(|entry| {
        let message = one_line(entry.message.as_deref().unwrap_or_default());
        let error = EntryError { code: entry.code, message, sender_fault: entry.sender_fault };
        Some((entry.id.parse().ok()?, Err(error)))
    }));
    let missing = || {
        let message = "the answer does not mention this entry".to_owned();
        Err(EntryError { code: "Unanswered".to_owned(), message, sender_fault: false })
    };
    (0..count).map(|position| answers.remove(&position).unwrap_or_else(missing)).collect()
}
