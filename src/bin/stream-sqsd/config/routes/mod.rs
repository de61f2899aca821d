//! Routes of the configuration: which events go to which of the handlers that ship, and with what settings.
//!
//! [`HANDLERS`] is the table of the handlers; the keys of each stand in a file of its name. [`reader`] is how keys are
//! read, [`running`] how handlers are made ready in the end. Nothing here connects to anything.

pub(crate) mod running;
pub(crate) mod file;
mod http;
mod exec;
mod postgres;
pub(crate) mod reader;

use std::fmt;
use std::time::Duration;

use stream_sqsd::event::{Event, Pattern, PatternCheck};
use stream_sqsd::handlers::exec::ExecSettings;
use stream_sqsd::handlers::file::FileSettings;
use stream_sqsd::handlers::http::HttpSettings;
use stream_sqsd::handlers::postgres::PostgresSettings;

use self::reader::{Key, MUST_BE_SET, Reader};
use crate::config::diagnostics::{Diagnostics, Origin, nearest};
use crate::config::document::{Entry, Item, Section};
use crate::config::secret::Missing;
use crate::config::settings::Unset;

const EVENTS: Key = Key {
    name: "events",
    example: r#"["message.*", "reaction.new"]"#,
    default: MUST_BE_SET,
    help: "Which events: `message.new`, all below a dot (`message.*`), or all (`*`)",
};

const HANDLER: Key = Key {
    name: "handler",
    example: r#""http""#,
    default: MUST_BE_SET,
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
    /// What else people call it.
    also: &'static [&'static str],
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [&'static Key],
    read: fn(&mut Reader<'_>) -> Option<Target>,
}

/// The handlers that ship.
pub(crate) const HANDLERS: &[HandlerKind] = &[
    HandlerKind {
        name: "stdout",
        also: &["console", "print", "log", "standard_output"],
        about: "Each event is a JSON line on standard output",
        keys: &[],
        read: |_| Some(Target::Stdout),
    },
    HandlerKind {
        name: "file",
        also: &["jsonl", "disk", "path"],
        about: file::ABOUT,
        keys: file::KEYS,
        read: |reader| file::read(reader).map(Target::File),
    },
    HandlerKind {
        name: "http",
        also: &["webhook", "https", "url", "post"],
        about: http::ABOUT,
        keys: http::KEYS,
        read: |reader| http::read(reader).map(Target::Http),
    },
    HandlerKind {
        name: "exec",
        also: &["command", "program", "script", "shell", "process"],
        about: exec::ABOUT,
        keys: exec::KEYS,
        read: |reader| exec::read(reader).map(Target::Exec),
    },
    HandlerKind {
        name: "postgres",
        also: &["postgresql", "pg", "psql", "sql", "database"],
        about: postgres::ABOUT,
        keys: postgres::KEYS,
        read: |reader| postgres::read(reader).map(Target::Postgres),
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
    /// The URL of its target as people may see it: where it has one, and that is here.
    shown: Option<String>,
    /// Where its `timeout` stands, if it has one.
    timeout_place: Option<Origin>,
}

/// How long a call of a route's handler can take, as far as the handler itself sees to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Moments: its wait for the target is no part of its time.
    Moments,
    /// A request and its answer, and all that may come after them.
    Request { timeout: Duration, longest: Duration },
    /// As long as the engine lets it.
    Endless,
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
            Target::Http(_) => write!(f, " to {}", self.shown.as_deref().unwrap_or("a URL that is not here")),
            // Of the command not the arguments, which may hold a secret.
            Target::Exec(settings) => write!(f, " to the program {}", settings.command[0]),
            Target::Postgres(settings) => {
                write!(f, " to the table {}", settings.table)?;
                self.shown.as_ref().map_or(Ok(()), |url| write!(f, " at {url}"))
            }
        }
    }
}

/// Reads the routes of a file.
pub(crate) fn read(entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Vec<Route> {
    let sections: Vec<Section> = match entry.item {
        Item::List(entries) => entries
            .into_iter()
            .filter_map(|entry| match entry.item {
                Item::Section(section) => Some(section),
                _ => {
                    diagnostics.wrong(&entry.place, "a route is a section of its own: it begins with [[route]]");
                    None
                }
            })
            .collect(),
        Item::Section(section) => {
            diagnostics
                .wrong(&section.place, "there can be several routes, so each begins with two brackets: [[route]]");
            Vec::new()
        }
        Item::Text(_) => {
            diagnostics.wrong(&entry.place, "a route is a section of its own: it begins with [[route]]");
            Vec::new()
        }
    };
    let routes: Vec<Route> = sections
        .into_iter()
        .filter_map(|section| {
            let place = section.place.clone();
            read_route(Reader { section, place, missing, shown: None, diagnostics })
        })
        .collect();
    find_unreachable(&routes, diagnostics);
    routes
}

/// A route behind others that take all it would take is a mistake of its author, who means something else by it.
fn find_unreachable(routes: &[Route], diagnostics: &mut Diagnostics) {
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
                diagnostics.warn(
                    &route.place,
                    format!("`{pattern}` can never be reached here: the route at {} takes these events", before.place),
                );
            }
        } else if let Some((_, before)) = taken.first() {
            diagnostics.wrong(
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

    /// Where the file says so.
    pub(crate) fn place(&self) -> &Origin {
        &self.place
    }

    /// Where its `timeout` stands, if it has one.
    pub(crate) fn timeout_place(&self) -> Option<&Origin> {
        self.timeout_place.as_ref()
    }

    /// How long a call of its handler can take.
    pub(crate) fn patience(&self) -> Patience {
        match &self.target {
            Target::Stdout | Target::File(_) => Patience::Moments,
            Target::Http(settings) => Patience::Request { timeout: settings.timeout, longest: settings.longest() },
            Target::Postgres(settings) => Patience::Request { timeout: settings.timeout, longest: settings.timeout },
            Target::Exec(_) => Patience::Endless,
        }
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

fn read_route(mut reader: Reader<'_>) -> Option<Route> {
    let patterns = patterns(&mut reader);
    let channel_types = reader.texts(&CHANNEL_TYPE);
    let teams = reader.texts(&TEAM);
    let kind = kind(&mut reader);
    let timeout_place = reader.section.place_of("timeout");
    let target = kind.and_then(|kind| (kind.read)(&mut reader));

    let keys = kind.map_or(&[] as &[&Key], |kind| kind.keys);
    let known: Vec<&str> = OF_EVERY_ROUTE.iter().chain(keys).map(|key| key.name).collect();
    // Without a handler nobody knows which of the other keys are right.
    if let Some(kind) = kind {
        let of_another = |key: &str| {
            let other = HANDLERS.iter().find(|other| other.keys.iter().any(|known| known.name == key))?;
            Some(format!("it belongs to the handler \"{}\", and this one is \"{}\"", other.name, kind.name))
        };
        reader.section.finish(&known, of_another, reader.diagnostics);
    }
    let Reader { place, shown, .. } = reader;
    Some(Route { place, patterns: patterns?, channel_types, teams, target: target?, shown, timeout_place })
}

fn patterns(reader: &mut Reader<'_>) -> Option<Vec<Pattern>> {
    let Some(entry) = reader.section.take(EVENTS.name) else {
        let what = "this route does not say which events it takes: events = [\"*\"] takes all";
        reader.diagnostics.wrong(&reader.place, what);
        return None;
    };
    let place = entry.place.clone();
    let texts = entry.texts(EVENTS.name, reader.diagnostics)?;
    if texts.is_empty() {
        reader.diagnostics.wrong(&place, "`events` is empty: events = [\"*\"] takes all");
        return None;
    }
    let mut patterns = Vec::with_capacity(texts.len());
    for (place, text) in texts {
        match Pattern::new(&text) {
            Ok(pattern) => {
                let check = pattern.check();
                match &check {
                    PatternCheck::Unknown { nearest, .. } if check.is_typo() => reader
                        .diagnostics
                        .wrong(&place, format!("the pattern `{pattern}` matches no event; did you mean `{nearest}`?")),
                    _ => {
                        if let Some(warning) = check.warning(&pattern) {
                            reader.diagnostics.warn(&place, warning);
                        }
                    }
                }
                patterns.push(pattern);
            }
            Err(error) => reader.diagnostics.wrong(&place, error.to_string()),
        }
    }
    Some(patterns)
}

fn kind(reader: &mut Reader<'_>) -> Option<&'static HandlerKind> {
    let names: Vec<&str> = HANDLERS.iter().map(|kind| kind.name).collect();
    let Some(entry) = reader.section.take(HANDLER.name) else {
        let what = format!("this route has no handler: there are {}", names.join(", "));
        reader.diagnostics.wrong(&reader.place, what);
        return None;
    };
    let place = entry.place.clone();
    let name = entry.text(HANDLER.name, reader.diagnostics)?;
    let kind = HANDLERS.iter().find(|kind| kind.name == name);
    if kind.is_none() {
        let by_another_name = HANDLERS.iter().find(|kind| kind.also.iter().any(|also| name.eq_ignore_ascii_case(also)));
        let meant = by_another_name.map(|kind| kind.name).or_else(|| nearest(&name, names.iter().copied()));
        let meant = meant.map(|meant| format!("; did you mean \"{meant}\"?"));
        let what = format!("{name:?} is no handler{}", meant.unwrap_or(format!(": there are {}", names.join(", "))));
        reader.diagnostics.wrong(&place, what);
    }
    kind
}
