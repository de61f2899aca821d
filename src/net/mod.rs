//! Outgoing connections: which URLs they lead to, TCP through the proxy that the environment names, and TLS.
//!
//! What the handlers that ship and the client of Stream's API share. Nothing here knows what is sent. The queue has the
//! connections of the AWS SDK.
//!
//! Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` as curl takes them, and are asked for a
//! tunnel (`CONNECT`), for plain-http targets too. A proxy that is itself spoken to by TLS or SOCKS is not supported, and
//! refused. The loopback is never asked for through a proxy.

#[cfg(any(feature = "http", feature = "stream-api"))]
pub mod client;
#[cfg(any(feature = "http", feature = "stream-api"))]
mod proxy;
#[cfg(feature = "http")]
pub(crate) mod rotating;
#[cfg(feature = "http")]
pub mod secret;
pub mod tls;
#[cfg(any(feature = "http", feature = "stream-api"))]
pub mod url;
