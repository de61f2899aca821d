//! What the URL of a queue says: where the queue is, in which region and account, and its name.
//!
//! Pure text: nothing here asks anybody. The forms are those that SQS has had over the years and those of the emulators;
//! a form that is not known still gives a name and an origin, and its region then has to come from elsewhere.

use std::fmt;
use std::net::IpAddr;

/// The name under which LocalStack is reached, which every resolver leads to this machine.
const LOCALSTACK: &str = "localhost.localstack.cloud";

/// The URL of a queue, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct QueueUrl {
    text: String,
    origin: String,
    region: Option<String>,
    account: Option<String>,
    name: String,
    endpoint: Endpoint,
}

/// What the host of a queue URL asks of the client that is to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The region's own endpoint, which the SDK finds by itself.
    Region,
    /// The region's endpoint of another kind, which the SDK finds when it is told so.
    Variant {
        /// With validated cryptography (FIPS 140).
        fips: bool,
        /// Over IPv6 too.
        dual_stack: bool,
    },
    /// The host of the URL itself: a VPC endpoint, an emulator, anything that is not an endpoint of AWS.
    Origin,
}

impl QueueUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    ///
    /// [`BadQueueUrl`] when it is not an `http://` or `https://` URL with a queue name in its path.
    pub fn parse(url: &str) -> Result<QueueUrl, BadQueueUrl> {
        let bad = |why| BadQueueUrl { url: printable(url), why };
        let (scheme, authority, path) =
            split(url).ok_or_else(|| bad("it does not begin with https:// and a host, or its port is not a number"))?;
        if authority.contains('@') {
            return Err(bad("it holds a user name"));
        }
        if path.contains(['?', '#']) {
            return Err(bad("it holds more than a path"));
        }
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let name = *segments.last().ok_or_else(|| bad("it ends before the name of the queue"))?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            return Err(bad("the name of the queue holds a character that SQS does not allow"));
        }

        let host = host_of(authority).to_ascii_lowercase();
        let (endpoint, region) = place(&host);
        // LocalStack's `path` strategy: /queue/REGION/ACCOUNT/NAME.
        let region = match segments.as_slice() {
            ["queue", region, _, _] if region.contains('-') => Some(*region),
            _ => region,
        };
        let account = segments.iter().rev().nth(1).filter(|s| s.len() == 12 && s.bytes().all(|b| b.is_ascii_digit()));

        Ok(QueueUrl {
            text: url.to_owned(),
            origin: format!("{scheme}://{authority}"),
            region: region.map(str::to_owned),
            account: account.map(|account| (*account).to_owned()),
            name: name.to_owned(),
            endpoint,
        })
    }

    /// Whether another URL, as somebody wrote it, leads to the same queue: the same text, or the same region, account and
    /// name where both have them. AWS has several forms.
    pub fn leads_to_the_same_as(&self, other: &str) -> bool {
        fn parts(url: &QueueUrl) -> Option<(&str, &str, &str)> {
            Some((url.region()?, url.account()?, url.name()))
        }
        let same = |other: QueueUrl| parts(self).is_some_and(|own| parts(&other) == Some(own));
        self.as_str() == other || QueueUrl::parse(other).is_ok_and(same)
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The region that the URL names.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The account of the queue, twelve digits.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The name of the queue.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the queue keeps the order within message groups. SQS puts it into the name.
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }

    /// The ARN of the queue, if it lies in `region`; none where the URL names no account.
    pub fn arn_in(&self, region: &str) -> Option<String> {
        Some(queue_arn(region, self.account()?, &self.name))
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The ARN of a queue.
pub fn queue_arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:{}:sqs:{region}:{account}:{name}", partition(region))
}

/// The URL of the queue that has this ARN, at the region's own endpoint; none where it is not the ARN of a queue.
pub fn queue_url_of(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", partition, "sqs", region, account, name] = parts.as_slice() else { return None };
    let suffix = match *partition {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        "aws-eusc" => "amazonaws.eu",
        _ => return None,
    };
    let url = QueueUrl::parse(&format!("https://sqs.{region}.{suffix}/{account}/{name}")).ok()?;
    url.account().is_some().then_some(url.text)
}

/// Whether a host, with its port or without, is this machine.
pub fn is_this_machine(authority: &str) -> bool {
    match host_of(authority).parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => is_next_door(host_of(authority)),
    }
}

/// A text that is not the URL of a queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{url:?} is not the URL of a queue: {why} (it looks like https://sqs.us-east-1.amazonaws.com/123456789012/name)"
)]
pub struct BadQueueUrl {
    url: String,
    why: &'static str,
}

/// Whether a host is this machine, or the place next to it where AWS serves credentials (EC2 metadata, ECS, EKS).
pub(super) fn is_next_door(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
        // fd00:ec2::/32 is where EC2, ECS and EKS answer over IPv6.
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.segments()[..2] == [0xfd00, 0x0ec2],
        Err(_) => {
            let host = host.to_ascii_lowercase();
            let local = ["localhost", LOCALSTACK];
            local
                .iter()
                .any(|local| host.strip_suffix(local).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        }
    }
}

/// The host of a URL, without brackets and port.
pub(super) fn host_in(url: &str) -> Option<&str> {
    split(url).map(|(_, authority, _)| host_of(authority))
}

/// Scheme, authority and path of an http URL.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let plain = authority.bytes().all(|b| b.is_ascii_graphic()) && !host_of(authority).is_empty();
    let plain = plain && port_of(authority).is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    plain.then_some((scheme, authority, path))
}

fn host_of(authority: &str) -> &str {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or(v6, |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

/// What stands behind the host and a colon, if anything does.
fn port_of(authority: &str) -> Option<&str> {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let behind = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    behind.split_once(':').map(|(_, port)| port)
}

/// A URL as an error may show it: without what could be a password, and without a query, which may be a signature.
pub(super) fn printable(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (url, query) = url.split_at(end);
    let mut shown = String::new();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => shown.extend([scheme, "://…@", rest]),
        (None, Some((_, rest))) => shown.extend(["…@", rest]),
        _ => shown.push_str(url),
    }
    if !query.is_empty() {
        shown.extend([&query[..1], "…"]);
    }
    shown.chars().take(200).collect()
}

/// The ends of the names under which AWS serves, by IPv4 alone and by IPv6 too.
///
/// Source: the SDK's own table of partitions.
const ENDPOINTS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"];
const DUAL_STACK: [&str; 3] = [".api.aws", ".api.amazonwebservices.com.cn", ".api.amazonwebservices.eu"];

/// Whether a host is one of AWS: an endpoint of a region, or a VPC endpoint.
pub(super) fn is_of_aws(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    ENDPOINTS.iter().chain(&DUAL_STACK).any(|suffix| host.ends_with(suffix))
}

/// What a host is, and the region it names.
///
/// Sources: the AWS general reference on SQS endpoints, the SQS developer guide on VPC endpoints, and LocalStack's
/// documentation of SQS endpoint strategies.
fn place(host: &str) -> (Endpoint, Option<&str>) {
    let within = |suffixes: &[&str]| suffixes.iter().find_map(|suffix| host.strip_suffix(suffix));
    let (prefix, dual_stack, aws) = if let Some(prefix) = within(&ENDPOINTS) {
        (prefix, false, true)
    } else if let Some(prefix) = within(&DUAL_STACK) {
        (prefix, true, true)
    } else if let Some(prefix) = host.strip_suffix(LOCALSTACK).and_then(|prefix| prefix.strip_suffix('.')) {
        (prefix, false, false)
    } else {
        return (Endpoint::Origin, None);
    };

    let labels: Vec<&str> = prefix.split('.').collect();
    let (endpoint, region) = match labels.as_slice() {
        ["sqs", region] if dual_stack => (Endpoint::Variant { fips: false, dual_stack }, *region),
        ["sqs-fips", region] => (Endpoint::Variant { fips: true, dual_stack }, *region),
        ["sqs", region] => (Endpoint::Region, *region),
        [region, "queue"] => (Endpoint::Region, *region),
        ["queue"] => (Endpoint::Region, "us-east-1"),
        [.., "sqs", region, "vpce"] => (Endpoint::Origin, *region),
        _ => return (Endpoint::Origin, None),
    };
    (if aws { endpoint } else { Endpoint::Origin }, Some(region))
}

/// The partition of a region: the second part of each of its ARNs.
fn partition(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn queues_are_told_apart_by_region_account_and_name() {
        let url = |region, account, name| format!("https://sqs.{region}.amazonaws.com/{account}/{name}");
        let queue = QueueUrl::parse(&url("us-east-1", "123456789012", "chat-events")).unwrap();
        assert!(queue.leads_to_the_same_as(queue.as_str()));
        assert!(queue.leads_to_the_same_as("https://us-east-1.queue.amazonaws.com/123456789012/chat-events"));
        for other in [
            url("eu-west-1", "123456789012", "chat-events"),
            url("us-east-1", "999999999999", "chat-events"),
            url("us-east-1", "123456789012", "chat-event"),
            String::new(),
        ] {
            assert!(!queue.leads_to_the_same_as(&other), "{other}");
        }
    }
}
