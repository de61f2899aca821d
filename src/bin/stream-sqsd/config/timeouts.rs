//! How the time limits must relate: the one place that holds them against each other.
//!
//! The engine knows what its own settings must be ([`Settings::check`]), a handler how long one of its calls can take, and
//! nobody else knows both. What cannot work is a mistake; what works, but costs receives or does work twice, is advice. Of
//! the supervisor's limit nothing can be seen from here. `src/docs/configuration.md` has all of it in a table.

use std::time::Duration;

use stream_sqsd::consumer::Settings;

use crate::config::diagnostics::{Diagnostics, Origin};
use crate::config::routes::route::RouteConfig;
use crate::config::routes::shipped::CallTime;
use crate::config::settings::{self, Given};
use crate::config::units::show_duration;

/// A visibility timeout from the first to the second is nothing to speak of; beyond the third messages are delayed so much
/// that it must be fixed.
const UNREMARKABLE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(15 * 60));
const HARMFUL: Duration = Duration::from_secs(60 * 60);

/// Notes what cannot work, and what is probably not meant.
///
/// What the engine checks itself has been checked: `engine` has passed.
pub(crate) fn check(engine: &Settings, routes: &[RouteConfig], given: &Given, diagnostics: &mut Diagnostics) {
    let place_of = |setting| given.get(setting).map(|value| value.origin.clone());
    if let (Some(visibility), Some(place)) = (engine.visibility, place_of(&settings::VISIBILITY))
        && let Some(concern) = visibility_concern(visibility, engine)
    {
        diagnostics.warn(&place, format!("`visibility` is {}. {}", show_duration(visibility), concern.why));
    }

    let limit = engine.handler_timeout;
    let limit_place = place_of(&settings::HANDLER_TIMEOUT);
    let limit_shown = show_duration(limit);
    let stop = engine.handler_grace();
    let stop_shown = show_duration(stop);
    for route in routes {
        match route.target.call_time() {
            CallTime::Moments => {}
            CallTime::Request { timeout, longest } if longest >= limit => {
                let place = route.timeout_place.as_ref().or(limit_place.as_ref()).unwrap_or(&route.place);
                let what = format!(
                    "with its `timeout` of {} {} can take {} for one event, which must be less than handler_timeout \
                     ({limit_shown}): otherwise a slow target uses up the receives of its messages; shorten timeout or \
                     lengthen handler_timeout",
                    show_duration(timeout),
                    named(route, place),
                    show_duration(longest)
                );
                diagnostics.wrong(place, what);
            }
            CallTime::Request { timeout, .. } if timeout > stop => {
                let place = route.timeout_place.as_ref().unwrap_or(&route.place);
                let what = format!(
                    "{} may wait {} for an answer (timeout), and a stop {}",
                    named(route, place),
                    show_duration(timeout),
                    interrupts(&stop_shown)
                );
                diagnostics.warn(place, what);
            }
            CallTime::Request { .. } => {}
            // Unless a limit is named, these are our own defaults: nobody chose them, so nobody is told.
            CallTime::Unlimited if limit > stop => {
                let Some(place) = limit_place.clone().or_else(|| place_of(&settings::GRACE)) else { continue };
                let what = format!(
                    "the program of {} may work for {limit_shown} (handler_timeout), and a stop {}, or shorten \
                     handler_timeout",
                    named(route, &place),
                    interrupts(&stop_shown)
                );
                diagnostics.warn(&place, what);
            }
            CallTime::Unlimited => {}
        }
    }
}

/// A route, in a mistake that stands at this place.
fn named(route: &RouteConfig, place: &Origin) -> String {
    if *place == route.place { "this route".to_owned() } else { format!("the route at {}", route.place) }
}

fn interrupts(after: &str) -> String {
    format!(
        "interrupts it after {after}: then its message is returned, which costs a receive, and is worked on again; \
         lengthen grace, and what the supervisor allows with it"
    )
}

/// What there is to say of a visibility timeout.
pub(crate) struct Concern {
    pub(crate) why: String,
    /// Whether it delays messages so much that it must be fixed.
    pub(crate) is_harm: bool,
}

/// What there is to say of a visibility timeout, the daemon's or the queue's own.
pub(crate) fn visibility_concern(visibility: Duration, engine: &Settings) -> Option<Concern> {
    let (short, long) = UNREMARKABLE;
    if visibility > long {
        let why = "After a crash, what was being worked on is hidden for that long. The daemon renews it while a handler \
                   works, so it need not be long.";
        Some(Concern { why: why.to_owned(), is_harm: visibility > HARMFUL })
    } else if visibility < short {
        let why = format!(
            "A handler may work for {} (handler_timeout), and all that time it must be renewed at half of it: a network \
             that is away for as long loses it, and the message is handled twice.",
            show_duration(engine.handler_timeout)
        );
        Some(Concern { why, is_harm: false })
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use stream_sqsd::consumer::{GRACE_BEYOND_WAIT, MIN_VISIBILITY, RetryDelay};
    use stream_sqsd::handlers::http::HttpSettings;
    use stream_sqsd::queue::{MAX_VISIBILITY, MAX_WAIT};

    use super::*;

    #[test]
    fn the_documentation_has_the_time_limits_of_the_code() {
        let http = HttpSettings::new("");
        let retry = RetryDelay::default();
        let engine = Settings::new().with_grace(Duration::from_secs(60));
        let (short, long) = UNREMARKABLE;
        let page = include_str!("../../../docs/configuration.md");
        let table = page.split_once("## Time limits").unwrap().1;
        for (limit, times) in [
            ("`wait`", vec![MAX_WAIT]),
            ("`visibility`", vec![MIN_VISIBILITY, MAX_VISIBILITY]),
            ("`visibility`, or the queue's own", vec![short, long, HARMFUL]),
            ("`handler_timeout`", vec![MAX_VISIBILITY]),
            ("`handler_timeout`, with routes to `http`", vec![http.longest() - http.timeout]),
            ("`grace`", vec![GRACE_BEYOND_WAIT]),
            ("`grace`, with routes to `exec`, `http` or `postgres`", vec![engine.grace - engine.handler_grace()]),
            ("the delays before the receives that the queue's `maxReceiveCount` allows", vec![retry.min, retry.max]),
        ] {
            let row = table
                .lines()
                .find(|line| line.starts_with(&format!("| {limit} |")))
                .unwrap_or_else(|| panic!("{limit}"));
            for time in times.into_iter().map(show_duration) {
                let stands_there = row.split(|c: char| !c.is_alphanumeric()).any(|word| word == time);
                assert!(stands_there, "{time} is missing: {row}");
            }
        }
    }
}
