//! Where the http handler posts to: its settings, and what can be wrong with them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::template::{BadTemplate, Template};
use crate::event::Event;
use crate::net::client::ClientError;
use crate::net::secret::{Secret, SecretError};
use crate::net::tls::TlsFiles;
use crate::net::url::{BadUrl, is_loopback, origin};

/// For how long the rest of an answer is read, so that its connection can be used again.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Where events are posted to, and how patiently.
///
/// What stands in a [file](Secret::file) is read again when the file changes, which is looked at no more than once a second;
/// so are the files of `tls`. A file that is gone or wrong in the middle of a rotation changes nothing, and is told to the
/// log once.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSettings {
    /// The `http` or `https` URL of the endpoint. A segment of its path or a value of its query may be `{type}`,
    /// `{channel_type}` or `{team}`, which each event fills, percent-encoded; an event that has none, or a value that would
    /// lead elsewhere (`.`, `..`), is a bad message.
    pub url: Secret,
    /// The API key of the app, sent as `X-Api-Key`. Without it the header is left out.
    pub api_key: Option<Secret>,
    /// The API secret of the app, which signs the body. Without it `X-Signature` is left out, and an endpoint that
    /// verifies refuses.
    pub api_secret: Option<Secret>,
    /// Further headers, by their names. Those that are set anyway are refused. None unless set.
    pub headers: Vec<(String, Secret)>,
    /// How we show who we are to what stands before the endpoint. Nothing unless set.
    pub authorization: Option<Authorization>,
    /// Authorities to trust beside the system's, and a certificate of our own, for the endpoint and for its token endpoint.
    pub tls: TlsFiles,
    /// What a 5xx means that says nothing of load. That the target is down, unless set.
    pub server_errors: ServerErrors,
    /// How long one event may take from connecting to the answer's status, with the token that it needs. As long as
    /// Stream's own webhooks wait, 6 s, unless set.
    pub timeout: Duration,
    /// How many connections to the target there may be at once: 64 unless set. Further events wait for one.
    pub connections: usize,
    /// Whether redirects 307 and 308 are followed, which repeat the POST; never from https to http. The other redirects
    /// would turn it into a GET and lose the event, and are not followed ever. What is sent to another origin (scheme,
    /// host and port) has neither key, signature nor what `headers` and `authorization` say, and with a certificate of our
    /// own nothing is. False unless set.
    pub redirects: bool,
}

/// What stands in the header `Authorization`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authorization {
    /// A user and a password (RFC 7617), in UTF-8. Neither holds a control character, and the user no colon.
    Basic {
        /// The user, not empty.
        user: Secret,
        /// The password.
        password: Secret,
    },
    /// A token that lasts (RFC 6750).
    Bearer(Secret),
    /// A token that is fetched.
    OAuth2(OAuth2Settings),
}

/// Where a token comes from that stands in `Authorization`: OAuth 2.0 for a client that speaks for itself (client
/// credentials, RFC 6749 section 4.4).
///
/// It is fetched when first needed, one fetch at a time, renewed a minute before it ends (at three quarters of its time
/// where that is less than four minutes), and once more after a 401. Where there is none, the target is down.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OAuth2Settings {
    /// The `http` or `https` URL that gives tokens.
    pub token_url: String,
    /// The id of the client.
    pub client_id: Secret,
    /// Its secret. Both are sent as Basic does, or in the form where the endpoint takes no other.
    pub client_secret: Secret,
    /// What the token is for, if the endpoint wants to know: words with spaces between them.
    pub scope: Option<String>,
    /// Who the token is for, if the endpoint wants to know.
    pub audience: Option<String>,
}

impl OAuth2Settings {
    /// A client by its id and its secret.
    pub fn new(token_url: impl Into<String>, client_id: impl Into<Secret>, client_secret: impl Into<Secret>) -> Self {
        OAuth2Settings {
            token_url: token_url.into(),
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            scope: None,
            audience: None,
        }
    }

    /// Sets [`OAuth2Settings::scope`].
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Sets [`OAuth2Settings::audience`].
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }
}

/// What a 5xx means that says nothing of load: any but 503.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerErrors {
    /// The target cannot do it now. Nothing is spent while nothing succeeds.
    #[default]
    TargetDown,
    /// This event failed: it spends a receive, and the others go on. For an endpoint that answers 500 to a bad event.
    Retry,
}

impl HttpSettings {
    /// A URL, and everything else as it is when nobody says more.
    pub fn new(url: impl Into<Secret>) -> Self {
        HttpSettings {
            url: url.into(),
            api_key: None,
            api_secret: None,
            headers: Vec::new(),
            authorization: None,
            tls: TlsFiles::default(),
            server_errors: ServerErrors::default(),
            timeout: Duration::from_secs(6),
            connections: 64,
            redirects: false,
        }
    }

    /// Why an event is rejected before anything is sent, where it is: it lacks what the URL needs, or says what cannot stand
    /// there.
    pub fn rejection(&self, event: &Event) -> Option<String> {
        let template = Template::parse(&self.url.read().ok()?).ok()?;
        template.fill(event).err().map(|unfilled| unfilled.to_string())
    }

    /// Sets [`HttpSettings::api_key`].
    pub fn with_api_key(mut self, api_key: impl Into<Secret>) -> Self {
        self.api_key = Some(api_key.into());
        self
    }

    /// Sets [`HttpSettings::api_secret`], not empty.
    pub fn with_api_secret(mut self, api_secret: impl Into<Secret>) -> Self {
        self.api_secret = Some(api_secret.into());
        self
    }

    /// Sets [`HttpSettings::headers`]: names and values.
    pub fn with_headers<N: Into<String>, V: Into<Secret>>(mut self, headers: impl IntoIterator<Item = (N, V)>) -> Self {
        self.headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// Sets [`HttpSettings::authorization`].
    pub fn with_authorization(mut self, authorization: Authorization) -> Self {
        self.authorization = Some(authorization);
        self
    }

    /// Sets [`HttpSettings::tls`].
    pub fn with_tls(mut self, tls: TlsFiles) -> Self {
        self.tls = tls;
        self
    }

    /// Sets [`HttpSettings::server_errors`].
    pub fn with_server_errors(mut self, server_errors: ServerErrors) -> Self {
        self.server_errors = server_errors;
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

    /// The files with secrets.
    pub(super) fn secret_files(&self) -> Vec<PathBuf> {
        let mut secrets = vec![&self.url];
        secrets.extend(self.api_key.iter().chain(&self.api_secret));
        secrets.extend(self.headers.iter().map(|(_, value)| value));
        match &self.authorization {
            Some(Authorization::Basic { user, password }) => secrets.extend([user, password]),
            Some(Authorization::Bearer(token)) => secrets.push(token),
            Some(Authorization::OAuth2(oauth2)) => secrets.extend([&oauth2.client_id, &oauth2.client_secret]),
            None => {}
        }
        secrets.into_iter().filter_map(Secret::path).map(Into::into).collect()
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of the URL only where it leads to: paths of webhooks carry tokens.
        let url = self.url.text().map(|url| Template::parse(url).map(|url| origin(url.uri())).unwrap_or_default());
        f.debug_struct("HttpSettings")
            .field("url", &url.as_deref().unwrap_or("…"))
            .field("api_key", &self.api_key)
            .field("api_secret", &self.api_secret)
            .field("headers", &self.headers)
            .field("authorization", &self.authorization)
            .field("tls", &self.tls)
            .field("server_errors", &self.server_errors)
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
    /// The URL is not one to post to.
    #[error(transparent)]
    Url(#[from] BadTemplate),
    /// The URL of the token endpoint is not one to connect to.
    #[error("token_url: {0}")]
    TokenUrl(#[source] BadUrl),
    /// The API key holds characters that no header can.
    #[error("the API key cannot stand in a header")]
    ApiKey,
    /// An empty secret signs what no receiver accepts.
    #[error("the API secret is empty")]
    EmptySecret,
    /// A header that cannot be set.
    #[error("the header {name} {why}")]
    Header {
        /// Its name, as the settings have it.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is a header `Authorization` beside what stands in it.
    #[error("the header Authorization is set already, by `basic`, `bearer` or `oauth2`")]
    Authorizations,
    /// The user or the password of Basic.
    #[error("`basic`: the user is empty or holds a colon, or one of both holds a control character")]
    Basic,
    /// The token of Bearer.
    #[error("`bearer`: the token is empty, or holds a space, a control character or one that is not ASCII")]
    Bearer,
    /// The id or the secret of an OAuth 2.0 client.
    #[error("`oauth2`: the client id or the client secret is empty")]
    EmptyClient,
    /// Files for TLS, and no URL that begins with https.
    #[error("`tls` is of use for an https URL only")]
    NoTls,
    /// A file that should hold a secret holds none.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The URL in a file leads elsewhere than it did at the start.
    #[error("the URL leads to another host than at the start")]
    Moved,
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
    Template::parse(url).is_ok_and(|url| url.uri().scheme_str() == Some("http") && !is_loopback(url.uri()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
