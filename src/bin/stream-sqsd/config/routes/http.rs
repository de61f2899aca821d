//! The keys of the handler `http`.

use stream_sqsd::event::Event;
use stream_sqsd::handlers::http::{
    Authorization, ClientError, Http, HttpError, HttpSettings, OAuth2Settings, Secret as Source, ServerErrors,
    TlsFiles, is_exposed,
};
use stream_sqsd::net::tls::TlsError;

use super::endpoint::{Endpoint, EndpointKeys, missing_scheme};
use super::reader::{INSTEAD_OF_BASIC, Key, REQUIRED, Reader};
use super::shipped::{CallTime, Shipped, Started};
use crate::config::address;
use crate::config::diagnostics::nearest;
use crate::config::secret::{self, Missing, Secret};
use crate::config::settings::Unset;
use crate::config::units;
use crate::terminal::exit::{Exit, Failure};

const URL: Key = Key {
    name: "url",
    example: r#""https://example.com/webhooks/stream""#,
    default: REQUIRED,
    help: "Where each event is POSTed to, as text or, where it holds a token, as a secret. A whole segment of its path or a \
           whole value of its query may be `{type}`, `{channel_type}` or `{team}`, as in https://example.com/{type}?team={team}: \
           each event fills them, percent-encoded, and one that cannot is rejected",
};

const API_KEY: Key = Key {
    name: "api_key",
    example: r#"{ env = "STREAM_API_KEY" }"#,
    default: Unset::Words("no header"),
    help: "The API key of the Stream app, as text or as a secret, sent as `X-Api-Key`",
};

const API_SECRET: Key = Key {
    name: "api_secret",
    example: r#"{ env = "STREAM_API_SECRET" }"#,
    default: Unset::Words("no header"),
    help: "The API secret of the Stream app, a secret, which signs the body (`X-Signature`)",
};

const HEADERS: Key = Key {
    name: "headers",
    example: r#"{ X-Tenant = "garden", X-Token = { env = "TOKEN" } }"#,
    default: Unset::Words("none"),
    help: "Further headers, each as text or as a secret; those that the daemon sets itself are refused",
};

const BASIC: Key = Key {
    name: "basic",
    example: r#"{ user = "stream", password = { env = "HOOK_PASSWORD" } }"#,
    default: Unset::Words("none"),
    help: "A user, as text or as a secret, and a password, a secret, sent as `Authorization: Basic`",
};

const BEARER: Key = Key {
    name: "bearer",
    example: r#"{ file = "/run/secrets/hook-token" }"#,
    default: INSTEAD_OF_BASIC,
    help: "A token, a secret, sent as `Authorization: Bearer`",
};

const OAUTH2: Key = Key {
    name: "oauth2",
    example: r#"{ token_url = "https://id.example.com/token", client_id = "stream", client_secret = { env = "CLIENT_SECRET" }, scope = "hooks", audience = "https://example.com" }"#,
    default: INSTEAD_OF_BASIC,
    help: "Where a token comes from that is sent as `Authorization: Bearer`: OAuth 2.0 client credentials. `scope` and \
           `audience` may be left out. A token is fetched when first needed, renewed before it ends, and once after a 401; \
           its fetch is part of `timeout`",
};

const TOKEN_URL: Key = Key { name: "token_url", example: "", default: REQUIRED, help: "The URL that gives tokens" };
const CLIENT_ID: Key =
    Key { name: "client_id", example: "", default: REQUIRED, help: "The id of the client, as text or as a secret" };
const CLIENT_SECRET: Key =
    Key { name: "client_secret", example: "", default: REQUIRED, help: "The secret of the client" };
const SCOPE: Key = Key { name: "scope", example: "", default: Unset::Words("none"), help: "What the token is for" };
const AUDIENCE: Key =
    Key { name: "audience", example: "", default: Unset::Words("none"), help: "Who the token is for" };
const USER: Key = Key { name: "user", example: "", default: REQUIRED, help: "The user, as text or as a secret" };
const PASSWORD: Key = Key { name: "password", example: "", default: REQUIRED, help: "The password, a secret" };

const TLS: Key = Key {
    name: "tls",
    example: r#"{ ca = "/etc/ssl/company.pem", certificate = "/etc/stream-sqsd/client.pem", key = "/etc/stream-sqsd/client.key" }"#,
    default: Unset::Words("what the system trusts, and no certificate of ours"),
    help: "Files in PEM: authorities to trust beside the system's (`ca`), and the certificate that the endpoint asks for, with \
           its key. They are read again when they change",
};

const CA: Key = Key { name: "ca", example: "", default: Unset::Words("none"), help: "" };
const CERTIFICATE: Key = Key { name: "certificate", example: "", default: Unset::Words("none"), help: "" };
const KEY: Key = Key { name: "key", example: "", default: Unset::Words("none"), help: "" };

const SERVER_ERRORS: Key = Key {
    name: "server_errors",
    example: r#""target_down""#,
    default: Unset::Value("target_down"),
    help: "What a 500 and another 5xx but 503 mean: `target_down`, so that nothing is lost while the endpoint is broken, or \
           `retry`, which spends a receive of the event and goes on with others, for an endpoint that answers 500 to a bad event",
};

const TIMEOUT: Key = Key {
    name: "timeout",
    example: r#""6s""#,
    default: Unset::Value("6s"),
    help: "How long one request may take; with 1s for the rest of its answer less than `handler_timeout`",
};

const CONNECTIONS: Key = Key {
    name: "connections",
    example: "64",
    default: Unset::Value("64"),
    help: "How many connections to the target there may be at the same time",
};

const REDIRECTS: Key = Key {
    name: "redirects",
    example: "false",
    default: Unset::Value("false"),
    help: "Whether redirects 307 and 308 are followed, which repeat the POST, to another origin without key, \
           signature and credentials; no others ever are",
};

impl Shipped for HttpSettings {
    const NAME: &'static str = "http";
    const ALSO: &'static [&'static str] = &["webhook", "https", "url", "post"];
    const ABOUT: &'static str = "Each event is POSTed to a URL as Stream's own webhooks are";
    const KEYS: &'static [&'static Key] = &[
        &URL,
        &API_KEY,
        &API_SECRET,
        &HEADERS,
        &BASIC,
        &BEARER,
        &OAUTH2,
        &TLS,
        &SERVER_ERRORS,
        &TIMEOUT,
        &CONNECTIONS,
        &REDIRECTS,
    ];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let keys = EndpointKeys { url: &URL, timeout: &TIMEOUT, connections: &CONNECTIONS };
        let endpoint = Endpoint::read(reader, &keys, |url| missing_scheme(url, "https").or_else(|| user_in_url(url)));
        let api_key = reader.secret_or_text(&API_KEY);
        let api_secret = reader.secret(&API_SECRET);
        let headers = headers(reader);
        let authorization = authorization(reader);
        let tls = reader.section(&TLS, &[&CA, &CERTIFICATE, &KEY], tls);
        let server_errors = reader.value(&SERVER_ERRORS, server_errors);
        let redirects = reader.value(&REDIRECTS, units::truth);

        let endpoint = endpoint?;
        let mut settings = HttpSettings::new(endpoint.url.source());
        settings.api_key = api_key?.map(|key| key.source());
        settings.api_secret = api_secret?.map(|secret| secret.source());
        settings.headers = headers?;
        settings.authorization = authorization?;
        settings.tls = tls?.unwrap_or_default();
        settings.server_errors = server_errors??;
        settings.timeout = endpoint.timeout;
        settings.connections = endpoint.connections;
        settings.redirects = redirects??;

        if is_exposed(endpoint.url.reveal()) {
            let what = format!("events travel unencrypted to {}: use https", address::origin(endpoint.url.reveal()));
            reader.diagnostics.warn(&endpoint.place, what);
        }
        match Http::new(settings.clone()).err() {
            // A configuration may be checked where its certificates are not.
            Some(HttpError::Client(ClientError::Tls(error @ TlsError::File { .. })))
                if reader.missing != Missing::Refused =>
            {
                reader.diagnostics.not_here(&endpoint.place, error.to_string(), None);
            }
            error => endpoint.check(reader, error),
        }
        Some(settings)
    }

    fn destination(&self, url: Option<&str>) -> String {
        url.unwrap_or("a URL that is not here").to_owned()
    }

    fn call_time(&self) -> CallTime {
        CallTime::Request { timeout: self.timeout, longest: self.longest() }
    }

    fn refuses(&self, event: &Event) -> Option<String> {
        self.rejection(event)
    }

    fn start(&self, _: Option<&str>) -> Result<Started, Failure> {
        let http = Http::new(self.clone()).map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Started::new(http))
    }
}

/// What to write in place of a user and a password in a URL, where they end up in logs.
fn user_in_url(url: &Secret) -> Option<String> {
    let rest = url.reveal().split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority
        .contains('@')
        .then(|| format!("must not carry a user or a password: write {} = {}", BASIC.name, BASIC.example))
}

/// The headers, each by its name. None is a mistake, which is noted.
fn headers(reader: &mut Reader<'_>) -> Option<Vec<(String, Source)>> {
    let Some(section) = reader.take_section(&HEADERS) else { return Some(Vec::new()) };
    let mut headers = Vec::new();
    for (name, entry) in section?.take_all() {
        // What is not like a name may be a secret that went astray.
        let usual = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let shown = if usual { format!("{}: {name}", HEADERS.name) } else { HEADERS.name.to_owned() };
        headers.push((name, secret::read_or_text(&shown, entry, reader.missing, reader.diagnostics)?.source()));
    }
    Some(headers)
}

/// What stands in `Authorization`. The outer None is a mistake, which is noted.
fn authorization(reader: &mut Reader<'_>) -> Option<Option<Authorization>> {
    let given: Vec<_> = [&BASIC, &BEARER, &OAUTH2]
        .iter()
        .filter_map(|key| Some((key.name, reader.section.place_of(key.name)?)))
        .collect();
    let basic = reader.section(&BASIC, &[&USER, &PASSWORD], |reader| {
        let (user, password) = (reader.needed_secret_or_text(&USER), reader.needed_secret(&PASSWORD));
        Some(Authorization::Basic { user: user?.1.source(), password: password?.source() })
    });
    let bearer = reader.secret(&BEARER);
    let oauth2 = reader.section(&OAUTH2, &[&TOKEN_URL, &CLIENT_ID, &CLIENT_SECRET, &SCOPE, &AUDIENCE], oauth2);
    if let [_, .., (second, place)] = given.as_slice() {
        let what = format!("`{second}` and `{}` exclude each other: there is one header `Authorization`", given[0].0);
        reader.diagnostics.wrong(place, what);
        return None;
    }
    let bearer = bearer?.map(|token| Authorization::Bearer(token.source()));
    Some(basic?.or(bearer).or(oauth2?.map(Authorization::OAuth2)))
}

fn oauth2(reader: &mut Reader<'_>) -> Option<OAuth2Settings> {
    let token_url = reader.needed_text(&TOKEN_URL);
    let client_id = reader.needed_secret_or_text(&CLIENT_ID);
    let client_secret = reader.needed_secret(&CLIENT_SECRET);
    let scope = reader.texts(&SCOPE).join(" ");
    let audience = reader.value(&AUDIENCE, |text| Ok(text.to_owned()));
    let (place, token_url) = token_url?;
    if is_exposed(&token_url) {
        let what = format!("the client secret travels unencrypted to {}: use https", address::origin(&token_url));
        reader.diagnostics.warn(&place, what);
    }
    let mut settings = OAuth2Settings::new(token_url, client_id?.1.source(), client_secret?.source());
    settings.scope = Some(scope).filter(|scope| !scope.is_empty());
    settings.audience = audience?;
    Some(settings)
}

fn tls(reader: &mut Reader<'_>) -> Option<TlsFiles> {
    let mut path = |key| reader.value(key, |text| Ok(text.into()));
    let (ca, certificate, key) = (path(&CA), path(&CERTIFICATE), path(&KEY));
    let mut files = TlsFiles::new();
    files.ca = ca?;
    files.certificate = certificate?;
    files.key = key?;
    Some(files)
}

fn server_errors(text: &str) -> Result<ServerErrors, String> {
    match text {
        "target_down" => Ok(ServerErrors::TargetDown),
        "retry" => Ok(ServerErrors::Retry),
        _ => Err(match nearest(text, ["target_down", "retry"].into_iter()) {
            Some(meant) => format!("{text:?} is unknown; did you mean \"{meant}\"?"),
            None => format!("{text:?} is unknown: it is \"target_down\" or \"retry\""),
        }),
    }
}
