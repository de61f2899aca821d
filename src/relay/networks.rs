//! From whom requests may come: networks, Stream's addresses, and what proxies say.

use std::net::IpAddr;

use ipnet::IpNet;

/// The addresses that Stream sends webhooks from.
///
/// Source: Stream's documentation of webhooks. They are static.
const STREAM: [[u8; 4]; 25] = [
    // US-East.
    [34, 225, 10, 29],
    [34, 198, 125, 61],
    [52, 22, 78, 160],
    [3, 215, 161, 238],
    // EU-West.
    [52, 212, 14, 212],
    [52, 17, 43, 232],
    [34, 241, 110, 177],
    // Sydney.
    [54, 252, 193, 245],
    [13, 55, 254, 141],
    [3, 24, 48, 104],
    // Mumbai.
    [65, 1, 48, 87],
    [15, 206, 221, 25],
    [13, 233, 48, 78],
    // Singapore.
    [13, 229, 11, 158],
    [52, 74, 225, 150],
    [52, 76, 180, 70],
    // Ohio.
    [3, 14, 163, 216],
    [3, 15, 245, 3],
    [3, 141, 116, 179],
    // Canada.
    [35, 183, 141, 98],
    [52, 60, 71, 231],
    [3, 97, 253, 35],
    // Oregon.
    [52, 25, 165, 25],
    [44, 237, 58, 11],
    [52, 10, 213, 81],
];

/// How many addresses of `X-Forwarded-For` are looked at.
const HOPS: usize = 32;

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network or an address, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")]
pub struct BadNetwork(String);

/// A list of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks, each in CIDR notation, or a single address, or the word `stream` for
    /// [the addresses of Stream](Networks::of_stream).
    ///
    /// # Errors
    ///
    /// The first text that is neither.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Networks, BadNetwork> {
        let network = |text: &str| {
            let address = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
            text.parse::<IpNet>().ok().or_else(address).ok_or_else(|| BadNetwork(text.to_owned()))
        };
        let mut networks = Networks::default();
        for text in texts.into_iter().map(str::trim) {
            match text {
                "stream" => networks.0.extend(Networks::of_stream().0),
                text => networks.0.push(network(text)?),
            }
        }
        Ok(networks)
    }

    /// The addresses that Stream publishes for its webhooks.
    pub fn of_stream() -> Networks {
        Networks(STREAM.iter().map(|address| IpNet::from(IpAddr::from(*address))).collect())
    }

    /// Whether one of them holds this address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// From which address a request came: the peer, and where that is a trusted proxy the rightmost address of
/// `X-Forwarded-For` that is not one. Each proxy adds the one that it saw on the right; what stands to the left of the first
/// that is not trusted can be made up. None where that cannot be read, which is nobody's address.
pub(super) fn client<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &Networks,
) -> Option<IpAddr> {
    let mut client = peer.to_canonical();
    let values = forwarded.rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for hop in values.take(HOPS) {
        if !trusted.contain(client) {
            break;
        }
        client = address(hop)?.to_canonical();
    }
    Some(client)
}

/// An address, in brackets or not, with a port or without: load balancers can be told to add it.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    text.parse().ok().or_else(with_port).or_else(bare)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn client_of(peer: &str, forwarded: &[&str]) -> Option<String> {
        let trusted = Networks::parse(["10.0.0.0/8", "fd00::/8"]).unwrap();
        let values = forwarded.iter().map(|value| value.as_bytes());
        client(peer.parse().unwrap(), values, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn the_rightmost_address_that_is_not_a_trusted_proxy_counts() {
        for (peer, forwarded, expected) in [
            ("10.0.0.1", &["198.51.100.7"][..], Some("198.51.100.7")),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.1.1.1"], Some("198.51.100.7")),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7,10.1.1.1"], Some("198.51.100.7")),
            ("::ffff:10.0.0.1", &["[2001:db8::7]:4711"], Some("2001:db8::7")),
            ("10.0.0.1", &["198.51.100.7:80"], Some("198.51.100.7")),
            // All of them are proxies: the request began in the network itself.
            ("10.0.0.1", &["10.2.2.2, 10.1.1.1"], Some("10.2.2.2")),
            ("10.0.0.1", &[], Some("10.0.0.1")),
            // Anyone who is not a proxy may write anything.
            ("198.51.100.7", &["34.225.10.29"], Some("198.51.100.7")),
            ("10.0.0.1", &["34.225.10.29, unknown"], None),
            ("10.0.0.1", &["34.225.10.29,"], None),
        ] {
            assert_eq!(client_of(peer, forwarded).as_deref(), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_network_is_cidr_or_one_address() {
        let networks = Networks::parse(["192.0.2.0/24", " 2001:db8::1 "]).unwrap();
        for (address, is_in) in [
            ("192.0.2.255", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.3.0", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), is_in, "{address}");
        }
        for wrong in ["", "10.0.0.0/33", "streams", "10.0.0", "10.0.0.1:80"] {
            assert!(Networks::parse([wrong]).unwrap_err().to_string().contains("10.0.0.0/8"), "{wrong}");
        }
        assert_eq!(Networks::parse(["stream"]), Ok(Networks::of_stream()));
        assert!(Networks::of_stream().contain("52.10.213.81".parse().unwrap()));
        assert!(!Networks::of_stream().contain("52.10.213.82".parse().unwrap()));
    }
}
