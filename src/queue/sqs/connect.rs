//! How a queue is found and reached: its address, region and endpoint, and the clients with their limits. It asks SQS nothing,
//! except for the URL of a queue that is given by name.

use std::sync::Arc;
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
use aws_types::service_config::ServiceConfigKey;
use tokio::time::Instant;

use super::connections::Connections;
use super::direct::Pool;
use super::errors::queue_error;
use super::url::{self, BadQueueUrl, QueueUrl};
use crate::queue::interface::{MAX_WAIT, QueueError};

/// The limit of one attempt at any call but a receive. SQS answers such a call within tens of milliseconds: what takes
/// seconds is a dead connection, and a lease may be waiting behind it.
pub(super) const ATTEMPT: Duration = Duration::from_secs(8);

/// The limit of any call but a receive, with the attempts that the SDK makes (three, unless AWS_MAX_ATTEMPTS says else).
pub(super) const CALL: Duration = Duration::from_secs(20);

/// The limit of a receive. It is the last resort, for those who call without the engine: the engine's own watchdog is
/// sooner, and must be, since it counts what it gives up.
pub(super) const POLL: Duration = MAX_WAIT.saturating_add(Duration::from_secs(15));

/// The limit for getting credentials. It is below [`ATTEMPT`], so that missing credentials are called by their name.
const CREDENTIALS: Duration = Duration::from_secs(6);

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

/// Two clients on the same connections and credentials, which differ in their limits and in who tries again, and the
/// connections of our own client.
#[derive(Clone)]
pub(super) struct Clients {
    /// For receives: tried once. A second long poll inside the first would end after the engine's watchdog, which would
    /// give it up with messages in its hands; and the engine is to see and count each receive that failed.
    pub(super) polls: Client,
    /// For everything else.
    pub(super) calls: Client,
    /// Of our own client, which tries a receive once and a delete by the SDK's attempts too.
    pub(super) pool: Arc<Pool>,
}

impl Clients {
    pub(super) fn new(config: &aws_sdk_sqs::config::Builder) -> Clients {
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

/// What environment, profile and options say of AWS.
pub(super) async fn load(options: &SqsOptions) -> Result<SdkConfig, ConnectError> {
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
pub(super) struct Configured {
    pub(super) config: aws_sdk_sqs::config::Builder,
    pub(super) region: String,
    /// Where SQS is asked, where that is not the region's own endpoint.
    pub(super) endpoint: Option<String>,
    /// By which the SDK finds the endpoint; none where it would find none.
    pub(super) params: Option<Params>,
    /// Whether SQS itself is asked, and no emulator of it.
    pub(super) is_aws: bool,
}

impl Configured {
    /// Where another service is asked: where the environment says, or else at the same emulator. None is the region's own.
    pub(super) fn endpoint_beside(&self, sdk: &SdkConfig, service_id: &str) -> Option<String> {
        configured_endpoint(sdk, service_id).or_else(|| self.endpoint.clone().filter(|_| !self.is_aws))
    }
}

/// The settings of the clients for a queue with this URL, or for one whose URL is not known.
pub(super) fn configure(
    sdk: &SdkConfig,
    url: Option<&QueueUrl>,
    endpoint: Option<String>,
) -> Result<Configured, ConnectError> {
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

pub(super) async fn look_up(
    client: &Client,
    region: &str,
    name: &str,
    account: Option<String>,
) -> Result<QueueUrl, ConnectError> {
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
