//! A bad wire: a proxy between the AWS SDK and LocalStack that does to a request what the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::endpoint::endpoint;

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered late.
    Late(Duration),
    /// The connection is reset, and the queue never hears of it.
    Unheard,
    /// The queue carries it out, and the connection is reset in place of the answer.
    Unanswered,
    /// The queue carries it out, and the connection is closed in the middle of the answer.
    Truncated,
    /// The queue never hears of it, and this status and code are the answer.
    Refused(u16, &'static str),
    /// The queue never hears of it, and the connection stays open without a word.
    Silence,
}

/// Decides by the name of the call, such as `ReceiveMessage`.
type Plan = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

/// The proxy. It ends, with all its connections, when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(plan: impl FnMut(&str) -> Option<Fault> + Send + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(plan)));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                connections.spawn(serve(connection, plan.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Proxy { address, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Serves one connection to its end.
async fn serve(connection: TcpStream, plan: Arc<Mutex<Plan>>) {
    let mut connection = BufReader::new(connection);
    while let Some(request) = Message::read(&mut connection).await {
        let action = request.header("x-amz-target").and_then(|target| target.strip_prefix("AmazonSQS."));
        let fault = (plan.lock().unwrap())(action.expect("a call of SQS"));
        let answer = match fault {
            Some(Fault::Unheard) => return reset(connection),
            Some(Fault::Silence) => return std::future::pending().await,
            Some(Fault::Refused(status, code)) => refusal(status, code),
            Some(Fault::Unanswered) => {
                forward(request).await;
                return reset(connection);
            }
            Some(Fault::Truncated) => {
                let answer = forward(request).await.bytes();
                // All of the head, which promises the rest, and half of what is promised or less.
                let body = answer.len() - answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() - 4;
                let _ = connection.write_all(&answer[..answer.len() - body.div_ceil(2)]).await;
                return;
            }
            Some(Fault::Late(delay)) => {
                sleep(delay).await;
                forward(request).await
            }
            None => forward(request).await,
        };
        if connection.write_all(&answer.bytes()).await.is_err() {
            return;
        }
    }
}

fn reset(connection: BufReader<TcpStream>) {
    // Anyone who reads on the other side gets an error and not an end.
    connection.into_inner().set_zero_linger().unwrap();
}

/// What LocalStack answers.
async fn forward(mut request: Message) -> Message {
    let endpoint = endpoint();
    let host = endpoint.strip_prefix("http://").expect("LocalStack is asked over http");
    request.headers.push(("connection".into(), "close".into()));
    let mut connection = TcpStream::connect(host).await.unwrap();
    connection.write_all(&request.bytes()).await.unwrap();
    let mut answer = Message::read(&mut BufReader::new(connection)).await.expect("LocalStack answers");
    answer.headers.retain(|(name, _)| name != "connection");
    answer
}

/// An error as the JSON protocol has it.
fn refusal(status: u16, code: &str) -> Message {
    Message {
        first: format!("HTTP/1.1 {status} -"),
        headers: vec![("content-type".into(), "application/x-amz-json-1.0".into())],
        body: format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"not now"}}"#).into_bytes(),
    }
}

/// A request or an answer, as it came.
struct Message {
    first: String,
    /// Names in lower case, and no length: that is the body's.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    /// None at the end of the connection, orderly or not.
    async fn read(connection: &mut BufReader<TcpStream>) -> Option<Message> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next()?.to_owned();
        let mut headers: Vec<_> = lines
            .map(|line| line.split_once(':').expect("a header"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        assert!(headers.iter().all(|(name, _)| name != "transfer-encoding"), "its length is told: {head}");
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, length)| length.parse().unwrap());
        headers.retain(|(name, _)| name != "content-length");
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.ok()?;
        Some(Message { first, headers, body })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.first).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
