//! How the time limits must relate: the one place that holds them against each other.
//!
//! The engine knows what its own settings must be ([`Settings::check`]), a handler how long one of its calls can take, and
//! nobody else knows both. What cannot work is a mistake; what works, but costs receives or does work twice, is advice. Of
//! the supervisor's limit nothing can be seen from here. [`relations`] says all of it in words, for the documentation.

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

/// One row of the table in src/docs/configuration.md.
#[cfg(test)]
pub(crate) struct Relation {
    pub(crate) limit: &'static str,
    pub(crate) must: String,
    pub(crate) why: &'static str,
    pub(crate) otherwise: String,
}

/// All that is held here, by the engine, and by `check --online`, with the numbers that the code has.
#[cfg(test)]
pub(crate) fn relations() -> Vec<Relation> {
    use stream_sqsd::consumer::{GRACE_BEYOND_WAIT, MIN_VISIBILITY, RetryDelay};
    use stream_sqsd::handlers::http::HttpSettings;
    use stream_sqsd::queue::{MAX_VISIBILITY, MAX_WAIT};

    let refused = || "refused, exit code 2".to_owned();
    let (short, long) = UNREMARKABLE;
    let http = HttpSettings::new("");
    let [max_wait, min, max, short, long, harmful, beyond_wait, beyond_request, first_delay, longest_delay] = [
        MAX_WAIT,
        MIN_VISIBILITY,
        MAX_VISIBILITY,
        short,
        long,
        HARMFUL,
        GRACE_BEYOND_WAIT,
        http.longest() - http.timeout,
        RetryDelay::default().min,
        RetryDelay::default().max,
    ]
    .map(show_duration);
    let engine = Settings { grace: Duration::from_secs(60), ..Settings::default() };
    let reserve = show_duration(engine.grace - engine.handler_grace());
    vec![
        Relation {
            limit: "`wait`",
            must: format!("0s to {max_wait}"),
            why: "SQS waits no longer",
            otherwise: refused(),
        },
        Relation {
            limit: "`visibility`",
            must: format!("{min} to {max}"),
            why: "It is renewed at half of it, and SQS hides no message for longer",
            otherwise: refused(),
        },
        Relation {
            limit: "`visibility`, or the queue's own",
            must: format!("{short} to {long}"),
            why: "A network that is away for half of it loses messages to another consumer, and after a crash they stay \
                  hidden for all of it",
            otherwise: format!("advice; of the queue's own by `check --online`, and above {harmful} exit code 1"),
        },
        Relation {
            limit: "`handler_timeout`",
            must: format!("more than 0s, at most {max}; longer or shorter than `visibility`, as you like"),
            why: "While a handler works its message stays hidden, which SQS allows for no longer",
            otherwise: refused(),
        },
        Relation {
            limit: "`handler_timeout`, with routes to `http`",
            must: format!("more than their `timeout` and {beyond_request}"),
            why: "Cut off before it has answered, a slow target would use up the receives of its messages; the wait for a \
                  connection does not count",
            otherwise: refused(),
        },
        Relation {
            limit: "`handler_timeout`, with routes to `postgres`",
            must: "more than their `timeout`".to_owned(),
            why: "The same",
            otherwise: refused(),
        },
        Relation {
            limit: "`grace`",
            must: format!("at least `wait` and {beyond_wait}"),
            why: "A drain waits for the open long poll, whose messages would be stranded otherwise",
            otherwise: refused(),
        },
        Relation {
            limit: "`grace`, with routes to `exec`, `http` or `postgres`",
            must: format!(
                "at least `handler_timeout` (`exec`) or their `timeout`, and {reserve} for returning, or a third more \
                 where that is less"
            ),
            why: "What is at work for longer is interrupted by a stop and done again, which costs its message a receive",
            otherwise: "advice, where one of them is set".to_owned(),
        },
        Relation {
            limit: "the supervisor's: `TimeoutStopSec` of systemd, `stopTimeout` of ECS, \
                    `terminationGracePeriodSeconds` of Kubernetes",
            must: "at least `grace` and 5s".to_owned(),
            why: "Killed before, messages stay hidden until their visibility timeout runs out",
            otherwise: "cannot be seen from here".to_owned(),
        },
        Relation {
            limit: "the queue's `maxReceiveCount`, for targets that may be down",
            must: "3 or more".to_owned(),
            why: "SQS lets a message be held for 12 hours in each receive: with 3 or more, and three messages that wait, an outage of 64 hours \
                  dead-letters nothing. With 1, what fails while others succeed is dead-lettered at once, not 5 minutes later",
            otherwise: "advice by `check --online`; 1 is exit code 1".to_owned(),
        },
        Relation {
            limit: "the delays before the receives that the queue's `maxReceiveCount` allows",
            must: format!(
                "10s or more in all, and less than the queue keeps messages; they begin at {first_delay} and double up to {longest_delay}"
            ),
            why: "What passes by itself needs time for it; what outlasts the queue's retention is lost, not dead-lettered",
            otherwise:
                "advice by `check --online`; a `maxReceiveCount` of 1, or one that outlasts the retention, is exit \
                        code 1"
                    .to_owned(),
        },
    ]
}
