//! Event type to handler, and the only type erasure.
//!
//! A router knows which handler takes an event and calls it; it does not know queues, leases or outcomes.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tracing::warn;

use crate::event::{Event, EventKind, Pattern, Payload};
use crate::handler::{Context, Failure, Handler, HandlerError};

/// The routes of a consumer, asked in the order in which they were added: the first that takes an event gets it, and after a
/// route that is [continuing](Router::continuing) the next one that takes it too.
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
#[derive(Clone, Default)]
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
    /// Whether an event goes on to the next route that takes it.
    pub(crate) continues: bool,
    /// What tells its target from another one, where that was said.
    target: Option<Arc<str>>,
}

/// A route with its target, as a success on it is remembered: 64 bits of a digest of the two. A route that leads elsewhere has
/// another one, so what was done at its former target counts as not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(u64);

impl Mark {
    /// `nth` tells routes apart that have the same name and the same target.
    fn of(name: &str, target: &str, nth: u64) -> Self {
        let mut digest = Sha256::new();
        let target = if mutant!("believe-what-another-target-did") { "" } else { target };
        for part in [name, target] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        digest.update(nth.to_be_bytes());
        let first = digest.finalize().first_chunk().copied();
        Mark(u64::from_be_bytes(first.unwrap_or_default()))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_digest = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(text, 16).ok().filter(|_| is_digest).map(Mark).ok_or(())
    }
}

type Condition = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// Which events a route takes.
#[derive(Clone)]
enum Takes {
    Kind(fn(&EventKind) -> bool),
    Pattern(Pattern),
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

impl CallError {
    fn of_handler(failure: impl Failure) -> Self {
        CallError::Handler(failure.into_handler_error())
    }
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
        H: Handler<E>, // async fn(event: E, ctx: Context) -> Result<(), HandlerError>; for state a struct that is a Handler
    {
        let typed = Typed { handler, event: PhantomData };
        self.add(E::TYPE, Takes::Kind(E::takes), typed)
    }

    /// Sends whole events to a handler, by a pattern: `message.new`, `message.*` or `*`. They are not parsed.
    ///
    /// # Panics
    ///
    /// When the pattern has none of these forms: it is a constant of your program. For patterns from elsewhere there is
    /// [`Pattern::new`], and [`Router::route_named`] with [`Pattern::matches`] as the condition.
    #[track_caller]
    pub fn route<H>(self, pattern: &str, handler: H) -> Self
    where
        H: Handler<Event>, // async fn(event: Event, ctx: Context) -> Result<(), HandlerError>; for parsed events Router::on
    {
        let pattern = Pattern::new(pattern).unwrap_or_else(|error| panic!("{error}"));
        if let Some(warning) = pattern.check().warning(&pattern) {
            warn!("{warning}");
        }
        let name = pattern.as_str().to_owned();
        self.add(&name, Takes::Pattern(pattern), Whole(handler))
    }

    /// Sends whole events to a handler, by a condition. `name` is what logs and metrics call the route.
    pub fn route_named(
        self,
        name: &str,
        condition: impl Fn(&Event) -> bool + Send + Sync + 'static,
        handler: impl Handler<Event>,
    ) -> Self {
        self.add(name, Takes::If(Arc::new(condition)), Whole(handler))
    }

    /// Sends whatever no other route takes to a handler. It is the last to be asked, wherever it is added; what goes on from a
    /// [continuing](Router::continuing) route comes to it too.
    pub fn fallback(mut self, handler: impl Handler<Event>) -> Self {
        self.fallback = Some(Route::new("fallback", Takes::All, Whole(handler)));
        self
    }

    /// Lets the events of the route that was added last go on to the next route that takes them: several handlers get them,
    /// side by side.
    ///
    /// A message is deleted when each of its routes has succeeded. What has succeeded is remembered, in
    /// [`Settings::journal`](crate::consumer::Settings::journal) too where there is one, and a redelivery calls only the handlers
    /// that are still missing. While a target is down, its messages are held for all of their routes.
    ///
    /// ```
    /// # use stream_sqsd::prelude::*;
    /// # async fn archive(_: Event, _: Context) -> Result<(), HandlerError> { Ok(()) }
    /// # async fn welcome(_: event::message::MessageNew, _: Context) -> Result<(), HandlerError> { Ok(()) }
    /// # async fn forward(_: Event, _: Context) -> Result<(), HandlerError> { Ok(()) }
    /// let router = Router::new()
    ///     .route("*", archive)
    ///     .continuing() // everything is archived,
    ///     .on(welcome) // and besides each event has one of these two
    ///     .fallback(forward);
    /// ```
    ///
    /// # Panics
    ///
    /// When there is no route yet. The fallback does not count: nothing comes after it.
    #[track_caller]
    pub fn continuing(mut self) -> Self {
        let last = self.routes.last_mut();
        last.unwrap_or_else(|| panic!("`continuing` is about the route before it, and there is none")).continues = true;
        self
    }

    /// Says what tells the target of the route that was added last from another one, so that what succeeded there is not
    /// taken for done after the route was pointed elsewhere. Where nothing is said it is the handler's
    /// [address](Handler::address). Of the text nothing but a digest is kept.
    ///
    /// # Panics
    ///
    /// When there is no route yet, the fallback aside.
    #[track_caller]
    pub fn with_target(mut self, target: &str) -> Self {
        let last = self.routes.last_mut();
        let last = last.unwrap_or_else(|| panic!("`with_target` is about the route before it, and there is none"));
        last.target = Some(target.into());
        self
    }

    /// Wraps every route that has been added so far, the fallback included, in a layer: for what each handler needs, such
    /// as timing, the fields of a span, or a time limit of its own. Routes that are added later are not wrapped; the layer
    /// that was added last is the first to be called.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use stream_sqsd::prelude::*;
    /// # use stream_sqsd::router::Next;
    /// # async fn welcome(_: event::message::MessageNew, _: Context) -> Result<(), HandlerError> { Ok(()) }
    /// # async fn forward(_: Event, _: Context) -> Result<(), HandlerError> { Ok(()) }
    /// async fn two_seconds(event: Event, ctx: Context, next: Next) -> Result<(), HandlerError> {
    ///     tokio::time::timeout(Duration::from_secs(2), next.run(event, ctx)).await.or_target_busy()?
    /// }
    ///
    /// let router = Router::new()
    ///     .on(welcome)
    ///     .layer(two_seconds) // for `welcome` only
    ///     .fallback(forward);
    /// ```
    pub fn layer<L, Fut>(mut self, layer: L) -> Self
    where
        L: Fn(Event, Context, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let layer = Arc::new(layer);
        for route in self.routes.iter_mut().chain(&mut self.fallback) {
            route.handler = Arc::new(Layered { layer: layer.clone(), inner: route.handler.clone() });
        }
        self
    }

    fn add(mut self, name: &str, takes: Takes, handler: impl Erased + 'static) -> Self {
        self.routes.push(Route::new(name, takes, handler));
        self
    }

    /// The routes that take an event, each with its number: the same for the same route throughout a run.
    pub(crate) fn takers<'a, 'e>(&'a self, event: &'e Event) -> impl Iterator<Item = (usize, &'a Route)> + use<'a, 'e> {
        let mut rest = Some(self.routes.iter().chain(&self.fallback).enumerate());
        std::iter::from_fn(move || {
            let found = rest.as_mut()?.find(|(_, route)| route.takes(event))?;
            if !found.1.continues {
                // Nobody behind it is even asked.
                rest = None;
            }
            Some(found)
        })
    }

    /// What is remembered of a success on each route, by number.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        let mut marks: Vec<Mark> = Vec::new();
        for route in self.routes.iter().chain(&self.fallback) {
            let target = route.target.as_deref().map(str::to_owned).or_else(|| route.address()).unwrap_or_default();
            let mut nth = 0;
            let mut mark = Mark::of(&route.name, &target, nth);
            while marks.contains(&mark) {
                nth += 1;
                mark = Mark::of(&route.name, &target, nth);
            }
            marks.push(mark);
        }
        marks
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
    fn new(name: &str, takes: Takes, handler: impl Erased + 'static) -> Self {
        Route { name: name.into(), takes, handler: Arc::new(handler), continues: false, target: None }
    }

    fn takes(&self, event: &Event) -> bool {
        match &self.takes {
            Takes::Kind(takes) => takes(event.kind()),
            Takes::Pattern(pattern) => pattern.matches(event.kind().name()),
            Takes::If(condition) => condition(event),
            Takes::All => true,
        }
    }

    /// Where its handler's target is.
    pub(crate) fn address(&self) -> Option<String> {
        self.handler.address()
    }

    /// Whether an event that it takes fits the type that its handler reads; what is wrong where it does not.
    pub(crate) fn fits(&self, event: &Event) -> Result<(), String> {
        self.handler.fits(event)
    }

    /// Calls the handler once.
    pub(crate) fn call(&self, event: Event, ctx: Context) -> Call<'_> {
        self.handler.call(event, ctx)
    }
}

/// The future of one call.
pub(crate) type Call<'a> = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>>;

/// A handler whose event type is erased.
trait Erased: Send + Sync {
    fn places(&self) -> Option<usize>;
    fn address(&self) -> Option<String>;
    fn fits(&self, event: &Event) -> Result<(), String>;
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

    fn fits(&self, _: &Event) -> Result<(), String> {
        Ok(())
    }

    fn call(&self, event: Event, ctx: Context) -> Call<'_> {
        Box::pin(async move { self.0.handle(event, ctx).await.map_err(CallError::of_handler) })
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

    fn fits(&self, event: &Event) -> Result<(), String> {
        event.parse::<E>().map(drop).map_err(|error| error.to_string())
    }

    fn call(&self, event: Event, ctx: Context) -> Call<'_> {
        Box::pin(async move {
            let parsed = event.parse::<E>().map_err(|error| CallError::Parse(error.to_string()))?;
            drop(event);
            self.handler.handle(parsed, ctx).await.map_err(CallError::of_handler)
        })
    }
}

/// What a [layer](Router::layer) wraps: the handler, or another layer.
pub struct Next(Arc<dyn Erased>);

impl Next {
    /// Calls it. A layer that does not call it decides for the handler.
    ///
    /// # Errors
    ///
    /// The handler's. An event that does not fit its type is an error too, which the handler has not seen; returned as it
    /// is, it is counted as that.
    pub async fn run(self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        self.0.call(event, ctx).await.map_err(|error| match error {
            CallError::Parse(text) => HandlerError::reject(DoesNotFit(text)),
            CallError::Handler(error) => error,
        })
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next(…)")
    }
}

/// [`CallError::Parse`] on its way through a layer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DoesNotFit(String);

struct Layered<L> {
    layer: Arc<L>,
    inner: Arc<dyn Erased>,
}

impl<L, Fut> Erased for Layered<L>
where
    L: Fn(Event, Context, Next) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    fn places(&self) -> Option<usize> {
        self.inner.places()
    }

    fn address(&self) -> Option<String> {
        self.inner.address()
    }

    fn fits(&self, event: &Event) -> Result<(), String> {
        self.inner.fits(event)
    }

    fn call(&self, event: Event, ctx: Context) -> Call<'_> {
        let call = (self.layer)(event, ctx, Next(self.inner.clone()));
        Box::pin(async move {
            call.await.map_err(|error| match error.cause().downcast_ref::<DoesNotFit>() {
                Some(DoesNotFit(text)) => CallError::Parse(text.clone()),
                None => CallError::Handler(error),
            })
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
    fn the_first_matching_route_wins_and_the_fallback_is_last() {
        let long = |event: &Event| event.json().len() > 40;
        let router = Router::new()
            .fallback(whole)
            .on(typed)
            .route_named(
                "long messages",
                move |event| event.kind().name().starts_with("message.") && long(event),
                whole,
            )
            .route_named("short users", move |event| event.kind().name() == "user.updated" && !long(event), whole)
            .route("user.*", whole);
        let names = ["message.new", "long messages", "short users", "user.*", "fallback"];
        assert_eq!(format!("{router:?}"), format!("{names:?}"));
        let taken_by = |json: &str| {
            let event = Event::from_json(json).expect("an event");
            router.takers(&event).next().map(|(number, route)| (number, route.name.to_string()))
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
        assert!(Router::new().on(typed).takers(&event).next().is_none());
    }

    #[test]
    fn an_event_goes_on_while_the_routes_that_take_it_continue() {
        let router = Router::new()
            .route("message.*", whole)
            .continuing()
            .route("user.*", whole)
            .route_named("archive", |_| true, whole)
            .continuing()
            .route("reaction.*", whole)
            .fallback(whole);
        let taken_by = |kind: &str| -> Vec<usize> {
            let event = Event::from_json(format!(r#"{{"type":"{kind}"}}"#)).expect("an event");
            router.takers(&event).map(|(number, _)| number).collect()
        };
        assert_eq!(taken_by("message.new"), [0, 2, 4]);
        assert_eq!(taken_by("user.updated"), [1]);
        assert_eq!(taken_by("reaction.new"), [2, 3]);
        assert_eq!(taken_by("call.ended"), [2, 4]);
    }

    #[test]
    fn a_mark_is_of_a_route_and_its_target_and_of_no_other() {
        let marks = |target: &str| {
            let router = Router::new().route("*", whole).with_target(target).continuing().route("*", whole);
            router.with_target(target).fallback(whole).marks()
        };
        let (one, other) = (marks("one"), marks("other"));
        assert_eq!(one, marks("one"));
        assert!(one[0] != one[1] && one[0] != other[0] && one[1] != other[1], "{one:?} {other:?}");
        // It stands in journals and in records, so it must not change with a version.
        assert_eq!(one[0].to_string(), "047c04a867af674b");
        assert_eq!(one[0].to_string().parse(), Ok(one[0]));
        for wrong in ["", "1", "00000000000000000", "+000000000000000", "0000000000000G00", "ABCDEF0000000000"] {
            assert_eq!(wrong.parse::<Mark>(), Err(()), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_layer_wraps_the_routes_before_it_and_no_later_one() {
        async fn refuse(_: Event, _: Context, _: Next) -> Result<(), HandlerError> {
            Err(HandlerError::retry("refused"))
        }
        async fn pass(event: Event, ctx: Context, next: Next) -> Result<(), HandlerError> {
            next.run(event, ctx).await
        }
        let router = Router::new().on(typed).layer(refuse).layer(pass).route("*", whole);
        for (json, refused) in [(r#"{"type":"message.new"}"#, true), (r#"{"type":"message.read"}"#, false)] {
            let event = Event::from_json(json).expect("an event");
            let (_, route) = router.takers(&event).next().expect("a route");
            let answer = route.call(event, Context::for_test("m")).await;
            assert_eq!(matches!(answer, Err(CallError::Handler(_))), refused, "{json}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn an_event_that_does_not_fit_is_told_as_that_through_layers() {
        async fn pass(event: Event, ctx: Context, next: Next) -> Result<(), HandlerError> {
            next.run(event, ctx).await
        }
        let router = Router::new().on(typed).layer(pass).layer(pass);
        let event = Event::from_json(r#"{"type":"message.new","cid":7}"#).expect("an event");
        let (_, route) = router.takers(&event).next().expect("a route");
        let answer = route.call(event, Context::for_test("m")).await;
        assert!(matches!(&answer, Err(CallError::Parse(text)) if text.contains("cid")), "{answer:?}");
    }

    #[test]
    fn a_layer_keeps_how_many_calls_a_handler_can_make() {
        struct Two;
        impl Handler<Event> for Two {
            type Error = HandlerError;

            async fn handle(&self, _: Event, _: Context) -> Result<(), HandlerError> {
                Ok(())
            }

            fn max_concurrency(&self) -> Option<usize> {
                Some(2)
            }
        }
        let router = Router::new().fallback(Two).layer(|event, ctx, next| next.run(event, ctx));
        assert_eq!(router.places(), [Some(2)]);
    }
}
