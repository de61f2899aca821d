//! The admin listener over real sockets, and what is deployed to watch it; and, where the tools are, its page in a real
//! browser and its metrics before Prometheus's own judge. Those two are run by name, as parts of `tests/run --all`.

mod browser;
mod deployed;
mod listener;
mod promtool;

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stream_sqsd::admin::Admin;
use stream_sqsd::consumer::{Consumer, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::Queue;
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use stream_sqsd::telemetry::Monitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// What a message says, which must not be seen anywhere.
const PRIVATE: &str = "meet me at the old mill";

/// Handles events, but for those that a test wants to fail; all of these come with [`PRIVATE`] text.
async fn handler(event: Event, _ctx: Context) -> Result<(), HandlerError> {
    match event.kind().name() {
        "message.deleted" => Err(HandlerError::retry("the row is locked")),
        "message.flagged" => Err(HandlerError::target_down("500 Internal Server Error")),
        "reaction.new" => Err(HandlerError::target_busy("429 Too Many Requests").after(Duration::from_secs(3_600))),
        "<img src=x onerror=alert(1)>.x" => Err(HandlerError::reject("</script><img src=y onerror=alert(2)>")),
        _ => Ok(()),
    }
}

fn body(kind: &str) -> String {
    format!(r#"{{"type":"{kind}","message":{{"text":"{PRIVATE}"}}}}"#)
}

/// A consumer of a queue that holds events of these types, and its listener, for as long as a test looks at them.
struct Watched {
    address: SocketAddr,
    monitor: Monitor,
    queue: MemoryQueue,
    /// Told to drain.
    drain: Notify,
}

async fn watched(kinds: &[&str], look: impl AsyncFnOnce(&Watched)) {
    let router = Router::new().route("message.*", handler).route("reaction.*", handler).fallback(handler);
    watched_by(router, kinds, look).await;
}

/// Two routes for each event: one that keeps it, and one whose target is down until it works.
async fn watched_on_two_routes(kinds: &[&str], look: impl AsyncFnOnce(&Watched, &AtomicBool)) {
    let works = Arc::new(AtomicBool::new(false));
    let target = works.clone();
    let webhook = move |_: Event, _: Context| {
        let works = target.load(Ordering::Relaxed);
        async move { if works { Ok(()) } else { Err(HandlerError::target_down("connection refused")) } }
    };
    let router = Router::new().route_named("archive", |_| true, handler).continuing().route("*", webhook);
    watched_by(router, kinds, async |watched| look(watched, &works).await).await;
}

async fn watched_by(router: Router, kinds: &[&str], look: impl AsyncFnOnce(&Watched)) {
    let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(3));
    for kind in kinds {
        queue.send(body(kind));
    }
    let consumer = Consumer::new(queue.clone(), router, Settings::new().with_random_seed(1));
    let monitor = consumer.monitor();
    let depth = queue.clone();
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), monitor.clone(), "the queue of this test").await.unwrap();
    let admin = admin.read_queue(move || {
        let queue = depth.clone();
        async move { queue.facts().await }
    });
    let watched = Watched { address: admin.address(), monitor, queue, drain: Notify::new() };
    let run = async {
        consumer.run(watched.drain.notified()).await.unwrap();
        pending::<()>().await;
    };
    let look = tokio::time::timeout(Duration::from_secs(600), look(&watched));
    tokio::select! {
        biased;
        looked = look => looked.expect("to see what was waited for"),
        ((), ()) = async { tokio::join!(run, admin.serve(pending())) } => {}
    }
}

/// An answer of the listener.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn ask(address: SocketAddr, request: &str) -> Answer {
    let text = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = tokio::time::timeout(Duration::from_secs(60), text).await.expect("an answer in time");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path}")).await
}
