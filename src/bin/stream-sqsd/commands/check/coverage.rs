//! What happens to the events that no route takes. Pure.

use std::collections::BTreeMap;

use stream_sqsd::consumer::Unrouted;
use stream_sqsd::event::KNOWN;

use super::finding::Fact;
use crate::config::Config;
use crate::config::routes::RouteConfig;

/// How many names are listed.
const LISTED: usize = 12;

/// What is said of them; nothing where each event has a route.
pub(super) fn rest(config: &Config) -> Option<Fact> {
    if config.routes.is_empty() || config.routes.iter().any(takes_everything) {
        return None;
    }
    let names =
        names(|name| config.routes.iter().any(|route| route.patterns().iter().any(|pattern| pattern.matches(name))));
    let what = match names.as_slice() {
        [] => "no route takes custom events, and types that are newer than this version".to_owned(),
        names => format!("no route takes {}, and custom events", listed(names)),
    };
    let why = match config.engine.unrouted {
        Unrouted::Leave => "These events are left in the queue for the dead-letter queue (`unrouted = \"leave\"`).",
        _ => "These events are deleted (`unrouted = \"ack\"`).",
    };
    Some(Fact { what, why: why.to_owned() })
}

fn takes_everything(route: &RouteConfig) -> bool {
    route.patterns().iter().any(|pattern| pattern.as_str() == "*")
}

/// The known types that are not taken: `call.*` where none of those below the dot is.
fn names(is_taken: impl Fn(&str) -> bool) -> Vec<String> {
    let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for known in KNOWN {
        let family = known.name().split('.').next().unwrap_or_default();
        families.entry(family).or_default().push(known.name());
    }
    let mut names = Vec::new();
    for (family, members) in families {
        let left: Vec<&str> = members.iter().copied().filter(|name| !is_taken(name)).collect();
        if left.len() == members.len() && left.len() > 1 {
            names.push(format!("{family}.*"));
        } else {
            names.extend(left.into_iter().map(str::to_owned));
        }
    }
    names
}

fn listed(names: &[String]) -> String {
    match names.len().checked_sub(LISTED) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{}, {more} more", names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_of_which_no_type_is_taken_is_named_as_one() {
        let left = names(|name| name.starts_with("message.") && name != "message.read" || name == "call.ended");
        assert!(left.contains(&"message.read".to_owned()) && left.contains(&"reaction.*".to_owned()), "{left:?}");
        assert!(!left.iter().any(|name| name == "message.new" || name == "call.*" || name == "call.ended"), "{left:?}");
        assert!(names(|_| true).is_empty());
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let names: Vec<String> = (0..14).map(|number| number.to_string()).collect();
        assert_eq!(listed(&names), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 2 more");
        assert_eq!(listed(&names[..2]), "0, 1");
    }
}
