//! `stream-sqsd dlq show`: messages whole, with their text.

use std::time::SystemTime;

use serde::Serialize;
use stream_sqsd::dead_letters::{Found, KnownFrom, Letter};
use stream_sqsd::decode;
use stream_sqsd::event::Event;
use stream_sqsd::queue::Attributes;
use tokio_util::sync::CancellationToken;

use crate::commands::dlq::arguments::ShowArguments;
use crate::commands::dlq::finding::find;
use crate::commands::dlq::place::Place;
use crate::config::routes::running;
use crate::config::secret::Missing;
use crate::config::units::{show_age, show_time};
use crate::terminal::exit::{Exit, Failure, print, say};
use crate::terminal::json::{Colours, for_people as json_for_people, one_line};
use crate::terminal::screen::shown;

pub(super) async fn show(arguments: ShowArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let place = Place::read(arguments.place, Missing::Warned, stop)?;
    let opened = place.open(running::names(&place.config.routes), &arguments.look).await?;
    let mut printed = Ok(());
    let missing = find(&place, &opened, &arguments.ids, |found| {
        let event = decode::decode(&found.body, place.config.engine.inflate_limit).ok();
        let text = match arguments.json {
            true => as_json(found, event.as_ref()),
            false => for_people(found, event.as_ref(), &place),
        };
        if printed.is_ok() {
            printed = print(&text);
        }
    });
    let missing = missing.await?;
    printed?;
    for id in &missing {
        say(&format!("{id} was not found in {}", opened.queue.url()));
    }
    if place.stop.is_cancelled() {
        return Ok(Exit::Interrupted);
    }
    Ok(if missing.is_empty() { Exit::Done } else { Exit::Findings })
}

/// A message as one JSON object.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    letter: &'a Letter,
    attributes: &'a Attributes,
    body: &'a str,
    event: Option<&'a Event>,
}

fn as_json(found: &Found, event: Option<&Event>) -> String {
    let whole = Whole { letter: &found.letter, attributes: &found.attributes, body: &found.body, event };
    let text = serde_json::to_string(&whole).unwrap_or_default();
    // An event can have line ends between its tokens.
    format!("{}\n", one_line(&text))
}

fn for_people(found: &Found, event: Option<&Event>, place: &Place) -> String {
    let mut text = format!("message {}\n", found.letter.message_id);
    for (name, value) in facts(found, place) {
        text.push_str(&format!("  {name:<15} {}\n", shown(&value)));
    }
    text.push('\n');
    let colours = if place.screen.colours_stdout() { Colours::On } else { Colours::Off };
    match event {
        Some(event) => text.push_str(&json_for_people(event.json(), colours)),
        None => text.push_str(&found.body.split('\n').map(shown).collect::<Vec<_>>().join("\n")),
    }
    text.push_str("\n\n");
    text
}

/// All that is known of a message but its text.
fn facts(found: &Found, place: &Place) -> Vec<(&'static str, String)> {
    let Letter {
        sent_at,
        receive_count,
        group,
        body_bytes,
        form,
        event_type,
        cid,
        route,
        routes,
        routes_done,
        reason,
        lost_at,
        ..
    } = &found.letter;
    let now = SystemTime::now();
    let time = |time: &Option<SystemTime>| time.map(|time| format!("{}, {}", show_time(time), show_age(time, now)));
    let mut facts = Vec::new();
    let mut fact = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    fact("sent", time(sent_at));
    fact("lost", time(lost_at));
    fact("receives", Some(receive_count.to_string()));
    fact("group", group.clone());
    fact("body", Some(format!("{form}, {body_bytes} bytes")));
    fact("type", event_type.clone());
    fact("channel", cid.clone());
    match reason {
        None => fact("reason", Some("not known".to_owned())),
        Some(reason) => {
            fact("reason", Some(reason.to_string()));
            let on = reason.failed_on.as_ref().map(|route| format!(", on the route {route}")).unwrap_or_default();
            let at = reason.failed_at.as_deref().unwrap_or("?");
            fact(
                "known from",
                Some(match reason.known_from {
                    KnownFrom::Body => "its bytes and the routes: it would fail in the same way now".to_owned(),
                    _ => format!("a record of {at}{on}"),
                }),
            );
        }
    }
    let target = |name: &String| {
        let route = place.config.routes.iter().find(|route| route.name() == *name);
        route.map_or_else(|| name.clone(), |route| format!("{name}, to {}", route.target))
    };
    match (route, routes.as_slice()) {
        (None, _) => fact("route now", Some("none takes it".to_owned())),
        (Some(route), []) => fact("route now", Some(target(route))),
        (_, routes) => routes.iter().for_each(|route| {
            let done = if routes_done.contains(route) { "; it is done, and not called again" } else { "" };
            fact("route now", Some(format!("{}{done}", target(route))));
        }),
    }
    for (name, value) in &found.attributes.system {
        fact("attribute", Some(format!("{name} = {value}")));
    }
    for (name, value) in &found.attributes.message {
        fact("of the sender", Some(format!("{name} = {} ({})", value.value, value.data_type)));
    }
    facts
}
