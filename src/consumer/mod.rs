//! The engine: receives, works, settles, drains.
//!
//! [`Consumer::run`] is one loop (`run`) that owns everything: the open receives, one task for each delivery, and three services
//! (renewals, deletes, changes of visibility). What comes back up is a return value; nothing calls upwards. Dropping the
//! future of `run` stops all of it at once, like a crash: what was here comes back when its visibility timeout runs out.
//!
//! ```text
//! claim slots and bytes → receive → arrive: lease, group → one worker each: flow → settlement → count
//! ```

mod account;
mod attributes;
mod budget;
mod clock;
mod summary;
mod drain;
mod engine;
mod expiring;
mod facts;
mod flow;
mod groups;
mod journal;
mod latency;
mod lease;
mod observer;
mod pace;
mod receive;
mod dedup;
mod run;
mod settings;
mod settle;
mod worker;
mod fan_out;
mod branch;
mod call;
mod settlement;
mod work;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

pub(crate) use account::{UNROUTED, fit_for_log};
use dedup::DedupCache;
use journal::Journal;
pub use journal::JournalError;
use latency::Latency;
use observer::Watchers;
pub(crate) use observer::{Became, Observer, Settled};
use run::Run;
pub use settings::{GRACE_BEYOND_WAIT, MIN_VISIBILITY, RetryDelay, Settings, SettingsError, Unrouted};
pub use summary::{Ended, Summary};

use crate::queue::{Queue, QueueError};
use crate::router::Router;
use crate::telemetry::{Limits, Monitor, Telemetry};

/// Receives from a queue, sends each event to its handler, and settles the message.
///
/// ```
/// # use std::time::Duration;
/// use stream_sqsd::consumer::{Consumer, Settings};
/// use stream_sqsd::event::Event;
/// use stream_sqsd::handler::{Context, HandlerError};
/// use stream_sqsd::queue::memory::MemoryQueue;
/// use stream_sqsd::router::Router;
///
/// async fn print(event: Event, _ctx: Context) -> Result<(), HandlerError> {
///     println!("{}", event.json());
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = MemoryQueue::new(Default::default());
/// queue.send(r#"{"type":"message.new"}"#);
/// let settings = Settings::new().with_until_empty(true);
/// let summary = Consumer::new(queue, Router::new().route("*", print), settings).run(std::future::pending()).await?;
/// assert_eq!(summary.counts.deleted, 1);
/// # Ok(())
/// # }
/// ```
pub struct Consumer<Q> {
    queue: Arc<Q>,
    router: Router,
    settings: Settings,
    telemetry: Arc<Telemetry>,
    observer: Option<Arc<dyn Observer>>,
}

/// Why a run did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The settings do not fit together.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The queue cannot be consumed: the first receive was refused, or nothing answered.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl<Q: Queue> Consumer<Q> {
    /// Puts a consumer together. Nothing happens before [`Consumer::run`].
    pub fn new(queue: Q, router: Router, settings: Settings) -> Self {
        let Settings { concurrency, max_in_flight_bytes, wait, .. } = settings;
        let limits = Limits { concurrency, max_in_flight_bytes, wait };
        let telemetry = Arc::new(Telemetry::new(limits, router.names()));
        Consumer { queue: Arc::new(queue), router, settings, telemetry, observer: None }
    }

    /// The same, and an observer is told how each delivery ended.
    pub(crate) fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Consumer { observer: Some(observer), ..self }
    }

    /// A view of this consumer from outside: counts, phase, liveness.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.telemetry.clone())
    }

    /// Consumes until `shutdown` completes, then drains within [`Settings::grace`] and returns the shutdown summary.
    ///
    /// On shutdown no receive is cancelled: open ones return, what they bring is returned, handlers finish, what they
    /// do not finish is returned, deletes are flushed. Dropping the future instead is like a crash.
    ///
    /// # Errors
    ///
    /// Only at the start: settings that do not fit together, or a queue that refuses the first receive or does not
    /// answer it. After its first good receive a consumer goes on whatever the queue answers.
    ///
    /// # Panics
    ///
    /// When a service of the engine panics, which is a defect of this crate. Handlers that panic do no harm.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Summary, RunError> {
        self.settings.check()?;
        let dedup = match &self.settings.journal {
            Some(path) => {
                let (journal, known) = Journal::open(path, (self.settings.wall_clock)())?;
                DedupCache::with_journal(journal, known)
            }
            None => DedupCache::default(),
        };
        let Consumer { queue, router, settings, telemetry, observer } = self;
        let mut shutdown = pin!(shutdown);
        let latency = Arc::new(Latency::default());
        let facts = tokio::select! {
            biased;
            () = &mut shutdown => None,
            facts = attributes::read(&*queue, &telemetry, &latency) => Some(facts),
        };
        let told_to_stop = facts.is_none();
        let watchers = Watchers { telemetry, observer };
        let mut run = Run::assemble(queue, router, settings, watchers, facts, dedup, latency);
        if told_to_stop {
            run.begin_drain();
        }
        Ok(run.until_over(shutdown).await?)
    }
}
