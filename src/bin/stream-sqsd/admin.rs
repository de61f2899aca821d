//! Where the operator watches a run: which address, and what is asked of the queue for those who look.

use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use stream_sqsd::admin::Admin;
use stream_sqsd::queue::Queue;
use stream_sqsd::queue::sqs::SqsQueue;
use stream_sqsd::telemetry::Monitor;
use tokio::task::JoinSet;

use crate::exit::{Exit, Failure};

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Nowhere.
    Nowhere,
    /// Here, if it is free: nobody has asked for it.
    IfFree(SocketAddr),
    /// Here, since somebody has said so.
    Here(SocketAddr),
}

impl Listen {
    /// An address and a port, or `none`; `named` when somebody has written it.
    pub(crate) fn parse(text: &str, named: bool) -> Result<Listen, String> {
        let text = text.trim();
        if text == "none" {
            return Ok(Listen::Nowhere);
        }
        match text.parse() {
            Ok(address) if named => Ok(Listen::Here(address)),
            Ok(address) => Ok(Listen::IfFree(address)),
            Err(_) => Err(format!(
                "{text:?} is no address with a port, such as 127.0.0.1:9464, 0.0.0.0:9464 or [::1]:9464, nor `none`"
            )),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Nowhere => f.write_str("none"),
            Listen::IfFree(address) | Listen::Here(address) => address.fmt(f),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_its_port() {
        let default = "127.0.0.1:9464".parse().expect("an address");
        assert_eq!(Listen::parse("127.0.0.1:9464", false), Ok(Listen::IfFree(default)));
        assert_eq!(Listen::parse(" 127.0.0.1:9464 ", true), Ok(Listen::Here(default)));
        assert_eq!(Listen::parse("none", true), Ok(Listen::Nowhere));
        for wrong in ["", "9464", "localhost:9464", "127.0.0.1", "0.0.0.0:99999"] {
            assert!(Listen::parse(wrong, true).is_err(), "{wrong}");
        }
    }
}
