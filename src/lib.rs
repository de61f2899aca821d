//! Consume the events that Stream (getstream.io) sends to an Amazon SQS queue.
//!
//! Stream sends the events of a chat application to a queue. This crate is the other end: it long-polls the queue, turns
//! each body into a typed event, routes it to a handler, deletes the message when the handler succeeded, and leaves it for
//! the dead-letter queue when it did not. It is a library, and a daemon of the same name for those who need no code of
//! their own.
//!
//! ```no_run
//! use stream_sqsd::prelude::*;
//!
//! async fn welcome(event: event::message::MessageNew, ctx: Context) -> Result<(), HandlerError> {
//!     println!("message {} in {:?}", ctx.message_id(), event.cid);
//!     Ok(())
//! }
//!
//! # #[cfg(feature = "sqs")]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let url = QueueUrl::parse("https://sqs.us-east-1.amazonaws.com/123456789012/chat-events")?;
//!     let queue = SqsQueue::connect(SqsOptions::new(QueueAddress::Url(url))).await?;
//!     let router = Router::new().on(welcome);
//!     println!("{}", Consumer::new(queue, router, Settings::default()).run(stream_sqsd::shutdown_signal()).await?);
//!     Ok(())
//! }
//! # #[cfg(not(feature = "sqs"))]
//! # fn main() {}
//! ```
//!
//! # The one rule to know
//!
//! **Only success deletes.** A body that cannot be decoded, an error or a panic of a handler, a time limit, a shutdown: the
//! message stays in the queue, and the queue's redrive policy carries it to the dead-letter queue in the end. Delivery is
//! at least once, so handlers should be idempotent on [`Context::message_id`](handler::Context::message_id).
//!
//! # How do I
//!
//! * **share state** with a handler, such as a database pool? [A struct that implements `Handler`](handler#share-state).
//! * **return my own errors?** [`Failure`](handler::Failure) says [what they mean](handler#return-my-own-errors).
//! * **shut down gracefully?** [`Consumer::run`](consumer::Consumer::run) takes a future and drains when it completes:
//!   [`shutdown_signal`] for SIGTERM and Ctrl-C, or one of your own.
//! * **test a handler?** [`Context::for_test`](handler::Context::for_test), and the engine with a
//!   [`MemoryQueue`](queue::memory::MemoryQueue): see [here](handler#test-a-handler).
//! * **do something around every handler**, such as timing or a time limit? [`Router::layer`](router::Router::layer).
//! * **read metrics?** [`Consumer::monitor`](consumer::Consumer::monitor) gives a [`Monitor`](telemetry::Monitor) on the
//!   run; with the feature `admin` it is served over HTTP, for Prometheus too.
//! * **bring my own queue?** Implement [`Queue`](queue::Queue): receive, delete, change visibility.
//!
//! # The plan of the house
//!
//! One message goes through seven rooms and there is no way back; what comes back up is a return value, and nothing calls
//! upwards:
//!
//! ```text
//! queue → poller → worker → decode → router → handler → settle
//! ```
//!
//! Each room imports only from rooms below it, which a test holds it to:
//!
//! | room | what it is |
//! |---|---|
//! | [`handlers`] | the handlers that ship: stdout, file, http, exec, postgres |
//! | `relay` | webhooks come in by HTTP, and go into the queue |
//! | `admin` | metrics, liveness, readiness, status and a page over HTTP |
//! | [`dead_letters`] | the dead-letter queue, handled where it lies: list, retry, export, drop |
//! | [`consumer`] | the engine: receives, works, settles, drains |
//! | [`router`] | event type to handler; the only type erasure |
//! | [`handler`] | the page that you read to write a handler |
//! | `hooks` | the requests of Stream's that wait for an answer: verify, parse, answer |
//! | [`webhook`] | the same events by HTTP: verify the signature and parse |
//! | [`decode`] | the body of a message to an event, whatever its form; pure |
//! | [`event`] | every event type of Stream's and its fields: tables of facts |
//! | [`queue`] | what the engine asks of a queue; the real one, and one in memory |
//! | [`telemetry`] | everything that can be observed, by its one name |
//! | `stream` | Stream's REST API: the app, its event hooks, the checks |
//! | `net` | outgoing connections: URLs, proxies, TLS |
//! | `shutdown` | [`shutdown_signal`], for `main` |
//!
//! Within the engine, [`Consumer::run`](consumer::Consumer::run) is one loop that owns every task, so that dropping its
//! future is a crash that a test can cause. Time is tokio's, so that a test can pause it; chance comes from a seed.
//!
//! # Features
//!
//! `sqs` (the real queue, which brings the AWS SDK), `sns` (a topic between Stream and the queue, which brings a further client
//! of the SDK), `daemon` (the binary), `admin` (the listener to watch a consumer by), `stream-api` (a client of Stream's REST
//! API, for its event hooks), `hooks` (types for the hooks that wait for an answer), `relay` (webhooks into the queue), and one
//! for each handler that ships: `stdout`, `file`, `http`, `exec`, `postgres`. These are on by default; a library user wants
//! `default-features = false, features = ["sqs"]`. With `anyhow` handlers may return `anyhow::Result<()>`.
//!
//! # Guides
//!
//! [`docs`] has a tutorial, the handlers, delivery guarantees, dead letters, configuration, monitoring, performance and a glossary.

/// Whether the engine is broken on purpose in the way of this name. Never, unless it is compiled with
/// `--cfg stream_sqsd_mutants` for `tests/simulation/mutations.py`, which shows that the tests notice.
#[cfg(not(stream_sqsd_mutants))]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}

#[cfg(stream_sqsd_mutants)]
macro_rules! mutant {
    ($name:literal) => {
        $crate::is_the_mutant($name)
    };
}

#[cfg(stream_sqsd_mutants)]
fn is_the_mutant(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("STREAM_SQSD_MUTANT").ok()).as_deref() == Some(name)
}

// In reading order: each room imports only from those below it.
pub mod handlers;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "admin")]
pub mod admin;
pub mod dead_letters;
pub mod consumer;
pub mod router;
pub mod handler;
#[cfg(feature = "hooks")]
pub mod hooks;
pub mod webhook;
pub mod decode;
pub mod event;
pub mod queue;
pub mod telemetry;
#[cfg(feature = "stream-api")]
pub mod stream;
#[cfg(any(feature = "http", feature = "postgres", feature = "stream-api"))]
pub mod net;
mod shutdown;

pub use shutdown::shutdown_signal;

/// The guides: what `src/docs` holds for people who read the repository or the package.
#[cfg(doc)]
pub mod docs {
    macro_rules! page {
        ($name:ident) => {
            // Ahead of the page's own definitions, which lead to files: in Markdown the first definition of a name counts.
            #[doc = "[configuration]: crate::docs::configuration"]
            #[doc = "[dead_letters]: crate::docs::dead_letters"]
            #[doc = "[from_webhooks]: crate::docs::from_webhooks"]
            #[doc = "[glossary]: crate::docs::glossary"]
            #[doc = "[guarantees]: crate::docs::guarantees"]
            #[doc = "[handlers]: crate::docs::handlers"]
            #[doc = "[hooks]: crate::docs::hooks"]
            #[doc = "[monitoring]: crate::docs::monitoring"]
            #[doc = "[performance]: crate::docs::performance"]
            #[doc = "[relay]: crate::docs::relay"]
            #[doc = "[setup]: crate::docs::setup"]
            #[doc = "[tutorial]: crate::docs::tutorial"]
            #[doc = ""]
            #[doc = include_str!(concat!("docs/", stringify!($name), ".md"))]
            // The generated tables hold example URLs, which are not links.
            #[allow(rustdoc::bare_urls)]
            pub mod $name {}
        };
    }

    page!(tutorial);
    page!(setup);
    page!(from_webhooks);
    page!(hooks);
    page!(relay);
    page!(handlers);
    page!(guarantees);
    page!(dead_letters);
    page!(configuration);
    page!(monitoring);
    page!(performance);
    page!(glossary);
}

/// What most programs import.
pub mod prelude {
    pub use crate::consumer::{Consumer, Settings, Summary};
    pub use crate::event::{self, Event};
    pub use crate::handler::{Context, Failure, Handler, HandlerError, OrFailure};
    pub use crate::queue::memory::MemoryQueue;
    #[cfg(feature = "sqs")]
    pub use crate::queue::sqs::{QueueAddress, QueueUrl, SqsOptions, SqsQueue};
    pub use crate::router::Router;
}
