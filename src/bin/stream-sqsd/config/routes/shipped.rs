//! What the daemon asks of a handler that ships: one trait, which each implements in a file of its own.
//!
//! [`Shipped`] is that trait. [`HandlerKind`] is a handler as the configuration names it, [`Target`] its settings in one
//! route, whichever handler they belong to, and [`Started`] the handler itself.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, Handler};
use stream_sqsd::handlers::file::Reopener;
use stream_sqsd::handlers::stdout::Closed;
use stream_sqsd::router::Router;

use super::reader::{Key, Reader};
use crate::terminal::exit::Failure;

/// A handler that ships, implemented for its settings. Two routes with equal settings share one handler.
pub(crate) trait Shipped: fmt::Debug + PartialEq + Send + Sync + Sized + 'static {
    /// As the file names it.
    const NAME: &'static str;
    /// What else people call it.
    const ALSO: &'static [&'static str];
    /// What it makes of an event. One sentence, without its full stop.
    const ABOUT: &'static str;
    /// Its keys beside those of every route.
    const KEYS: &'static [&'static Key];

    /// Reads its settings. None is a mistake, which is noted.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;

    /// Where its events go, as the end of a sentence: "to …". `url` is what may be shown of its URL, where it has one.
    fn destination(&self, url: Option<&str>) -> String;

    /// How long one of its calls can take.
    fn call_time(&self) -> CallTime;

    /// Why it rejects an event whatever its target says, where that is so.
    fn refuses(&self, _: &Event) -> Option<String> {
        None
    }

    /// The file that it appends to, which nobody else may write.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Starts it. `aside` is for a process beside the daemon: what is appended to the name of a file that the daemon has
    /// locked, so that another one is written.
    ///
    /// # Errors
    ///
    /// What is wrong with its settings or with what it needs here. Where the route stands is added to it.
    fn start(&self, aside: Option<&str>) -> Result<Started, Failure>;
}

/// How long a call of a handler can take, as far as the handler itself sees to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallTime {
    /// Moments: its wait for the target does not count.
    Moments,
    /// A request and its answer, and all that may come after them.
    Request { timeout: Duration, longest: Duration },
    /// As long as the engine lets it.
    Unlimited,
}

/// A handler that ships, as the file names it.
#[derive(Debug)]
pub(crate) struct HandlerKind {
    pub(crate) name: &'static str,
    pub(super) also: &'static [&'static str],
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [&'static Key],
    pub(super) read: fn(&mut Reader<'_>) -> Option<Target>,
}

impl HandlerKind {
    /// The handler with these settings.
    pub(super) const fn of<S: Shipped>() -> Self {
        HandlerKind {
            name: S::NAME,
            also: S::ALSO,
            about: S::ABOUT,
            keys: S::KEYS,
            read: |reader| {
                let settings: Arc<dyn AnySettings> = Arc::new(S::read(reader)?);
                Some(Target { settings, url: reader.shown_url.take() })
            },
        }
    }
}

/// Where the events of a route go: the settings of its handler.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    settings: Arc<dyn AnySettings>,
    /// What may be shown of its URL: where it has one, and that is here.
    url: Option<String>,
}

impl Target {
    /// Its settings, if it is this handler.
    pub(crate) fn settings<S: Shipped>(&self) -> Option<&S> {
        (&*self.settings as &dyn Any).downcast_ref()
    }

    /// What tells it from another target: its handler, and its keys as they are written. A URL that is a secret leads
    /// elsewhere when its host is another one, as far as may be seen.
    pub(super) fn told_apart(&self, handler: &str, written: &str) -> String {
        format!("{handler} {written} {}", self.url.as_deref().unwrap_or_default())
    }

    /// See [`Shipped::refuses`].
    pub(crate) fn refuses(&self, event: &Event) -> Option<String> {
        self.settings.refuses(event)
    }

    /// See [`Shipped::call_time`].
    pub(crate) fn call_time(&self) -> CallTime {
        self.settings.call_time()
    }

    /// See [`Shipped::file`].
    pub(super) fn file(&self) -> Option<&Path> {
        self.settings.file()
    }

    /// See [`Shipped::start`].
    pub(super) fn start(&self, aside: Option<&str>) -> Result<Started, Failure> {
        self.settings.start(aside)
    }
}

/// Whether both are the same handler with the same settings.
impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        self.settings.equals(&*other.settings)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.destination(self.url.as_deref()))
    }
}

/// [`Shipped`] without its type.
trait AnySettings: Any + fmt::Debug + Send + Sync {
    fn equals(&self, other: &dyn AnySettings) -> bool;
    fn destination(&self, url: Option<&str>) -> String;
    fn call_time(&self) -> CallTime;
    fn refuses(&self, event: &Event) -> Option<String>;
    fn file(&self) -> Option<&Path>;
    fn start(&self, aside: Option<&str>) -> Result<Started, Failure>;
}

impl<S: Shipped> AnySettings for S {
    fn equals(&self, other: &dyn AnySettings) -> bool {
        (other as &dyn Any).downcast_ref() == Some(self)
    }

    fn destination(&self, url: Option<&str>) -> String {
        Shipped::destination(self, url)
    }

    fn call_time(&self) -> CallTime {
        Shipped::call_time(self)
    }

    fn refuses(&self, event: &Event) -> Option<String> {
        Shipped::refuses(self, event)
    }

    fn file(&self) -> Option<&Path> {
        Shipped::file(self)
    }

    fn start(&self, aside: Option<&str>) -> Result<Started, Failure> {
        Shipped::start(self, aside)
    }
}

/// A handler that is ready, and what the run has to know of it.
pub(crate) struct Started {
    add: Box<AddRoute>,
    /// Tells when nobody reads what it writes any more.
    pub(super) unread: Option<Closed>,
    /// Opens its file again, if it has one.
    pub(super) reopener: Option<Reopener>,
    /// The file that it writes in place of one which the daemon has locked.
    pub(super) aside: Option<PathBuf>,
}

/// Adds a route of this name, with its condition, to a router.
type AddRoute = dyn Fn(Router, &str, Condition) -> Router;

/// Whether a route takes an event.
pub(super) type Condition = Box<dyn Fn(&Event) -> bool + Send + Sync>;

impl Started {
    pub(super) fn new(handler: impl Handler<Event>) -> Self {
        let handler = Shared(Arc::new(handler));
        let add = move |router: Router, name: &str, condition| router.route_named(name, condition, handler.clone());
        Started { add: Box::new(add), unread: None, reopener: None, aside: None }
    }

    /// A handler whose lines somebody reads, or nobody any more once this is closed.
    pub(super) fn read_until(self, unread: Closed) -> Self {
        Started { unread: Some(unread), ..self }
    }

    /// A handler with a file that this opens again.
    pub(super) fn reopened_by(self, reopener: Reopener) -> Self {
        Started { reopener: Some(reopener), ..self }
    }

    /// A handler that writes another file than it was told to, since the daemon has that one locked.
    pub(super) fn writing_aside(self, path: PathBuf) -> Self {
        Started { aside: Some(path), ..self }
    }

    /// Adds a route to it. There can be several.
    pub(super) fn add(&self, router: Router, name: &str, condition: Condition) -> Router {
        (self.add)(router, name, condition)
    }
}

/// A handler that several routes share.
struct Shared<H>(Arc<H>);

impl<H> Clone for Shared<H> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<H: Handler<Event>> Handler<Event> for Shared<H> {
    type Error = H::Error;

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), H::Error> {
        self.0.handle(event, ctx).await
    }

    fn max_concurrency(&self) -> Option<usize> {
        self.0.max_concurrency()
    }

    fn address(&self) -> Option<String> {
        self.0.address()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use stream_sqsd::handlers::http::{Http, HttpSettings};

    use super::*;

    #[tokio::test]
    async fn the_engine_learns_of_a_handler_what_it_says_of_itself() {
        let settings = HttpSettings::new("http://127.0.0.1:8080/t0ken").with_connections(3);
        let http = Shared(Arc::new(Http::new(settings).unwrap()));
        assert_eq!(http.max_concurrency(), Some(3));
        assert_eq!(http.address().as_deref(), Some("http://127.0.0.1:8080"));
    }
}
