//! The load server: SQS as far as a consumer sees it, answering out of memory and faster than any client asks.
//!
//! AWS JSON 1.0 over HTTP/1.1 with connections that stay open, on a thread of its own. The bodies are serialised once;
//! each answer only writes new message ids and receipt handles into them. It knows how many messages wait, waits itself
//! when there are none, takes as long for an answer as it was told, and counts. It is not a queue: what was received does not
//! come back, and a delete is counted and not looked at.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Outcome;
use crate::payload::{Form, Size, bodies};
use crate::process::pin_this_thread;

/// How many different bodies take turns.
const BODIES: u64 = 64;

/// As many messages as anybody wants.
pub(crate) const ENDLESS: u64 = u64::MAX;

/// What a run asks of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) form: Form,
    pub(crate) size: Size,
    /// How many messages wait.
    pub(crate) backlog: u64,
    /// How many messages one receive brings, whatever it asks for.
    pub(crate) most: usize,
    /// How long a receive that brings something takes.
    pub(crate) receive_takes: Duration,
    /// How long a batch of deletes takes.
    pub(crate) delete_takes: Duration,
    /// The queue's MaximumMessageSize, in bytes.
    pub(crate) message_size: u64,
}

impl Load {
    /// Endless, in full receives that take no time.
    pub(crate) fn new(form: Form, size: Size) -> Self {
        let at_once = Duration::ZERO;
        let message_size = 256 * 1024;
        Load { form, size, backlog: ENDLESS, most: 10, receive_takes: at_once, delete_takes: at_once, message_size }
    }

    pub(crate) fn with_latency(self, receive_millis: u64, delete_millis: u64) -> Self {
        let (receive_takes, delete_takes) =
            (Duration::from_millis(receive_millis), Duration::from_millis(delete_millis));
        Load { receive_takes, delete_takes, ..self }
    }
}

/// What was counted since the server started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Calls of ReceiveMessage, with those that brought nothing.
    pub(crate) receives: u64,
    /// Calls of DeleteMessageBatch and DeleteMessage.
    pub(crate) deletes: u64,
    /// Calls of ChangeMessageVisibilityBatch.
    pub(crate) visibility_changes: u64,
    /// Messages handed out.
    pub(crate) received: u64,
    /// Messages deleted.
    pub(crate) deleted: u64,
    /// The most connections that were open at the same time.
    pub(crate) connections: u64,
}

/// A moment in the life of the queue, noted while [`Server::watch`] watches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// A receive began.
    Receive(Instant),
    /// So many messages were deleted.
    Deleted(Instant, u64),
}

impl Seen {
    /// When a receive began, if this is one.
    pub(crate) fn receive(&self) -> Option<Instant> {
        match self {
            Seen::Receive(at) => Some(*at),
            Seen::Deleted(..) => None,
        }
    }
}

/// A server, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _stop: DropGuard,
}

struct State {
    messages: Vec<Message>,
    backlog: AtomicU64,
    arrived: Notify,
    most: usize,
    receive_takes: Duration,
    delete_takes: Duration,
    message_size: u64,
    next: AtomicUsize,
    receives: AtomicU64,
    deletes: AtomicU64,
    visibility_changes: AtomicU64,
    received: AtomicU64,
    deleted: AtomicU64,
    connections: AtomicU64,
    watching: AtomicBool,
    seen: Mutex<Vec<Seen>>,
}

/// One message from behind its receipt handle, as it is without and with the system attributes.
struct Message {
    rest: String,
    rest_with_attributes: String,
}

impl Server {
    /// Starts to listen, on the core that is given, with TLS where there is an acceptor.
    pub(crate) fn start(load: Load, core: usize, tls: Option<TlsAcceptor>) -> Outcome<Server> {
        let messages = bodies(load.form, load.size, BODIES).iter().map(|body| Message::new(body)).collect();
        let state = Arc::new(State {
            messages,
            backlog: AtomicU64::new(load.backlog),
            arrived: Notify::new(),
            most: load.most,
            receive_takes: load.receive_takes,
            delete_takes: load.delete_takes,
            message_size: load.message_size,
            next: AtomicUsize::new(0),
            receives: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            visibility_changes: AtomicU64::new(0),
            received: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            watching: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (served, stop) = (state.clone(), CancellationToken::new());
        let stopped = stop.clone();
        thread::Builder::new().name("load server".into()).spawn(move || {
            let outcome = pin_this_thread(&[core]).and_then(|()| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(stopped.run_until_cancelled(accept(listener, served, tls))).unwrap_or(Ok(()))
            });
            if let Err(error) = outcome {
                eprintln!("the load server ended: {error}");
            }
        })?;
        Ok(Server { address, state, _stop: stop.drop_guard() })
    }

    /// The URL of its queue.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/000000000000/chat-events", self.address)
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = &self.state;
        Counts {
            receives: state.receives.load(Relaxed),
            deletes: state.deletes.load(Relaxed),
            visibility_changes: state.visibility_changes.load(Relaxed),
            received: state.received.load(Relaxed),
            deleted: state.deleted.load(Relaxed),
            connections: state.connections.load(Relaxed),
        }
    }

    /// Puts messages into the queue.
    pub(crate) fn fill(&self, messages: u64) {
        self.state.backlog.store(messages, Relaxed);
        self.state.arrived.notify_waiters();
    }

    /// Begins to note what is seen.
    pub(crate) fn watch(&self) {
        self.state.watching.store(true, Relaxed);
    }

    /// What was seen since [`Server::watch`].
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: std::net::TcpListener, state: Arc<State>, tls: Option<TlsAcceptor>) -> Outcome {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = tokio::select! {
            biased;
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted?,
        };
        stream.set_nodelay(true)?;
        // Those that ended are gone from here: they come first above.
        state.connections.fetch_max(connections.len() as u64 + 1, Relaxed);
        let (state, tls) = (state.clone(), tls.clone());
        connections.spawn(async move {
            // A client that goes away in the middle is the end of its connection and of nothing else.
            let _ = match tls {
                None => state.serve(stream).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => state.serve(stream).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

impl State {
    /// Serves one connection to its end.
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut input = Vec::with_capacity(16 * 1024);
        let mut body = String::new();
        let mut output = Vec::new();
        loop {
            let Some(request) = read_request(&mut stream, &mut input).await? else { return Ok(()) };
            body.clear();
            let status = self.answer(&request, &input[request.head..request.end], &mut body).await;
            input.drain(..request.end);
            output.clear();
            output.extend_from_slice(
                format!(
                    "HTTP/1.1 {status}\r\nx-amzn-RequestId: 6e2f3a51-7a39-5d9b-8b6c-3c1f5f0e9a11\r\nContent-Type: application/x-amz-json-1.0\r\nconnection: keep-alive\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )
                .as_bytes(),
            );
            output.extend_from_slice(body.as_bytes());
            stream.write_all(&output).await?;
            stream.flush().await?;
        }
    }

    async fn answer(&self, request: &Request, asked: &[u8], body: &mut String) -> &'static str {
        match &request.target[..] {
            "ReceiveMessage" => {
                self.receives.fetch_add(1, Relaxed);
                self.note(Seen::Receive);
                match serde_json::from_slice(asked) {
                    Ok(asked) => self.receive(asked, body).await,
                    Err(_) => return "400 Bad Request",
                }
            }
            "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => {
                let Ok(batch) = serde_json::from_slice::<Batch>(asked) else { return "400 Bad Request" };
                if request.target == "DeleteMessageBatch" {
                    if !self.delete_takes.is_zero() {
                        tokio::time::sleep(self.delete_takes).await;
                    }
                    let count = batch.entries.len() as u64;
                    self.deletes.fetch_add(1, Relaxed);
                    self.deleted.fetch_add(count, Relaxed);
                    self.note(|now| Seen::Deleted(now, count));
                } else {
                    self.visibility_changes.fetch_add(1, Relaxed);
                }
                body.push_str(r#"{"Failed":[],"Successful":["#);
                for (index, entry) in batch.entries.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let _ = write!(body, r#"{comma}{{"Id":"{}"}}"#, entry.id);
                }
                body.push_str("]}");
            }
            "GetQueueAttributes" => {
                let _ = write!(
                    body,
                    r#"{{"Attributes":{{"MaximumMessageSize":"{}","VisibilityTimeout":"30","MessageRetentionPeriod":"345600","ApproximateNumberOfMessages":"0","ApproximateNumberOfMessagesNotVisible":"0"}}}}"#,
                    self.message_size
                );
            }
            "GetQueueUrl" => {
                let _ = write!(body, r#"{{"QueueUrl":"http://{}/000000000000/chat-events"}}"#, request.host);
            }
            _ => {
                body.push_str(r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#);
                return "400 Bad Request";
            }
        }
        "200 OK"
    }

    async fn receive(&self, asked: Receive, body: &mut String) {
        let most = self.most.min(asked.max_number_of_messages.clamp(1, 10));
        let until = tokio::time::Instant::now() + Duration::from_secs(asked.wait_time_seconds.min(20));
        let count = loop {
            // Registered before the look at the backlog, so that no filling is missed.
            let arrived = self.arrived.notified();
            let count = self.take(most as u64);
            if count > 0 || tokio::time::timeout_at(until, arrived).await.is_err() {
                break count;
            }
        };
        if count == 0 {
            body.push_str("{}");
            return;
        }
        if !self.receive_takes.is_zero() {
            tokio::time::sleep(self.receive_takes).await;
        }
        self.received.fetch_add(count, Relaxed);
        let with_attributes = asked.message_system_attribute_names.iter().any(|name| name == "ApproximateReceiveCount");
        body.push_str(r#"{"Messages":["#);
        for index in 0..count {
            let number = self.next.fetch_add(1, Relaxed);
            let message = &self.messages[number % self.messages.len()];
            let comma = if index == 0 { "" } else { "," };
            let rest = if with_attributes { &message.rest_with_attributes } else { &message.rest };
            // As long as those of SQS, and as little alike as the number makes them.
            let _ = write!(
                body,
                r#"{comma}{{"MessageId":"5fea7756-0ea4-451a-a703-{number:012x}","ReceiptHandle":"AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a{number:016x}{HANDLE}"#
            );
            body.push_str(rest);
        }
        body.push_str("]}");
    }

    /// Takes up to `most` messages out of the queue.
    fn take(&self, most: u64) -> u64 {
        // This thread alone takes; another one fills, and only an empty queue.
        match self.backlog.load(Relaxed) {
            ENDLESS => most,
            left => {
                let count = left.min(most);
                if count > 0 {
                    self.backlog.store(left - count, Relaxed);
                }
                count
            }
        }
    }

    fn note(&self, seen: impl FnOnce(Instant) -> Seen) {
        if self.watching.load(Relaxed) {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen(Instant::now()));
        }
    }
}

/// The greater part of a receipt handle, which is the same in all.
const HANDLE: &str = "q8QkxxwC2sVJXpRHTe1vcw3mLXTfFSSQ6cEHuGqVAOqhp6Nlm9kDTfWwTmKFJrBUZcBRyxwJEnRqJnVHtXc6jqkEQtXH6yYWZbqLbfmHHcB4DJrGU6UQcwqoYfMXvbWg==";

impl Message {
    fn new(body: &str) -> Self {
        let text = serde_json::to_string(body).expect("a text is JSON");
        let sum = u128::from_be_bytes(Md5::digest(body.as_bytes()).into());
        let rest = format!(r#"","MD5OfBody":"{sum:032x}","Body":{text}"#);
        let attributes = r#","Attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1772600766123"}"#;
        Message { rest_with_attributes: format!("{rest}{attributes}}}"), rest: rest + "}" }
    }
}

/// Where a request lies in the input.
struct Request {
    /// The call, without the name of the service.
    target: String,
    host: String,
    /// Where its head ends.
    head: usize,
    /// Where its body ends.
    end: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    #[serde(default = "one")]
    max_number_of_messages: usize,
    #[serde(default)]
    wait_time_seconds: u64,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(rename = "Entries", borrow)]
    entries: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "Id")]
    id: &'a str,
}

/// Reads until a whole request is at the beginning of `input`; none when the client hung up.
async fn read_request(stream: &mut (impl AsyncRead + Unpin), input: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    loop {
        if let Some(head) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let lines = std::str::from_utf8(&input[..head]).map_err(std::io::Error::other)?;
            let header = |name: &str| {
                let mut headers = lines.split("\r\n").filter_map(|line| line.split_once(':'));
                headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
            };
            let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let (head, end) = (head + 4, head + 4 + length);
            if input.len() >= end {
                let target = header("x-amz-target").unwrap_or_default();
                let target = target.strip_prefix("AmazonSQS.").unwrap_or(target).to_owned();
                let host = header("host").unwrap_or_default().to_owned();
                return Ok(Some(Request { target, host, head, end }));
            }
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}
