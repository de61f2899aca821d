//! The keys of the handler `http`.

use stream_sqsd::handlers::http::{Http, HttpSettings, is_exposed};

use super::reader::{Key, MUST_BE_SET, Reader, above_zero};
use crate::config::address;
use crate::config::settings::Unset;
use crate::config::units;

pub(super) const ABOUT: &str = "Each event is POSTed to a URL as Stream's own webhooks are";

pub(super) const KEYS: &[&Key] = &[&URL, &API_KEY, &API_SECRET, &TIMEOUT, &CONNECTIONS, &REDIRECTS];

const URL: Key = Key {
    name: "url",
    example: r#""https://example.com/webhooks/stream""#,
    default: MUST_BE_SET,
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

pub(super) fn read(reader: &mut Reader<'_>) -> Option<HttpSettings> {
    let url = reader.needed_secret_or_text(&URL);
    let api_key = reader.secret_or_text(&API_KEY);
    let api_secret = reader.secret(&API_SECRET);
    let timeout = reader.value(&TIMEOUT, above_zero(units::duration));
    let connections = reader.value(&CONNECTIONS, above_zero(units::count));
    let redirects = reader.value(&REDIRECTS, units::truth);

    let (place, url) = url?;
    if let Some(meant) = url.with_scheme("https") {
        reader.diagnostics.wrong(&place, format!("`{}` has no scheme: did you mean {meant}?", URL.name));
        return None;
    }
    reader.shown = url.shown_url();
    let mut settings = HttpSettings::new(url.reveal());
    settings.api_key = api_key?.map(|key| key.reveal().to_owned());
    settings.api_secret = api_secret?.map(|secret| secret.reveal().to_owned());
    settings.timeout = timeout??;
    settings.connections = connections??;
    settings.redirects = redirects??;

    if is_exposed(&settings.url) {
        let what = format!("events travel unencrypted to {}: use https", address::origin(&settings.url));
        reader.diagnostics.warn(&place, what);
    }
    if !url.is_missing() {
        reader.check(&place, Http::new(settings.clone()).err());
    }
    Some(settings)
}
