//! How requests leave this machine: TLS, proxy, certificates, and the pool of connections.

use std::sync::{OnceLock, PoisonError, RwLock};

use aws_sdk_sqs::config::SharedAsyncSleep;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use super::url;

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
            let (next_door, far) = (OnceLock::new(), OnceLock::new());
            let connector = ByDistance { settings: settings.clone(), sleep, next_door, far };
            let connector = SharedHttpConnector::new(connector);
            made.push((settings.clone(), connector.clone()));
            connector
        })
    }
}

/// Sends each request the way that fits its host. What a way needs (the certificates of the system above all) is read
/// when it is first gone.
#[derive(Debug)]
struct ByDistance {
    settings: HttpConnectorSettings,
    sleep: Option<SharedAsyncSleep>,
    next_door: OnceLock<Connector>,
    far: OnceLock<Connector>,
}

impl HttpConnector for ByDistance {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connect = |proxy| {
            let mut builder = Connector::builder()
                .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
                .connector_settings(self.settings.clone())
                .proxy_config(proxy);
            builder.set_sleep_impl(self.sleep.clone());
            builder.build()
        };
        let connector = if url::host_in(request.uri()).is_some_and(url::is_next_door) {
            self.next_door.get_or_init(|| connect(ProxyConfig::disabled()))
        } else {
            self.far.get_or_init(|| connect(ProxyConfig::from_env()))
        };
        connector.call(request)
    }
}
