//! The calls: one request each, bounded in time and size, with what may be repeated repeated.

use std::fmt;
use std::slice;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tracing::info;

use super::app::{self, App};
use super::check::{Check, SnsKeys, SqsKeys};
use super::error::{StreamError, StreamSetupError};
use super::hook::Hook;
use super::token::server_token;
use crate::net::client::{HttpClient, client};
use crate::net::tls::TlsFiles;
use crate::net::url::{self, origin};

/// Where Stream's API for Chat is.
pub const DEFAULT_BASE_URL: &str = "https://chat.stream-io-api.com";

/// How long one request may take, its answer included.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How large an answer may be. An app with a long list of hooks is some tens of KiB.
const ANSWER_BYTES: usize = 8 << 20;

/// How often a question is asked that may be repeated.
const TRIES: u32 = 3;

/// The longest wait for the next window of Stream's rate limits, which are by the minute.
const WINDOW: Duration = Duration::from_secs(65);

/// How much of Stream's own words an error repeats, in bytes.
const WORDS: usize = 300;

/// Which app, and where its API is.
#[derive(Clone)]
#[non_exhaustive]
pub struct StreamSettings {
    /// The API key of the app.
    pub api_key: String,
    /// Its secret, which signs the tokens.
    pub api_secret: String,
    /// [`DEFAULT_BASE_URL`] unless set.
    pub base_url: String,
}

impl StreamSettings {
    /// An app by its key and secret.
    pub fn new(api_key: impl Into<String>, api_secret: impl Into<String>) -> Self {
        StreamSettings { api_key: api_key.into(), api_secret: api_secret.into(), base_url: DEFAULT_BASE_URL.to_owned() }
    }

    /// With the API somewhere else.
    #[must_use]
    pub fn with_base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = base_url.into();
        self
    }
}

impl fmt::Debug for StreamSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSettings").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// A client of Stream's REST API for one app, with the rights of a server.
pub struct StreamApi {
    http: HttpClient,
    base: Uri,
    key: String,
    headers: HeaderMap,
    /// What no text that is repeated may hold.
    secrets: [String; 2],
}

impl fmt::Debug for StreamApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamApi").field("base", &origin(&self.base)).finish_non_exhaustive()
    }
}

impl StreamApi {
    /// Checks the settings and gets ready; connects to nothing.
    ///
    /// # Errors
    ///
    /// See [`StreamSetupError`].
    pub fn new(settings: &StreamSettings) -> Result<StreamApi, StreamSetupError> {
        let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits(&settings.api_key) || !settings.api_key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(StreamSetupError::Credential("API key"));
        }
        if !fits(&settings.api_secret) {
            return Err(StreamSetupError::Credential("API secret"));
        }
        let base = url::parse(settings.base_url.trim_end_matches('/'))?;
        let token = server_token(&settings.api_secret);
        let mut authorization =
            HeaderValue::from_str(&token).map_err(|_| StreamSetupError::Credential("API secret"))?;
        authorization.set_sensitive(true);
        let name = HeaderValue::from_static(concat!("stream-sqsd-", env!("CARGO_PKG_VERSION")));
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (USER_AGENT, name.clone()),
            ("stream-auth-type".parse().expect("a name of a header"), HeaderValue::from_static("jwt")),
            ("x-stream-client".parse().expect("a name of a header"), name),
        ]);
        Ok(StreamApi {
            http: client(slice::from_ref(&base), REQUEST_TIME, 1, &TlsFiles::default())?,
            base,
            key: settings.api_key.clone(),
            headers,
            secrets: [settings.api_secret.clone(), token],
        })
    }

    /// Scheme, host and port that it calls.
    pub fn origin(&self) -> String {
        origin(&self.base)
    }

    /// Reads the app.
    ///
    /// # Errors
    ///
    /// See [`StreamError`].
    pub async fn app(&self) -> Result<App, StreamError> {
        let answer: app::Answer = self.ask(Method::GET, "/app", None).await?;
        answer.into_app().map_err(|error| StreamError::Answer(error.to_string()))
    }

    /// Whether Stream can send to the queue: the one that is configured, or the one of these keys.
    ///
    /// # Errors
    ///
    /// See [`StreamError`]. That Stream cannot send is an answer, not an error.
    pub async fn check_sqs(&self, keys: Option<&SqsKeys>) -> Result<Check, StreamError> {
        self.ask(Method::POST, "/check_sqs", Some(json_of(&keys)?)).await
    }

    /// Whether Stream can publish to the topic: the one that is configured, or the one of these keys.
    ///
    /// # Errors
    ///
    /// See [`StreamError`]. That Stream cannot publish is an answer, not an error.
    pub async fn check_sns(&self, keys: Option<&SnsKeys>) -> Result<Check, StreamError> {
        self.ask(Method::POST, "/check_sns", Some(json_of(&keys)?)).await
    }

    /// Puts this list in the place of the app's hooks. Once: an outcome that is not known is for the caller to look into.
    pub(super) async fn put_hooks(&self, hooks: &[Hook], explicit_deletion: bool) -> Result<(), StreamError> {
        #[derive(Serialize)]
        struct Update<'a> {
            event_hooks: &'a [Hook],
            #[serde(skip_serializing_if = "Option::is_none")]
            explicit_event_hooks_deletion: Option<bool>,
        }
        let hooks: Vec<Hook> = hooks.iter().map(Hook::for_sending).collect();
        let update = Update { event_hooks: &hooks, explicit_event_hooks_deletion: explicit_deletion.then_some(true) };
        self.write(&update).await
    }

    /// Sets the queue of the hook system before the list.
    ///
    /// # Errors
    ///
    /// See [`StreamError`].
    pub async fn put_old_sqs(&self, keys: &SqsKeys) -> Result<(), StreamError> {
        self.write(keys).await
    }

    /// Commits a pending message, by its id: from then on everybody in the channel sees it.
    ///
    /// It is asked once, and once more where the rate was limited: waiting for that may take 65 s. Stream refuses to commit
    /// a message that is committed already, so after [`StreamError::TimedOut`] and [`StreamError::Unreachable`] a refusal of the next
    /// try may mean that the first one succeeded.
    ///
    /// # Errors
    ///
    /// See [`StreamError`]; [`StreamError::Refused`] where the message is not pending (any longer).
    pub async fn commit_message(&self, id: &str) -> Result<(), StreamError> {
        // A path of its own would be another call: `..` is a step back even where its dots are encoded.
        if id.is_empty() || id.bytes().all(|byte| byte == b'.') {
            return Err(StreamError::MessageId);
        }
        self.change(Method::POST, &format!("/messages/{}/commit", url::encode(id)), None).await
    }

    async fn write(&self, update: &impl Serialize) -> Result<(), StreamError> {
        self.change(Method::PATCH, "/app", Some(json_of(update)?)).await
    }

    /// A call that changes something, and is not repeated unless it was refused.
    async fn change(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<(), StreamError> {
        match self.call(method.clone(), path, body.clone()).await {
            // It was refused, so nothing is written twice.
            Err(Failure { error: StreamError::RateLimited, reset: Some(reset) }) => {
                wait(reset).await;
                self.call(method, path, body).await.map_err(|failure| failure.error)?;
                Ok(())
            }
            answer => answer.map(drop).map_err(|failure| failure.error),
        }
    }

    /// A call that changes nothing and may be repeated.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<T, StreamError> {
        let mut tries = 1;
        loop {
            match self.call(method.clone(), path, body.clone()).await {
                Ok(answer) => return self.read(&answer),
                Err(failure) if tries == TRIES => return Err(failure.error),
                Err(Failure { error: StreamError::RateLimited, reset: Some(reset) }) => wait(reset).await,
                Err(failure) if failure.error.is_transient() => sleep(Duration::from_secs(tries.into())).await,
                Err(failure) => return Err(failure.error),
            }
            tries += 1;
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, Failure> {
        let calling = self.exchange(method, path, body.unwrap_or_default());
        let late = |_| StreamError::TimedOut { after: REQUEST_TIME };
        let (status, headers, answer) = timeout(REQUEST_TIME, calling).await.map_err(late)??;
        if status.is_success() {
            return Ok(answer);
        }
        let reset = (status == StatusCode::TOO_MANY_REQUESTS).then(|| until_reset(&headers, SystemTime::now()));
        Err(Failure { error: self.refusal(status, &answer), reset })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, HeaderMap, Bytes), StreamError> {
        let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| StreamError::Unreachable {
            origin: origin(&self.base),
            source,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let base = self.base.to_string();
        *request.uri_mut() = format!("{}{path}?api_key={}", base.trim_end_matches('/'), self.key)
            .parse()
            .map_err(|error| StreamError::Answer(format!("{error}")))?;
        *request.headers_mut() = self.headers.clone();
        let answer = self.http.request(request).await.map_err(|error| unreachable(error.into()))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(unreachable)?;
        Ok((parts.status, parts.headers, body.to_bytes()))
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, StreamError> {
        // An error of serde's may quote a string of the answer.
        serde_json::from_slice(answer).map_err(|error| StreamError::Answer(self.words(&error.to_string())))
    }

    fn refusal(&self, status: StatusCode, answer: &[u8]) -> StreamError {
        #[derive(Default, Deserialize)]
        struct Refusal {
            code: Option<i64>,
            #[serde(default)]
            message: String,
        }
        let Refusal { code, message } = serde_json::from_slice(answer).unwrap_or_default();
        let message = match self.words(&message) {
            words if words.is_empty() => status.canonical_reason().unwrap_or("no reason given").to_owned(),
            words => words,
        };
        match (status.as_u16(), code) {
            (429, _) => StreamError::RateLimited,
            (401, code) => StreamError::Credentials { code: code.unwrap_or_default(), message },
            (403, Some(99)) => StreamError::Suspended { message },
            (_, _) if message.contains("hook v1 system") => StreamError::OldHooks { message },
            (status, code) => StreamError::Refused { status, code, message },
        }
    }

    /// Foreign text as it may be repeated: short, without control characters, and without our secrets.
    fn words(&self, text: &str) -> String {
        let mut text = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"));
        if text.len() > WORDS {
            text.truncate(text.floor_char_boundary(WORDS));
            text.push('…');
        }
        text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
    }
}

/// Why a call failed and, where the rate is limited, how long the limit lasts.
struct Failure {
    error: StreamError,
    reset: Option<Duration>,
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Failure { error, reset: None }
    }
}

fn json_of(value: &impl Serialize) -> Result<Bytes, StreamError> {
    let json = serde_json::to_vec(value).map_err(|error| StreamError::Answer(error.to_string()))?;
    Ok(if json == b"null" { Bytes::from_static(b"{}") } else { json.into() })
}

/// How long until Stream's window for this call begins again.
fn until_reset(headers: &HeaderMap, now: SystemTime) -> Duration {
    let reset = headers.get("x-ratelimit-reset").and_then(|value| value.to_str().ok()?.parse().ok());
    let left = |reset| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(reset))?.duration_since(now).ok();
    // A second more, since the header counts whole ones.
    reset.and_then(left).unwrap_or_default().saturating_add(Duration::from_secs(1)).min(WINDOW)
}

async fn wait(reset: Duration) {
    info!(seconds = reset.as_secs(), "waiting for Stream's rate limit");
    sleep(reset).await;
}
