//! Where the operator watches a run, and what is asked of the queue for those who look.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use stream_sqsd::admin::Admin;
use stream_sqsd::queue::Queue;
use stream_sqsd::queue::sqs::SqsQueue;
use stream_sqsd::telemetry::{Monitor, RelayMonitor};
use tokio::task::JoinSet;

use crate::config::listen::Listen;
use crate::terminal::exit::{Exit, Failure};

/// Answers those who watch for as long as what is returned lives; by `hosts` too, besides the names that always are.
pub(crate) async fn serve(
    listen: Listen,
    hosts: &[String],
    monitor: Monitor,
    queue: &Arc<SqsQueue>,
) -> Result<JoinSet<()>, Failure> {
    let mut serving = JoinSet::new();
    let bind = |address| Admin::bind(address, monitor.clone(), queue.url().as_str());
    let Some(admin) = listening(listen, bind).await? else { return Ok(serving) };
    tracing::info!("watch it at http://{}/", admin.address());

    let own = queue.clone();
    let beside = queue.clone();
    let admin = admin
        .hosts(hosts)
        .read_queue(move || {
            let queue = own.clone();
            async move { queue.facts().await }
        })
        .read_dead_letters(move || {
            let queue = beside.clone();
            // Known from the attributes that were read at the start, if they were.
            let dead_letters = monitor.queue().and_then(|seen| seen.dead_letter_queue);
            async move {
                match dead_letters {
                    Some(arn) => Ok(queue.attributes_of_dead_letter_queue(&arn).await?.messages),
                    None => Ok(None),
                }
            }
        });
    serving.spawn(admin.serve(pending()));
    Ok(serving)
}

/// Answers those who watch a relay into this queue.
pub(crate) async fn serve_relay(
    listen: Listen,
    hosts: &[String],
    monitor: RelayMonitor,
    queue: &str,
) -> Result<JoinSet<()>, Failure> {
    let mut serving = JoinSet::new();
    let bind = |address| Admin::bind_relay(address, monitor.clone(), queue);
    if let Some(admin) = listening(listen, bind).await? {
        tracing::info!("watch it at http://{}/", admin.address());
        serving.spawn(admin.hosts(hosts).serve(pending()));
    }
    Ok(serving)
}

/// The listener, where there is to be one and its address can be had.
async fn listening<F>(listen: Listen, bind: impl FnOnce(SocketAddr) -> F) -> Result<Option<Admin>, Failure>
where
    F: Future<Output = io::Result<Admin>>,
{
    let address = match listen {
        Listen::Nowhere => return Ok(None),
        Listen::IfFree(address) | Listen::Here(address) => address,
    };
    match bind(address).await {
        Ok(admin) => Ok(Some(admin)),
        Err(error) if listen == Listen::IfFree(address) => {
            tracing::warn!(
                %address,
                "nobody can watch this run, since the default address cannot be had: {error}; give another by --admin"
            );
            Ok(None)
        }
        Err(error) => Err(Failure::new(Exit::Unavailable, anyhow!("cannot listen at {address} (--admin): {error}"))),
    }
}
