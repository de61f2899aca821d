//! Which routes an event takes, and what each would do with it. Nobody is called.

use std::path::Path;

use serde_json::{Value, json};
use stream_sqsd::consumer::Unrouted;
use stream_sqsd::decode;
use stream_sqsd::event::Event;

use crate::config::Config;
use crate::config::routes::RouteConfig;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::input::{Input, Piece, read_all};

/// What becomes of one event.
pub(super) struct Way<'a> {
    event: Event,
    routes: Vec<&'a RouteConfig>,
    /// Where no route takes it.
    unrouted: &'static str,
}

/// Reads the body of a message, in whatever form, from a file or, by `-`, from standard input.
pub(super) fn read<'a>(path: &Path, config: &'a Config) -> Result<Way<'a>, Failure> {
    let input = Input::of(path);
    let failed = |error| Failure::new(Exit::NoInput, anyhow::anyhow!("cannot read {input}: {error}"));
    let bad = |what: String| Failure::new(Exit::BadData, anyhow::anyhow!("{input} cannot be decoded: {what}"));
    let piece = input.open().and_then(|mut reader| read_all(&mut reader)).map_err(failed)?;
    let Piece::Whole(bytes) = piece else { return Err(bad("it is too large for the body of a message".to_owned())) };
    let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8".to_owned()))?;
    let event = decode::decode(text.trim(), config.engine.inflate_limit).map_err(|error| bad(error.to_string()))?;
    let mut routes = Vec::new();
    for route in config.routes.iter().filter(|route| route.takes(&event)) {
        routes.push(route);
        if route.continues.is_none() {
            break;
        }
    }
    let unrouted = match config.engine.unrouted {
        _ if config.routes.is_empty() => "it is printed: without routes every event goes to standard output",
        Unrouted::Leave => {
            "no route takes it: it is left in the queue for the dead-letter queue (`unrouted = \"leave\"`)"
        }
        _ => "no route takes it: it is deleted (`unrouted = \"ack\"`)",
    };
    Ok(Way { event, routes, unrouted })
}

impl Way<'_> {
    pub(super) fn for_people(&self) -> String {
        let mut text = format!("\nthe event {}:\n", self.event.kind().name().escape_debug());
        for route in &self.routes {
            let rejected = route.target.refuses(&self.event);
            let rejected = rejected.map(|why| format!(", which rejects it: {why}")).unwrap_or_default();
            let on = if route.continues.is_some() { ", and on" } else { "" };
            text.push_str(&format!("  route {} takes it to {}{rejected}{on}\n", route.name(), route.target));
        }
        match self.routes.len() {
            0 => text.push_str(&format!("  {}\n", self.unrouted)),
            1 => {}
            count => text.push_str(&format!("  it is deleted when all {count} have succeeded\n")),
        }
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let routes = self.routes.iter().map(|route| {
            json!({
                "route": route.name(),
                "target": route.target.to_string(),
                "continues": route.continues.is_some(),
                "rejects": route.target.refuses(&self.event),
            })
        });
        let unrouted = Some(self.unrouted).filter(|_| self.routes.is_empty());
        json!({"type": self.event.kind().name(), "routes": routes.collect::<Vec<_>>(), "unrouted": unrouted})
    }
}
