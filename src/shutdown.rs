//! When to shut down, for a `main` that has nothing of its own to say about it.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Completes at the first SIGTERM, which systemd, Docker and Kubernetes send, or SIGINT, which is Ctrl-C.
///
/// Give it to [`Consumer::run`](crate::consumer::Consumer::run): it then drains gracefully. The signals are caught from the
/// call on, so the process no longer ends at once by them; a second signal does nothing either.
///
/// # Panics
///
/// Outside a tokio runtime with its I/O driver enabled, which `#[tokio::main]` does. Where the system refuses to have a
/// signal caught, an error is logged and this one keeps its ordinary effect.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    async move {
        tokio::select! {
            biased;
            () = caught(terminate) => {}
            () = caught(interrupt) => {}
        }
    }
}

async fn caught(signal: io::Result<Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, "a signal cannot be caught: it ends the process without a graceful shutdown");
            std::future::pending().await
        }
    }
}
