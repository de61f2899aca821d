//! How requests leave this machine: TLS, proxy, certificates, and the pool of connections.

use std::sync::{OnceLock, PoisonError, RwLock};

use aws_sdk_sqs::config::SharedAsyncSleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use super::url;
use crate::net::tls;

/// The HTTP client of everything here: TLS with ring, the proxy that the environment names, the certificates of the system.
///
/// The SDK's own client with ring knows no proxy. A host next door ([`url::is_next_door`]) is reached without one: a
/// proxy cannot reach this machine's LocalStack or this instance's credentials, and must not be handed the latter.
#[derive(Debug, Default)]
pub(super) struct Connections {
    made: RwLock<Vec<(HttpConnectorSettings, SharedHttpConnector)>>,
}

impl HttpClient for Connections {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let limits = |settings: &HttpConnectorSettings| (settings.connect_timeout(), settings.read_timeout());
        let find = |made: &[(HttpConnectorSettings, SharedHttpConnector)]| {
            made.iter().find(|(known, _)| limits(known) == limits(settings)).map(|(_, connector)| connector.clone())
        };
        if let Some(connector) = find(&self.made.read().unwrap_or_else(PoisonError::into_inner)) {
            return connector;
        }
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        find(&made).unwrap_or_else(|| {
            let sleep = components.sleep_impl();
            let connector = ByDistance { settings: settings.clone(), sleep, ways: Default::default() };
            let connector = SharedHttpConnector::new(connector);
            made.push((settings.clone(), connector.clone()));
            connector
        })
    }
}

/// Sends each request the way that fits its host and its scheme. What a way needs is read when it is first gone.
#[derive(Debug)]
struct ByDistance {
    settings: HttpConnectorSettings,
    sleep: Option<SharedAsyncSleep>,
    /// Far and next door, each by TLS and without.
    ways: [[OnceLock<Connector>; 2]; 2],
}

impl HttpConnector for ByDistance {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let is_near = url::host_in(request.uri()).is_some_and(url::is_next_door);
        let is_plain = request.uri().starts_with("http://");
        let way = &self.ways[usize::from(is_near)][usize::from(is_plain)];
        way.get_or_init(|| self.connector(is_near, is_plain)).call(request)
    }
}

impl ByDistance {
    fn connector(&self, is_near: bool, is_plain: bool) -> Connector {
        // Not the SDK's own reading of the system's certificates, which would be a second one.
        let trust = TrustStore::empty();
        let trust = if is_plain { trust } else { trust.with_pem_certificate(tls::system_as_pem()) };
        let context =
            TlsContext::builder().with_trust_store(trust).build().expect("a trust store is all that it holds");
        let mut builder = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .connector_settings(self.settings.clone())
            .proxy_config(if is_near { ProxyConfig::disabled() } else { ProxyConfig::from_env() });
        builder.set_sleep_impl(self.sleep.clone());
        builder.build()
    }
}
