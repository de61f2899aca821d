//! The handlers of a run, ready: from what the file says to what the engine calls.

use stream_sqsd::event::Event;
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
}

/// Makes the handlers ready. Without routes every event goes to standard output.
pub(crate) fn start(routes: &[RouteConfig]) -> Result<Running, Failure> {
    let mut running = Running { router: Router::new(), stdout_closed: Closed::default(), files: Vec::new() };
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
                let started = route.target.start().map_err(|failure| failure.at(&route.place))?;
                handlers.push((&route.target, started));
                handlers.len() - 1
            }
        };
        let condition = route.clone();
        let takes = Box::new(move |event: &Event| condition.takes(event));
        running.router = handlers[position].1.add(running.router, &route.name(), takes);
    }
    for (_, started) in handlers {
        running.files.extend(started.reopener);
        if let Some(unread) = started.unread {
            running.stdout_closed = unread;
        }
    }
    Ok(running)
}
