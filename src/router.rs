//! Event type to handler, and the only type erasure.
//!
//! A router knows which handler takes an event and calls it; it does not know queues, leases or outcomes.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use tracing::warn;

use crate::event::{Event, EventKind, Pattern, Payload};
use crate::handler::{Context, Handler, HandlerError};

/// The routes of a consumer, asked in the order in which they were added: the first that takes an event gets it.
///
/// ```
/// use stream_sqsd::event::{Event, message::MessageNew};
/// use stream_sqsd::handler::{Context, HandlerError};
/// use stream_sqsd::router::Router;
///
/// async fn welcome(event: MessageNew, ctx: Context) -> Result<(), HandlerError> {
///     Ok(())
/// }
///
/// async fn forward(event: Event, ctx: Context) -> Result<(), HandlerError> {
///     println!("{}", event.json());
///     Ok(())
/// }
///
/// let router = Router::new()
///     .on(welcome) // its first argument says which events
///     .route("call.*", forward) // whole events, by pattern
///     .fallback(forward); // whatever is left
/// ```
#[derive(Default)]
pub struct Router {
    routes: Vec<Route>,
    fallback: Option<Route>,
}

/// One route: which events, which handler.
#[derive(Clone)]
pub(crate) struct Route {
    /// What logs and metrics call it: its pattern as written.
    pub(crate) name: Arc<str>,
    takes: Takes,
    handler: Arc<dyn Erased>,
}

type Condition = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// Which events a route takes.
#[derive(Clone)]
enum Takes {
    Kind(fn(&EventKind) -> bool),
    Pattern(Pattern),
    When(Pattern, Condition),
    If(Condition),
    All,
}

/// Why a call of a handler did not succeed.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The event is of the route's type and does not parse into it.
    Parse(String),
    /// The handler said so.
    Handler(HandlerError),
}

impl Router {
    /// A router that takes nothing yet.
    pub fn new() -> Self {
        Router::default()
    }

    /// Sends the events of one type to a handler, parsed: the type of its first argument is the route.
    ///
    /// An event of that type that does not parse into it is an error that names the field, and its message stays.
    pub fn on<E, H>(self, handler: H) -> Self
    where
        E: Payload,
        H: Handler<E>,
    {
        let typed = Typed { handler, event: PhantomData };
        self.add(E::TYPE, Takes::Kind(E::takes), typed)
    }

    /// Sends whole events to a handler, by a pattern: `message.new`, `message.*` or `*`. They are not parsed.
    ///
    /// # Panics
    ///
    /// When the pattern is none of these forms: it is a constant of your program. For patterns from elsewhere there is
    /// [`Pattern::new`] and [`Router::route_when`].
    #[track_caller]
    pub fn route(self, pattern: &str, handler: impl Handler<Event>) -> Self {
        match Pattern::new(pattern) {
            Ok(pattern) => self.add_whole(pattern, Takes::Pattern, handler),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends whole events to a handler, by a pattern and a condition on the event.
    pub fn route_when(
        self,
        pattern: Pattern,
        condition: impl Fn(&Event) -> bool + Send + Sync + 'static,
        handler: impl Handler<Event>,
    ) -> Self {
        self.add_whole(pattern, |pattern| Takes::When(pattern, Arc::new(condition)), handler)
    }

    /// Sends whole events to a handler, by a condition alone. `name` is what logs and metrics call the route.
    pub fn route_named(
        self,
        name: &str,
        condition: impl Fn(&Event) -> bool + Send + Sync + 'static,
        handler: impl Handler<Event>,
    ) -> Self {
        self.add(name, Takes::If(Arc::new(condition)), Whole(handler))
    }

    /// Sends whatever no other route takes to a handler. It is the last to be asked, wherever it is added.
    pub fn fallback(mut self, handler: impl Handler<Event>) -> Self {
        self.fallback = Some(Route { name: "fallback".into(), takes: Takes::All, handler: Arc::new(Whole(handler)) });
        self
    }

    fn add_whole(self, pattern: Pattern, takes: impl FnOnce(Pattern) -> Takes, handler: impl Handler<Event>) -> Self {
        if let Some(warning) = pattern.check().warning(&pattern) {
            warn!("{warning}");
        }
        let name = pattern.as_str().to_owned();
        self.add(&name, takes(pattern), Whole(handler))
    }

    fn add(mut self, name: &str, takes: Takes, handler: impl Erased + 'static) -> Self {
        self.routes.push(Route { name: name.into(), takes, handler: Arc::new(handler) });
        self
    }

    /// The route that takes an event, and its number: the same for the same route throughout a run.
    pub(crate) fn find(&self, event: &Event) -> Option<(usize, &Route)> {
        self.routes.iter().chain(&self.fallback).enumerate().find(|(_, route)| route.takes(event))
    }

    /// How many calls the handlers of the routes can make at a time, by number; None where they say nothing.
    pub(crate) fn places(&self) -> Vec<Option<usize>> {
        self.routes.iter().chain(&self.fallback).map(|route| route.handler.places()).collect()
    }

    /// The names of the routes, by number.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.routes.iter().chain(&self.fallback).map(|route| route.name.clone()).collect()
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Route {
    fn takes(&self, event: &Event) -> bool {
        match &self.takes {
            Takes::Kind(takes) => takes(event.kind()),
            Takes::Pattern(pattern) => pattern.matches(event.kind().name()),
            Takes::When(pattern, condition) => pattern.matches(event.kind().name()) && condition(event),
            Takes::If(condition) => condition(event),
            Takes::All => true,
        }
    }

    /// Where its handler's target is.
    pub(crate) fn address(&self) -> Option<String> {
        self.handler.address()
    }

    /// Calls the handler once.
    pub(crate) fn call(&self, event: Event, ctx: Context) -> Call<'_> {
        self.handler.call(event, ctx)
    }
}

/// The future of one call.
pub(crate) type Call<'a> = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>>;

/// A handler whose event type was forgotten.
trait Erased: Send + Sync {
    fn places(&self) -> Option<usize>;
    fn address(&self) -> Option<String>;
    fn call(&self, event: Event, ctx: Context) -> Call<'_>;
}

struct Whole<H>(H);

impl<H: Handler<Event>> Erased for Whole<H> {
    fn places(&self) -> Option<usize> {
        self.0.max_concurrency()
    }

    fn address(&self) -> Option<String> {
        self.0.address()
    }

    fn call(&self, event: Event, ctx: Context) -> Call<'_> {
        Box::pin(async move { self.0.handle(event, ctx).await.map_err(CallError::Handler) })
    }
}

struct Typed<E, H> {
    handler: H,
    event: PhantomData<fn(E)>,
}

impl<E: Payload, H: Handler<E>> Erased for Typed<E, H> {
    fn places(&self) -> Option<usize> {
        self.handler.max_concurrency()
    }

    fn address(&self) -> Option<String> {
        self.handler.address()
    }

    fn call(&self, event: Event, ctx: Context) -> Call<'_> {
        Box::pin(async move {
            let parsed = event.parse::<E>().map_err(|error| CallError::Parse(error.to_string()))?;
            drop(event);
            self.handler.handle(parsed, ctx).await.map_err(CallError::Handler)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::message::MessageNew;

    async fn whole(_: Event, _: Context) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn typed(_: MessageNew, _: Context) -> Result<(), HandlerError> {
        Ok(())
    }

    #[test]
    fn the_first_route_that_takes_an_event_gets_it_and_the_fallback_what_is_left() {
        let long = |event: &Event| event.json().len() > 40;
        let router = Router::new()
            .fallback(whole)
            .on(typed)
            .route_when(Pattern::new("message.*").expect("a pattern"), long, whole)
            .route_named("short users", move |event| event.kind().name() == "user.updated" && !long(event), whole)
            .route("user.*", whole);
        let names = ["message.new", "message.*", "short users", "user.*", "fallback"];
        assert_eq!(format!("{router:?}"), format!("{names:?}"));
        let taken_by = |json: &str| {
            let event = Event::from_json(json).expect("an event");
            router.find(&event).map(|(number, route)| (number, route.name.to_string()))
        };
        let filler = r#","custom":"a text that makes it long enough"}"#;
        for (json, number) in [
            (r#"{"type":"message.new"}"#.to_owned(), 0),
            (format!(r#"{{"type":"message.read"{filler}"#), 1),
            (r#"{"type":"message.read"}"#.to_owned(), 4),
            (format!(r#"{{"type":"call.ended"{filler}"#), 4),
            (r#"{"type":"user.updated"}"#.to_owned(), 2),
            (format!(r#"{{"type":"user.updated"{filler}"#), 3),
        ] {
            assert_eq!(taken_by(&json), Some((number, names[number].to_owned())), "{json}");
        }
        let event = Event::from_json(r#"{"type":"call.ended"}"#).expect("an event");
        assert!(Router::new().on(typed).find(&event).is_none());
    }
}
