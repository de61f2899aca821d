//! The listener for the operator: metrics, liveness, readiness, status, and a page for people.
//!
//! | path | what | for whom |
//! |---|---|---|
//! | `/` | a page that shows what is going on | people |
//! | `/status` | the same as JSON | scripts, the page |
//! | `/metrics` | the metrics in Prometheus's text format | Prometheus |
//! | `/livez` | 200 while the consumer is alive, otherwise 503 | supervisors that restart |
//! | `/readyz` | 200 while messages are received, otherwise 503 | supervisors that roll out |
//!
//! A browser that was led here under a foreign name (DNS rebinding) is refused with 421: a request names this machine by an
//! IP address, by `localhost` or another name without a dot, or by one of [`Admin::hosts`].
//!
//! It only reads what [`telemetry`](crate::telemetry) counted: nothing here can change what the consumer does. There is
//! no text of a message anywhere in it, and no authentication either, so it belongs on the loopback interface or into a
//! network of its own.
//!
//! ```no_run
//! # use stream_sqsd::admin::Admin;
//! # use stream_sqsd::consumer::Consumer;
//! # use stream_sqsd::queue::Queue;
//! # async fn watched<Q: Queue>(consumer: Consumer<Q>) -> Result<(), Box<dyn std::error::Error>> {
//! let admin = Admin::bind("127.0.0.1:9464".parse()?, consumer.monitor(), "chat-events").await?;
//! let over = tokio_util::sync::CancellationToken::new();
//! let run = async {
//!     let summary = consumer.run(std::future::pending()).await;
//!     over.cancel();
//!     summary
//! };
//! let ((), summary) = tokio::join!(admin.serve(over.cancelled()), run);
//! # summary?;
//! # Ok(())
//! # }
//! ```

mod depth;
mod host;
mod page;
mod status;
mod answer;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

use crate::queue::{QueueError, QueueFacts};
#[cfg(feature = "relay")]
use crate::telemetry::RelayMonitor;
use crate::telemetry::{Monitor, SAMPLE_EVERY};
use answer::answer;
use depth::Depths;
use host::Hosts;

/// How many connections there may be at the same time. For each that comes beyond them the oldest that has not asked
/// anything yet is closed, so that those who say nothing keep nobody out.
const CONNECTIONS: usize = 64;

/// How long one connection may take, which is one request: nobody keeps a place by being slow.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How long the head of a request may take.
const HEAD_LIMIT: Duration = Duration::from_secs(1);

/// How large the head of a request may be.
const HEAD_SIZE: usize = 16 * 1024;

/// How long requests that are being answered are waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long accepting is left alone after it failed, for lack of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(250);

/// The type of what is a line for people.
const TEXT: &str = "text/plain; charset=utf-8";

const PATHS: &str = "here are /, /status, /metrics, /livez and /readyz\n";

/// The listener. It answers nobody before [`Admin::serve`].
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    watched: Watched,
    queue: String,
    depths: Depths,
    hosts: Hosts,
}

/// Who is watched.
#[derive(Debug)]
enum Watched {
    Consumer(Monitor),
    #[cfg(feature = "relay")]
    Relay(RelayMonitor),
}

impl Admin {
    /// Listens at `address`, for those who want to watch `monitor`. `queue` says which queue is consumed, as its URL or
    /// name, so that nobody takes one daemon for another.
    ///
    /// # Errors
    ///
    /// When the address is taken, is not this machine's, or may not be listened at.
    pub async fn bind(address: SocketAddr, monitor: Monitor, queue: impl Into<String>) -> io::Result<Admin> {
        Admin::listen(address, Watched::Consumer(monitor), queue.into()).await
    }

    /// As [`bind`](Admin::bind), for those who want to watch a relay into this queue.
    ///
    /// # Errors
    ///
    /// As [`bind`](Admin::bind).
    #[cfg(feature = "relay")]
    pub async fn bind_relay(address: SocketAddr, monitor: RelayMonitor, queue: impl Into<String>) -> io::Result<Admin> {
        Admin::listen(address, Watched::Relay(monitor), queue.into()).await
    }

    async fn listen(address: SocketAddr, watched: Watched, queue: String) -> io::Result<Admin> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Admin { listener, address, watched, queue, depths: Depths::default(), hosts: Hosts::default() })
    }

    /// Where it listens: with the port that the system chose when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// By which names requests may ask for this listener, besides IP addresses and names without a dot: `Host` without
    /// its port, in any case of letters.
    pub fn hosts(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts = Hosts::new(names);
        self
    }

    /// How to read the depth of the queue, such as `move || queue.facts()`. Each call is a request that is billed, so it is
    /// called at most once a minute, and only when somebody has asked for metrics, status or the page since.
    pub fn read_queue<F>(mut self, read: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<QueueFacts, QueueError>> + Send + 'static,
    {
        self.depths.queue = Some(depth::erase(read));
        self
    }

    /// How to read how many messages are in the dead-letter queue, likewise; None where there is no such queue.
    pub fn read_dead_letters<F>(mut self, read: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<u64>, QueueError>> + Send + 'static,
    {
        self.depths.dead_letters = Some(depth::erase(read));
        self
    }

    /// Answers until `shutdown` completes, and finishes the answers that are on their way then. Dropping the future ends
    /// everything at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Admin { listener, watched, queue, depths, hosts, .. } = self;
        let answers = Arc::new(Answers { watched, queue, depths, hosts });
        let mut connections = JoinSet::new();
        let mut places = Places::default();
        let services = answers.keep();
        tokio::pin!(services, shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                never = &mut services => match never {},
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    places.make_room();
                    let asked = Arc::new(AtomicBool::new(false));
                    let connection = connections.spawn(talk(stream, answers.clone(), asked.clone()));
                    places.0.push_back(Place { connection, asked });
                }
                Err(error) => {
                    debug!(%error, "a connection to the admin listener could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        let finish = async { while connections.join_next().await.is_some() {} };
        // Who is slower than that gets no answer.
        let _ = tokio::time::timeout(LAST_WORDS, finish).await;
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Places(VecDeque<Place>);

struct Place {
    connection: AbortHandle,
    /// Whether the head of its request has come.
    asked: Arc<AtomicBool>,
}

impl Places {
    /// Makes room for one more: where there is none, by closing the oldest that is silent, or else the oldest.
    fn make_room(&mut self) {
        self.0.retain(|place| !place.connection.is_finished());
        while self.0.len() >= CONNECTIONS {
            let silent = self.0.iter().position(|place| !place.asked.load(Ordering::Relaxed));
            if let Some(place) = self.0.remove(silent.unwrap_or(0)) {
                place.connection.abort();
            }
        }
    }
}

/// Keeps the history of the last hour.
async fn sample(monitor: &Monitor) -> Infallible {
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and there is nothing yet.
    let mut last = ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        monitor.sample(now - last);
        last = now;
    }
}

/// One connection, which is one request.
async fn talk(stream: TcpStream, answers: Arc<Answers>, asked: Arc<AtomicBool>) {
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        let answer = answers.to(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_SIZE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(REQUEST_LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a request to the admin listener went wrong"),
        Err(_) => debug!("a request to the admin listener took too long"),
    }
}

/// What requests are answered from.
struct Answers {
    watched: Watched,
    queue: String,
    depths: Depths,
    hosts: Hosts,
}

impl Answers {
    fn to<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !self.hosts.allow(request) {
            let why = "this listener does not answer by the name that the request asks for: name it in the section \
                       [admin] as hosts = [\"NAME\"] (--admin-hosts)\n";
            return answer(StatusCode::MISDIRECTED_REQUEST, TEXT, why);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are answered here\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match &self.watched {
            Watched::Consumer(monitor) => self.of_consumer(monitor, request),
            #[cfg(feature = "relay")]
            Watched::Relay(monitor) => self.of_relay(monitor, request),
        }
    }

    /// Keeps what is answered fresh.
    async fn keep(&self) -> Infallible {
        match &self.watched {
            Watched::Consumer(monitor) => {
                let (never, _) = tokio::join!(sample(monitor), self.depths.keep(monitor));
                never
            }
            #[cfg(feature = "relay")]
            Watched::Relay(_) => std::future::pending().await,
        }
    }

    fn of_consumer<B>(&self, monitor: &Monitor, request: &Request<B>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/" => page::page(),
            "/status" => {
                // Anyone who asks often only to see that we are here need not cost a request to the queue.
                if request.uri().query() != Some("depth=no") {
                    self.depths.ask();
                }
                answer(StatusCode::OK, "application/json", status::json(monitor, &self.queue))
            }
            "/metrics" => {
                self.depths.ask();
                answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", monitor.metrics())
            }
            "/livez" if monitor.is_live() => answer(StatusCode::OK, TEXT, "alive\n"),
            "/livez" => {
                let why =
                    "not alive: a receive has been open, or the loop of the consumer has stood still, for too long\n";
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, why)
            }
            "/readyz" => {
                let phase = monitor.snapshot().phase;
                let code = if phase.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                answer(code, TEXT, format!("{}\n", phase.name()))
            }
            _ => answer(StatusCode::NOT_FOUND, TEXT, PATHS),
        }
    }

    #[cfg(feature = "relay")]
    fn of_relay<B>(&self, monitor: &RelayMonitor, request: &Request<B>) -> Response<Full<Bytes>> {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match request.uri().path() {
            "/" => page::of_relay(),
            "/status" => answer(StatusCode::OK, "application/json", status::of_relay(monitor, &self.queue)),
            "/metrics" => answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", monitor.metrics()),
            "/livez" if monitor.is_live() => answer(StatusCode::OK, TEXT, "alive\n"),
            "/livez" => answer(unavailable, TEXT, "not alive: the loop of the relay has stood still for too long\n"),
            "/readyz" if monitor.is_ready() => answer(StatusCode::OK, TEXT, "relaying\n"),
            "/readyz" => answer(unavailable, TEXT, "no connections are accepted\n"),
            _ => answer(StatusCode::NOT_FOUND, TEXT, PATHS),
        }
    }
}
