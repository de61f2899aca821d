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
//! | `Authorization`, and any other | what the settings say |
//!
//! What the answer means:
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx | done |
//! | 408, 429, 503, no answer in time | the target is busy, until `Retry-After` if it says so |
//! | other 5xx | the target is down, unless others succeed; or, where the settings say so, a retry |
//! | no connection, a broken one, no token | the target is down, unless others succeed |
//! | 401 (once more with a new token, where there are tokens), 403, 404, 407, a redirect that is not followed | the target is down, and the log says so as an error |
//! | other 4xx | this message is bad |
//!
//! A call that finds all connections in use waits for one, which is not part of its time and says nothing of the target.
//!
//! HTTP/1.1, with connections kept open between events. Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`
//! and `NO_PROXY` as curl takes them, and are asked for a tunnel (`CONNECT`), for plain-http targets too. A proxy that is
//! itself spoken to by TLS or SOCKS is not supported, and refused. The loopback is never asked for through a proxy.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use jiff::fmt::rfc2822;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::complaints::Complaints;
use super::endpoint::ANSWER_TIME;
use super::headers::{self, SIGNATURE, STREAM_WEBHOOK_ID, WEBHOOK_ATTEMPT, WEBHOOK_ID};
use super::oauth2::{Client, Token, Tokens};
use super::template::Template;
use crate::event::Event;
use crate::handler::{Context, Handler, HandlerError};
use crate::net;
use crate::net::client::{HttpClient, client};
use crate::net::rotating::Rotating;
use crate::net::url::{has_good_port, origin};
use crate::webhook::SigningKey;

/// How many redirects one event follows, where they are allowed.
const REDIRECTS: usize = 5;

/// How much of an answer's body is read within [`ANSWER_TIME`]. Beyond that the connection is closed; the outcome stands with
/// the status.
const ANSWER_BYTES: usize = 64 * 1024;

pub use super::endpoint::{Authorization, HttpError, HttpSettings, OAuth2Settings, ServerErrors, is_exposed};
pub use super::template::BadTemplate;
pub use crate::net::client::ClientError;
pub use crate::net::secret::{Secret, SecretError};
pub use crate::net::tls::TlsFiles;
pub use crate::net::url::BadUrl;

/// POSTs each event to a URL; done when the answer is a 2xx.
///
/// An endpoint is idempotent on `X-Webhook-Id`, as Stream's documentation asks of every webhook endpoint.
pub struct Http {
    client: Rotating<HttpClient>,
    outfit: Rotating<Outfit>,
    tokens: Option<Tokens>,
    /// Scheme, host and port.
    origin: String,
    server_errors: ServerErrors,
    timeout: Duration,
    connections: Semaphore,
    places: usize,
    redirects: bool,
    /// Whether we show a certificate of our own to a server that asks.
    has_certificate: bool,
    /// The statuses that the log was told of as errors.
    complaints: Complaints,
}

/// What of the settings may stand in files that change.
struct Outfit {
    url: Template,
    headers: HeaderMap,
    key: Option<SigningKey>,
    client: Option<Client>,
}

impl Outfit {
    /// Waits for the disk where secrets are in files.
    fn of(settings: &HttpSettings) -> Result<Outfit, HttpError> {
        let key = match &settings.api_secret {
            Some(secret) => Some(SigningKey::new(&secret.read()?).ok_or(HttpError::EmptySecret)?),
            None => None,
        };
        let client = match &settings.authorization {
            Some(Authorization::OAuth2(oauth2)) => {
                let (id, secret) = (oauth2.client_id.read()?.into_owned(), oauth2.client_secret.read()?.into_owned());
                if id.is_empty() || secret.is_empty() {
                    return Err(HttpError::EmptyClient);
                }
                Some(Client { id, secret })
            }
            _ => None,
        };
        Ok(Outfit { url: Template::parse(&settings.url.read()?)?, headers: headers::of(settings)?, key, client })
    }
}

/// What is posted for one event.
struct Post<'a> {
    http: &'a Http,
    client: &'a HttpClient,
    outfit: &'a Outfit,
    ctx: &'a Context,
    url: Uri,
    body: Bytes,
}

impl Http {
    /// Checks the settings and gets ready; connects to nothing. Waits for the disk where secrets or certificates are in
    /// files.
    ///
    /// # Errors
    ///
    /// When a setting is wrong, the environment names a proxy that is not supported, or the system has no certificates
    /// to trust and the target needs them: see [`HttpError`].
    pub fn new(settings: HttpSettings) -> Result<Self, HttpError> {
        for (setting, zero) in [("timeout", settings.timeout.is_zero()), ("connections", settings.connections == 0)] {
            if zero {
                return Err(HttpError::Zero { setting });
            }
        }
        let url = Template::parse(&settings.url.read()?)?.uri().clone();
        let (origin, mut urls) = (origin(&url), vec![url]);
        let tokens = match &settings.authorization {
            Some(Authorization::OAuth2(oauth2)) => {
                let token_url = net::url::parse(&oauth2.token_url).map_err(HttpError::TokenUrl)?;
                urls.push(token_url.clone());
                Some(Tokens::new(token_url, oauth2.scope.as_deref(), oauth2.audience.as_deref()))
            }
            _ => None,
        };
        if settings.tls != TlsFiles::default() && urls.iter().all(|url| url.scheme_str() != Some("https")) {
            return Err(HttpError::NoTls);
        }
        let (server_errors, timeout) = (settings.server_errors, settings.timeout);
        let (places, redirects) = (settings.connections, settings.redirects);
        let (has_certificate, tls) = (settings.tls.certificate.is_some(), settings.tls.clone());
        let client = Rotating::new(tls.paths(), move || client(&urls, timeout, places, &tls))?;
        let outfit = Rotating::new(settings.secret_files(), {
            let origin = origin.clone();
            move || {
                let outfit = Outfit::of(&settings)?;
                if net::url::origin(outfit.url.uri()) == origin { Ok(outfit) } else { Err(HttpError::Moved) }
            }
        })?;
        Ok(Http {
            client,
            outfit,
            tokens,
            origin,
            server_errors,
            timeout,
            connections: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            places,
            redirects,
            has_certificate,
            complaints: Complaints::default(),
        })
    }

    /// What an answer means for the message.
    fn outcome(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), HandlerError> {
        let error = PostError::Answer(status);
        match status.as_u16() {
            200..300 => Ok(()),
            300..400 | 401 | 403 | 404 | 407 => {
                if self.complaints.are_worth_telling(status.as_str()) {
                    tracing::error!(
                        target_origin = %self.origin,
                        status = status.as_u16(),
                        "the webhook endpoint refuses every event: the URL, the key or what stands before it is wrong"
                    );
                }
                Err(HandlerError::target_down(error))
            }
            400..500 if !matches!(status.as_u16(), 408 | 429) => Err(HandlerError::reject(error)),
            code => {
                let error = match self.server_errors {
                    _ if matches!(code, 408 | 429 | 503) => HandlerError::target_busy(error),
                    ServerErrors::TargetDown => HandlerError::target_down(error),
                    ServerErrors::Retry => HandlerError::retry(error),
                };
                Err(match retry_after(headers, SystemTime::now()) {
                    Some(delay) => error.after(delay),
                    None => error,
                })
            }
        }
    }
}

impl Post<'_> {
    fn request(&self, url: &Uri, token: Option<&Token>) -> Result<Request<Full<Bytes>>, HandlerError> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        // Anyone who can redirect elsewhere is not the endpoint that shares the secrets.
        let is_endpoint = same_origin(url, &self.url);
        *headers = if is_endpoint { self.outfit.headers.clone() } else { headers::plain() };
        // An id of SQS always can; one of another queue might not.
        let id = HeaderValue::from_str(self.ctx.message_id().as_str()).map_err(HandlerError::reject)?;
        headers.insert(WEBHOOK_ID, id);
        headers.insert(WEBHOOK_ATTEMPT, self.ctx.receive_count().into());
        // Printable ASCII always can.
        if let Some(id) = self.ctx.webhook_id().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(STREAM_WEBHOOK_ID, id);
        }
        if is_endpoint {
            if let Some(key) = &self.outfit.key {
                let signature = HeaderValue::from_str(&key.sign(&self.body)).map_err(HandlerError::reject)?;
                headers.insert(SIGNATURE, signature);
            }
            headers.extend(token.map(|token| (AUTHORIZATION, token.value.clone())));
        }
        Ok(request)
    }

    /// Posts, and posts again where redirects are allowed and lead somewhere.
    async fn follow(&self, token: Option<&Token>) -> Result<Response<Incoming>, HandlerError> {
        let mut url = self.url.clone();
        for _ in 0..REDIRECTS {
            let request = self.request(&url, token)?;
            let answer = self.client.request(request).await.map_err(HandlerError::target_down)?;
            let next = self.http.redirects.then(|| redirect(&url, answer.status(), answer.headers())).flatten();
            // Nor is it shown our certificate.
            match next.filter(|next| !self.http.has_certificate || same_origin(next, &self.url)) {
                Some(next) => url = next,
                None => return Ok(answer),
            }
            use_up(answer.into_body()).await;
        }
        Err(HandlerError::target_down(PostError::Redirects))
    }

    /// Posts with a token where there are tokens, and once more with a new one where the target refuses it.
    async fn post(&self, deadline: Instant) -> Result<Response<Incoming>, HandlerError> {
        let late = |_| HandlerError::target_busy(PostError::TimedOut(self.http.timeout));
        let (Some(tokens), Some(client)) = (&self.http.tokens, &self.outfit.client) else {
            return timeout_at(deadline, self.follow(None)).await.map_err(late)?;
        };
        let token = tokens.token(self.client, client, None, deadline).await?;
        let answer = timeout_at(deadline, self.follow(Some(&token))).await.map_err(late)??;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        use_up(answer.into_body()).await;
        let token = tokens.token(self.client, client, Some(&token), deadline).await?;
        timeout_at(deadline, self.follow(Some(&token))).await.map_err(late)?
    }
}

impl Handler<Event> for Http {
    type Error = HandlerError;

    /// As many as there may be connections, so that no event waits for one here.
    fn max_concurrency(&self) -> Option<usize> {
        Some(self.places)
    }

    fn address(&self) -> Option<String> {
        Some(self.origin.clone())
    }

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        let _connection = ctx.pause_timeout(self.connections.acquire()).await.map_err(HandlerError::target_down)?;
        let (client, outfit): (Arc<HttpClient>, Arc<Outfit>) =
            (self.client.current().await, self.outfit.current().await);
        let url = outfit.url.fill(&event).map_err(HandlerError::reject)?;
        let body = Bytes::from_owner(Json(event));
        let post = Post { http: self, client: &client, outfit: &outfit, ctx: &ctx, url, body };
        let answer = post.post(Instant::now() + self.timeout).await?;
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

    async fn request(ctx: &Context) -> Result<Request<Full<Bytes>>, HandlerError> {
        let http = Http::new(HttpSettings::new("http://127.0.0.1/hook")).unwrap();
        let (client, outfit) = (http.client.current().await, http.outfit.current().await);
        let (url, body) = (outfit.url.uri().clone(), Bytes::from_static(b"{}"));
        Post { http: &http, client: &client, outfit: &outfit, ctx, url: url.clone(), body }.request(&url, None)
    }

    #[tokio::test]
    async fn the_attempt_is_the_receive_count_and_unset_headers_are_left() {
        let ctx = Context::new("id-1".into(), 7, None, None, Trace::default());
        let request = request(&ctx).await.unwrap();
        assert_eq!(request.headers()["x-webhook-attempt"], "7");
        assert_eq!(request.headers()["x-webhook-id"], "id-1");
        for unset in ["x-api-key", "x-signature", "x-stream-webhook-id"] {
            assert!(!request.headers().contains_key(unset), "{unset}");
        }
    }

    #[tokio::test]
    async fn the_id_of_streams_webhook_is_told_beside_the_message_id() {
        let ctx = Context::for_test("id-1").with_webhook_id(WebhookId::new("w-1"));
        let request = request(&ctx).await.unwrap();
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
        let error = request(&Context::for_test("a\nb")).await.unwrap_err();
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
}
