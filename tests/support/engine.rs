//! A consumer that runs beside its test.

use stream_sqsd::consumer::{Consumer, RunError, Summary};
use stream_sqsd::queue::Queue;
use stream_sqsd::telemetry::Monitor;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::until::PATIENCE;

/// It runs until it is told to stop.
pub(crate) struct Running {
    /// A view of it.
    pub(crate) monitor: Monitor,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<Summary, RunError>>,
}

impl Running {
    pub(crate) fn start<Q: Queue>(consumer: Consumer<Q>) -> Running {
        let monitor = consumer.monitor();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(consumer.run(async { drop(stopped.await) }));
        Running { monitor, stop, run }
    }

    /// Asks it to drain, and waits for its end.
    pub(crate) async fn stop(self) -> Summary {
        self.stop.send(()).expect("it runs until it is asked to stop");
        summary(self.run).await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Summary {
        let summary = summary(self.run).await;
        drop(self.stop);
        summary
    }
}

async fn summary(run: JoinHandle<Result<Summary, RunError>>) -> Summary {
    let ended = timeout(PATIENCE, run).await.expect("the run ends in time").unwrap();
    let summary = ended.expect("the queue answers the first receive");
    assert!(summary.adds_up(), "{summary}");
    summary
}
