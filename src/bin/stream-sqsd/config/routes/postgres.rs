//! The keys of the handler `postgres`.

use stream_sqsd::handlers::postgres::{Postgres, PostgresSettings, holds_password};

use super::endpoint::{Endpoint, EndpointKeys, missing_scheme};
use super::reader::{Key, REQUIRED, Reader};
use super::shipped::{CallTime, Shipped, Started};
use crate::config::secret::{self, Secret};
use crate::config::settings::Unset;
use crate::terminal::exit::{Exit, Failure};

const URL: Key = Key {
    name: "url",
    example: r#""postgres://stream@db.example.com/stream""#,
    default: REQUIRED,
    help: "Where the database is, as text or, where it holds a password, as a secret only",
};

const PASSWORD: Key = Key {
    name: "password",
    example: r#"{ env = "STREAM_DATABASE_PASSWORD" }"#,
    default: Unset::Words("the URL's"),
    help: "The password, a secret",
};

const TABLE: Key = Key {
    name: "table",
    example: r#""stream_events""#,
    default: Unset::Value("stream_events"),
    help: "The table, with its schema if need be; `stream-sqsd init-postgres` makes it",
};

const CONNECTIONS: Key = Key {
    name: "connections",
    example: "2",
    default: Unset::Value("2"),
    help: "How many connections to the database there may be at the same time",
};

const TIMEOUT: Key = Key {
    name: "timeout",
    example: r#""10s""#,
    default: Unset::Value("10s"),
    help: "How long one event may take from its turn on; shorter than `handler_timeout`",
};

impl Shipped for PostgresSettings {
    const NAME: &'static str = "postgres";
    const ALSO: &'static [&'static str] = &["postgresql", "pg", "psql", "sql", "database"];
    const ABOUT: &'static str = "Each event is a row of a PostgreSQL table, committed before its message is deleted";
    const KEYS: &'static [&'static Key] = &[&URL, &PASSWORD, &TABLE, &CONNECTIONS, &TIMEOUT];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let keys = EndpointKeys { url: &URL, timeout: &TIMEOUT, connections: &CONNECTIONS };
        let endpoint = Endpoint::read(reader, &keys, refusal);
        let password = reader.secret(&PASSWORD);
        let table = reader.value(&TABLE, |text| Ok(text.to_owned()));

        let endpoint = endpoint?;
        let mut settings = PostgresSettings::new(endpoint.url.reveal());
        settings.password = password?.map(|password| password.reveal().to_owned());
        settings.table = table??;
        settings.connections = endpoint.connections;
        settings.timeout = endpoint.timeout;

        endpoint.check(reader, Postgres::new(settings.clone()).err());
        Some(settings)
    }

    fn destination(&self, url: Option<&str>) -> String {
        let at = url.map(|url| format!(" at {url}")).unwrap_or_default();
        format!("the table {}{at}", self.table)
    }

    fn call_time(&self) -> CallTime {
        CallTime::Request { timeout: self.timeout, longest: self.timeout }
    }

    fn start(&self) -> Result<Started, Failure> {
        let postgres = Postgres::new(self.clone()).map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Started::new(postgres))
    }
}

/// What is wrong with a URL.
fn refusal(url: &Secret) -> Option<String> {
    if url.is_in_file() && holds_password(url.reveal()) {
        return Some(format!(
            "holds a password, which does not stand in the file itself: leave it out and write password = \
             {{ env = \"NAME\" }}, or give the whole URL by {}",
            secret::FORMS
        ));
    }
    // The other form is words: host=db.example.com user=stream.
    if url.reveal().contains('=') { None } else { missing_scheme(url, "postgres") }
}
