//! Tokens of OAuth 2.0 for a client that speaks for itself (client credentials, RFC 6749 section 4.4).
//!
//! A token is fetched when it is first needed, one fetch at a time, and again before it ends. Those who need it meanwhile
//! wait for that fetch and share its end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::complaints::Complaints;
use super::headers;
use crate::handler::HandlerError;
use crate::net::client::HttpClient;
use crate::net::url::{encode, origin};

/// How large the answer of a token endpoint may be. Tokens with many claims are some KiB.
const ANSWER_BYTES: usize = 64 * 1024;

/// A token is renewed so long before it ends, or at three quarters of its time where that is later.
const BEFORE_ITS_END: Duration = Duration::from_secs(60);

/// How long the next renewal waits after one that failed, while the token still holds.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

/// A token that lasts for longer is taken to last for this long.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The codes that a token endpoint refuses with (RFC 6749 section 5.2 and RFC 8707): what the log may repeat of its words.
const CODES: [&str; 7] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
];

/// Who asks for a token.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: String,
}

/// The tokens for one target.
pub(super) struct Tokens {
    url: Uri,
    /// `scope` and `audience`, as they stand in the form.
    more: String,
    state: Mutex<State>,
    /// Held by the one who fetches.
    fetching: tokio::sync::Mutex<()>,
    complaints: Complaints,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// How many fetches have ended, and how the last one failed if it did.
    fetches: u64,
    failure: Option<TokenError>,
    /// How the endpoint was seen to take the secret.
    form: Option<Form>,
}

/// A token as it stands in `Authorization`.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) value: HeaderValue,
    /// That of its fetch, once that has ended.
    number: u64,
    renewed_at: Option<Instant>,
    ends_at: Option<Instant>,
}

/// How the client shows who it is: every endpoint should take the header, and some take only the form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Header,
    Body,
}

/// Why there is no token. Nothing of what the endpoint says but its code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no token from {origin}: {what}")]
struct TokenError {
    origin: String,
    what: String,
    /// The status, where somebody has to put something right.
    refused: Option<StatusCode>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Tokens {
    pub(super) fn new(url: Uri, scope: Option<&str>, audience: Option<&str>) -> Self {
        let more = [("scope", scope), ("audience", audience)];
        let more = more.iter().filter_map(|(name, text)| Some(format!("&{name}={}", encode((*text)?))));
        Tokens {
            url,
            more: more.collect(),
            state: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            complaints: Complaints::default(),
        }
    }

    /// A token, fetched where there is none, where it is about to end, or where the one that the target has `refused` is
    /// still the one we have.
    ///
    /// # Errors
    ///
    /// Where there is none by `deadline`: the target is down then.
    pub(super) async fn token(
        &self,
        http: &HttpClient,
        client: &Client,
        refused: Option<&Token>,
        deadline: Instant,
    ) -> Result<Token, HandlerError> {
        if let Some(refused) = refused {
            // By its number: an endpoint may give the same one again, and those who had the one before need no third.
            self.state().token.take_if(|token| token.number == refused.number);
        }
        let held = self.state().held();
        let fetches = match held {
            Ok(token) if !token.is_due() => return Ok(token),
            Ok(token) => return Ok(self.renewed(token, http, client, deadline).await),
            Err(fetches) => fetches,
        };
        let Ok(_fetching) = timeout_at(deadline, self.fetching.lock()).await else {
            return Err(HandlerError::target_down(self.error("another fetch of it has not ended in time", None)));
        };
        {
            let mut state = self.state();
            if let Ok(token) = state.held() {
                return Ok(token);
            }
            // The fetch that was waited for has failed: so would this one.
            if let Some(failure) = state.failure.clone().filter(|_| state.fetches > fetches) {
                return Err(HandlerError::target_down(failure));
            }
        }
        self.fetch(http, client, deadline).await.map_err(HandlerError::target_down)
    }

    /// A new token in place of one that ends soon, or that one where another call fetches already or it cannot be had.
    async fn renewed(&self, token: Token, http: &HttpClient, client: &Client, deadline: Instant) -> Token {
        let Ok(_fetching) = self.fetching.try_lock() else { return token };
        // The other half is kept for the event, which can be posted with the token that still holds.
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        match self.fetch(http, client, half).await {
            Ok(renewed) => renewed,
            Err(_) => {
                let later = Instant::now() + RENEWAL_PAUSE;
                self.state().token.iter_mut().for_each(|token| token.renewed_at = Some(later));
                token
            }
        }
    }

    async fn fetch(&self, http: &HttpClient, client: &Client, deadline: Instant) -> Result<Token, TokenError> {
        let fetched = timeout_at(deadline, self.ask(http, client)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(self.error("no answer in time", None)));
        if let Err(error) = &fetched
            && let Some(status) = error.refused
            && self.complaints.are_worth_telling(status.as_str())
        {
            tracing::error!(%error, "the token endpoint refuses: the settings of `oauth2` or the secret are wrong");
        }
        let mut state = self.state();
        state.fetches += 1;
        state.failure = fetched.as_ref().err().cloned();
        let token = Token { number: state.fetches, ..fetched? };
        state.token = Some(token.clone());
        Ok(token)
    }

    /// Asks in the form that the endpoint is known to take, or in one after the other.
    async fn ask(&self, http: &HttpClient, client: &Client) -> Result<Token, TokenError> {
        let known = self.state().form;
        let forms = known.map_or(&[Form::Header, Form::Body][..], |form| match form {
            Form::Header => &[Form::Header],
            Form::Body => &[Form::Body],
        });
        let mut first = None;
        for form in forms {
            let asked = Instant::now();
            match self.ask_as(*form, http, client, asked).await {
                Ok(token) => {
                    self.state().form = Some(*form);
                    return Ok(token);
                }
                // 400 too: some say that they miss the client's id.
                Err(error) if matches!(error.refused, Some(StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST)) => {
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        // What the endpoint says to the form that every endpoint should take is what somebody can use.
        Err(first.unwrap_or_else(|| self.error("it was not asked", None)))
    }

    async fn ask_as(
        &self,
        form: Form,
        http: &HttpClient,
        client: &Client,
        asked: Instant,
    ) -> Result<Token, TokenError> {
        let request =
            self.request(form, client).ok_or_else(|| self.error("the client cannot be named in a header", None))?;
        let answer = http.request(request).await.map_err(|error| self.error(&chain(&error), None))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|_| self.error("its answer broke off or is too long", None))?.to_bytes();
        if status != StatusCode::OK {
            let code = serde_json::from_slice(&body)
                .ok()
                .and_then(|Refusal { error }| CODES.into_iter().find(|code| *code == error));
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            let refused = !status.is_server_error() && !matches!(status.as_u16(), 408 | 429);
            return Err(self.error(&format!("it answered {status}{code}"), refused.then_some(status)));
        }
        // Whatever is wrong with the answer, nothing of it is repeated.
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| self.error("its answer holds no token", Some(status)))?;
        if answer.token_type.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(self.error("its token is not one for `Bearer`", Some(status)));
        }
        let value = headers::bearer(&answer.access_token);
        let value = value.ok_or_else(|| self.error("its token cannot stand in a header", Some(status)))?;
        let lasts = answer.expires_in.and_then(Seconds::duration);
        Ok(Token {
            value,
            number: 0,
            renewed_at: lasts.map(|lasts| asked + lasts.saturating_sub(BEFORE_ITS_END).max(lasts * 3 / 4)),
            ends_at: lasts.map(|lasts| asked + lasts),
        })
    }

    fn request(&self, form: Form, client: &Client) -> Option<Request<Full<Bytes>>> {
        let (id, secret) = (encode(&client.id), encode(&client.secret));
        let mut body = format!("grant_type=client_credentials{}", self.more);
        if form == Form::Body {
            body.push_str(&format!("&client_id={id}&client_secret={secret}"));
        }
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers::plain();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        if form == Form::Header {
            request.headers_mut().insert(AUTHORIZATION, headers::basic_value(&id, &secret)?);
        }
        Some(request)
    }

    fn error(&self, what: &str, refused: Option<StatusCode>) -> TokenError {
        TokenError { origin: origin(&self.url), what: what.to_owned(), refused }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The token, where there is one that has not ended; otherwise how many fetches there were.
    fn held(&mut self) -> Result<Token, u64> {
        self.token.take_if(|token| token.ends_at.is_some_and(|end| end <= Instant::now()));
        self.token.clone().ok_or(self.fetches)
    }
}

impl Token {
    fn is_due(&self) -> bool {
        self.renewed_at.is_some_and(|at| at <= Instant::now())
    }
}

impl Seconds {
    /// None where it is not a time in which a token can be used: that serves until it is refused.
    fn duration(self) -> Option<Duration> {
        let seconds = match self {
            Seconds::Number(seconds) => seconds,
            Seconds::Text(text) => text.trim().parse().ok()?,
        };
        let lasts =
            if seconds > LONGEST.as_secs_f64() { LONGEST } else { Duration::try_from_secs_f64(seconds).ok()? };
        Some(lasts).filter(|lasts| !lasts.is_zero())
    }
}

/// An error with its causes: which one it was stands at their end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
