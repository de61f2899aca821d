//! TCP connections, through the proxy that the environment names if it names one.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::url::{is_loopback, origin};

/// Why the proxy that the environment names for a target cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} is not supported: only http:// proxies work; NO_PROXY names targets that need none")]
#[cfg_attr(
    not(any(feature = "http", feature = "stream-api")),
    allow(unreachable_pub, reason = "it is public where those who connect by URLs are")
)]
pub struct BadProxy {
    /// Its scheme, host and port.
    proxy: String,
}

/// Opens TCP connections.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    proxies: Arc<Matcher>,
    is_near: fn(&Uri) -> bool,
}

impl Connector {
    /// With so much time to connect, and a probe of the connection after as long without a byte.
    pub(crate) fn new(connect_timeout: Duration, keepalive: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(keepalive));
        Connector { tcp, proxies: Arc::new(Matcher::from_env()), is_near: is_loopback }
    }

    /// Asks for these targets without a proxy, in place of those on the loopback.
    #[cfg(feature = "sqs")]
    pub(crate) fn with_near(self, is_near: fn(&Uri) -> bool) -> Self {
        Connector { is_near, ..self }
    }

    /// Whether the way to a target leads through a proxy.
    #[cfg(feature = "sqs")]
    pub(crate) fn has_proxy(&self, target: &Uri) -> bool {
        !(self.is_near)(target) && self.proxies.intercept(target).is_some()
    }

    /// Refuses a proxy of an unsupported kind before there is anything to send.
    pub(crate) fn check(&self, target: &Uri) -> Result<(), BadProxy> {
        if (self.is_near)(target) {
            return Ok(());
        }
        match self.proxies.intercept(target) {
            Some(proxy) => supported(proxy.uri()),
            None => Ok(()),
        }
    }
}

fn supported(proxy: &Uri) -> Result<(), BadProxy> {
    if proxy.scheme_str() == Some("http") { Ok(()) } else { Err(BadProxy { proxy: origin(proxy) }) }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(ready!(self.tcp.poll_ready(cx))?))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let proxy = if (self.is_near)(&target) { None } else { self.proxies.intercept(&target) };
        let Some(proxy) = proxy else {
            let connecting = self.tcp.call(target);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        if let Err(error) = supported(proxy.uri()) {
            return Box::pin(async move { Err(error.into()) });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
        if let Some(password) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(password.clone());
        }
        let connecting = tunnel.call(target);
        Box::pin(async move { Ok(connecting.await?) })
    }
}
