//! [`SqsQueue`]: how it is found, what it is asked, and what its answers mean.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::endpoint::Params;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{IdentityCache, SharedHttpClient, StalledStreamProtectionConfig};
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use aws_types::service_config::ServiceConfigKey;
use tokio::time::{Instant, sleep, timeout};

use super::account::CallerAccount;
#[cfg(feature = "sns")]
use super::arn::TopicArn;
use super::batch::BatchAnswer;
use super::connections::Connections;
use super::direct::{self, Ask, Call, Direct, Outcome, Pool};
use super::errors::queue_error;
use super::provision::Provisioner;
use super::received::{self, Received, TRACEPARENT};
#[cfg(feature = "sns")]
use super::topic::Topic;
use super::url::{self, BadQueueUrl, QueueUrl};
use crate::queue::interface::{
    BATCH, Delivery, EntryResult, MAX_VISIBILITY, MAX_WAIT, Queue, QueueError, QueueFacts, Receipt, WebhookId,
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

/// Until when a receive that failed is made again by the SDK: later, it would end after the engine's watchdog.
const SECOND_RECEIVE: Duration = Duration::from_secs(5);

/// The limit for getting credentials. It is below [`ATTEMPT`], so that missing credentials are called by their name.
const CREDENTIALS: Duration = Duration::from_secs(6);

/// How often a call is tried where nothing says else: the SDK's default.
const DEFAULT_ATTEMPTS: u32 = 3;

/// The longest pause before the second attempt at a delete: the SDK's.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The attributes of the queue and of the sender that are used.
const USED: [&str; 4] = ["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId", "AWSTraceHeader"];
const USED_OF_SENDER: [&str; 2] = [TRACEPARENT, WebhookId::ATTRIBUTE];
const ALL: [&str; 1] = ["All"];

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
    /// The client that receives and deletes.
    pub client: SqsClient,
}

/// The client that receives and deletes. Everything else is the AWS SDK's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqsClient {
    /// One of our own that costs a third less CPU a message, where it gets through, and else the AWS SDK.
    #[default]
    Auto,
    /// The AWS SDK alone.
    Sdk,
}

impl SqsOptions {
    /// Options that say which queue it is and leave everything else to the environment.
    pub fn new(queue: QueueAddress) -> Self {
        SqsOptions { queue, region: None, profile: None, endpoint_url: None, client: SqsClient::Auto }
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
    /// Our own client of receives and deletes, where there can be one and it is wanted.
    direct: Option<Arc<Direct>>,
    /// How often a delete is tried: the SDK's setting.
    attempts: u32,
    lost: Mutex<Vec<LostAttempt>>,
}

impl fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsQueue").field("url", &self.url).field("region", &self.region).finish_non_exhaustive()
    }
}

/// Two clients on the same connections and credentials, which differ in their limits and in who tries again, and the
/// connections of our own client.
#[derive(Clone)]
pub(super) struct Clients {
    /// For receives: tried once. A second long poll inside the first would end after the engine's watchdog, which would
    /// give it up with messages in its hands; and the engine is to see and count each receive that failed.
    polls: Client,
    /// For everything else.
    pub(super) calls: Client,
    /// Of our own client, which tries a receive once and a delete by the SDK's attempts too.
    pool: Arc<Pool>,
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
        Ok(SqsQueue::assemble(&sdk, options.queue, options.endpoint_url).await?.with_client(options.client))
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
        let Configured { config, region, params, .. } = configure(sdk, queue.url(), endpoint)?;
        let clients = Clients::new(&config);
        let url = match queue {
            QueueAddress::Url(url) => url,
            QueueAddress::Name { name, account } => look_up(&clients.calls, &region, &name, account).await?,
        };
        let built = config.clone().build();
        let attempts = built.retry_config().map_or(DEFAULT_ATTEMPTS, RetryConfig::max_attempts);
        let direct = match (sdk.credentials_provider(), params) {
            (Some(credentials), Some(params)) => {
                Direct::new(direct::Settings { config: built, credentials, params, region: &region })
                    .await
                    .map(Arc::new)
            }
            _ => None,
        };
        Ok(SqsQueue { url, region, config, clients: RwLock::new(clients), direct, attempts, lost: Mutex::default() })
    }

    /// Goes through this client from now on.
    pub fn with_client(mut self, client: SqsClient) -> SqsQueue {
        if client == SqsClient::Sdk {
            self.direct = None;
        }
        self
    }

    /// Another queue in the same region, on the same connections and credentials.
    pub(super) fn with_url(&self, url: QueueUrl) -> SqsQueue {
        let (region, config, direct) = (self.region.clone(), self.config.clone(), self.direct.clone());
        let (clients, attempts) = (RwLock::new(self.clients()), self.attempts);
        SqsQueue { url, region, config, clients, direct, attempts, lost: Mutex::default() }
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
        let answer = BatchAnswer::of_sdk(answer.successful.iter().map(|entry| entry.id()), answer.failed);
        Ok(answer.in_order(batch.len()))
    }

    pub(super) fn clients(&self) -> Clients {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Our own client, where there is one and it is worth its use.
    fn direct(&self) -> Option<&Direct> {
        self.direct.as_deref().filter(|direct| direct.trust.holds())
    }

    /// Receives, with all attributes or with those that the engine uses.
    async fn take(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
        whole: bool,
    ) -> Result<Vec<Delivery>, QueueError> {
        let attempt = self.url.is_fifo().then(|| Attempt::begin(&self.lost));
        let ask = Ask {
            queue_url: self.url.as_str(),
            message_system_attribute_names: if whole { &ALL } else { &USED },
            // By their names, and not all: others may be long, and count against what one answer holds.
            message_attribute_names: if whole { &ALL } else { &USED_OF_SENDER },
            max_number_of_messages: max.clamp(1, BATCH) as i32,
            visibility_timeout: visibility.map(whole_seconds),
            // Rounded down: an answer never comes later than was asked.
            wait_time_seconds: wait.min(MAX_WAIT).as_secs() as i32,
            receive_request_attempt_id: attempt.as_ref().map(|attempt| &*attempt.id),
        };
        let answer = match self.direct().filter(|_| !whole) {
            Some(direct) => self.receive_directly(direct, &ask).await,
            None => self.receive_by_sdk(&ask, whole).await,
        };
        if let Some(attempt) = attempt {
            attempt.end(&answer);
        }
        received::deliveries(answer?, self.url.is_fifo())
    }

    async fn receive_directly(&self, direct: &Direct, ask: &Ask<'_>) -> Result<Vec<Received>, QueueError> {
        let started = Instant::now();
        let pool = self.clients().pool;
        match timeout(POLL, direct.receive(&pool, ask)).await {
            Ok(Outcome::Over(answer)) => answer.map_err(|error| queue_error("sqs:ReceiveMessage", started, *error)),
            // As for a receive that broke: the engine counts it, and makes the next one.
            Ok(Outcome::ForTheSdk(why)) if started.elapsed() > SECOND_RECEIVE => {
                Err(QueueError::Unreachable { message: why })
            }
            Ok(Outcome::ForTheSdk(why)) => {
                let answer = self.receive_by_sdk(ask, false).await;
                if answer.is_ok() {
                    direct.trust.broken(Call::Receive, &why);
                }
                answer
            }
            Err(_) => Err(QueueError::TimedOut { after: started.elapsed() }),
        }
    }

    async fn receive_by_sdk(&self, ask: &Ask<'_>, whole: bool) -> Result<Vec<Received>, QueueError> {
        let system = ask.message_system_attribute_names.iter().map(|name| MessageSystemAttributeName::from(*name));
        let of_sender = ask.message_attribute_names.iter().map(|name| name.to_string());
        let call = self.clients().polls.receive_message();
        let call = call
            .queue_url(ask.queue_url)
            .max_number_of_messages(ask.max_number_of_messages)
            .wait_time_seconds(ask.wait_time_seconds)
            .set_visibility_timeout(ask.visibility_timeout)
            .set_message_system_attribute_names(Some(system.collect()))
            .set_message_attribute_names(Some(of_sender.collect()))
            .set_receive_request_attempt_id(ask.receive_request_attempt_id.map(str::to_owned));
        let started = Instant::now();
        let answer = call.send().await.map_err(|error| queue_error("sqs:ReceiveMessage", started, error))?;
        let messages = answer.messages.into_iter().flatten();
        Ok(messages.map(|message| Received::of_sdk(message, whole)).collect())
    }

    /// Deletes by our own client, and by the SDK's further attempts where it fails in a way that passes.
    async fn delete_directly(&self, direct: &Direct, batch: &[Receipt]) -> Result<BatchAnswer, QueueError> {
        let started = Instant::now();
        let pool = self.clients().pool;
        let error = match timeout(ATTEMPT, direct.delete(&pool, self.url.as_str(), batch)).await {
            Ok(Outcome::Over(Ok(answer))) => return Ok(answer),
            Ok(Outcome::Over(Err(error))) => *error,
            Ok(Outcome::ForTheSdk(why)) => {
                let answer = self.delete_by_sdk(batch, started, None).await;
                if answer.is_ok() {
                    direct.trust.broken(Call::Delete, &why);
                }
                return answer;
            }
            Err(elapsed) => SdkError::timeout_error(elapsed),
        };
        let is_tried_again = is_tried_again(&error);
        let error = queue_error("sqs:DeleteMessage", started, error);
        match self.attempts.saturating_sub(1) {
            left @ 1.. if is_tried_again || matches!(error, QueueError::Throttled { .. }) => {
                sleep(back_off()).await;
                self.delete_by_sdk(batch, started, Some(left)).await
            }
            _ => Err(error),
        }
    }

    /// Deletes by the SDK, with so many attempts in place of those that are configured.
    async fn delete_by_sdk(
        &self,
        batch: &[Receipt],
        started: Instant,
        attempts: Option<u32>,
    ) -> Result<BatchAnswer, QueueError> {
        let entries = batch.iter().enumerate().map(|(position, receipt)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(position.to_string());
            entry.receipt_handle(&*receipt.handle).build().expect("id and handle are set")
        });
        let call = self.clients().calls.delete_message_batch();
        let call = call.queue_url(self.url.as_str()).set_entries(Some(entries.collect()));
        let answer = match attempts {
            None => call.send().await,
            Some(attempts) => {
                let retry = RetryConfig::standard().with_max_attempts(attempts);
                let changed = aws_sdk_sqs::Config::builder().retry_config(retry);
                call.customize().config_override(changed).send().await
            }
        };
        let answer = answer.map_err(|error| queue_error("sqs:DeleteMessage", started, error))?;
        Ok(BatchAnswer::of_sdk(answer.successful.iter().map(|entry| entry.id()), answer.failed))
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
        let started = Instant::now();
        let answer = match self.direct() {
            Some(direct) => match timeout(CALL, self.delete_directly(direct, batch)).await {
                Ok(answer) => answer,
                Err(_) => Err(QueueError::TimedOut { after: started.elapsed() }),
            },
            None => self.delete_by_sdk(batch, started, None).await,
        };
        Ok(answer?.in_order(batch.len()))
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
        let answer = BatchAnswer::of_sdk(answer.successful.iter().map(|entry| entry.id()), answer.failed);
        Ok(answer.in_order(batch.len()))
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

    fn fallbacks(&self) -> u64 {
        self.direct.as_ref().map_or(0, |direct| direct.trust.fallbacks())
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
        let (polls, calls) = (Client::from_conf(polls.build()), Client::from_conf(calls.build()));
        Clients { polls, calls, pool: Arc::default() }
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
    let SqsOptions { queue, region: asked, profile, endpoint_url, .. } = options;
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
    /// By which the SDK finds the endpoint; none where it would find none.
    params: Option<Params>,
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
    let (mut use_fips, mut use_dual_stack) = (sdk.use_fips(), sdk.use_dual_stack());
    match url.map(|url| (url, url.endpoint())) {
        Some((url, url::Endpoint::Origin)) => {
            endpoint.get_or_insert_with(|| url.origin().to_owned());
        }
        Some((_, url::Endpoint::Variant { fips, dual_stack })) if endpoint.is_none() => {
            // What the environment asks for beyond that stays asked for.
            use_fips = if fips { Some(true) } else { use_fips };
            use_dual_stack = if dual_stack { Some(true) } else { use_dual_stack };
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
    config.set_endpoint_url(endpoint.clone()).set_use_fips(use_fips).set_use_dual_stack(use_dual_stack);
    let params = Params::builder().region(&region).set_endpoint(endpoint.clone());
    let params = params.set_use_fips(use_fips).set_use_dual_stack(use_dual_stack).build().ok();
    Ok(Configured { config, region, endpoint, params, is_aws })
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

/// Whether the SDK tries a delete again that failed so: no answer, or one of a server in distress. (Throttling aside, which
/// its code tells.)
fn is_tried_again<E>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ServiceError(answer) => matches!(answer.raw().status().as_u16(), 500 | 502 | 503 | 504),
        SdkError::ConstructionFailure(_) => false,
        _ => true,
    }
}

/// As the SDK draws it.
#[allow(clippy::disallowed_methods, reason = "the SDK's own pauses cannot be repeated by a seed either")]
fn back_off() -> Duration {
    BACK_OFF.mul_f64(fastrand::f64())
}

/// Rounded up, so that a message is never visible sooner than was asked.
fn whole_seconds(time: Duration) -> i32 {
    let time = time.min(MAX_VISIBILITY);
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)) as i32
}
