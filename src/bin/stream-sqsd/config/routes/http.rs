//! The keys of the handler `http`.

use stream_sqsd::handlers::http::{Http, HttpSettings, is_exposed};

use super::endpoint::{Endpoint, EndpointKeys, missing_scheme};
use super::reader::{Key, REQUIRED, Reader};
use super::shipped::{CallTime, Shipped, Started};
use crate::config::address;
use crate::config::settings::Unset;
use crate::config::units;
use crate::terminal::exit::{Exit, Failure};

const URL: Key = Key {
    name: "url",
    example: r#""https://example.com/webhooks/stream""#,
    default: REQUIRED,
    help: "Where each event is POSTed to, as text or, where it holds a token, as a secret",
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
    help: "Whether redirects 307 and 308 are followed, which repeat the POST, to another origin without key and signature; \
           no others ever are",
};

impl Shipped for HttpSettings {
    const NAME: &'static str = "http";
    const ALSO: &'static [&'static str] = &["webhook", "https", "url", "post"];
    const ABOUT: &'static str = "Each event is POSTed to a URL as Stream's own webhooks are";
    const KEYS: &'static [&'static Key] = &[&URL, &API_KEY, &API_SECRET, &TIMEOUT, &CONNECTIONS, &REDIRECTS];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let keys = EndpointKeys { url: &URL, timeout: &TIMEOUT, connections: &CONNECTIONS };
        let endpoint = Endpoint::read(reader, &keys, |url| missing_scheme(url, "https"));
        let api_key = reader.secret_or_text(&API_KEY);
        let api_secret = reader.secret(&API_SECRET);
        let redirects = reader.value(&REDIRECTS, units::truth);

        let endpoint = endpoint?;
        let mut settings = HttpSettings::new(endpoint.url.reveal());
        settings.api_key = api_key?.map(|key| key.reveal().to_owned());
        settings.api_secret = api_secret?.map(|secret| secret.reveal().to_owned());
        settings.timeout = endpoint.timeout;
        settings.connections = endpoint.connections;
        settings.redirects = redirects??;

        if is_exposed(&settings.url) {
            let what = format!("events travel unencrypted to {}: use https", address::origin(&settings.url));
            reader.diagnostics.warn(&endpoint.place, what);
        }
        endpoint.check(reader, Http::new(settings.clone()).err());
        Some(settings)
    }

    fn destination(&self, url: Option<&str>) -> String {
        url.unwrap_or("a URL that is not here").to_owned()
    }

    fn call_time(&self) -> CallTime {
        CallTime::Request { timeout: self.timeout, longest: self.longest() }
    }

    fn start(&self) -> Result<Started, Failure> {
        let http = Http::new(self.clone()).map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Started::new(http))
    }
}
