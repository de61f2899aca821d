//! A client of HTTP/1.1 that keeps its connections open between requests.

use std::error::Error;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use tower_service::Service;

use super::proxy::Connector;
use super::tls::{self, TlsError, TlsFiles};
use super::url::{self, BadUrl};

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

/// Why there is no connection to a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The URL is not one to connect to.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// There can be no client for it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody takes the connection: a name that does not resolve, a port on which nobody listens, a proxy that refuses.
    #[error("there is no connection")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// There is a connection, and no TLS on it: a certificate that is not trusted, or a server that does not speak it.
    #[error("the TLS handshake failed")]
    Handshake(#[source] Box<dyn Error + Send + Sync>),
    /// Neither came about in time.
    #[error("there is no connection within {} ms", .after.as_millis())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
}

/// Connects to a URL as the handler `http` does, with the TLS handshake by these files, and hangs up. No request is sent.
///
/// # Errors
///
/// See [`ConnectionError`].
pub async fn try_to_connect(url: &str, files: &TlsFiles, limit: Duration) -> Result<(), ConnectionError> {
    let url = url::parse(url)?;
    let mut connector = connector(std::slice::from_ref(&url), limit, files)?;
    let connecting = async {
        poll_fn(|context| connector.poll_ready(context)).await?;
        connector.call(url).await
    };
    match timeout(limit, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if tls::is_of_tls(&*error) => Err(ConnectionError::Handshake(error)),
        Ok(Err(error)) => Err(ConnectionError::Refused(error)),
        Err(_) => Err(ConnectionError::TimedOut { after: limit }),
    }
}

/// A client for requests to these URLs, with so much time to connect, at most so many idle connections, and these files for TLS.
/// It connects to nothing yet, but waits for the disk.
pub(crate) fn client(
    urls: &[Uri],
    connect_timeout: Duration,
    connections: usize,
    files: &TlsFiles,
) -> Result<HttpClient, ClientError> {
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(connections)
        .build(connector(urls, connect_timeout, files)?))
}

/// What opens connections to these URLs.
fn connector(
    urls: &[Uri],
    connect_timeout: Duration,
    files: &TlsFiles,
) -> Result<HttpsConnector<Connector>, ClientError> {
    let connector = Connector::new(connect_timeout, IDLE);
    urls.iter().try_for_each(|url| connector.check(url))?;
    let is_plain = urls.iter().all(|url| url.scheme_str() == Some("http"));
    let tls = match tls::client_config(files) {
        Ok(config) => config,
        // Nothing is verified on the way to a plain-http target, so an image without certificates will do.
        Err(TlsError::NoRoots(_)) if is_plain => tls::trusting_nobody()?,
        Err(error) => return Err(error.into()),
    };
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector))
}
