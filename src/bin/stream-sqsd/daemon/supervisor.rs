//! What a supervisor is told that asks for it: systemd with `Type=notify`, in the words of `sd_notify(3)`.
//!
//! Ready after the first good receive, a line of status, the watchdog for as long as the engine is alive, and while it
//! drains the wish for as much time as the grace allows. It only reads what the telemetry counted, and where nobody asked
//! (`NOTIFY_SOCKET` is not set) nothing runs.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use stream_sqsd::telemetry::{Monitor, Phase, RelayMonitor, RelaySnapshot, Snapshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::units::show_duration;
use crate::terminal::exit::Failure;

/// How old the line of status becomes.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// How much more time is asked for each time, while starting and while draining: enough to be late twice with the next
/// wish, and little enough for one who stopped wishing to be noticed soon.
const MORE_TIME: Duration = Duration::from_secs(30);

/// What the process takes for its end after the grace: the summary, and what the runtime leaves behind.
const AFTER_GRACE: Duration = Duration::from_secs(5);

/// How often a supervisor is told of a relay: often enough for its watchdog, which the units set to minutes, and for it to
/// know soon that the relay is ready.
const RELAY_EVERY: Duration = Duration::from_secs(1);

/// The longest line of status. People read it in a terminal.
const LONGEST_STATUS: usize = 500;

/// Tells the supervisor, if there is one, for as long as what is returned lives. `grace` is that of the drain.
pub(crate) fn keep_notified(monitor: Monitor, grace: Duration) -> JoinSet<()> {
    let mut telling = JoinSet::new();
    if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
        return telling;
    }
    // Of zero there is no half.
    let watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    let every = watchdog.map_or(STATUS_EVERY, |limit| STATUS_EVERY.min(limit / 2)).max(Duration::from_millis(1));
    telling.spawn(async move {
        let mut teller = Notifier::new(&monitor, grace);
        let mut warned = false;
        loop {
            let now = monitor.snapshot();
            if now.phase == Phase::Ended {
                return;
            }
            let news = teller.news(&now);
            let ready = news.contains(&Notification::Ready);
            match tokio::task::spawn_blocking(move || tell(&news)).await {
                Ok(Err(error)) if !warned => {
                    tracing::warn!(%error, "the supervisor of NOTIFY_SOCKET cannot be told how it goes here");
                    warned = true;
                }
                Ok(told) => teller.ready_told |= ready && told.is_ok(),
                // The runtime ends.
                Err(_) => return,
            }
            tokio::select! { biased;
                () = monitor.reached(after(now.phase)) => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    });
    telling
}

/// The same of a relay, which is ready as soon as it accepts connections.
pub(crate) fn keep_relay_notified(monitor: RelayMonitor, grace: Duration) -> JoinSet<()> {
    let mut telling = JoinSet::new();
    if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
        return telling;
    }
    telling.spawn(async move {
        let mut was_ready = false;
        let mut ticks = tokio::time::interval(RELAY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = false;
        loop {
            ticks.tick().await;
            let is_ready = monitor.is_ready();
            let news = of_relay(&monitor.snapshot(), was_ready, grace);
            was_ready |= is_ready;
            match tokio::task::spawn_blocking(move || tell(&news)).await {
                Ok(Err(error)) if !warned => {
                    tracing::warn!(%error, "the supervisor of NOTIFY_SOCKET cannot be told how it goes here");
                    warned = true;
                }
                Ok(_) => {}
                // The runtime ends.
                Err(_) => return,
            }
        }
    });
    telling
}

/// What there is to tell of a relay that was ready before, or was not.
fn of_relay(now: &RelaySnapshot, was_ready: bool, grace: Duration) -> Vec<Notification> {
    let mut news = Vec::new();
    match (was_ready, now.ready) {
        (false, true) => news.push(Notification::Ready),
        (true, false) => news.extend([Notification::Stopping, Notification::MoreTime(grace + AFTER_GRACE)]),
        _ => {}
    }
    if now.live {
        news.push(Notification::Alive);
    }
    let spooled = now.spool.map(|spool| format!("; {} in the spool", spool.events)).unwrap_or_default();
    let (sent, rejected) = (now.answered("sent"), now.answered("wrong_signature"));
    let line = format!("{sent} sent{spooled}; {rejected} wrong signatures; {} connections", now.connections);
    news.push(Notification::Status(one_line(&line)));
    news
}

/// Tells the supervisor, if there is one, why the run ended early: it shows it beside the state of the service.
pub(crate) fn gave_up(failure: &Failure) {
    // What happened is said on standard error too.
    let _ = tell(&[Notification::Status(one_line(&failure.to_string()))]);
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Notification {
    Ready,
    Stopping,
    Alive,
    MoreTime(Duration),
    Status(String),
}

/// Tells it all at once. Waits while the supervisor does not read, so it is called where nobody else waits.
fn tell(news: &[Notification]) -> io::Result<()> {
    let states = news.iter().map(|news| match news {
        Notification::Ready => NotifyState::Ready,
        Notification::Stopping => NotifyState::Stopping,
        Notification::Alive => NotifyState::Watchdog,
        Notification::MoreTime(time) => {
            NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
        }
        Notification::Status(line) => NotifyState::Status(line),
    });
    sd_notify::notify(&states.collect::<Vec<_>>())
}

/// What the supervisor was told so far, and what it is to be told next.
struct Notifier<'a> {
    monitor: &'a Monitor,
    grace: Duration,
    ready_told: bool,
    draining_since: Option<Instant>,
    /// How many messages were deleted at the last look, and when that was.
    last: (u64, Instant),
}

impl<'a> Notifier<'a> {
    fn new(monitor: &'a Monitor, grace: Duration) -> Self {
        Notifier { monitor, grace, ready_told: false, draining_since: None, last: (0, Instant::now()) }
    }

    fn news(&mut self, now: &Snapshot) -> Vec<Notification> {
        let live = self.monitor.is_live();
        let mut news = Vec::new();
        match now.phase {
            // The queue holds it up, by throttling or an outage of its own: a restart would fix nothing, and the
            // watchdog does not watch yet.
            Phase::Starting if live => news.push(Notification::MoreTime(MORE_TIME)),
            Phase::Receiving if !self.ready_told => news.push(Notification::Ready),
            Phase::Draining => {
                let since = *self.draining_since.get_or_insert_with(|| {
                    news.push(Notification::Stopping);
                    Instant::now()
                });
                let left = (self.grace + AFTER_GRACE).saturating_sub(since.elapsed());
                if live && !left.is_zero() {
                    news.push(Notification::MoreTime(left.min(MORE_TIME)));
                }
            }
            _ => {}
        }
        if live {
            news.push(Notification::Alive);
        }
        news.push(Notification::Status(one_line(&self.status(now))));
        news
    }

    /// What goes on, in one line.
    fn status(&mut self, now: &Snapshot) -> String {
        let (deleted_then, then) = std::mem::replace(&mut self.last, (now.deleted, Instant::now()));
        let rate = (now.deleted - deleted_then) as f64 / then.elapsed().as_secs_f64().max(0.001);
        let mut line = match now.phase {
            Phase::Starting => "waiting for the first good receive".to_owned(),
            _ => format!("{}: {rate:.1} messages/s done, {} in flight", now.phase.name(), now.at_work),
        };
        // Writing to a string cannot fail.
        for flow in self.monitor.flows() {
            let route = &flow.route;
            let _ = match flow.word() {
                "flowing" => Ok(()),
                "only one fails" => write!(line, "; one message of {route} fails and nothing else was tried"),
                word => write!(line, "; the target of {route} is {word}"),
            };
        }
        for trouble in self.monitor.troubles() {
            let since = show_duration(Duration::from_secs(trouble.since.as_secs()));
            let _ = write!(line, "; {} has failed for {since} ({})", trouble.request, trouble.error);
        }
        line
    }
}

/// The phase that is waited for in this one.
fn after(phase: Phase) -> Phase {
    match phase {
        Phase::Starting => Phase::Receiving,
        Phase::Receiving => Phase::Draining,
        _ => Phase::Ended,
    }
}

/// A line end would begin another message to the supervisor.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(LONGEST_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use stream_sqsd::consumer::{Consumer, Settings};
    use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
    use stream_sqsd::router::Router;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_only_while_the_engine_is_alive() {
        let queue = MemoryQueue::new(MemorySettings::default());
        let monitor = Consumer::new(queue, Router::new(), Settings::default()).monitor();
        let mut teller = Notifier::new(&monitor, Duration::from_secs(25));
        assert_eq!(
            teller.news(&monitor.snapshot()),
            [
                Notification::MoreTime(MORE_TIME),
                Notification::Alive,
                Notification::Status("waiting for the first good receive".to_owned())
            ]
        );
        // Nobody runs it, so its loop does not turn.
        tokio::time::advance(Duration::from_secs(16)).await;
        assert_eq!(
            teller.news(&monitor.snapshot()),
            [Notification::Status("waiting for the first good receive".to_owned())]
        );
    }

    #[test]
    fn a_status_is_one_line_whatever_it_says() {
        assert_eq!(one_line("2 diagnostics:\n  READY=1\r\n  \u{1b}[1mx"), "2 diagnostics: READY=1 [1mx");
        assert_eq!(one_line(&"ä".repeat(2_000)).chars().count(), LONGEST_STATUS);
    }
}
