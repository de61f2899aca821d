//! What a relay is told: for which apps, where, and from whom.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::networks::Networks;
use crate::webhook::SigningKey;

/// The path of the endpoint unless something else is said.
pub const DEFAULT_PATH: &str = "/webhooks/stream";

/// How large a spool may become unless something else is said: 1 GiB.
pub const DEFAULT_SPOOL_LIMIT: u64 = 1 << 30;

/// The least that a spool may be limited to, in bytes: a few of the largest events.
pub const MIN_SPOOL_LIMIT: u64 = 4 << 20;

/// How many connections there may be at the same time.
const CONNECTIONS: usize = 10_000;

/// An app at Stream whose webhooks are taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct App {
    /// Its API key, the header `X-Api-Key`.
    pub api_key: String,
    /// Its API secrets: a signature by any of them is right, so that a secret can be rotated.
    pub secrets: Vec<SigningKey>,
}

impl App {
    /// An app with its API secrets.
    pub fn new(api_key: impl Into<String>, secrets: impl IntoIterator<Item = SigningKey>) -> Self {
        App { api_key: api_key.into(), secrets: secrets.into_iter().collect() }
    }
}

/// Where events are kept that SQS cannot take now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolSettings {
    /// A directory of the relay alone, on a disk that outlives it.
    pub directory: PathBuf,
    /// How many bytes it may hold, at least [`MIN_SPOOL_LIMIT`].
    pub limit: u64,
}

impl SpoolSettings {
    /// A spool in this directory, of at most [`DEFAULT_SPOOL_LIMIT`].
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        SpoolSettings { directory: directory.into(), limit: DEFAULT_SPOOL_LIMIT }
    }

    /// Sets [`SpoolSettings::limit`].
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit.max(MIN_SPOOL_LIMIT);
        self
    }
}

/// The files of TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// These files.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        TlsFiles { certificate: certificate.into(), key: key.into() }
    }
}

/// What a relay is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelaySettings {
    /// The apps. The first of those with the same key counts.
    pub apps: Vec<App>,
    /// The path of the endpoint; default [`DEFAULT_PATH`].
    pub path: String,
    /// TLS; default none, for a relay behind a load balancer.
    pub tls: Option<TlsFiles>,
    /// The spool; default none.
    pub spool: Option<SpoolSettings>,
    /// From where requests are taken; default everywhere.
    pub allow: Option<Networks>,
    /// The proxies that `X-Forwarded-For` is believed from; default none.
    pub trusted_proxies: Networks,
    /// How many connections there may be at the same time; default 10,000.
    pub connections: usize,
    /// How long a shutdown may take; default 25 s.
    pub grace: Duration,
    /// The clock that spooled events are dated by.
    pub wall_clock: fn() -> SystemTime,
}

impl RelaySettings {
    /// Settings for these apps, with everything else at its default.
    pub fn new(apps: impl IntoIterator<Item = App>, wall_clock: fn() -> SystemTime) -> Self {
        RelaySettings {
            apps: apps.into_iter().collect(),
            path: DEFAULT_PATH.to_owned(),
            tls: None,
            spool: None,
            allow: None,
            trusted_proxies: Networks::default(),
            connections: CONNECTIONS,
            grace: Duration::from_secs(25),
            wall_clock,
        }
    }

    /// Sets [`RelaySettings::path`].
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets [`RelaySettings::tls`].
    pub fn with_tls(mut self, tls: impl Into<Option<TlsFiles>>) -> Self {
        self.tls = tls.into();
        self
    }

    /// Sets [`RelaySettings::spool`].
    pub fn with_spool(mut self, spool: impl Into<Option<SpoolSettings>>) -> Self {
        self.spool = spool.into();
        self
    }

    /// Sets [`RelaySettings::allow`].
    pub fn with_allow(mut self, allow: impl Into<Option<Networks>>) -> Self {
        self.allow = allow.into();
        self
    }

    /// Sets [`RelaySettings::trusted_proxies`].
    pub fn with_trusted_proxies(mut self, trusted_proxies: Networks) -> Self {
        self.trusted_proxies = trusted_proxies;
        self
    }

    /// Sets [`RelaySettings::connections`], at least 1.
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sets [`RelaySettings::grace`].
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}
