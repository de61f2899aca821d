//! Connections of HTTP/1.1 that are kept open between requests.
//!
//! The one who sends a request drives its connection too: no task stands between, and a request that is dropped takes its
//! connection with it. An idle connection is therefore watched by nobody, and looked at before it is used.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use super::super::url;
use crate::net::proxy::Connector;
use crate::net::tls::{self, TlsError, TlsFiles};

/// How long a connection may take to open, with its TLS.
///
/// Source: the connect timeout of the SDK's defaults.
const CONNECT: Duration = Duration::from_millis(3_100);

/// How long an idle connection is kept. SQS closes those that are idle for about a minute.
const IDLE: Duration = Duration::from_secs(45);

/// Until when a connection that breaks had been closed before: a request that is made again later would end too late for
/// those who wait for it, since a long poll can break at any time.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How many idle connections are kept.
const MAX_IDLE: usize = 128;

/// The largest answer that is read: ten messages of 1 MiB, each byte of them an escape of six.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoReply {
    /// There is no connection.
    NotConnected(Box<dyn Error + Send + Sync>),
    /// There is no TLS: the SDK, which sets up its own, may know better.
    NoTls(Box<dyn Error + Send + Sync>),
    /// It did not open in time.
    NotInTime,
    /// It broke before the answer began.
    Broken(hyper::Error),
    /// It broke in the middle of the answer.
    BrokeOff(hyper::Error),
    /// What came is not HTTP.
    NotHttp(hyper::Error),
    /// The answer is larger than [`MAX_ANSWER`].
    TooLarge,
}

/// What opens connections to one endpoint.
pub(super) struct Dialer {
    to: Uri,
    tcp: Connector,
    /// Made by the first call, since it reads whom the system trusts.
    connector: OnceLock<Result<HttpsConnector<Connector>, String>>,
}

impl Dialer {
    /// None where the way to the endpoint is one that only the SDK knows: through a proxy of another kind, or through one
    /// that forwards plain HTTP.
    pub(super) fn new(to: Uri) -> Option<Dialer> {
        let is_near = |uri: &Uri| url::host_in(&uri.to_string()).is_some_and(url::is_next_door);
        let tcp = Connector::new(CONNECT, IDLE).with_near(is_near);
        let is_plain = to.scheme_str() == Some("http");
        let is_known = tcp.check(&to).is_ok() && !(is_plain && tcp.has_proxy(&to));
        is_known.then(|| Dialer { to, tcp, connector: OnceLock::new() })
    }

    async fn open(&self) -> Result<Open, NoReply> {
        let connector = self.connector.get_or_init(|| self.connector().map_err(|error| error.to_string()));
        let mut connector = connector.clone().map_err(|why| NoReply::NoTls(why.into()))?;
        let opening = async {
            poll_fn(|context| connector.poll_ready(context)).await?;
            connector.call(self.to.clone()).await
        };
        let stream = match timeout(CONNECT, opening).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if tls::is_of_tls(&*error) => return Err(NoReply::NoTls(error)),
            Ok(Err(error)) => return Err(NoReply::NotConnected(error)),
            Err(_) => return Err(NoReply::NotInTime),
        };
        let (sender, connection) = http1::handshake(stream).await.map_err(NoReply::Broken)?;
        Ok(Open { sender, connection: Box::new(connection), is_over: false, since: Instant::now() })
    }

    fn connector(&self) -> Result<HttpsConnector<Connector>, TlsError> {
        let is_plain = self.to.scheme_str() == Some("http");
        let tls = if is_plain { tls::trusting_nobody() } else { tls::client_config(&TlsFiles::default()) }?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Ok(builder.wrap_connector(self.tcp.clone()))
    }
}

/// The idle connections to one endpoint.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Open>>,
}

impl Pool {
    /// Sends a request and reads its answer. On a connection that turns out at once to be closed, so that not a byte of an
    /// answer came, the request is sent once more on a new one.
    pub(super) async fn send(&self, dialer: &Dialer, request: Request<Full<Bytes>>) -> Result<Reply, NoReply> {
        if let Some(open) = self.take().await
            && let Some(reply) = self.exchange(open, request.clone(), true).await
        {
            return reply;
        }
        let open = dialer.open().await?;
        self.exchange(open, request, false).await.expect("only a connection that was used before is tried again")
    }

    /// None where a connection that `was_used` is closed.
    async fn exchange(
        &self,
        mut open: Open,
        request: Request<Full<Bytes>>,
        was_used: bool,
    ) -> Option<Result<Reply, NoReply>> {
        let started = Instant::now();
        let reply = open.exchange(request).await;
        let is_stale = was_used && started.elapsed() < AT_ONCE;
        match &reply {
            Ok(_) => self.put(open).await,
            Err(NoReply::Broken(_)) if is_stale && open.has_read_nothing() => return None,
            Err(_) => {}
        }
        Some(reply)
    }

    /// The connection that was used last, if it is still open.
    async fn take(&self) -> Option<Open> {
        loop {
            let mut open = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let open = idle.pop()?;
                if open.since.elapsed() > IDLE {
                    // All others are older.
                    idle.clear();
                    return None;
                }
                open
            };
            if open.is_good().await {
                return Some(open);
            }
        }
    }

    async fn put(&self, mut open: Open) {
        if !open.is_good().await {
            return;
        }
        open.since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let old = idle.iter().take_while(|open| open.since.elapsed() > IDLE).count();
        idle.drain(..old);
        if idle.len() < MAX_IDLE {
            idle.push(open);
        }
    }
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// An open connection.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    connection: Box<Connection<Stream, Full<Bytes>>>,
    is_over: bool,
    since: Instant,
}

impl Open {
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, NoReply> {
        let answer = self.sender.send_request(request);
        let answer = drive(&mut self.connection, &mut self.is_over, answer).await;
        let answer = answer.map_err(|error| match error {
            error if error.is_parse() => NoReply::NotHttp(error),
            error => NoReply::Broken(error),
        })?;
        let (head, body) = answer.into_parts();
        let body = self.whole(body, &head.headers).await?;
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    async fn whole(&mut self, mut body: Incoming, headers: &HeaderMap) -> Result<Vec<u8>, NoReply> {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > MAX_ANSWER) {
            return Err(NoReply::TooLarge);
        }
        let mut whole = Vec::with_capacity(length.unwrap_or_default());
        while !body.is_end_stream() {
            let frame = drive(&mut self.connection, &mut self.is_over, body.frame()).await;
            let Some(frame) = frame else { break };
            if let Ok(data) = frame.map_err(NoReply::BrokeOff)?.into_data() {
                if whole.len() + data.len() > MAX_ANSWER {
                    return Err(NoReply::TooLarge);
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(whole)
    }

    /// Whether the connection can take a request, as far as is known now.
    async fn is_good(&mut self) -> bool {
        let Open { sender, connection, is_over, .. } = self;
        poll_fn(|context| {
            *is_over = *is_over || Pin::new(&mut **connection).poll(context).is_ready();
            Poll::Ready(!*is_over && matches!(sender.poll_ready(context), Poll::Ready(Ok(()))))
        })
        .await
    }

    /// Whether nothing of an answer came: what was read and is not a whole head of one is still in the buffer.
    fn has_read_nothing(self) -> bool {
        self.connection.into_parts().read_buf.is_empty()
    }
}

/// Waits for something on a connection, which moves only while it is polled.
async fn drive<F: Future>(
    connection: &mut Connection<Stream, Full<Bytes>>,
    is_over: &mut bool,
    awaited: F,
) -> F::Output {
    let mut awaited = pin!(awaited);
    poll_fn(|context| {
        *is_over = *is_over || Pin::new(&mut *connection).poll(context).is_ready();
        awaited.as_mut().poll(context)
    })
    .await
}
