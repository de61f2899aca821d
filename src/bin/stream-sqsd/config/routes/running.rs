//! The handlers of a run, ready: from what the file says to what the engine calls.

use std::sync::Arc;

use anyhow::anyhow;
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, Handler, HandlerError};
use stream_sqsd::handlers::exec::Exec;
use stream_sqsd::handlers::file::{File, FileError, Reopener};
use stream_sqsd::handlers::http::Http;
use stream_sqsd::handlers::postgres::Postgres;
use stream_sqsd::handlers::stdout::{Closed, Stdout};
use stream_sqsd::router::Router;

use super::{Route, Target};
use crate::terminal::exit::{Exit, Failure};

/// What a run needs of its routes.
pub(crate) struct Running {
    pub(crate) router: Router,
    /// Cancelled when nobody reads standard output any more. Never where nothing is written there.
    pub(crate) stdout_closed: Closed,
    /// The files to open again at a SIGHUP.
    pub(crate) files: Vec<Reopener>,
}

/// Makes the handlers ready. Without routes every event goes to standard output.
pub(crate) fn start(routes: &[Route]) -> Result<Running, Failure> {
    let mut running = Running { router: Router::new(), stdout_closed: Closed::default(), files: Vec::new() };
    if routes.is_empty() {
        let stdout = Stdout::of_process()?;
        running.stdout_closed = stdout.closed();
        running.router = running.router.fallback(stdout);
        return Ok(running);
    }
    // Routes to the same target share a handler: a file can be opened only once.
    let mut started: Vec<(&Target, Shipped)> = Vec::new();
    for route in routes {
        let handler = match started.iter().find(|(target, _)| *target == &route.target) {
            Some((_, handler)) => handler.clone(),
            None => {
                let handler = running.start_handler(route)?;
                started.push((&route.target, handler.clone()));
                handler
            }
        };
        let condition = route.clone();
        running.router = running.router.route_named(&route.name(), move |event| condition.takes(event), handler);
    }
    Ok(running)
}

impl Running {
    fn start_handler(&mut self, route: &Route) -> Result<Shipped, Failure> {
        Ok(match &route.target {
            Target::Stdout => {
                let stdout = Stdout::of_process()?;
                self.stdout_closed = stdout.closed();
                Shipped::Stdout(Arc::new(stdout))
            }
            Target::File(settings) => {
                let file = File::open(settings.clone()).map_err(|error| {
                    let exit = match error {
                        FileError::Zero { .. } | FileError::NoName { .. } | FileError::NotAFile { .. } => Exit::Usage,
                        _ => Exit::Unavailable,
                    };
                    Failure::new(exit, anyhow!("{}: {:#}", route.place, anyhow::Error::new(error)))
                })?;
                self.files.push(file.reopener());
                Shipped::File(Arc::new(file))
            }
            Target::Http(settings) => {
                Shipped::Http(Arc::new(Http::new(settings.clone()).map_err(|e| refused(route, e))?))
            }
            Target::Exec(settings) => {
                Shipped::Exec(Arc::new(Exec::new(settings.clone()).map_err(|e| refused(route, e))?))
            }
            Target::Postgres(settings) => {
                Shipped::Postgres(Arc::new(Postgres::new(settings.clone()).map_err(|e| refused(route, e))?))
            }
        })
    }
}

fn refused(route: &Route, error: impl Into<anyhow::Error>) -> Failure {
    Failure::usage(format!("{}: {:#}", route.place, error.into()))
}

/// One of the handlers that ship. Cheap to clone.
#[derive(Clone)]
enum Shipped {
    Stdout(Arc<Stdout>),
    File(Arc<File>),
    Http(Arc<Http>),
    Exec(Arc<Exec>),
    Postgres(Arc<Postgres>),
}

impl Handler<Event> for Shipped {
    type Error = HandlerError;

    fn max_concurrency(&self) -> Option<usize> {
        match self {
            Shipped::Stdout(stdout) => stdout.max_concurrency(),
            Shipped::File(file) => file.max_concurrency(),
            Shipped::Http(http) => http.max_concurrency(),
            Shipped::Exec(exec) => exec.max_concurrency(),
            Shipped::Postgres(postgres) => postgres.max_concurrency(),
        }
    }

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        match self {
            Shipped::Stdout(stdout) => stdout.handle(event, ctx).await,
            Shipped::File(file) => file.handle(event, ctx).await,
            Shipped::Http(http) => http.handle(event, ctx).await,
            Shipped::Exec(exec) => exec.handle(event, ctx).await,
            Shipped::Postgres(postgres) => postgres.handle(event, ctx).await,
        }
    }

    fn address(&self) -> Option<String> {
        match self {
            Shipped::Stdout(stdout) => stdout.address(),
            Shipped::File(file) => file.address(),
            Shipped::Http(http) => http.address(),
            Shipped::Exec(exec) => exec.address(),
            Shipped::Postgres(postgres) => postgres.address(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use stream_sqsd::handlers::http::HttpSettings;

    use super::*;

    #[tokio::test]
    async fn the_engine_learns_of_a_handler_what_it_says_of_itself() {
        let settings = HttpSettings::new("http://127.0.0.1:8080/t0ken").with_connections(3);
        let http = Shipped::Http(Arc::new(Http::new(settings).unwrap()));
        assert_eq!(http.max_concurrency(), Some(3));
        assert_eq!(http.address().as_deref(), Some("http://127.0.0.1:8080"));
    }
}
