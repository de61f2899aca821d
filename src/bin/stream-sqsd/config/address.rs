//! Addresses as people write them: which one was meant where the scheme is missing, and how much of one may be shown.

use stream_sqsd::queue::sqs::{QueueUrl, is_this_machine, queue_url_of};

use crate::config::diagnostics::nearest;

/// What was meant by a text that is not the URL of a queue, as the end of a sentence.
pub(crate) fn meant_queue(text: &str) -> Option<String> {
    if text.starts_with("arn:") {
        return queue_url_of(text).map(|url| format!("did you mean {url}?"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.strip_suffix(".fifo").unwrap_or(text).chars().all(plain) {
        return Some(format!(
            "a queue is given by its name with --queue-name {text}, or `name` in the section [queue]"
        ));
    }
    let url = match text.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", nearest(scheme, ["https", "http"].into_iter())?),
        None => with_scheme(text, "https")?,
    };
    // What is still wrong with it may be a signature or a password.
    QueueUrl::parse(&url).is_ok().then(|| format!("did you mean {url}?"))
}

/// The URL that was meant by one without its scheme: `secure`, or `http` where it leads to this machine and the scheme is
/// one of the web. None where there is a scheme.
pub(crate) fn with_scheme(text: &str, secure: &str) -> Option<String> {
    if text.contains("://") {
        return None;
    }
    // `https:/h` and `//h` have half of it.
    let half = ["https:", "http:", "postgres:", "postgresql:"].into_iter().find_map(|half| text.strip_prefix(half));
    let text = half.unwrap_or(text).trim_start_matches('/');
    if text.is_empty() {
        return None;
    }
    let authority = text.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let scheme = if secure == "https" && is_this_machine(host) { "http" } else { secure };
    Some(format!("{scheme}://{text}"))
}

/// A URL as it may be shown: without what could be a password, and without a query, which may be a token.
pub(crate) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let more = rest[path.len()..].chars().next().map(|mark| format!("{mark}…")).unwrap_or_default();
    let path = path.rsplit_once('@').map_or_else(|| path.to_owned(), |(_, path)| format!("…@{path}"));
    format!("{scheme}://{path}{more}")
}

/// Scheme, host and port of a URL, which may be shown even where the URL is a secret.
pub(crate) fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_no_password_and_no_query_is_shown() {
        assert_eq!(shown("https://h:1/a/b"), "https://h:1/a/b");
        assert_eq!(shown("https://u:hush@h/a?key=hush"), "https://…@h/a?…");
        assert_eq!(shown("https://u:hu/sh@h/a"), "https://…@h/a");
        assert_eq!(shown("https://h#hush"), "https://h#…");
        assert_eq!(origin("https://u:hush@h:1/hush?hush"), "https://h:1");
        assert_eq!(origin("https://h?hush"), "https://h");
    }

    #[test]
    fn half_a_scheme_is_made_a_whole_one() {
        let with_scheme = |text| with_scheme(text, "https");
        assert_eq!(with_scheme("h/a").as_deref(), Some("https://h/a"));
        assert_eq!(with_scheme("//h/a").as_deref(), Some("https://h/a"));
        assert_eq!(with_scheme("https:/h/a").as_deref(), Some("https://h/a"));
        assert_eq!(with_scheme("[::1]:8080/a").as_deref(), Some("http://[::1]:8080/a"));
        assert_eq!((with_scheme("ftp://h"), with_scheme("https:"), with_scheme("")), (None, None, None));
    }

    #[test]
    fn what_is_not_a_queue_and_holds_a_secret_is_not_repeated() {
        for text in ["sqs.us-east-1.amazonaws.com/1/q?X-Amz-Signature=hush", "u:hush@h/1/q", "arn:aws:s3:::hush", ""] {
            assert_eq!(meant_queue(text), None, "{text}");
        }
    }
}
