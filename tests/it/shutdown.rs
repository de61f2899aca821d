//! The future that ends a run at a signal.

use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use stream_sqsd::shutdown_signal;

/// One test for both, since a signal goes to the whole process.
#[tokio::test]
async fn sigterm_and_ctrl_c_end_the_wait_and_nothing_else() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let shutdown = shutdown_signal();
        tokio::pin!(shutdown);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut shutdown).await.is_err(), "{signal}");
        raise(signal).unwrap();
        tokio::time::timeout(Duration::from_secs(10), shutdown).await.unwrap();
    }
}

#[tokio::test]
async fn a_signal_before_the_first_poll_is_not_lost() {
    let shutdown = shutdown_signal();
    raise(Signal::SIGINT).unwrap();
    tokio::time::timeout(Duration::from_secs(10), shutdown).await.unwrap();
}
