//! Outgoing connections: which URLs they lead to, TCP through the proxy that the environment names, and TLS.
//!
//! What the handlers that ship, the client of Stream's API and the queue's own client share. Nothing here knows what is
//! sent. What the queue asks through the AWS SDK has the SDK's connections.
//!
//! Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` as curl takes them, and are asked for a
//! tunnel (`CONNECT`), for plain-http targets too. A proxy that is itself spoken to by TLS or SOCKS is not supported, and
//! refused. The loopback is never asked for through a proxy.

#[cfg(any(feature = "http", feature = "stream-api"))]
pub mod client;
#[cfg(any(feature = "http", feature = "sqs", feature = "stream-api"))]
pub(crate) mod proxy;
#[cfg(feature = "http")]
pub(crate) mod rotating;
#[cfg(feature = "http")]
pub mod secret;
pub mod tls;
#[cfg(any(feature = "http", feature = "sqs", feature = "stream-api"))]
#[cfg_attr(
    not(any(feature = "http", feature = "stream-api")),
    allow(dead_code, reason = "the queue has URLs of its own: of these it needs those of proxies")
)]
pub mod url;
