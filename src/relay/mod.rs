//! Webhooks by HTTP into the queue: verify, store, forget.
//!
//! For those who cannot let Stream send to their queue, want to know that it was Stream who sent, or need order by channel.
//! What is queued has the form of Stream's own SQS hook, so that every consumer of that reads it. Nothing here consumes
//! events, and nothing answers the hooks that wait for an answer.
//!
//! The promise: an answer of 200 means that the queue has the event, or that it is durable in the
//! [spool](SpoolSettings). What may succeed later is answered with 503 at once, and Stream tries again; what never can is
//! answered with a code after which it does not.
//!
//! ```no_run
//! # use stream_sqsd::queue::memory::MemoryQueue;
//! # use stream_sqsd::relay::{App, Relay, RelaySettings};
//! # use stream_sqsd::webhook::SigningKey;
//! # async fn relayed(queue: MemoryQueue) -> Result<(), Box<dyn std::error::Error>> {
//! let app = App::new("API-KEY", SigningKey::new("API-SECRET"));
//! let relay = Relay::new(RelaySettings::new([app], std::time::SystemTime::now), queue)?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! relay.serve(listener, stream_sqsd::shutdown_signal()).await;
//! # Ok(())
//! # }
//! ```

// In reading order: each file imports only from those below it.
mod endpoint;
mod batch;
mod spool;
mod deliver;
mod message;
mod request;
mod remember;
mod answer;
mod budget;
mod connections;
mod tls;
mod settings;
mod networks;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::batch::{Store, send_batches};
use self::budget::{BODY_BYTES, Budget};
use self::connections::{Places, Seat, Watched};
use self::deliver::Courier;
use self::endpoint::Endpoint;
use self::remember::Memory;
use self::spool::{Spool, replay};
use self::tls::Certificate;
use crate::queue::Sender;
use crate::telemetry::{RelayMonitor, RelayTelemetry};

pub use self::networks::{BadNetwork, Networks};
pub use self::settings::{
    App, DEFAULT_PATH, DEFAULT_SPOOL_LIMIT, MIN_SPOOL_LIMIT, RelaySettings, SpoolSettings, TlsFiles,
};
pub use self::spool::SpoolError;
pub use self::tls::{TlsFileError, check_tls};

/// How large the head of a request may be, in bytes.
const HEAD_SIZE: usize = 16 * 1024;

/// How many headers a request may have.
const HEADERS: usize = 64;

/// How long accepting is left alone after it failed, for lack of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(250);

/// What is left of the grace for what comes after the last answer: the spool.
const AFTER_THE_LAST_ANSWER: Duration = Duration::from_secs(1);

/// Why there can be no relay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
}

/// A relay. It answers nobody before [`Relay::serve`].
pub struct Relay<S> {
    settings: RelaySettings,
    queue: Arc<S>,
    spool: Option<Arc<Spool>>,
    certificate: Option<Arc<Certificate>>,
    telemetry: Arc<RelayTelemetry>,
}

impl<S: Sender> Relay<S> {
    /// A relay into this queue, which need not be reachable. Opens the spool and reads the certificate.
    ///
    /// # Errors
    ///
    /// [`RelayError`]: what somebody has to put right.
    pub fn new(settings: RelaySettings, queue: S) -> Result<Self, RelayError> {
        let telemetry = Arc::new(RelayTelemetry::new());
        let certificate = settings.tls.as_ref().map(Certificate::read).transpose()?.map(Arc::new);
        let spool = settings.spool.as_ref();
        let spool = spool.map(|spool| Spool::open(spool, settings.wall_clock, telemetry.clone())).transpose()?;
        Ok(Relay { settings, queue: Arc::new(queue), spool: spool.map(Arc::new), certificate, telemetry })
    }

    /// A view on it, for those who watch.
    pub fn monitor(&self) -> RelayMonitor {
        RelayMonitor::new(self.telemetry.clone())
    }

    /// Answers until `shutdown` completes. Then no connection is accepted, what is in flight is finished, and what is in the
    /// spool stays there; this takes at most [`RelaySettings::grace`]. Dropping the future is a crash: everything that was
    /// answered with 200 is in the queue or in the spool.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let Relay { settings, queue, spool, certificate, telemetry } = self;
        let (grace, limit) = (settings.grace, settings.connections);
        let courier = Courier::new(queue, telemetry.clone(), spool.is_some());
        let (store, jobs) = Store::new(courier.clone(), spool.clone());
        let (memory, budget) = (Memory::default(), Budget::new(BODY_BYTES, telemetry.clone()));
        let endpoint = Arc::new(Endpoint { settings, store, memory, budget, telemetry: telemetry.clone() });
        let places = Arc::new(Places::new(limit, telemetry.clone()));

        let (mut storing, mut beside) = (JoinSet::new(), JoinSet::new());
        let stop = CancellationToken::new();
        storing.spawn(send_batches(courier.clone(), jobs, spool.clone(), telemetry.clone()));
        if let Some(spool) = &spool {
            storing.spawn(replay(spool.clone(), courier, stop.clone()));
        }
        beside.spawn(places.clone().sweep());
        if let Some(certificate) = &certificate {
            beside.spawn(certificate.clone().keep(telemetry.clone()));
        }
        let door = Door { endpoint, places, certificate, stop: stop.clone(), telemetry: telemetry.clone() };
        telemetry.ready.store(true, Ordering::Relaxed);
        let mut connections = door.accept(listener, shutdown).await;
        telemetry.ready.store(false, Ordering::Relaxed);

        stop.cancel();
        let end = Instant::now() + grace;
        let last_answer = end - AFTER_THE_LAST_ANSWER.min(grace / 2);
        let finish = async {
            while connections.join_next().await.is_some() {}
            drop(door);
            while storing.join_next().await.is_some() {}
        };
        if timeout_at(last_answer, finish).await.is_err() {
            warn!("the grace is over and requests are not answered yet; Stream tries them again");
        }
        if let Some(spool) = &spool
            && timeout_at(end, spool.close()).await.is_err()
        {
            warn!("the grace is over and the disk of the spool has not answered");
        }
    }
}

/// Where connections come in.
struct Door<S> {
    endpoint: Arc<Endpoint<S>>,
    places: Arc<Places>,
    certificate: Option<Arc<Certificate>>,
    stop: CancellationToken,
    telemetry: Arc<RelayTelemetry>,
}

impl<S: Sender> Door<S> {
    /// Lets connections in until the shutdown, and returns those that are open then.
    async fn accept(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> JoinSet<()> {
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => return connections,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(seat) = self.places.take(self.certificate.is_some()) else { continue };
                    let number = seat.number();
                    let certificate = self.certificate.clone();
                    let (endpoint, stop, telemetry) =
                        (self.endpoint.clone(), self.stop.clone(), self.telemetry.clone());
                    let task = connections.spawn(meet(stream, peer.ip(), seat, certificate, endpoint, stop, telemetry));
                    self.places.belongs_to(number, task);
                }
                Err(error) => {
                    if let Some(times) = self.telemetry.worth_logging(("relay", "accept")) {
                        warn!(%error, times, "a connection could not be accepted");
                    }
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

/// One connection, which may begin with a handshake.
async fn meet<S: Sender>(
    stream: TcpStream,
    peer: IpAddr,
    seat: Seat,
    certificate: Option<Arc<Certificate>>,
    endpoint: Arc<Endpoint<S>>,
    stop: CancellationToken,
    telemetry: Arc<RelayTelemetry>,
) {
    // An answer is one small packet, which is not to wait for another one.
    let _ = stream.set_nodelay(true);
    let Some(certificate) = certificate else {
        // The first byte is waited for here: a connection of hyper's has 16 KiB of buffers, spoken or not.
        let mut first = [0];
        tokio::select! {
            biased;
            _ = stream.peek(&mut first) => {}
            () = stop.cancelled() => return,
        }
        return Box::pin(talk(stream, peer, seat, endpoint, stop)).await;
    };
    let handshake = tokio::select! {
        biased;
        handshake = Box::pin(certificate.acceptor().accept(stream)) => handshake,
        () = stop.cancelled() => return,
    };
    match handshake {
        Ok(stream) => {
            seat.place.is_open();
            // On the heap, so that a connection without TLS is not as large as one with it.
            Box::pin(talk(stream, peer, seat, endpoint, stop)).await;
        }
        Err(error) => {
            telemetry.tls_failed.add(1);
            debug!(%peer, %error, "a TLS handshake failed");
        }
    }
}

/// The requests of one connection.
async fn talk<S: Sender, IO>(io: IO, peer: IpAddr, seat: Seat, endpoint: Arc<Endpoint<S>>, stop: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let place = seat.place.clone();
    let watched = Watched::new(io, place.clone());
    let service = service_fn(move |request| {
        let (endpoint, at_work) = (endpoint.clone(), place.request());
        // On the heap, so that a connection takes the room for a request only while it has one.
        Box::pin(async move {
            let answer = endpoint.answer(request, peer).await;
            drop(at_work);
            Ok::<_, Infallible>(answer)
        })
    });
    let connection = http1::Builder::new()
        // The sweep closes what takes too long.
        .header_read_timeout(None)
        // A sender that closes its side behind a request waits for its answer all the same.
        .half_close(true)
        .max_buf_size(HEAD_SIZE)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(watched), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection ended");
    }
}
