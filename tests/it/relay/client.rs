//! A relay for a test, and Stream as it sends to it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, Queue};
use stream_sqsd::relay::{App, Relay, RelaySettings};
use stream_sqsd::telemetry::RelayMonitor;
use stream_sqsd::webhook::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &str = "tsec2";
pub(crate) const KEY: &str = "k2";
pub(crate) const JSON: &str = r#"{"type":"message.new","message":{"text":"the quick brown fox"}}"#;

/// A relay that serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) queue: MemoryQueue,
    pub(crate) monitor: RelayMonitor,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
}

pub(crate) fn settings() -> RelaySettings {
    let secrets = ["before", SECRET].map(|secret| SigningKey::new(secret).unwrap());
    RelaySettings::new([App::new(KEY, secrets)], SystemTime::now)
}

pub(crate) fn queue() -> MemoryQueue {
    MemoryQueue::new(MemorySettings::new())
}

impl Running {
    pub(crate) async fn start(settings: RelaySettings, queue: MemoryQueue) -> Running {
        Running::serve(Relay::new(settings, queue.clone()).unwrap(), queue).await
    }

    pub(crate) async fn serve(relay: Relay<MemoryQueue>, queue: MemoryQueue) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, monitor) = (listener.local_addr().unwrap(), relay.monitor());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = tokio::spawn(async move { relay.serve(listener, stopped.cancelled()).await });
        Running { address, queue, monitor, stop, serving }
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> (u16, String) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(request.as_ref()).await.unwrap();
        answer(&mut connection).await.unwrap()
    }

    pub(crate) async fn stop(self) -> MemoryQueue {
        self.stop.cancel();
        self.serving.await.unwrap();
        self.queue
    }
}

/// The next answer on a connection: its code and its text. None where it was closed without one.
pub(crate) async fn answer(connection: &mut TcpStream) -> Option<(u16, String)> {
    let read = async {
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let length: usize = length.parse().unwrap();
                if bytes.len() >= end + 4 + length {
                    let text = String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).unwrap();
                    return Some((head.split(' ').nth(1).unwrap().parse().unwrap(), text));
                }
            }
            if connection.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer")
}

/// A webhook as Stream sends it.
pub(crate) struct Webhook {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Webhook {
    pub(crate) fn new(id: &str, json: &str) -> Webhook {
        Webhook::with_body(id, json.as_bytes().to_vec(), json)
    }

    /// With this body, which stands for this JSON.
    pub(crate) fn with_body(id: &str, body: Vec<u8>, json: &str) -> Webhook {
        let headers = vec![
            ("Host", "relay.test".to_owned()),
            ("X-Api-Key", KEY.to_owned()),
            ("X-Signature", SigningKey::new(SECRET).unwrap().sign(json.as_bytes())),
            ("X-Webhook-Id", id.to_owned()),
            ("X-Webhook-Attempt", "1".to_owned()),
            ("Content-Length", body.len().to_string()),
        ];
        Webhook { method: "POST", path: "/webhooks/stream", headers, body }
    }

    pub(crate) fn gzipped(id: &str, json: &str) -> Webhook {
        Webhook::with_body(id, gzip(json.as_bytes()), json).header("Content-Encoding", "gzip")
    }

    /// Sets a header; one without a value is left out.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Webhook {
        self.headers.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            self.headers.push((name, value.to_owned()));
        }
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        [text.as_bytes(), &self.body].concat()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// All messages of a queue, with their attributes.
pub(crate) async fn received(queue: &MemoryQueue) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        let some = queue.receive_whole(10, Duration::ZERO, None).await.unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}
