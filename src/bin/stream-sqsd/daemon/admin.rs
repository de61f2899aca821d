//! Where the operator watches a run, and what is asked of the queue for those who look.

use std::future::pending;
use std::sync::Arc;

use anyhow::anyhow;
use stream_sqsd::admin::Admin;
use stream_sqsd::queue::Queue;
use stream_sqsd::queue::sqs::SqsQueue;
use stream_sqsd::telemetry::Monitor;
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
    let address = match listen {
        Listen::Nowhere => return Ok(serving),
        Listen::IfFree(address) | Listen::Here(address) => address,
    };
    let admin = match Admin::bind(address, monitor.clone(), queue.url().as_str()).await {
        Ok(admin) => admin,
        Err(error) if listen == Listen::IfFree(address) => {
            tracing::warn!(
                %address,
                "nobody can watch this run, since the default address cannot be had: {error}; give another by --admin"
            );
            return Ok(serving);
        }
        Err(error) => {
            return Err(Failure::new(Exit::Unavailable, anyhow!("cannot listen at {address} (--admin): {error}")));
        }
    };
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
