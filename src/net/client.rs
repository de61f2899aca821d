//! A client of HTTP/1.1 that keeps its connections open between requests.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::proxy::Connector;
use super::tls::{self, TlsError, TlsFiles};

pub use super::proxy::BadProxy;

/// How long an idle connection is kept: shorter than the 60 s after which common load balancers close it, since a request
/// that meets the closing is a request that fails.
const IDLE: Duration = Duration::from_secs(30);

/// What sends requests.
pub(crate) type HttpClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// Why there can be no client for a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The proxy that the environment names for this target is of a kind that is not supported.
    #[error(transparent)]
    Proxy(#[from] BadProxy),
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A client for requests to these URLs, with so much time to connect, at most so many idle connections, and these files for TLS.
/// It connects to nothing yet, but waits for the disk.
pub(crate) fn client(
    urls: &[Uri],
    connect_timeout: Duration,
    connections: usize,
    files: &TlsFiles,
) -> Result<HttpClient, ClientError> {
    let connector = Connector::new(connect_timeout, IDLE);
    urls.iter().try_for_each(|url| connector.check(url))?;
    let is_plain = urls.iter().all(|url| url.scheme_str() == Some("http"));
    let tls = match tls::client_config(files) {
        Ok(config) => config,
        // Nothing is verified on the way to a plain-http target, so an image without certificates will do.
        Err(TlsError::NoRoots(_)) if is_plain => tls::trusting_nobody()?,
        Err(error) => return Err(error.into()),
    };
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(connections)
        .build(connector))
}
