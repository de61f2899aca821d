//! The straightforward consumer on the AWS SDK: so many loops, each of which receives ten, parses one after the other,
//! and deletes them in one call.
//!
//! The parse is that of the naive floor. It renews no lease, retries nothing beyond what the SDK does, counts nothing,
//! and reads no answer to a delete. Its HTTP client is the SDK's own, with ring, since the queue is reached without TLS.

use aws_config::BehaviorVersion;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use aws_smithy_http_client::{Builder, tls};
use tokio::task::JoinSet;

use crate::{Outcome, naive};

/// Consumes until it is killed.
#[tokio::main]
pub(crate) async fn consume(url: &str, pollers: usize) -> Outcome {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    let endpoint = url.split("/000000000000").next().ok_or("no endpoint")?;
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).endpoint_url(endpoint).load().await;
    let client = Client::new(&config);
    let mut loops = JoinSet::new();
    for _ in 0..pollers {
        let (client, url) = (client.clone(), url.to_owned());
        loops.spawn(async move {
            loop {
                work(&client, &url).await?;
            }
        });
    }
    match loops.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

/// One receive and its delete.
async fn work(client: &Client, url: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let call = client.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(20);
    let mut handled = Vec::new();
    for (index, message) in call.send().await?.messages.unwrap_or_default().into_iter().enumerate() {
        let event = naive::parse(message.body.as_deref().unwrap_or_default())?;
        std::hint::black_box(event);
        let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
        handled.push(entry.set_receipt_handle(message.receipt_handle).build()?);
    }
    if !handled.is_empty() {
        client.delete_message_batch().queue_url(url).set_entries(Some(handled)).send().await?;
    }
    Ok(())
}
