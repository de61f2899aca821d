//! The URLs that this program connects to.

use std::error::Error;
use std::net::IpAddr;

use hyper::Uri;

/// Why a URL is not one to connect to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadUrl {
    /// No URL at all.
    #[error("the URL cannot be read")]
    Unreadable(#[source] Box<dyn Error + Send + Sync>),
    /// A URL of another kind, or of no host.
    #[error("the URL must begin with https:// or http:// and name a host")]
    Scheme,
    /// What stands behind the host and a colon is not a port. It would be left out, and the default taken instead.
    #[error("the port of the URL is not a number from 1 to 65535")]
    Port,
    /// Names and passwords in URLs end up in logs.
    #[error("the URL must not carry a user name or password")]
    UserInfo,
}

/// Reads an `http` or `https` URL with a host.
pub(crate) fn parse(url: &str) -> Result<Uri, BadUrl> {
    let url = url.parse::<Uri>().map_err(|error| BadUrl::Unreadable(error.into()))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(BadUrl::Scheme);
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(BadUrl::UserInfo);
    }
    if has_good_port(&url) { Ok(url) } else { Err(BadUrl::Port) }
}

/// Scheme, host and port: what a log may say of a URL.
pub(crate) fn origin(uri: &Uri) -> String {
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
}

/// Whether there is no port, or one that can be connected to: [`Uri::port`] passes over what is none.
pub(crate) fn has_good_port(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return false };
    let behind = authority.as_str().rsplit('@').next().and_then(|rest| rest.strip_prefix(authority.host()));
    match behind.unwrap_or_default().strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => true,
    }
}

/// A text as a segment of a path, a value of a query or one of a form: all but letters, digits and `-._~` percent-encoded.
#[cfg(any(feature = "http", feature = "stream-api"))]
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Whether the URL leads to this machine.
pub(crate) fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_or_the_url_is_refused() {
        for good in ["https://h/", "https://h:1/", "https://[::1]:65535/x", "http://[::1]/"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["https://h:notaport/", "https://h:0/", "https://h:65536/", "https://h:/", "http://[::1]:x/"] {
            assert!(matches!(parse(bad), Err(BadUrl::Port | BadUrl::Unreadable(_))), "{bad}");
        }
        assert!(matches!(parse("https://h:notaport/"), Err(BadUrl::Port)));
    }

    #[test]
    fn a_url_is_http_names_a_host_and_carries_no_password() {
        for bad in ["ftp://h/", "/path", "https:///x"] {
            assert!(matches!(parse(bad), Err(BadUrl::Scheme | BadUrl::Unreadable(_))), "{bad}");
        }
        assert!(matches!(parse("https://user:secret@h/"), Err(BadUrl::UserInfo)));
    }

    #[test]
    fn an_origin_has_neither_path_nor_query() {
        assert_eq!(origin(&parse("https://h:8443/t0ken?key=t0ken").unwrap()), "https://h:8443");
    }
}
