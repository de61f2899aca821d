//! A server that reads requests of HTTP/1.1 and answers from a script, whatever it is asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use serde_json::Value;
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsQueue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Answers.
    Reply { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// Waits, and then answers 200 with this body.
    Late(Duration, String),
    /// Sends the headers of a 200 at once, and the body after a while.
    HeadersFirst(Duration, String),
    /// Promises a body and closes the connection in the middle of it.
    Truncated(String),
    /// Sends these bytes as they are, and may close the connection then.
    Bytes { bytes: Vec<u8>, close: bool },
    /// Closes the connection after a while, without an answer.
    CloseAfter(Duration),
    /// Resets the connection.
    Reset,
    /// Says nothing and keeps the connection.
    Silence,
}

impl Answer {
    /// An answer of 200.
    pub(crate) fn ok(body: Value) -> Answer {
        Answer::Reply { status: 200, headers: Vec::new(), body: body.to_string() }
    }

    /// An error as the JSON protocol has it.
    pub(crate) fn error(status: u16, kind: &str, message: &str) -> Answer {
        let body = serde_json::json!({ "__type": format!("com.amazonaws.sqs#{kind}"), "message": message });
        Answer::Reply { status, headers: Vec::new(), body: body.to_string() }
    }

    /// The same with the code of the older query protocol beside it, as SQS sends it.
    pub(crate) fn error_with_query_code(status: u16, kind: &str, query_code: &str, message: &str) -> Answer {
        let Answer::Reply { body, .. } = Answer::error(status, kind, message) else { unreachable!() };
        let headers = vec![("x-amzn-query-error", format!("{query_code};Sender"))];
        Answer::Reply { status, headers, body }
    }

    /// One receive that brings these messages.
    pub(crate) fn messages(messages: Vec<Value>) -> Answer {
        Answer::ok(serde_json::json!({ "Messages": messages }))
    }
}

/// A message as SQS sends it, with everything in its place.
pub(crate) fn message(id: &str, body: &str) -> Value {
    serde_json::json!({
        "MessageId": id,
        "ReceiptHandle": format!("handle-of-{id}"),
        "MD5OfBody": md5_of(body),
        "Body": body,
        "Attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1700000000123" },
    })
}

pub(crate) fn md5_of(body: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The first line.
    pub(crate) line: String,
    /// The headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, when it is JSON.
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) raw: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The region that the request was signed for.
    pub(crate) fn signed_region(&self) -> &str {
        self.header("authorization").split('/').nth(2).unwrap_or("")
    }
}

/// What a server has seen and what it will say.
#[derive(Debug)]
pub(crate) struct Script {
    answers: Mutex<Vec<Answer>>,
    seen: Mutex<Vec<Request>>,
}

impl Script {
    /// The answers in their order; the last one is given again and again.
    pub(crate) fn new(answers: Vec<Answer>) -> Arc<Script> {
        let script = Script { answers: Mutex::default(), seen: Mutex::default() };
        script.answer(answers);
        Arc::new(script)
    }

    fn answer(&self, mut answers: Vec<Answer>) {
        answers.reverse();
        *self.answers.lock().unwrap() = answers;
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    fn next(&self) -> Answer {
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() }
    }

    /// Serves one connection to its end; true when it is to be reset.
    pub(crate) async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
        while let Some(request) = read_request(&mut stream).await {
            self.seen.lock().unwrap().push(request);
            let head = |length| {
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n"
                )
            };
            let written = match self.next() {
                Answer::Reply { status, headers, body } => {
                    let mut text = format!("HTTP/1.1 {status} -\r\ncontent-type: application/x-amz-json-1.0\r\n");
                    for (name, value) in headers {
                        text.push_str(&format!("{name}: {value}\r\n"));
                    }
                    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
                    stream.write_all(text.as_bytes()).await
                }
                Answer::Late(delay, body) => {
                    tokio::time::sleep(delay).await;
                    stream.write_all(format!("{}{body}", head(body.len())).as_bytes()).await
                }
                Answer::HeadersFirst(delay, body) => {
                    let headers = stream.write_all(head(body.len()).as_bytes()).await;
                    stream.flush().await.unwrap();
                    tokio::time::sleep(delay).await;
                    headers.and(stream.write_all(body.as_bytes()).await)
                }
                Answer::Truncated(body) => {
                    let _ = stream.write_all(format!("{}{body}", head(body.len() + 100)).as_bytes()).await;
                    return false;
                }
                Answer::Bytes { bytes, close } => {
                    let written = stream.write_all(&bytes).await;
                    if close {
                        return false;
                    }
                    written
                }
                Answer::CloseAfter(delay) => {
                    tokio::time::sleep(delay).await;
                    return false;
                }
                Answer::Reset => return true,
                Answer::Silence => std::future::pending().await,
            };
            if written.is_err() || stream.flush().await.is_err() {
                return false;
            }
        }
        false
    }
}

/// A scripted server on a port of its own, for as long as the test's runtime lives.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(answers: Vec<Answer>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script::new(answers);
        let served = script.clone();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let script = served.clone();
                tokio::spawn(async move {
                    if script.serve(&mut stream).await {
                        stream.set_zero_linger().unwrap();
                    }
                });
            }
        });
        Server { address, script, connections }
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, answers: Vec<Answer>) {
        self.script.answer(answers);
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.script.seen()
    }

    /// How many connections were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The bodies of the requests.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.seen().into_iter().map(|request| request.body).collect()
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/000000000000/{name}", self.address)
    }

    /// A standard queue on this server.
    pub(crate) async fn queue(&self) -> SqsQueue {
        self.queue_named("chat-events").await
    }

    pub(crate) async fn queue_named(&self, name: &str) -> SqsQueue {
        let address = QueueAddress::Url(QueueUrl::parse(&self.url(name)).unwrap());
        SqsQueue::with_config(&sdk_config(), address).await.unwrap().with_client(super::CLIENT)
    }
}

/// A configuration that asks nothing of the machine that the test runs on.
pub(crate) fn sdk_config() -> SdkConfig {
    let credentials = Credentials::new("AKIDTEST", "a secret of no use", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { line, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null), raw: body })
}
