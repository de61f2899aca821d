//! What comes from the SDK: the credentials with its cache, its early refresh and its time limit, and the endpoint.

use std::time::{Duration, SystemTime};

use aws_sdk_sqs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_sqs::config::{AsyncSleep, RuntimeComponents, SharedCredentialsProvider, SharedIdentityCache, Sleep};
use aws_sdk_sqs::error::BoxError;
use aws_smithy_runtime::client::auth::no_auth::NoAuthScheme;
use aws_smithy_runtime::client::retries::strategy::NeverRetryStrategy;
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::identity::{Identity, ResolveCachedIdentity, SharedIdentityResolver};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_types::config_bag::ConfigBag;
use aws_types::sdk_config::SharedTimeSource;
use hyper::Uri;

/// What the SDK's clients for the same queue are made of.
pub(crate) struct Settings<'a> {
    pub(crate) config: aws_sdk_sqs::Config,
    pub(crate) credentials: SharedCredentialsProvider,
    pub(crate) params: Params,
    pub(crate) region: &'a str,
}

impl Settings<'_> {
    /// Where requests go, with the path.
    pub(super) async fn endpoint(&self) -> Option<Uri> {
        let endpoint = DefaultResolver::new().resolve_endpoint(&self.params).await.ok()?;
        let is_plain = endpoint.headers().next().is_none() && endpoint.properties().is_empty();
        let mut request = HttpRequest::empty();
        request.set_uri("/").ok()?;
        request.uri_mut().set_endpoint(endpoint.url()).ok()?;
        if is_plain { request.uri().parse().ok() } else { None }
    }

    pub(super) fn identities(&self) -> Option<Identities> {
        let cache = self.config.identity_cache()?;
        let resolver = SharedIdentityResolver::new(self.credentials.clone());
        let time = self.config.time_source().unwrap_or_default();
        let builder = RuntimeComponentsBuilder::new("our own client")
            .with_auth_scheme(NoAuthScheme::new())
            .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(Vec::new())))
            .with_endpoint_resolver(Some(DefaultResolver::new().into_shared_resolver()))
            .with_identity_cache(Some(cache.clone()))
            .with_identity_resolver(AuthSchemeId::new("sigv4"), resolver.clone())
            .with_retry_strategy(Some(NeverRetryStrategy::new()))
            .with_time_source(Some(time.clone()));
        let sleep = self.config.sleep_impl();
        let builder =
            if sleep.is_some() { builder.with_sleep_impl(sleep) } else { builder.with_sleep_impl(Some(Tokio)) };
        Some(Identities { cache, resolver, components: builder.build().ok()?, bag: ConfigBag::base(), time })
    }
}

/// The credentials of now. The cache is the one of the SDK's clients, which therefore share what it holds.
pub(super) struct Identities {
    cache: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: RuntimeComponents,
    bag: ConfigBag,
    time: SharedTimeSource,
}

impl Identities {
    pub(super) async fn current(&self) -> Result<Identity, BoxError> {
        self.cache.resolve_cached_identity(self.resolver.clone(), &self.components, &self.bag).await
    }

    pub(super) fn now(&self) -> SystemTime {
        self.time.now()
    }
}

/// The clock of the runtime, where the configuration brings none.
#[derive(Debug)]
struct Tokio;

impl AsyncSleep for Tokio {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(tokio::time::sleep(duration))
    }
}
