//! The handlers of a run, ready: from what the file says to what the engine calls.

use std::path::PathBuf;

use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::handlers::file::Reopener;
use stream_sqsd::handlers::stdout::{Closed, Stdout};
use stream_sqsd::router::Router;

use super::route::RouteConfig;
use super::shipped::{Started, Target};
use crate::terminal::exit::Failure;

/// What a run needs of its routes.
pub(crate) struct Running {
    pub(crate) router: Router,
    /// Cancelled when nobody reads standard output any more. Never where nothing is written there.
    pub(crate) stdout_closed: Closed,
    /// The files to open again at a SIGHUP.
    pub(crate) files: Vec<Reopener>,
    /// Whether events are written to standard output.
    pub(crate) writes_stdout: bool,
    /// The files that are written in place of those which the daemon has locked, with the names of their routes.
    pub(crate) aside: Vec<(String, PathBuf)>,
}

/// Makes the handlers ready. Without routes every event goes to standard output. `aside` is for a process beside the daemon:
/// see [`Shipped::start`](super::shipped::Shipped::start).
pub(crate) fn start(routes: &[RouteConfig], aside: Option<&str>) -> Result<Running, Failure> {
    let mut running = Running {
        router: Router::new(),
        stdout_closed: Closed::default(),
        files: Vec::new(),
        writes_stdout: routes.is_empty(),
        aside: Vec::new(),
    };
    if routes.is_empty() {
        let stdout = Stdout::of_process()?;
        running.stdout_closed = stdout.closed();
        running.router = running.router.fallback(stdout);
        return Ok(running);
    }
    // Routes to the same target share a handler: a file can be opened only once.
    let mut handlers: Vec<(&Target, Started)> = Vec::new();
    for route in routes {
        let position = match handlers.iter().position(|(target, _)| *target == &route.target) {
            Some(position) => position,
            None => {
                let started = route.target.start(aside).map_err(|failure| failure.at(&route.place))?;
                running.aside.extend(started.aside.clone().map(|path| (route.name(), path)));
                handlers.push((&route.target, started));
                handlers.len() - 1
            }
        };
        let condition = route.clone();
        let takes = Box::new(move |event: &Event| condition.takes(event));
        let router = handlers[position].1.add(running.router, &route.name(), takes);
        running.router = completed(router, route);
    }
    for (_, started) in handlers {
        running.files.extend(started.reopener);
        if let Some(unread) = started.unread {
            running.stdout_closed = unread;
            running.writes_stdout = true;
        }
    }
    Ok(running)
}

/// The routes by their names alone, for anyone who asks where an event would go: no handler is made ready, and none is to be
/// called.
pub(crate) fn names(routes: &[RouteConfig]) -> Router {
    let uncalled = |_: Event, _: Context| async { Err(HandlerError::target_down("nobody is called here")) };
    if routes.is_empty() {
        return Router::new().fallback(uncalled);
    }
    routes.iter().fold(Router::new(), |router, route| {
        let condition = route.clone();
        completed(router.route_named(&route.name(), move |event| condition.takes(event), uncalled), route)
    })
}

/// The router with all else that the file says of the route that was added last.
fn completed(router: Router, route: &RouteConfig) -> Router {
    let router = router.with_target(&route.told_apart);
    if route.continues.is_some() { router.continuing() } else { router }
}
