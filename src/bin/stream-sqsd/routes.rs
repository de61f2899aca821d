//! Routes of the configuration: which events go to which of the handlers that ship, and with what settings.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use stream_sqsd::event::{Event, Judgement, Pattern};
use stream_sqsd::handler::{Context, Handler, HandlerError};
use stream_sqsd::handlers::exec::{Exec, ExecError, ExecSettings};
use stream_sqsd::handlers::file::{File, FileError, FileSettings, Reopener};
use stream_sqsd::handlers::http::{self, Http, HttpSettings};
use stream_sqsd::handlers::postgres::{Postgres, PostgresSettings};
use stream_sqsd::handlers::stdout::Stdout;
use stream_sqsd::router::Router;
use tokio_util::sync::CancellationToken;

use crate::config::Mistakes;
use crate::document::{Entry, Item, Section};
use crate::exit::{Exit, Failure};
use crate::quantity::{self, show_duration};
use crate::secret::{self, Missing, Secret};
use crate::settings::{Origin, Unset};

/// A key of a route in the file.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// How it can look in the file.
    pub(crate) example: &'static str,
    pub(crate) default: Unset,
    pub(crate) help: &'static str,
}

const EVENTS: Key = Key {
    name: "events",
    example: r#"["message.*", "reaction.new"]"#,
    default: Unset::Words("must be set"),
    help: "Which events: `message.new`, all below a dot (`message.*`), or all (`*`)",
};

const HANDLER: Key = Key {
    name: "handler",
    example: r#""http""#,
    default: Unset::Words("must be set"),
    help: "What is done with them: one of the handlers below",
};

const CHANNEL_TYPE: Key = Key {
    name: "channel_type",
    example: r#""messaging""#,
    default: Unset::Words("all"),
    help: "Only events of channels of this type, such as `messaging`",
};

const TEAM: Key =
    Key { name: "team", example: r#"["red", "blue"]"#, default: Unset::Words("all"), help: "Only events of this team" };

/// The keys of every route.
pub(crate) const OF_EVERY_ROUTE: [&Key; 4] = [&EVENTS, &HANDLER, &CHANNEL_TYPE, &TEAM];

/// A handler that ships, as the file names it.
#[derive(Debug)]
pub(crate) struct HandlerKind {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [&'static Key],
    read: fn(&mut Reader<'_>) -> Option<Target>,
}

const PATH: Key = Key {
    name: "path",
    example: r#""/var/lib/stream-sqsd/events.jsonl""#,
    default: Unset::Words("must be set"),
    help: "The file that lines are appended to. It is created when it is not there, its directory is not",
};

const ROTATE_SIZE: Key = Key {
    name: "rotate_size",
    example: r#""1GiB""#,
    default: Unset::Words("never"),
    help: "A file is put aside under a name with its date before it would grow larger",
};

const ROTATE_AGE: Key = Key {
    name: "rotate_age",
    example: r#""1d""#,
    default: Unset::Words("never"),
    help: "A file is put aside at each whole multiple of this time in UTC: `1d` gives one file for each day",
};

const URL: Key = Key {
    name: "url",
    example: r#""https://example.com/webhooks/stream""#,
    default: Unset::Words("must be set"),
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
    help: "How long one request may take; shorter than `handler_timeout`",
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
    help: "Whether redirects 307 and 308 are followed, which repeat the POST; no others ever are",
};

const COMMAND: Key = Key {
    name: "command",
    example: r#"["/usr/local/bin/on-event", "--verbose"]"#,
    default: Unset::Words("must be set"),
    help: "The program and its arguments; there is no shell. A name without a slash is looked for in PATH",
};

const ENV: Key = Key {
    name: "env",
    example: r#"["HOME"]"#,
    default: Unset::Words("none"),
    help: "Which environment variables the program sees besides PATH, HOME, LANG and TZ",
};

const DATABASE_URL: Key = Key {
    name: "url",
    example: r#""postgres://stream@db.example.com/stream""#,
    default: Unset::Words("must be set"),
    help: "Where the database is, as text or, where it holds a password, as a secret",
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

const DATABASE_CONNECTIONS: Key = Key {
    name: "connections",
    example: "2",
    default: Unset::Value("2"),
    help: "How many connections to the database there may be at the same time",
};

const DATABASE_TIMEOUT: Key = Key {
    name: "timeout",
    example: r#""10s""#,
    default: Unset::Value("10s"),
    help: "How long one event may take; shorter than `handler_timeout`",
};

/// The handlers that ship.
pub(crate) const HANDLERS: &[HandlerKind] = &[
    HandlerKind {
        name: "stdout",
        about: "Each event is a JSON line on standard output",
        keys: &[],
        read: |_| Some(Target::Stdout),
    },
    HandlerKind {
        name: "file",
        about: "Each event is a JSON line in a file, on disk before its message is deleted. SIGHUP opens the file anew",
        keys: &[&PATH, &ROTATE_SIZE, &ROTATE_AGE],
        read: read_file,
    },
    HandlerKind {
        name: "http",
        about: "Each event is POSTed to a URL as Stream's own webhooks are",
        keys: &[&URL, &API_KEY, &API_SECRET, &TIMEOUT, &CONNECTIONS, &REDIRECTS],
        read: read_http,
    },
    HandlerKind {
        name: "exec",
        about: "A program is run for each event, which it reads from its standard input; 0 means done",
        keys: &[&COMMAND, &ENV],
        read: read_exec,
    },
    HandlerKind {
        name: "postgres",
        about: "Each event is a row of a PostgreSQL table, committed before its message is deleted",
        keys: &[&DATABASE_URL, &PASSWORD, &TABLE, &DATABASE_CONNECTIONS, &DATABASE_TIMEOUT],
        read: read_postgres,
    },
];

/// A route, checked.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    place: Origin,
    patterns: Vec<Pattern>,
    channel_types: Vec<String>,
    teams: Vec<String>,
    target: Target,
}

/// Where the events of a route go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    File(FileSettings),
    Http(HttpSettings),
    Exec(ExecSettings),
    Postgres(PostgresSettings),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        write!(f, "{}", patterns.join(" "))?;
        if !self.channel_types.is_empty() {
            write!(f, " of channel type {}", self.channel_types.join(" or "))?;
        }
        if !self.teams.is_empty() {
            write!(f, " of team {}", self.teams.join(" or "))?;
        }
        match &self.target {
            Target::Stdout => f.write_str(" to standard output"),
            Target::File(settings) => write!(f, " to the file {}", settings.path.display()),
            // Of the URL not the path, which may hold a token.
            Target::Http(settings) => write!(f, " to {}", origin_of(&settings.url)),
            // Of the command not the arguments, and of the database not the URL: either may hold a secret.
            Target::Exec(settings) => write!(f, " to the program {}", settings.command[0]),
            Target::Postgres(settings) => write!(f, " to the table {}", settings.table),
        }
    }
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// Reads the routes of a file.
pub(crate) fn read(
    entry: Entry,
    handler_timeout: Option<Duration>,
    missing: Missing,
    mistakes: &mut Mistakes,
) -> Vec<Route> {
    let sections: Vec<Section> = match entry.item {
        Item::List(entries) => entries
            .into_iter()
            .filter_map(|entry| match entry.item {
                Item::Section(section) => Some(section),
                _ => {
                    mistakes.wrong(&entry.place, "a route is a section of its own: it begins with [[route]]");
                    None
                }
            })
            .collect(),
        Item::Section(section) => {
            mistakes.wrong(&section.place, "there can be several routes, so each begins with two brackets: [[route]]");
            Vec::new()
        }
        Item::Text(_) => {
            mistakes.wrong(&entry.place, "a route is a section of its own: it begins with [[route]]");
            Vec::new()
        }
    };
    let routes: Vec<Route> = sections
        .into_iter()
        .filter_map(|section| {
            let place = section.place.clone();
            Reader { section, place, handler_timeout, missing, mistakes }.route()
        })
        .collect();
    find_unreachable(&routes, mistakes);
    routes
}

/// A route behind others that take all it would take is a mistake of its author, who means something else by it.
fn find_unreachable(routes: &[Route], mistakes: &mut Mistakes) {
    for (position, route) in routes.iter().enumerate() {
        let mut reached = false;
        let mut taken = Vec::new();
        for pattern in &route.patterns {
            match routes[..position].iter().find(|before| before.takes_all(pattern, route)) {
                Some(before) => taken.push((pattern, before)),
                None => reached = true,
            }
        }
        if reached {
            for (pattern, before) in taken {
                mistakes.warn(
                    &route.place,
                    format!("`{pattern}` can never be reached here: the route at {} takes these events", before.place),
                );
            }
        } else if let Some((_, before)) = taken.first() {
            mistakes.wrong(
                &route.place,
                format!("this route can never be reached: the one at {} takes its events before it", before.place),
            );
        }
    }
}

impl Route {
    /// Whether this route takes every event that `pattern` and the conditions of `other` let through.
    fn takes_all(&self, pattern: &Pattern, other: &Route) -> bool {
        let covers = |own: &Pattern| match own.as_str().strip_suffix('*') {
            Some(prefix) => pattern.as_str().starts_with(prefix),
            None => own == pattern,
        };
        let wider = |own: &[String], others: &[String]| {
            own.is_empty() || !others.is_empty() && others.iter().all(|other| own.contains(other))
        };
        self.patterns.iter().any(covers)
            && wider(&self.channel_types, &other.channel_types)
            && wider(&self.teams, &other.teams)
    }

    fn takes(&self, event: &Event) -> bool {
        if !self.patterns.iter().any(|pattern| pattern.matches(event.kind().name())) {
            return false;
        }
        if self.channel_types.is_empty() && self.teams.is_empty() {
            return true;
        }
        let [channel_type, cid, team] = event.texts(["channel_type", "cid", "team"]);
        // An event that names its channel by `cid` alone has the type in front of the colon.
        let channel_type = channel_type.as_deref().or_else(|| Some(cid.as_deref()?.split_once(':')?.0));
        let among = |wanted: &[String], found: Option<&str>| {
            wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|wanted| wanted == found))
        };
        among(&self.channel_types, channel_type) && among(&self.teams, team.as_deref())
    }

    /// The table of PostgreSQL that it writes to, if it does, and where the file says so.
    pub(crate) fn postgres(&self) -> Option<(&Origin, &PostgresSettings)> {
        match &self.target {
            Target::Postgres(settings) => Some((&self.place, settings)),
            _ => None,
        }
    }

    /// What logs and metrics call it.
    fn name(&self) -> String {
        let patterns: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        patterns.join(",")
    }
}

/// Reads one route of the file.
struct Reader<'a> {
    section: Section,
    place: Origin,
    handler_timeout: Option<Duration>,
    missing: Missing,
    mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    fn route(mut self) -> Option<Route> {
        let patterns = self.patterns();
        let channel_types = self.texts(&CHANNEL_TYPE);
        let teams = self.texts(&TEAM);
        let kind = self.kind();
        let target = kind.and_then(|kind| (kind.read)(&mut self));

        let keys = kind.map_or(&[] as &[&Key], |kind| kind.keys);
        let known: Vec<&str> = OF_EVERY_ROUTE.iter().chain(keys).map(|key| key.name).collect();
        // Without a handler nobody knows which of the other keys are right.
        if let Some(kind) = kind {
            let of_another = |key: &str| {
                let other = HANDLERS.iter().find(|other| other.keys.iter().any(|known| known.name == key))?;
                Some(format!("it belongs to the handler \"{}\", and this one is \"{}\"", other.name, kind.name))
            };
            self.section.finish(&known, of_another, self.mistakes);
        }
        Some(Route { place: self.place, patterns: patterns?, channel_types, teams, target: target? })
    }

    fn patterns(&mut self) -> Option<Vec<Pattern>> {
        let Some(entry) = self.section.take(EVENTS.name) else {
            let what = "this route does not say which events it takes: events = [\"*\"] takes all";
            self.mistakes.wrong(&self.place, what);
            return None;
        };
        let place = entry.place.clone();
        let texts = entry.texts(EVENTS.name, self.mistakes)?;
        if texts.is_empty() {
            self.mistakes.wrong(&place, "`events` is empty: events = [\"*\"] takes all");
            return None;
        }
        let mut patterns = Vec::with_capacity(texts.len());
        for (place, text) in texts {
            match Pattern::new(&text) {
                Ok(pattern) => {
                    let judgement = pattern.judge();
                    match &judgement {
                        Judgement::Unknown { nearest, .. } if judgement.is_slip() => self.mistakes.wrong(
                            &place,
                            format!("the pattern `{pattern}` matches no event; did you mean `{nearest}`?"),
                        ),
                        _ => {
                            if let Some(warning) = judgement.warning(&pattern) {
                                self.mistakes.warn(&place, warning);
                            }
                        }
                    }
                    patterns.push(pattern);
                }
                Err(error) => self.mistakes.wrong(&place, error.to_string()),
            }
        }
        Some(patterns)
    }

    fn kind(&mut self) -> Option<&'static HandlerKind> {
        let names: Vec<&str> = HANDLERS.iter().map(|kind| kind.name).collect();
        let Some(entry) = self.section.take(HANDLER.name) else {
            let what = format!("this route has no handler: there are {}", names.join(", "));
            self.mistakes.wrong(&self.place, what);
            return None;
        };
        let place = entry.place.clone();
        let name = entry.text(HANDLER.name, self.mistakes)?;
        let kind = HANDLERS.iter().find(|kind| kind.name == name);
        if kind.is_none() {
            let meant = crate::config::nearest(&name, names.iter().copied());
            let meant = meant.map(|meant| format!("; did you mean \"{meant}\"?"));
            let what =
                format!("{name:?} is no handler{}", meant.unwrap_or(format!(": there are {}", names.join(", "))));
            self.mistakes.wrong(&place, what);
        }
        kind
    }

    fn text(&mut self, key: &Key) -> Option<(Origin, String)> {
        let Some(entry) = self.section.take(key.name) else {
            self.mistakes.wrong(&self.place, format!("this route needs `{}`: {}", key.name, lower_first(key.help)));
            return None;
        };
        let place = entry.place.clone();
        Some((place, entry.text(key.name, self.mistakes)?))
    }

    fn texts(&mut self, key: &Key) -> Vec<String> {
        let texts = self.section.take(key.name).and_then(|entry| entry.texts(key.name, self.mistakes));
        texts.unwrap_or_default().into_iter().map(|(_, text)| text).collect()
    }

    /// A value or its default. The outer None is a mistake, which is noted.
    fn value<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Option<Option<T>> {
        let Some(entry) = self.section.take(key.name) else {
            return match key.default {
                Unset::Value(text) => Some(parse(text).ok()),
                Unset::Words(_) => Some(None),
            };
        };
        let place = entry.place.clone();
        match parse(&entry.text(key.name, self.mistakes)?) {
            Ok(value) => Some(Some(value)),
            Err(what) => {
                self.mistakes.wrong(&place, format!("`{}`: {what}", key.name));
                None
            }
        }
    }

    fn secret(
        &mut self,
        key: &Key,
        read: fn(&str, Entry, Missing, &mut Mistakes) -> Option<Secret>,
    ) -> Option<Option<Secret>> {
        match self.section.take(key.name) {
            Some(entry) => read(key.name, entry, self.missing, self.mistakes).map(Some),
            None => Some(None),
        }
    }
}

impl Reader<'_> {
    /// A text that must be there, and may be secret.
    fn needed_secret(&mut self, key: &Key) -> Option<(Origin, Secret)> {
        let Some(place) = self.section.place_of(key.name) else {
            self.mistakes.wrong(&self.place, format!("this route needs `{}`: {}", key.name, lower_first(key.help)));
            return None;
        };
        Some((place, self.secret(key, secret::read_or_text)??))
    }

    /// A target that is slow must be told from a message that is bad.
    fn judge_timeout(&mut self, timeout: Duration) {
        if let Some(limit) = self.handler_timeout.filter(|limit| timeout >= *limit) {
            let what = format!(
                "`timeout` ({}) must be shorter than handler_timeout ({}): otherwise a slow target uses up the receives \
                 of its messages",
                show_duration(timeout),
                show_duration(limit)
            );
            self.mistakes.wrong(&self.place, what);
        }
    }

    /// What the handler itself has to say of its settings. Trying it out connects to nothing.
    fn judge(&mut self, place: &Origin, error: Option<impl Into<anyhow::Error>>) {
        if let Some(error) = error {
            self.mistakes.wrong(place, format!("{:#}", error.into()));
        }
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn read_file(reader: &mut Reader<'_>) -> Option<Target> {
    let path = reader.text(&PATH);
    let rotate_size = reader.value(&ROTATE_SIZE, above_zero(quantity::size));
    let rotate_age = reader.value(&ROTATE_AGE, above_zero(quantity::duration));
    let (place, path) = path?;
    let directory = Path::new(&path).parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        reader.mistakes.warn(&place, format!("there is no directory {}", directory.display()));
    }
    let mut settings = FileSettings::new(path);
    settings.rotate_size = rotate_size?.map(|size| size as u64);
    settings.rotate_age = rotate_age?;
    Some(Target::File(settings))
}

fn read_http(reader: &mut Reader<'_>) -> Option<Target> {
    let url = reader.needed_secret(&URL);
    let api_key = reader.secret(&API_KEY, secret::read_or_text);
    let api_secret = reader.secret(&API_SECRET, secret::read);
    let timeout = reader.value(&TIMEOUT, above_zero(quantity::duration));
    let connections = reader.value(&CONNECTIONS, above_zero(quantity::count));
    let redirects = reader.value(&REDIRECTS, quantity::truth);

    let (place, url) = url?;
    let mut settings = HttpSettings::new(url.reveal());
    settings.api_key = api_key?.map(|key| key.reveal().to_owned());
    settings.api_secret = api_secret?.map(|secret| secret.reveal().to_owned());
    settings.timeout = timeout??;
    settings.connections = connections??;
    settings.redirects = redirects??;

    reader.judge_timeout(settings.timeout);
    if http::is_exposed(&settings.url) {
        let what = format!("events travel unencrypted to {}: use https", origin_of(&settings.url));
        reader.mistakes.warn(&place, what);
    }
    if !url.is_missing() {
        reader.judge(&place, Http::new(settings.clone()).err());
    }
    Some(Target::Http(settings))
}

fn read_exec(reader: &mut Reader<'_>) -> Option<Target> {
    let Some(place) = reader.section.place_of(COMMAND.name) else {
        reader.mistakes.wrong(&reader.place, format!("this route needs `command`: {}", lower_first(COMMAND.help)));
        return None;
    };
    let mut settings = ExecSettings::new(reader.texts(&COMMAND));
    settings.env = reader.texts(&ENV);
    match Exec::new(settings.clone()) {
        Ok(_) => {}
        // A configuration may be checked where its program is not.
        Err(error @ (ExecError::NotFound { .. } | ExecError::NotSet { .. })) if reader.missing == Missing::Warned => {
            reader.mistakes.warn(&place, error.to_string());
        }
        Err(error) => {
            reader.judge(&place, Some(error));
            return None;
        }
    }
    Some(Target::Exec(settings))
}

fn read_postgres(reader: &mut Reader<'_>) -> Option<Target> {
    let url = reader.needed_secret(&DATABASE_URL);
    let password = reader.secret(&PASSWORD, secret::read);
    let table = reader.value(&TABLE, |text| Ok(text.to_owned()));
    let connections = reader.value(&DATABASE_CONNECTIONS, above_zero(quantity::count));
    let timeout = reader.value(&DATABASE_TIMEOUT, above_zero(quantity::duration));

    let (place, url) = url?;
    let mut settings = PostgresSettings::new(url.reveal());
    settings.password = password?.map(|password| password.reveal().to_owned());
    settings.table = table??;
    settings.connections = connections??;
    settings.timeout = timeout??;

    reader.judge_timeout(settings.timeout);
    if !url.is_missing() {
        reader.judge(&place, Postgres::new(settings.clone()).err());
    }
    Some(Target::Postgres(settings))
}

/// A value of which nothing would be nonsense.
fn above_zero<T: PartialEq + Default>(parse: impl Fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<T, String> {
    move |text| match parse(text)? {
        zero if zero == T::default() => Err("it must be more than zero".to_owned()),
        value => Ok(value),
    }
}

/// The handlers of a run, ready.
pub(crate) struct Running {
    pub(crate) router: Router,
    /// Cancelled when nobody reads standard output any more. Never where nothing is written there.
    pub(crate) stdout_closed: CancellationToken,
    /// The files to open anew at a SIGHUP.
    pub(crate) files: Vec<Reopener>,
}

/// Makes the handlers ready. Without routes every event goes to standard output.
pub(crate) fn start(routes: &[Route]) -> Result<Running, Failure> {
    let mut running = Running { router: Router::new(), stdout_closed: CancellationToken::new(), files: Vec::new() };
    if routes.is_empty() {
        let stdout = Stdout::of_process()?;
        running.stdout_closed = stdout.closed();
        running.router = running.router.fallback(stdout);
        return Ok(running);
    }
    // Routes to the same target share a handler: a file can be opened only once.
    let mut started: Vec<(&Target, Shipped)> = Vec::new();
    for route in routes {
        let handler = match started.iter().find(|(target, _)| *target == &route.target) {
            Some((_, handler)) => handler.clone(),
            None => {
                let handler = running.start_handler(route)?;
                started.push((&route.target, handler.clone()));
                handler
            }
        };
        let condition = route.clone();
        running.router = running.router.route_named(&route.name(), move |event| condition.takes(event), handler);
    }
    Ok(running)
}

impl Running {
    fn start_handler(&mut self, route: &Route) -> Result<Shipped, Failure> {
        Ok(match &route.target {
            Target::Stdout => {
                let stdout = Stdout::of_process()?;
                self.stdout_closed = stdout.closed();
                Shipped::Stdout(Arc::new(stdout))
            }
            Target::File(settings) => {
                let file = File::open(settings.clone()).map_err(|error| {
                    let exit = match error {
                        FileError::Zero { .. } | FileError::NoName { .. } | FileError::NotAFile { .. } => Exit::Usage,
                        _ => Exit::Unavailable,
                    };
                    Failure::new(exit, anyhow!("{}: {:#}", route.place, anyhow::Error::new(error)))
                })?;
                self.files.push(file.reopener());
                Shipped::File(Arc::new(file))
            }
            Target::Http(settings) => {
                Shipped::Http(Arc::new(Http::new(settings.clone()).map_err(|e| refused(route, e))?))
            }
            Target::Exec(settings) => {
                Shipped::Exec(Arc::new(Exec::new(settings.clone()).map_err(|e| refused(route, e))?))
            }
            Target::Postgres(settings) => {
                Shipped::Postgres(Arc::new(Postgres::new(settings.clone()).map_err(|e| refused(route, e))?))
            }
        })
    }
}

fn refused(route: &Route, error: impl Into<anyhow::Error>) -> Failure {
    Failure::usage(format!("{}: {:#}", route.place, error.into()))
}

/// One of the handlers that ship. Cheap to clone.
#[derive(Clone)]
enum Shipped {
    Stdout(Arc<Stdout>),
    File(Arc<File>),
    Http(Arc<Http>),
    Exec(Arc<Exec>),
    Postgres(Arc<Postgres>),
}

impl Handler<Event> for Shipped {
    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        match self {
            Shipped::Stdout(stdout) => stdout.handle(event, ctx).await,
            Shipped::File(file) => file.handle(event, ctx).await,
            Shipped::Http(http) => http.handle(event, ctx).await,
            Shipped::Exec(exec) => exec.handle(event, ctx).await,
            Shipped::Postgres(postgres) => postgres.handle(event, ctx).await,
        }
    }
}
