//! The section `[relay]`: webhooks that come in by HTTP. `run` does not need it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use stream_sqsd::relay::{App, DEFAULT_PATH, MIN_SPOOL_LIMIT, Networks, RelaySettings, SpoolSettings, TlsFiles};
use stream_sqsd::webhook::SigningKey;

use crate::config::diagnostics::{Diagnostics, Origin};
use crate::config::document::{Entry, Item, Section};
use crate::config::routes::reader::{Key, Reader};
use crate::config::secret::{self, FORMS, Missing, Secret};
use crate::config::settings::Unset;
use crate::config::stream::StreamConfig;
use crate::config::units;
use crate::terminal::exit::Failure;

/// Its name in the file.
pub(crate) const RELAY: &str = "relay";

const LISTEN: Key = Key {
    name: "listen",
    example: r#""0.0.0.0:8080""#,
    default: Unset::Value("127.0.0.1:8080"),
    help: "Where webhooks are received: an address with its port",
};

const PATH: Key = Key {
    name: "path",
    example: r#""/webhooks/stream""#,
    default: Unset::Value(DEFAULT_PATH),
    help: "The path of the endpoint; every other path is answered 404",
};

const TLS: Key = Key {
    name: "tls",
    example: r#"{ certificate = "/etc/stream-sqsd/cert.pem", key = "/etc/stream-sqsd/key.pem" }"#,
    default: Unset::Words("none: behind a load balancer that ends TLS"),
    help: "The certificate (with those between it and the authority) and its private key, in PEM. They are read again when \
           they change",
};

const APPS: Key = Key {
    name: "apps",
    example: r#"[{ api_key = "KEY", api_secret = [{ env = "NEW_SECRET" }, { env = "OLD_SECRET" }] }]"#,
    default: Unset::Words("the app of `[stream]`"),
    help: "The apps whose webhooks are taken, each with its API key (as text or as a secret) and its API secret (a secret). A \
           list of two secrets is for rotation: a signature by either is right",
};

const SPOOL: Key = Key {
    name: "spool",
    example: r#""/var/lib/stream-sqsd/spool""#,
    default: Unset::Words("none"),
    help: "A directory of this relay alone for events that SQS cannot take now, on a disk that outlives the task. Without it \
           they are answered 503 while SQS is out of reach, and Stream tries each three times within 15 s",
};

const SPOOL_LIMIT: Key = Key {
    name: "spool_limit",
    example: r#""1GiB""#,
    default: Unset::Value("1GiB"),
    help: "How large the spool may become, at least 4MiB. What no longer fits is answered 503",
};

const ALLOW: Key = Key {
    name: "allow",
    example: r#""stream""#,
    default: Unset::Words("everywhere"),
    help: "From where requests are taken: `stream` for the addresses that Stream publishes, or a list of networks",
};

const TRUSTED_PROXIES: Key = Key {
    name: "trusted_proxies",
    example: r#"["10.0.0.0/8"]"#,
    default: Unset::Words("none"),
    help: "The networks of the load balancers in front of the relay. A request from them comes from the rightmost address of \
           its X-Forwarded-For that is not one of these",
};

/// All of its keys.
pub(crate) const KEYS: &[&Key] = &[&LISTEN, &PATH, &TLS, &APPS, &SPOOL, &SPOOL_LIMIT, &ALLOW, &TRUSTED_PROXIES];

/// The keys of one app.
const OF_APP: [&str; 2] = ["api_key", "api_secret"];

/// The keys of `tls`.
const OF_TLS: [&str; 2] = ["certificate", "key"];

/// The section, checked.
#[derive(Clone, Debug)]
pub(crate) struct RelayConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) path: String,
    pub(crate) tls: Option<TlsFiles>,
    /// None: that of `[stream]`.
    apps: Option<Vec<AppConfig>>,
    pub(crate) spool: Option<SpoolSettings>,
    pub(crate) allow: Option<Networks>,
    trusted_proxies: Networks,
}

#[derive(Clone, Debug)]
struct AppConfig {
    api_key: Secret,
    api_secrets: Vec<Secret>,
}

impl RelayConfig {
    /// Whether there is nobody whose webhooks could be taken.
    pub(crate) fn has_no_app(&self, stream: Option<&StreamConfig>) -> bool {
        self.apps.is_none() && stream.is_none()
    }

    /// What the relay is told. `stream` is the section of that name.
    ///
    /// # Errors
    ///
    /// Where there is no app, or a secret of one is not here.
    pub(crate) fn settings(&self, stream: Option<&StreamConfig>, grace: Duration) -> Result<RelaySettings, Failure> {
        let apps: Vec<(&Secret, Vec<&Secret>)> = match (&self.apps, stream) {
            (Some(apps), _) => apps.iter().map(|app| (&app.api_key, app.api_secrets.iter().collect())).collect(),
            (None, Some(stream)) => {
                let (key, secret) = stream.app();
                vec![(key, vec![secret])]
            }
            (None, None) => {
                return Err(Failure::usage(
                    "[relay] needs an app whose signatures are right: write a section [stream] with api_key and \
                     api_secret, or `apps` in [relay]",
                ));
            }
        };
        let app = |(key, secrets): (&Secret, Vec<&Secret>)| {
            if key.is_missing() || secrets.iter().any(|secret| secret.is_missing()) {
                return Err(Failure::usage(
                    "the API key or the API secret of an app of the relay names a secret that is not here",
                ));
            }
            Ok(App::new(key.reveal(), secrets.into_iter().filter_map(|secret| SigningKey::new(secret.reveal()))))
        };
        let apps: Vec<App> = apps.into_iter().map(app).collect::<Result<_, Failure>>()?;
        let settings = RelaySettings::new(apps, SystemTime::now)
            .with_path(self.path.as_str())
            .with_tls(self.tls.clone())
            .with_spool(self.spool.clone())
            .with_allow(self.allow.clone())
            .with_trusted_proxies(self.trusted_proxies.clone())
            .with_grace(grace);
        Ok(settings)
    }
}

/// Reads the section. None is a mistake, which is noted.
pub(super) fn read(entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Option<RelayConfig> {
    let place = entry.place;
    let Item::Section(section) = entry.item else {
        diagnostics.wrong(&place, format!("`{RELAY}` is a section of its own, which begins with [{RELAY}]"));
        return None;
    };
    let what = format!("[{RELAY}]");
    let mut reader = Reader { what, section, place, missing, shown_url: None, diagnostics };
    let listen = reader.value(&LISTEN, address);
    let path = reader.value(&PATH, path);
    let limit = reader.value(&SPOOL_LIMIT, spool_limit);
    let Reader { mut section, diagnostics, .. } = reader;
    let tls = section.take(TLS.name).map(|entry| tls(entry, missing, diagnostics));
    let apps = section.take(APPS.name).map(|entry| apps(entry, missing, diagnostics));
    let spool = section.take(SPOOL.name).map(|entry| spool(entry, missing, diagnostics));
    let has_allow = section.place_of(ALLOW.name);
    let allow = networks(&ALLOW, &mut section, diagnostics);
    let trusted_proxies = networks(&TRUSTED_PROXIES, &mut section, diagnostics);
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    section.finish(&names, |_| None, diagnostics);

    let (allow, trusted_proxies) = (allow?, trusted_proxies?);
    if let Some(place) = has_allow.filter(|_| allow.is_empty()) {
        diagnostics
            .wrong(&place, "`allow` is an empty list, so nobody could send: name networks, or leave it out".to_owned());
        return None;
    }
    let (limit, spool) = (limit??, spool.map_or(Some(None), |spool| spool.map(Some))?);
    Some(RelayConfig {
        listen: listen??,
        path: path??,
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        apps: apps.map_or(Some(None), |apps| apps.map(Some))?,
        spool: spool.map(|directory| SpoolSettings::new(directory).with_limit(limit)),
        allow: Some(allow).filter(|allow| !allow.is_empty()),
        trusted_proxies,
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| format!("{text:?} is not an address with a port, such as 0.0.0.0:8080 or [::]:8443");
    text.trim().parse().map_err(wrong)
}

fn path(text: &str) -> Result<String, String> {
    let is_good = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'));
    match is_good {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not the path of a URL: it begins with / and has no query")),
    }
}

fn spool_limit(text: &str) -> Result<u64, String> {
    let limit = units::size(text)? as u64;
    match limit >= MIN_SPOOL_LIMIT {
        true => Ok(limit),
        false => Err("a spool needs room for a few of the largest events: at least 4MiB".to_owned()),
    }
}

fn tls(entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Option<TlsFiles> {
    let place = entry.place;
    let Item::Section(mut section) = entry.item else {
        diagnostics.wrong(&place, format!("`tls` names two files: write {}", TLS.example));
        return None;
    };
    let files = OF_TLS.map(|key| section.take(key).and_then(|entry| entry.text(key, diagnostics)));
    section.finish(&OF_TLS, |_| None, diagnostics);
    let [Some(certificate), Some(key)] = files else {
        diagnostics.wrong(&place, format!("`tls` needs `certificate` and `key`: write {}", TLS.example));
        return None;
    };
    for path in [&certificate, &key] {
        if let (Missing::Warned, Err(error)) = (missing, std::fs::File::open(path)) {
            diagnostics.warn(&place, format!("`tls`: {path} cannot be read: {error}"));
        }
    }
    Some(TlsFiles::new(certificate, key))
}

fn spool(entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Option<PathBuf> {
    let place = entry.place.clone();
    let text = entry.text(SPOOL.name, diagnostics)?;
    if text.trim().is_empty() {
        diagnostics.wrong(&place, "`spool` is empty: name a directory, or leave it out".to_owned());
        return None;
    }
    let directory = Path::new(&text);
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    if directory.exists() && !directory.is_dir() {
        diagnostics.wrong(&place, format!("`spool`: {text} is not a directory"));
        return None;
    }
    // The relay makes the directory itself, but not the disk that it should be on.
    if let Some(parent) = parent.filter(|parent| !parent.is_dir() && missing != Missing::Ignored) {
        diagnostics.warn(&place, format!("`spool`: there is no directory {}", parent.display()));
    }
    Some(directory.to_owned())
}

/// The networks of a key; none where it is not there. None is a mistake, which is noted.
fn networks(key: &Key, section: &mut Section, diagnostics: &mut Diagnostics) -> Option<Networks> {
    let Some(entry) = section.take(key.name) else { return Some(Networks::default()) };
    let texts: Vec<(Origin, String)> = entry.texts(key.name, diagnostics)?;
    for (place, text) in &texts {
        if let Err(error) = Networks::parse([text.as_str()]) {
            diagnostics.wrong(place, format!("`{}`: {error}", key.name));
        }
    }
    Networks::parse(texts.iter().map(|(_, text)| text.as_str())).ok()
}

fn apps(entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Option<Vec<AppConfig>> {
    let place = entry.place;
    let entries = match entry.item {
        Item::List(entries) if !entries.is_empty() => entries,
        _ => {
            diagnostics.wrong(&place, format!("`apps` is a list of apps: write {}", APPS.example));
            return None;
        }
    };
    // Each is read before the first mistake ends it.
    let apps: Vec<Option<AppConfig>> = entries.into_iter().map(|entry| app(entry, missing, diagnostics)).collect();
    let apps: Vec<AppConfig> = apps.into_iter().collect::<Option<_>>()?;
    let mut keys: Vec<&str> = apps.iter().map(|app| app.api_key.reveal()).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) && missing == Missing::Refused {
        diagnostics.wrong(&place, "`apps` has an API key twice; for two secrets write them as a list".to_owned());
        return None;
    }
    Some(apps)
}

fn app(entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Option<AppConfig> {
    let place = entry.place;
    let Item::Section(mut section) = entry.item else {
        diagnostics.wrong(&place, format!("an app is {{ api_key = …, api_secret = … }}: write {}", APPS.example));
        return None;
    };
    let [key, secret] = OF_APP.map(|key| section.take(key));
    section.finish(&OF_APP, |_| None, diagnostics);
    let (Some(key), Some(secret)) = (key, secret) else {
        diagnostics.wrong(&place, "an app needs `api_key` and `api_secret`".to_owned());
        return None;
    };
    let api_key = secret::read_or_text("api_key", key, missing, diagnostics);
    let at = secret.place.clone();
    let secrets = match secret.item {
        Item::List(list) => list,
        item => vec![Entry { place: secret.place, item }],
    };
    if !(1..=2).contains(&secrets.len()) {
        diagnostics.wrong(&at, format!("`api_secret` is {FORMS}, or a list of two of these while a secret is rotated"));
        return None;
    }
    let secrets: Vec<Option<Secret>> =
        secrets.into_iter().map(|entry| secret::read("api_secret", entry, missing, diagnostics)).collect();
    Some(AppConfig { api_key: api_key?, api_secrets: secrets.into_iter().collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use stream_sqsd::relay::DEFAULT_SPOOL_LIMIT;

    use super::*;

    #[test]
    fn the_default_of_the_limit_is_that_of_the_library() {
        let Unset::Value(text) = SPOOL_LIMIT.default else { panic!("a value") };
        assert_eq!(spool_limit(text), Ok(DEFAULT_SPOOL_LIMIT));
        assert!(spool_limit("1MiB").is_err_and(|why| why.contains("4MiB")));
    }

    #[test]
    fn a_path_begins_with_a_slash_and_has_no_query() {
        assert_eq!(path("/a/b-c"), Ok("/a/b-c".to_owned()));
        for wrong in ["", "a", "/a?b", "/a b", "/ä", "https://h/a"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
        assert!(address("8080").is_err_and(|why| why.contains("0.0.0.0:8080")));
    }
}
