//! [`SqsQueue`]: what it is asked, and what its answers mean.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use tokio::time::{Instant, sleep, timeout};

use super::account::CallerAccount;
#[cfg(feature = "sns")]
use super::arn::TopicArn;
use super::attempt::{Attempt, LostAttempt};
use super::batch::BatchAnswer;
use super::connect::{
    self, ATTEMPT, CALL, Clients, Configured, ConnectError, POLL, QueueAddress, SqsClient, SqsOptions,
};
use super::direct::{self, Ask, Call, Direct, Outcome};
use super::errors::queue_error;
use super::provision::Provisioner;
use super::received::{self, Received, TRACEPARENT};
#[cfg(feature = "sns")]
use super::topic::Topic;
use super::url::QueueUrl;
use crate::queue::interface::{
    BATCH, Delivery, EntryResult, MAX_VISIBILITY, MAX_WAIT, Queue, QueueError, QueueFacts, Receipt, WebhookId,
};
use crate::queue::outgoing::{Outgoing, Sender};

/// Until when a receive that failed is made again by the SDK: later, it would end after the engine's watchdog.
const SECOND_RECEIVE: Duration = Duration::from_secs(5);

/// How often a call is tried where nothing says else: the SDK's default.
const DEFAULT_ATTEMPTS: u32 = 3;

/// The longest pause before the second attempt at a delete: the SDK's.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The attributes of the queue and of the sender that are used.
const USED: [&str; 4] = ["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId", "AWSTraceHeader"];
const USED_OF_SENDER: [&str; 2] = [TRACEPARENT, WebhookId::ATTRIBUTE];
const ALL: [&str; 1] = ["All"];

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
        let sdk = connect::load(&options).await?;
        Ok(SqsQueue::assemble(&sdk, options.queue, options.endpoint_url).await?.with_client(options.client))
    }

    /// What makes queues where this one is, or is to be: it need not be there.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn provisioner(options: &SqsOptions) -> Result<Provisioner, ConnectError> {
        let sdk = connect::load(options).await?;
        SqsQueue::provisioner_of(&sdk, &options.queue, options.endpoint_url.clone())
    }

    /// What makes a topic send to the queue. The topic may be in another region.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    #[cfg(feature = "sns")]
    pub async fn topic(options: &SqsOptions, topic: TopicArn) -> Result<Topic, ConnectError> {
        let sdk = connect::load(options).await?;
        let configured = connect::configure(&sdk, options.queue.url(), options.endpoint_url.clone())?;
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
        let configured = connect::configure(sdk, queue.url(), endpoint)?;
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
        let Configured { config, region, params, .. } = connect::configure(sdk, queue.url(), endpoint)?;
        let clients = Clients::new(&config);
        let url = match queue {
            QueueAddress::Url(url) => url,
            QueueAddress::Name { name, account } => connect::look_up(&clients.calls, &region, &name, account).await?,
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
