//! The targets of the routes and the files of the daemon: whether they can be used, as far as that is seen without an event.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use futures_util::future::join_all;
use rustix::fs::{Access, access};
use stream_sqsd::handlers::file::FileSettings;
use stream_sqsd::handlers::http::{Authorization, HttpSettings};
use stream_sqsd::handlers::postgres::{self, DatabaseError, PostgresError, PostgresSettings};
use stream_sqsd::net::client::{ConnectionError, try_to_connect};

use super::finding::{Finding, Grade};
use crate::config::Config;
use crate::config::address;
use crate::config::diagnostics::quoted;
use crate::config::routes::RouteConfig;

/// What it means that a target takes nothing.
const WAITS: &str = "Its events would wait in the queue, and what waits for too long is dead-lettered.";

/// What it means that a file cannot be written.
const NO_START: &str = "The daemon would not start.";

/// Looks at each target once. A route of which something is not on this machine has its finding already.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let mut routes: Vec<(usize, &RouteConfig)> = Vec::new();
    for (position, route) in config.routes.iter().enumerate().filter(|(_, route)| route.is_complete) {
        if !routes.iter().any(|(_, known)| known.target == route.target) {
            routes.push((position + 1, route));
        }
    }
    let file = config.file.as_ref().map(|file| format!(" {}", quoted(file))).unwrap_or_default();
    let looks = routes.into_iter().map(|(number, route)| look(number, route, &file));
    let mut findings: Vec<Finding> = join_all(looks).await.into_iter().flatten().collect();
    let own = [("journal", config.engine.journal.as_deref()), ("reasons", config.reasons.as_deref())];
    findings.extend(own.iter().filter_map(|(name, path)| look_at_file(name, (*path)?, true)));
    findings
}

async fn look(number: usize, route: &RouteConfig, file: &str) -> Option<Finding> {
    let name = format!("route {number}");
    if let Some(settings) = route.target.settings::<HttpSettings>() {
        let token_url = match &settings.authorization {
            Some(Authorization::OAuth2(oauth2)) => Some(oauth2.token_url.as_str()),
            _ => None,
        };
        let url = settings.url.read().ok()?;
        for url in token_url.into_iter().chain([&*url]) {
            // The path may have parts that only an event fills in.
            let origin = address::origin(url);
            if let Err(error) = try_to_connect(&origin, &settings.tls, settings.timeout).await {
                return Some(not_connected(&name, &origin, error));
            }
        }
        return None;
    }
    if let Some(settings) = route.target.settings::<PostgresSettings>() {
        let error = postgres::check(settings).await.err()?;
        return Some(not_inserted(&name, &settings.table, error, file));
    }
    let settings = route.target.settings::<FileSettings>()?;
    let rotates = settings.rotate_size.is_some() || settings.rotate_age.is_some();
    look_at_file(&name, &settings.path, rotates)
}

fn harm(name: &str, what: &str, why: &str, fix: Option<String>) -> Finding {
    Finding { grade: Grade::Harm, what: format!("{name}: {what}"), why: why.to_owned(), fix }
}

fn not_connected(name: &str, origin: &str, error: ConnectionError) -> Finding {
    let (why, fix) = match &error {
        ConnectionError::Handshake(_) => (
            "Nothing is sent to a server that cannot prove who it is. Where a company's own authority vouches for it, \
             `tls = { ca = … }` names that authority's certificate.",
            format!(
                "let the target have a certificate that is trusted here; `curl --verbose --head {origin}` says more"
            ),
        ),
        _ => (WAITS, format!("start the target, or correct `url`; `curl --verbose --head {origin}` says more")),
    };
    let what = format!("{origin} cannot be reached: {:#}", anyhow::Error::new(error));
    harm(name, &what, why, Some(fix))
}

/// The database did not plan the insertion. `file` is the argument that names the configuration.
fn not_inserted(name: &str, table: &str, error: PostgresError, file: &str) -> Finding {
    let code = match &error {
        PostgresError::Database(DatabaseError::Answer { code, .. }) => code.as_str(),
        _ => "",
    };
    // See PostgreSQL's documentation, appendix A.
    let fix = match code {
        "42P01" | "3F000" => format!("stream-sqsd init-postgres{file}"),
        "42703" | "42P10" | "42804" | "42846" => {
            format!(
                "alter the table, or name another one; `stream-sqsd init-postgres --print{file}` prints the one that is needed"
            )
        }
        "42501" => format!("psql --command 'GRANT INSERT, SELECT ON {table} TO THE_USER_OF_THE_URL'"),
        "25006" => "name the primary; `target_session_attrs=read-write` in the URL finds it among several".to_owned(),
        "28P01" | "28000" | "3D000" => "correct user, password or database".to_owned(),
        _ => "start the database, or correct `url`".to_owned(),
    };
    harm(name, &format!("the table {table} cannot be written to: {:#}", anyhow::Error::new(error)), WAITS, Some(fix))
}

/// Whether a file can be appended to, or made. `makes_more`: others are made beside it, too.
fn look_at_file(name: &str, path: &Path, makes_more: bool) -> Option<Finding> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // That it is missing was found with the configuration.
    if !directory.is_dir() {
        return None;
    }
    let user = rustix::process::geteuid().as_raw();
    let chown = |path: &Path| Some(format!("sudo chown {user} {}", quoted(path)));
    match fs::metadata(path) {
        Ok(facts) if !facts.is_file() => {
            let what = format!("{} is not a regular file", path.display());
            return Some(harm(name, &what, NO_START, Some("name another path".to_owned())));
        }
        // Neither created nor truncated.
        Ok(_) => {
            if let Err(error) = OpenOptions::new().read(true).append(true).open(path) {
                return Some(harm(
                    name,
                    &format!("cannot write to {}: {error}", path.display()),
                    NO_START,
                    chown(path),
                ));
            }
            if !makes_more {
                return None;
            }
        }
        Err(_) => {}
    }
    let error: io::Error = access(directory, Access::WRITE_OK | Access::EXEC_OK).err()?.into();
    let what = format!("cannot make files in {}: {error}", directory.display());
    Some(harm(name, &what, NO_START, chown(directory)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_refuses_names_what_to_do() {
        let fix = |code: &str| {
            let error = DatabaseError::Answer { code: code.to_owned(), message: "no".to_owned() };
            let found = not_inserted("route 1", "app.events", PostgresError::Database(error), " c.toml");
            assert!(found.what.starts_with("route 1: the table app.events cannot be written to: "), "{found:?}");
            found.fix.unwrap_or_default()
        };
        for (code, words) in [
            ("42P01", "stream-sqsd init-postgres c.toml"),
            ("3F000", "stream-sqsd init-postgres c.toml"),
            ("42703", "stream-sqsd init-postgres --print c.toml"),
            ("42P10", "stream-sqsd init-postgres --print c.toml"),
            ("42501", "GRANT INSERT, SELECT ON app.events TO"),
            ("25006", "target_session_attrs=read-write"),
            ("28P01", "password"),
            ("3D000", "database"),
            ("57P03", "start the database"),
        ] {
            assert!(fix(code).contains(words), "{code}");
        }
    }
}
