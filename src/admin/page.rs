//! The page for people: one file that needs nothing else, and the policy that holds it to that.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::answer::answer;

const PAGE: &str = include_str!("page.html");

#[cfg(feature = "relay")]
const OF_RELAY: &str = include_str!("relay.html");

/// What the page may do: run its own script, wear its own style, show the icon that it drew, and ask for `/status`.
/// Nothing that came from a message can become markup, since the browser refuses every assignment of text as HTML.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy(PAGE));

#[cfg(feature = "relay")]
static POLICY_OF_RELAY: LazyLock<HeaderValue> = LazyLock::new(|| policy(OF_RELAY));

fn policy(page: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash_of("script", page),
        hash_of("style", page),
    );
    HeaderValue::from_str(&policy).expect("base64 and ASCII")
}

pub(super) fn page() -> Response<Full<Bytes>> {
    with_policy(PAGE, &POLICY)
}

/// The page of a relay.
#[cfg(feature = "relay")]
pub(super) fn of_relay() -> Response<Full<Bytes>> {
    with_policy(OF_RELAY, &POLICY_OF_RELAY)
}

fn with_policy(page: &'static str, policy: &HeaderValue) -> Response<Full<Bytes>> {
    let mut answer = answer(StatusCode::OK, "text/html; charset=utf-8", page);
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy.clone());
    answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

/// The hash of what stands in the one element of this name, as a policy names it.
fn hash_of(element: &str, page: &str) -> String {
    let inside =
        page.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
    let (text, _) = inside.expect("the page has one");
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: &[&str] = &[
        PAGE,
        #[cfg(feature = "relay")]
        OF_RELAY,
    ];

    #[test]
    fn the_page_is_one_file_with_one_style_and_one_script() {
        for page in PAGES {
            for element in ["<style", "</style", "<script", "</script"] {
                assert_eq!(page.matches(element).count(), 1, "{element}");
            }
            for word in ["http://", "https://", "src=", "@import", "url(", " style=", "onclick", "onload"] {
                let svg = "http://www.w3.org/2000/svg";
                let found = page.lines().find(|line| line.contains(word) && !line.contains(svg));
                assert_eq!(found, None, "{word}: nothing is loaded, and nothing runs or is styled outside of the two");
            }
        }
    }

    #[test]
    fn no_text_becomes_markup() {
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
            assert!(PAGES.iter().all(|page| !page.contains(word)), "{word}");
        }
    }
}
