//! Events POSTed to a URL as Stream's own webhooks are, so that an existing webhook endpoint works unchanged behind the
//! queue.
//!
//! The body is the event as Stream sent it, uncompressed. The headers are those of Stream's webhooks:
//!
//! | header | value |
//! |---|---|
//! | `X-Webhook-Id` | the message id: the same at every attempt and every redelivery, and what to be idempotent on |
//! | `X-Stream-Webhook-Id` | the id that Stream gave to the webhook that the event came by, where somebody says so: a hint ([`Context::webhook_id`]) |
//! | `X-Webhook-Attempt` | the receive count; it does not rise when the call is repeated in this process |
//! | `X-Api-Key` | `api_key` |
//! | `X-Signature` | lower-case hex HMAC-SHA256 of the body, keyed with `api_secret` |
//!
//! What the answer means:
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx | done |
//! | 408, 429, 503, no answer in time | the target is busy, until `Retry-After` if it says so |
//! | other 5xx, no connection, a broken one | the target is down, unless others succeed |
//! | 401, 403, 404, 407, a redirect that is not followed | the target is down, and the log says so as an error |
//! | other 4xx | this message is bad |
//!
//! A call that finds all connections in use waits for one, which is not part of its time and says nothing of the target.
//!
//! HTTP/1.1, with connections kept open between events. Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`
//! and `NO_PROXY` as curl takes them, and are asked for a tunnel (`CONNECT`), for plain-http targets too. A proxy that is
//! itself spoken to by TLS or SOCKS is not supported, and refused. The loopback is never asked for through a proxy.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use jiff::fmt::rfc2822;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::complaints::Complaints;
use crate::event::Event;
use crate::handler::{Context, Handler, HandlerError};
use crate::net;
use crate::net::client::{HttpClient, client};
use crate::net::url::{has_good_port, is_loopback, origin};
use crate::webhook::SigningKey;

/// How many redirects one event follows, where they are allowed.
const REDIRECTS: usize = 5;

/// How much of an answer's body is read, and for how long, so that its connection can be used again. Beyond that the
/// connection is closed; the outcome stands with the status.
const ANSWER_BYTES: usize = 64 * 1024;
const ANSWER_TIME: Duration = Duration::from_secs(1);

pub use crate::net::client::ClientError;
pub use crate::net::url::BadUrl;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("x-webhook-id");
const STREAM_WEBHOOK_ID: HeaderName = HeaderName::from_static("x-stream-webhook-id");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("x-webhook-attempt");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// Where events are posted to, and how patiently.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSettings {
    /// The `http` or `https` URL of the endpoint.
    pub url: String,
    /// The API key of the app, sent as `X-Api-Key`. Without it the header is left out.
    pub api_key: Option<String>,
    /// The API secret of the app, which signs the body. Without it `X-Signature` is left out, and an endpoint that
    /// verifies refuses.
    pub api_secret: Option<String>,
    /// How long one event may take from connecting to the answer's status. As long as Stream's own webhooks wait, 6 s,
    /// unless set.
    pub timeout: Duration,
    /// How many connections to the target there may be at once: 64 unless set. Further events wait for one.
    pub connections: usize,
    /// Whether redirects 307 and 308 are followed, which repeat the POST; never from https to http. The other redirects
    /// would turn it into a GET and lose the event, and are not followed ever. What is sent to another origin (scheme,
    /// host and port) has neither key nor signature. False unless set.
    pub redirects: bool,
}

impl HttpSettings {
    /// A URL, and everything else as it is when nobody says more.
    pub fn new(url: impl Into<String>) -> Self {
        HttpSettings {
            url: url.into(),
            api_key: None,
            api_secret: None,
            timeout: Duration::from_secs(6),
            connections: 64,
            redirects: false,
        }
    }

    /// Sets [`HttpSettings::api_key`].
    pub fn with_api_key(mut self, api_key: impl Into<String>) -> Self {
        self.api_key = Some(api_key.into());
        self
    }

    /// Sets [`HttpSettings::api_secret`], not empty.
    pub fn with_api_secret(mut self, api_secret: impl Into<String>) -> Self {
        self.api_secret = Some(api_secret.into());
        self
    }

    /// Sets [`HttpSettings::timeout`], more than zero.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`HttpSettings::connections`], at least 1.
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets [`HttpSettings::redirects`].
    pub fn with_redirects(mut self, redirects: bool) -> Self {
        self.redirects = redirects;
        self
    }

    /// How long one event can take at the most, once it has a connection: the request, and reading the rest of an answer.
    /// The engine's time limit for handlers must be longer, or a slow target is blamed on the messages.
    pub fn longest(&self) -> Duration {
        self.timeout.saturating_add(ANSWER_TIME)
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret never, and of the URL only where it leads to: paths of webhooks carry tokens.
        f.debug_struct("HttpSettings")
            .field("url", &self.url.parse::<Uri>().map(|uri| origin(&uri)).unwrap_or_default())
            .field("api_key", &self.api_key)
            .field("api_secret", &self.api_secret.as_ref().map(|_| "…"))
            .field("timeout", &self.timeout)
            .field("connections", &self.connections)
            .field("redirects", &self.redirects)
            .finish()
    }
}

/// Why the settings do not make a handler.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The URL is not one to connect to.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// The API key holds characters that no header can.
    #[error("the API key cannot stand in a header")]
    ApiKey,
    /// An empty secret signs what no receiver accepts.
    #[error("the API secret is empty")]
    EmptySecret,
    /// A time or a number of nothing.
    #[error("{setting} must not be zero")]
    Zero {
        /// The name of the setting.
        setting: &'static str,
    },
    /// The proxy that the environment names is not supported, or there is no TLS.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Whether events to this URL would travel unencrypted beyond this machine, which deserves a warning.
pub fn is_exposed(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http") && !is_loopback(&uri))
}

/// POSTs each event to a URL; done when the answer is a 2xx.
///
/// An endpoint is idempotent on `X-Webhook-Id`, as Stream's documentation asks of every webhook endpoint.
pub struct Http {
    client: HttpClient,
    url: Uri,
    headers: HeaderMap,
    key: Option<SigningKey>,
    timeout: Duration,
    connections: Semaphore,
    places: usize,
    redirects: bool,
    /// The statuses that the log was told of as errors.
    complaints: Complaints,
}

impl Http {
    /// Checks the settings and gets ready; connects to nothing.
    ///
    /// # Errors
    ///
    /// When a setting is wrong, the environment names a proxy that is not supported, or the system has no certificates
    /// to trust and the target needs them: see [`HttpError`].
    pub fn new(settings: HttpSettings) -> Result<Self, HttpError> {
        let url = net::url::parse(&settings.url)?;
        for (setting, zero) in [("timeout", settings.timeout.is_zero()), ("connections", settings.connections == 0)] {
            if zero {
                return Err(HttpError::Zero { setting });
            }
        }
        let key = |secret| SigningKey::new(secret).ok_or(HttpError::EmptySecret);
        let key = settings.api_secret.as_deref().map(key).transpose()?;
        let headers = headers(settings.api_key.as_deref())?;

        let client = client(&url, settings.timeout, settings.connections)?;
        Ok(Http {
            client,
            url,
            headers,
            key,
            timeout: settings.timeout,
            connections: Semaphore::new(settings.connections.min(Semaphore::MAX_PERMITS)),
            places: settings.connections,
            redirects: settings.redirects,
            complaints: Complaints::default(),
        })
    }

    fn request(&self, url: &Uri, body: &Bytes, ctx: &Context) -> Result<Request<Full<Bytes>>, HandlerError> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        // An id of SQS always can; one of another queue might not.
        let id = HeaderValue::from_str(ctx.message_id().as_str()).map_err(HandlerError::reject)?;
        headers.insert(WEBHOOK_ID, id);
        headers.insert(WEBHOOK_ATTEMPT, ctx.receive_count().into());
        // Printable ASCII always can.
        if let Some(id) = ctx.webhook_id().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(STREAM_WEBHOOK_ID, id);
        }
        if !same_origin(url, &self.url) {
            // Anyone who can redirect there is not the endpoint that shares the secret.
            headers.remove(API_KEY);
            return Ok(request);
        }
        if let Some(key) = &self.key {
            let signature = HeaderValue::from_str(&key.sign(body)).map_err(HandlerError::reject)?;
            headers.insert(SIGNATURE, signature);
        }
        Ok(request)
    }

    /// Posts, and posts again where redirects are allowed and lead somewhere.
    async fn post(&self, body: Bytes, ctx: &Context) -> Result<Response<Incoming>, HandlerError> {
        let mut url = self.url.clone();
        for _ in 0..REDIRECTS {
            let request = self.request(&url, &body, ctx)?;
            let answer = self.client.request(request).await.map_err(HandlerError::target_down)?;
            match self.redirects.then(|| redirect(&url, answer.status(), answer.headers())).flatten() {
                Some(next) => url = next,
                None => return Ok(answer),
            }
            use_up(answer.into_body()).await;
        }
        Err(HandlerError::target_down(PostError::Redirects))
    }

    /// What an answer means for the message.
    fn outcome(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), HandlerError> {
        let error = PostError::Answer(status);
        match status.as_u16() {
            200..300 => Ok(()),
            300..400 | 401 | 403 | 404 | 407 => {
                if self.complaints.are_worth_telling(status.as_str()) {
                    tracing::error!(
                        target_origin = %origin(&self.url),
                        status = status.as_u16(),
                        "the webhook endpoint refuses every event: the URL, the key or what stands before it is wrong"
                    );
                }
                Err(HandlerError::target_down(error))
            }
            400..500 if !matches!(status.as_u16(), 408 | 429) => Err(HandlerError::reject(error)),
            code => {
                let busy = matches!(code, 408 | 429 | 503);
                let error = if busy { HandlerError::target_busy(error) } else { HandlerError::target_down(error) };
                Err(match retry_after(headers, SystemTime::now()) {
                    Some(delay) => error.after(delay),
                    None => error,
                })
            }
        }
    }
}

impl Handler<Event> for Http {
    type Error = HandlerError;

    /// As many as there may be connections, so that no event waits for one here.
    fn max_concurrency(&self) -> Option<usize> {
        Some(self.places)
    }

    fn address(&self) -> Option<String> {
        Some(origin(&self.url))
    }

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        let _connection = ctx.pause_timeout(self.connections.acquire()).await.map_err(HandlerError::target_down)?;
        let late = |_| HandlerError::target_busy(PostError::TimedOut(self.timeout));
        let body = Bytes::from_owner(Json(event));
        let answer = timeout(self.timeout, self.post(body, &ctx)).await.map_err(late)??;
        let outcome = self.outcome(answer.status(), answer.headers());
        use_up(answer.into_body()).await;
        outcome
    }
}

/// Why an event was not taken. Never with the words of the answer, which may repeat the event.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error("the endpoint answered {0}")]
    Answer(StatusCode),
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("more than {REDIRECTS} redirects")]
    Redirects,
}

/// The bytes of an event as a body, without copying them.
struct Json(Event);

impl AsRef<[u8]> for Json {
    fn as_ref(&self) -> &[u8] {
        self.0.json().as_bytes()
    }
}

fn headers(api_key: Option<&str>) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("stream-sqsd/", env!("CARGO_PKG_VERSION"))));
    if let Some(key) = api_key {
        headers.insert(API_KEY, HeaderValue::from_str(key).map_err(|_| HttpError::ApiKey)?);
    }
    Ok(headers)
}

/// Reads the rest of an answer, so that its connection can be used again.
async fn use_up(mut body: Incoming) {
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > ANSWER_BYTES {
                break;
            }
        }
    };
    // What is not read in time closes the connection, no more.
    let _ = timeout(ANSWER_TIME, reading).await;
}

/// Where a redirect leads, when it is one that can be followed.
fn redirect(from: &Uri, status: StatusCode, headers: &HeaderMap) -> Option<Uri> {
    if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return None;
    }
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let to: Uri = if location.starts_with('/') && !location.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(location.parse().ok()?);
        Uri::from_parts(parts).ok()?
    } else {
        location.parse().ok()?
    };
    match (from.scheme_str()?, to.scheme_str()?) {
        ("http", "http" | "https") | ("https", "https") if has_good_port(&to) => Some(to),
        _ => None,
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a number holds is a very long time, and not the same as nothing named.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::from(date).duration_since(now).unwrap_or_default())
}

/// Whether both are the same scheme, host and port.
fn same_origin(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = |uri: &Uri| uri.host().unwrap_or_default().to_ascii_lowercase();
    one.scheme_str() == other.scheme_str() && host(one) == host(other) && port(one) == port(other)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use crate::handler::FailureKind;
    use crate::queue::{Trace, WebhookId};

    #[tokio::test]
    async fn the_attempt_is_the_receive_count_and_unset_headers_are_left() {
        let http = Http::new(HttpSettings::new("http://127.0.0.1/hook")).unwrap();
        let ctx = Context::new("id-1".into(), 7, None, None, Trace::default());
        let request = http.request(&http.url, &Bytes::from_static(b"{}"), &ctx).unwrap();
        assert_eq!(request.headers()["x-webhook-attempt"], "7");
        assert_eq!(request.headers()["x-webhook-id"], "id-1");
        for unset in ["x-api-key", "x-signature", "x-stream-webhook-id"] {
            assert!(!request.headers().contains_key(unset), "{unset}");
        }
    }

    #[tokio::test]
    async fn the_id_of_streams_webhook_is_told_beside_the_message_id() {
        let http = Http::new(HttpSettings::new("http://127.0.0.1/hook")).unwrap();
        let ctx = Context::for_test("id-1").with_webhook_id(WebhookId::new("w-1"));
        let request = http.request(&http.url, &Bytes::from_static(b"{}"), &ctx).unwrap();
        assert_eq!(request.headers()["x-stream-webhook-id"], "w-1");
        // What endpoints are idempotent on stays what it was.
        assert_eq!(request.headers()["x-webhook-id"], "id-1");
    }

    #[tokio::test]
    async fn an_address_is_scheme_host_and_port_and_no_more() {
        for (url, address) in [
            ("https://example.com/hooks/t0ken?key=s3cret", "https://example.com"),
            ("http://127.0.0.1:8080/t0ken", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(Http::new(HttpSettings::new(url)).unwrap().address().as_deref(), Some(address));
        }
    }

    #[tokio::test]
    async fn a_message_id_that_no_header_can_hold_is_a_bad_message() {
        let http = Http::new(HttpSettings::new("http://127.0.0.1/hook")).unwrap();
        let error = http.request(&http.url, &Bytes::new(), &Context::for_test("a\nb")).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Reject);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_or_ignored() {
        let wait = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            // Sun, 06 Nov 1994 08:49:00 GMT
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_740))
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)), "more than a number holds");
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(37)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "a date that has passed");
        for wrong in ["", "-1", "soon", "1.5"] {
            assert_eq!(wait(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_redirect_is_followed_if_it_repeats_the_post_encrypted() {
        let from = |from: &str, status: u16, location: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(location).unwrap())]);
            redirect(&from.parse().unwrap(), StatusCode::from_u16(status).unwrap(), &headers).map(|to| to.to_string())
        };
        assert_eq!(from("https://a.test/x?y", 307, "/z").as_deref(), Some("https://a.test/z"));
        assert_eq!(from("http://a.test/", 308, "https://b.test/z?q").as_deref(), Some("https://b.test/z?q"));
        assert_eq!(from("https://a.test/", 308, "http://a.test/"), None);
        assert_eq!(from("https://a.test/", 308, "//b.test/"), None);
        assert_eq!(from("https://a.test/", 308, "ftp://b.test/"), None);
        for status in [300, 301, 302, 303, 304, 200] {
            assert_eq!(from("https://a.test/", status, "https://a.test/z"), None, "{status}");
        }
    }

    #[test]
    fn the_same_origin_is_the_same_scheme_host_and_port() {
        let same = |one: &str, other: &str| same_origin(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(same("https://a.test/x", "https://A.test:443/y?z"));
        for other in ["http://a.test/", "https://b.test/", "https://a.test:444/", "https://x.a.test/"] {
            assert!(!same("https://a.test/", other), "{other}");
        }
    }

    #[test]
    fn what_is_exposed_is_plain_and_leaves_the_machine() {
        for url in ["http://example.com/hook", "http://10.0.0.1:8080/"] {
            assert!(is_exposed(url), "{url}");
        }
        for url in ["https://example.com/", "http://localhost:80/", "http://127.0.0.2/", "http://[::1]:8080/"] {
            assert!(!is_exposed(url), "{url}");
        }
    }

    #[test]
    fn settings_show_neither_the_secret_nor_the_path() {
        let mut settings = HttpSettings::new("https://example.com:8443/hooks/t0ken?key=t0ken");
        settings.api_secret = Some("s3cret".into());
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
        assert!(shown.contains("https://example.com:8443"), "{shown}");
    }
}
