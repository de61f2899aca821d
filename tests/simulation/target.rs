//! Targets as they are: limited in rate or in concurrency, slow, hanging, down for a while and weak afterwards, failing for
//! one type of event or by chance, naming absurd delays. Each answers by its own state, by time and by a seed.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use stream_sqsd::handler::HandlerError;
use tokio::time::Instant;

/// How long it takes a target to say that it takes no more, and a port to refuse a connection.
const REFUSAL: Duration = Duration::from_millis(2);

/// What an absurd answer names.
pub(crate) const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// How a target behaves, over the whole time of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What it takes, all of them together.
    pub(crate) limits: Vec<Limit>,
    /// What it names when it takes no more.
    pub(crate) named: Named,
    pub(crate) latency: Latency,
    /// How long the handler waits for an answer before it calls the target busy.
    pub(crate) timeout: Duration,
    pub(crate) outages: Vec<Outage>,
    /// After each outage it takes no more than this, for so long.
    pub(crate) recovery: Option<(Limit, Duration)>,
    pub(crate) failing: Vec<Failing>,
    /// The share of calls that fail whatever the message.
    pub(crate) random: f64,
    /// One answer of 64 says busy and names a day, whatever the load.
    pub(crate) absurd: bool,
}

impl Default for Target {
    fn default() -> Self {
        Target {
            limits: Vec::new(),
            named: Named::Nothing,
            latency: Latency::Fixed(Duration::from_millis(20)),
            timeout: Duration::from_secs(10),
            outages: Vec::new(),
            recovery: None,
            failing: Vec::new(),
            random: 0.0,
            absurd: false,
        }
    }
}

/// How much a target takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// A bucket of `burst` tokens that is filled at `per_second`; with a burst of one, strict spacing.
    Rate { per_second: f64, burst: f64 },
    /// So many in each window of time.
    Window { calls: u32, length: Duration },
    /// So many at the same time.
    Concurrency(usize),
}

impl Limit {
    /// How many calls a second it lets in, where each takes so many seconds.
    pub(crate) fn per_second(self, latency: f64) -> f64 {
        match self {
            Limit::Rate { per_second, .. } => per_second,
            Limit::Window { calls, length } => f64::from(calls) / length.as_secs_f64(),
            Limit::Concurrency(most) => most as f64 / latency,
        }
    }

    /// Whether it takes calls one at a time at its rate, and each of them lasts longer than that. A bucket of one call is
    /// strict spacing, whatever the rate.
    pub(crate) fn wants_spacing(self, latency: f64) -> bool {
        let Limit::Rate { per_second, burst } = self else { return false };
        burst < per_second.max(2.0) && latency >= 1.0 / per_second
    }
}

/// The delay that a target names when it takes no more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Named {
    Nothing,
    /// Always this one, true or not.
    Always(Duration),
    /// Until the end of the window, which is true.
    EndOfWindow,
}

/// How long a target takes for its work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Latency {
    Fixed(Duration),
    /// Distributed exponentially, with this mean.
    Exponential(Duration),
}

impl Latency {
    pub(crate) fn mean(self) -> Duration {
        match self {
            Latency::Fixed(takes) | Latency::Exponential(takes) => takes,
        }
    }

    /// Nearly every answer takes less.
    pub(crate) fn most(self) -> Duration {
        match self {
            Latency::Fixed(takes) => takes,
            Latency::Exponential(mean) => mean * 10,
        }
    }
}

/// A time in which a target takes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    pub(crate) how: Down,
}

impl Outage {
    pub(crate) fn lasts(&self) -> Duration {
        self.until - self.from
    }
}

/// What is seen of a target that takes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Down {
    /// The connection is refused.
    Refused,
    /// It answers 503.
    Unavailable,
    /// It does not answer.
    Hangs,
}

/// A time in which every event of one type fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    pub(crate) kind: usize,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// What is with a message, whatever the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Nature {
    Good,
    /// The target always answers 500 to it.
    Poison,
    /// The target never answers it.
    TimesOut,
}

/// How one call of a handler ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    Taken,
    /// 429 or 503, with the delay that it named.
    Busy(Option<Duration>),
    /// The handler's own time was over.
    TimedOut,
    /// 500.
    Failed,
    /// No connection.
    Refused,
}

impl Answer {
    /// The same as the handlers that ship say it.
    pub(crate) fn outcome(self) -> Result<(), HandlerError> {
        match self {
            Answer::Taken => Ok(()),
            Answer::Busy(Some(delay)) => Err(HandlerError::target_busy("429").after(delay)),
            Answer::Busy(None) => Err(HandlerError::target_busy("429")),
            Answer::TimedOut => Err(HandlerError::target_busy("no answer in time")),
            Answer::Failed => Err(HandlerError::target_down("500")),
            Answer::Refused => Err(HandlerError::target_down("connection refused")),
        }
    }
}

impl Target {
    pub(crate) fn is_down(&self, at: Duration) -> Option<&Outage> {
        self.outages.iter().find(|outage| (outage.from..outage.until).contains(&at))
    }

    /// The limits that hold at a time.
    pub(crate) fn limits_at(&self, at: Duration) -> Vec<Limit> {
        match self.recovery {
            Some((limit, _)) if self.is_recovering(at) => vec![limit],
            _ => self.limits.clone(),
        }
    }

    fn is_recovering(&self, at: Duration) -> bool {
        let Some((_, lasts)) = self.recovery else { return false };
        self.outages.iter().any(|outage| (outage.until..outage.until + lasts).contains(&at))
    }

    /// How many calls a second it takes from so many slots when it takes the least.
    pub(crate) fn slowest_rate(&self, slots: usize) -> f64 {
        let latency = self.latency.mean().as_secs_f64();
        let limits = self.limits.iter().chain(self.recovery.as_ref().map(|(limit, _)| limit));
        limits.map(|limit| limit.per_second(latency)).fold(slots as f64 / latency, f64::min)
    }

    /// Whether some answers take longer than the handler waits for them.
    pub(crate) fn often_times_out(&self) -> bool {
        self.latency.most() > 2 * self.timeout
    }

    /// When it begins to behave in another way.
    pub(crate) fn changes(&self) -> Vec<Duration> {
        let recovers = self.recovery.map_or(Duration::ZERO, |(_, lasts)| lasts);
        let outages = self.outages.iter().flat_map(|one| [one.from, one.until, one.until + recovers]);
        let failing = self.failing.iter().flat_map(|one| [one.from, one.until]);
        outages.chain(failing).collect()
    }

    /// Whether it ever names more than a second.
    pub(crate) fn names_long_delays(&self) -> bool {
        let long = match self.named {
            Named::Nothing => false,
            Named::Always(delay) => delay > Duration::from_secs(1),
            Named::EndOfWindow => true,
        };
        long || self.absurd
    }
}

/// A target at work.
pub(crate) struct LiveTarget {
    target: Target,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    limits: Vec<Meter>,
    /// What holds after an outage.
    weak: Option<Meter>,
    in_flight: usize,
    random: Rng,
}

/// A limit and what of it is used.
struct Meter {
    limit: Limit,
    tokens: f64,
    filled: Instant,
    /// Calls in the window of this number.
    window: (u128, u32),
}

impl LiveTarget {
    pub(crate) fn new(target: Target, began: Instant, seed: u64) -> Self {
        let meter = |limit: Limit| {
            let tokens = if let Limit::Rate { burst, .. } = limit { burst } else { 0.0 };
            Meter { limit, tokens, filled: began, window: (0, 0) }
        };
        let limits = target.limits.iter().copied().map(meter).collect();
        let weak = target.recovery.map(|(limit, _)| meter(limit));
        let state = State { limits, weak, in_flight: 0, random: Rng::with_seed(seed) };
        LiveTarget { target, began, state: Mutex::new(state) }
    }

    /// Takes one message, or does not.
    pub(crate) async fn call(&self, nature: Nature, kind: usize) -> Answer {
        let at = self.began.elapsed();
        let target = &self.target;
        if let Some(outage) = target.is_down(at) {
            return self.answer_while_down(outage.how).await;
        }
        if target.absurd && self.state().random.u8(0..64) == 0 {
            tokio::time::sleep(REFUSAL).await;
            return Answer::Busy(Some(A_DAY));
        }
        if !self.admit(at) {
            let named = self.named(at);
            tokio::time::sleep(REFUSAL).await;
            return Answer::Busy(named);
        }
        let _in_flight = InFlight(self);
        let takes = match target.latency {
            Latency::Fixed(takes) => takes,
            Latency::Exponential(mean) => mean.mul_f64(-(1.0 - self.state().random.f64()).ln()),
        };
        if nature == Nature::TimesOut || takes >= target.timeout {
            tokio::time::sleep(target.timeout).await;
            return Answer::TimedOut;
        }
        let fails = nature == Nature::Poison
            || target.failing.iter().any(|one| one.kind == kind && (one.from..one.until).contains(&at))
            || (target.random > 0.0 && self.state().random.f64() < target.random);
        tokio::time::sleep(takes).await;
        if fails { Answer::Failed } else { Answer::Taken }
    }

    async fn answer_while_down(&self, how: Down) -> Answer {
        match how {
            Down::Refused => {
                tokio::time::sleep(REFUSAL).await;
                Answer::Refused
            }
            Down::Unavailable => {
                let named = self.named(self.began.elapsed());
                tokio::time::sleep(REFUSAL).await;
                Answer::Busy(named)
            }
            Down::Hangs => {
                tokio::time::sleep(self.target.timeout).await;
                Answer::TimedOut
            }
        }
    }

    fn named(&self, at: Duration) -> Option<Duration> {
        match self.target.named {
            Named::Nothing => None,
            Named::Always(delay) => Some(delay),
            Named::EndOfWindow => self.target.limits.iter().find_map(|limit| match limit {
                Limit::Window { length, .. } => {
                    let into = Duration::from_nanos((at.as_nanos() % length.as_nanos()) as u64);
                    // Retry-After is in whole seconds.
                    Some(Duration::from_secs((*length - into).as_secs_f64().ceil() as u64))
                }
                _ => None,
            }),
        }
    }

    /// Lets a call in, if every limit has room for it.
    fn admit(&self, at: Duration) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let State { limits, weak, in_flight, .. } = &mut *state;
        let limits = match weak {
            Some(weak) if self.target.is_recovering(at) => std::slice::from_mut(weak),
            _ => limits.as_mut_slice(),
        };
        if !limits.iter_mut().all(|meter| meter.has_room(now, at, *in_flight)) {
            return false;
        }
        for meter in limits {
            meter.tokens -= 1.0;
            meter.window.1 += 1;
        }
        *in_flight += 1;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Meter {
    fn has_room(&mut self, now: Instant, at: Duration, in_flight: usize) -> bool {
        match self.limit {
            Limit::Rate { per_second, burst } => {
                let since = now.duration_since(self.filled).as_secs_f64();
                self.filled = now;
                self.tokens = (self.tokens + since * per_second).min(burst);
                // A token that was filled in a thousand steps is a whole one too.
                self.tokens >= 0.999_999
            }
            Limit::Window { calls, length } => {
                let number = at.as_nanos() / length.as_nanos();
                if self.window.0 != number {
                    self.window = (number, 0);
                }
                self.window.1 < calls
            }
            Limit::Concurrency(most) => in_flight < most,
        }
    }
}

/// A call that a target works on, until it is answered or given up.
struct InFlight<'a>(&'a LiveTarget);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}
