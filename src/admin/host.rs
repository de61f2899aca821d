//! By which names requests may ask for the listener.
//!
//! A page in a browser can point a name of its own at this machine and then read what is answered here, since for the
//! browser both are one origin. What it cannot do is send another `Host` than that name.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hyper::Request;
use hyper::header::HOST;

/// The names beyond those that are always allowed, in lower case.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeSet<String>);

impl Hosts {
    pub(super) fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Hosts {
        Hosts(names.into_iter().map(|name| name.into().to_ascii_lowercase()).collect())
    }

    /// Whether every name that the request uses for this listener is allowed. One without any is, since no browser sends that.
    pub(super) fn allow<B>(&self, request: &Request<B>) -> bool {
        let of_uri = request.uri().authority().is_none_or(|authority| self.allows(authority.as_str()));
        let mut named = request.headers().get_all(HOST).iter();
        of_uri && named.all(|host| host.to_str().is_ok_and(|host| self.allows(host)))
    }

    /// A host, with its port if it has one.
    fn allows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.split_once(':').map_or(host, |(name, _)| name),
        };
        !name.contains('.') && !name.contains(':')
            || name.parse::<IpAddr>().is_ok()
            || self.0.contains(&name.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_dot_is_allowed_only_where_it_is_listed() {
        let hosts = Hosts::new(["Metrics.Example.com"]);
        for allowed in [
            "127.0.0.1:9464",
            "10.0.0.7",
            "[::1]:9464",
            "localhost",
            "localhost:9464",
            "stream-sqsd:9464",
            "metrics.example.com",
            "METRICS.example.COM:9464",
        ] {
            assert!(hosts.allows(allowed), "{allowed}");
        }
        for foreign in [
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "example.com",
            "x.metrics.example.com",
            "metrics.example.com.",
            "user@evil.example",
            "[evil.example]",
            "localhost.evil.example:80",
        ] {
            assert!(!hosts.allows(foreign), "{foreign}");
        }
    }

    #[test]
    fn each_name_that_a_request_uses_counts() {
        let allow = |uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            Hosts::default().allow(&request.body(()).expect("a request"))
        };
        assert!(allow("/status", &["127.0.0.1"]));
        assert!(allow("/status", &[]), "HTTP/1.0 knows no Host");
        assert!(!allow("/status", &["evil.example"]));
        assert!(!allow("/status", &["127.0.0.1", "evil.example"]));
        assert!(!allow("http://evil.example/status", &["127.0.0.1"]));
    }
}
