//! The keys of the handler `postgres`.

use stream_sqsd::handlers::postgres::{Postgres, PostgresSettings, holds_password};

use super::reader::{Key, MUST_BE_SET, Reader, above_zero};
use crate::config::secret;
use crate::config::settings::Unset;
use crate::config::units;

pub(super) const ABOUT: &str = "Each event is a row of a PostgreSQL table, committed before its message is deleted";

pub(super) const KEYS: &[&Key] = &[&URL, &PASSWORD, &TABLE, &CONNECTIONS, &TIMEOUT];

const URL: Key = Key {
    name: "url",
    example: r#""postgres://stream@db.example.com/stream""#,
    default: MUST_BE_SET,
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

pub(super) fn read(reader: &mut Reader<'_>) -> Option<PostgresSettings> {
    let url = reader.needed_secret_or_text(&URL);
    let password = reader.secret(&PASSWORD);
    let table = reader.value(&TABLE, |text| Ok(text.to_owned()));
    let connections = reader.value(&CONNECTIONS, above_zero(units::count));
    let timeout = reader.value(&TIMEOUT, above_zero(units::duration));

    let (place, url) = url?;
    if url.is_in_file() && holds_password(url.reveal()) {
        let what = format!(
            "`url` holds a password, which does not stand in the file itself: leave it out and write password = \
             {{ env = \"NAME\" }}, or give the whole URL by {}",
            secret::FORMS
        );
        reader.diagnostics.wrong(&place, what);
        return None;
    }
    // The other form is words: host=db.example.com user=stream.
    if !url.reveal().contains('=')
        && let Some(meant) = url.with_scheme("postgres")
    {
        reader.diagnostics.wrong(&place, format!("`{}` has no scheme: did you mean {meant}?", URL.name));
        return None;
    }
    reader.shown = url.shown_url();
    let mut settings = PostgresSettings::new(url.reveal());
    settings.password = password?.map(|password| password.reveal().to_owned());
    settings.table = table??;
    settings.connections = connections??;
    settings.timeout = timeout??;

    if !url.is_missing() {
        reader.check(&place, Postgres::new(settings.clone()).err());
    }
    Some(settings)
}
