//! Routes of the configuration: which events go to which of the handlers that ship, and with what settings.
//!
//! [`HANDLERS`] is the list of the handlers, each in a file of its name, which implements [`shipped::Shipped`]. [`reader`] is
//! how keys are read, [`running`] how handlers are started in the end. Reading connects to nothing.

mod conflicts;
pub(crate) mod running;
pub(crate) mod route;
mod stdout;
mod file;
mod http;
mod exec;
mod postgres;
mod endpoint;
pub(crate) mod shipped;
pub(crate) mod reader;

use stream_sqsd::event::{Pattern, PatternCheck};
use stream_sqsd::handlers::file::FileSettings;
use stream_sqsd::handlers::http::HttpSettings;
use stream_sqsd::handlers::postgres::PostgresSettings;

pub(crate) use self::conflicts::{OwnFile, find_shared_files};
use self::exec::Program;
use self::reader::{Key, REQUIRED, Reader};
pub(crate) use self::route::RouteConfig;
use self::shipped::HandlerKind;
use self::stdout::StdoutSettings;
use crate::config::diagnostics::{Diagnostics, Origin, nearest};
use crate::config::document::{Entry, Item, Section};
use crate::config::secret::Missing;
use crate::config::settings::Unset;
use crate::config::units;

/// The handlers that ship.
pub(crate) const HANDLERS: &[HandlerKind] = &[
    HandlerKind::of::<StdoutSettings>(),
    HandlerKind::of::<FileSettings>(),
    HandlerKind::of::<HttpSettings>(),
    HandlerKind::of::<Program>(),
    HandlerKind::of::<PostgresSettings>(),
];

const NAME: Key = Key {
    name: "name",
    example: r#""chat-webhook""#,
    default: Unset::Words("the patterns of `events`, with commas between them"),
    help: "What logs, metrics and records call this route, and `dlq --route` too: up to 60 letters, digits, `-`, `_` and `.`, \
           and no other route's. Required where two routes have the same patterns",
};

const EVENTS: Key = Key {
    name: "events",
    example: r#"["message.*", "reaction.new"]"#,
    default: REQUIRED,
    help: "Which events: `message.new`, all below a dot (`message.*`), or all (`*`)",
};

const HANDLER: Key = Key {
    name: "handler",
    example: r#""http""#,
    default: REQUIRED,
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

const CONTINUE: Key = Key {
    name: "continue",
    example: "false",
    default: Unset::Value("false"),
    help: "Whether the events of this route go on to the next route that takes them, so that both get them, side by side. A \
           message is deleted when each of its routes has succeeded. It needs a `name`",
};

/// The keys of every route.
pub(crate) const OF_EVERY_ROUTE: [&Key; 6] = [&EVENTS, &HANDLER, &NAME, &CHANNEL_TYPE, &TEAM, &CONTINUE];

/// Reads the routes of a file.
pub(crate) fn read(entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Vec<RouteConfig> {
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
    let routes: Vec<RouteConfig> = sections
        .into_iter()
        .filter_map(|section| {
            let place = section.place.clone();
            let what = "this route".to_owned();
            read_route(Reader { what, section, place, missing, shown_url: None, diagnostics })
        })
        .collect();
    conflicts::find_unreachable(&routes, diagnostics);
    conflicts::find_equal_names(&routes, diagnostics);
    conflicts::find_dead_ends(&routes, diagnostics);
    routes
}

fn read_route(mut reader: Reader<'_>) -> Option<RouteConfig> {
    let not_here = reader.diagnostics.count_not_here();
    let patterns = patterns(&mut reader);
    let own_name = reader.value(&NAME, route_name);
    let channel_types = reader.texts(&CHANNEL_TYPE);
    let teams = reader.texts(&TEAM);
    let continues = continues(&mut reader);
    let kind = kind(&mut reader);
    let timeout_place = reader.section.place_of("timeout");
    // Of a secret only where it comes from: a new one leads to the same target.
    let written = reader.section.canonical();
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
    let is_complete = reader.diagnostics.count_not_here() == not_here;
    let (place, patterns, own_name, continues, target) = (reader.place, patterns?, own_name?, continues?, target?);
    if let Some(place) = continues.as_ref().filter(|_| own_name.is_none()) {
        let what = "`continue = true` needs a `name`: what has succeeded on this route is remembered by it";
        reader.diagnostics.wrong(place, what);
    }
    let told_apart = target.told_apart(kind?.name, &written);
    Some(RouteConfig {
        place,
        patterns,
        own_name,
        channel_types,
        teams,
        continues,
        target,
        told_apart,
        is_complete,
        timeout_place,
    })
}

/// Where it says that events go on, if it does. The outer None is a mistake, which is noted.
fn continues(reader: &mut Reader<'_>) -> Option<Option<Origin>> {
    let place = reader.section.place_of(CONTINUE.name);
    let continues = reader.value(&CONTINUE, units::truth)?;
    Some(place.filter(|_| continues == Some(true)))
}

/// The most characters of the name of a route: it is the label of metrics, and stands in each line about its events.
const LONGEST_NAME: usize = 60;

fn route_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > LONGEST_NAME || !text.chars().all(allowed) {
        return Err(format!("{text:?} is not a name: up to {LONGEST_NAME} letters, digits, -, _ and ."));
    }
    Ok(text.to_owned())
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
        let what = format!("{name:?} is not a handler{}", meant.unwrap_or(format!(": there are {}", names.join(", "))));
        reader.diagnostics.wrong(&place, what);
    }
    kind
}
