//! What takes its time is waited for, and what never comes is not waited for for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_credential_types::provider::future::ProvideCredentials as ProvideCredentialsFuture;
use aws_sdk_sqs::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use serde_json::json;
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsClient, SqsQueue};
use stream_sqsd::queue::{Queue, QueueError, Receipt};
use tokio::time::Instant;

use super::server::{Answer, Server, message, sdk_config};

#[tokio::test]
async fn a_long_poll_that_is_silent_for_seconds_is_not_cut_short() {
    // Real time, since the SDK's stalled-stream protection reads the real clock: it looks every second, and acts after a
    // grace of five.
    let body = json!({ "Messages": [message("m-1", "{}")] }).to_string();
    let silent = Duration::from_secs(7);
    let late = Server::start(vec![Answer::Late(silent, body.clone())]).await;
    let headers_first = Server::start(vec![Answer::HeadersFirst(silent, body)]).await;
    let (late, headers_first) = (late.queue().await, headers_first.queue().await);
    let wait = Duration::from_secs(20);
    let (late, headers_first) = tokio::join!(late.receive(10, wait, None), headers_first.receive(10, wait, None));
    assert_eq!(late.unwrap().len(), 1);
    assert_eq!(headers_first.unwrap().len(), 1);
}

/// A queue with an open connection, on a clock that leaps to the next timer when nothing else is to do.
async fn with_leaping_clock(server: &Server) -> impl Queue + use<> {
    let queue = server.queue().await;
    queue.facts().await.unwrap();
    tokio::time::pause();
    queue
}

#[tokio::test]
async fn a_hanging_receive_ends_after_the_engines_watchdog() {
    let server = Server::start(vec![Answer::ok(json!({})), Answer::Silence]).await;
    let queue = with_leaping_clock(&server).await;
    let started = Instant::now();
    let wait = Duration::from_secs(20);
    let error = queue.receive(10, wait, None).await.unwrap_err();
    let after = started.elapsed();
    assert!(matches!(error, QueueError::TimedOut { .. }), "{error:?}");
    assert!(after > wait + Duration::from_secs(10) && after < wait + Duration::from_secs(20), "{after:?}");
    assert_eq!(error.to_string(), "the queue did not answer within 35 s");
    assert_eq!(server.seen().len(), 2, "a lost receive is not tried again");
}

#[tokio::test]
async fn a_delete_that_is_not_answered_is_tried_on_a_new_connection() {
    let ok = Answer::ok(json!({ "Successful": [{ "Id": "0" }], "Failed": [] }));
    let server = Server::start(vec![Answer::ok(json!({})), Answer::Silence, ok]).await;
    let queue = with_leaping_clock(&server).await;
    let started = Instant::now();
    let receipt = Receipt::new("m", "h");
    assert!(queue.delete(&[receipt]).await.unwrap()[0].is_ok());
    // Sooner than half of a visibility timeout of 30 s, which is when a lease is renewed.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_delete_that_is_never_answered_ends_in_time_for_its_lease() {
    let server = Server::start(vec![Answer::ok(json!({})), Answer::Silence]).await;
    let queue = with_leaping_clock(&server).await;
    let started = Instant::now();
    let receipt = Receipt::new("m", "h");
    let error = queue.delete(&[receipt]).await.unwrap_err();
    assert!(matches!(error, QueueError::TimedOut { .. }), "{error:?}");
    assert!(started.elapsed() <= Duration::from_secs(21), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_reconnect_loses_nothing_that_is_under_way() {
    let body = json!({ "Messages": [message("m-1", "{}")] }).to_string();
    let server = Server::start(vec![Answer::Late(Duration::from_millis(300), body), Answer::ok(json!({}))]).await;
    let queue = server.queue().await;
    let wait = Duration::from_secs(20);
    let first = queue.receive(10, wait, None);
    let second = async {
        while server.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        queue.reconnect();
        queue.receive(10, wait, None).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap().len(), 1);
    assert!(second.unwrap().is_empty());
}

/// Credentials that count how often they are asked for.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl ProvideCredentials for Counted {
    fn provide_credentials<'a>(&'a self) -> ProvideCredentialsFuture<'a>
    where
        Self: 'a,
    {
        self.0.fetch_add(1, Ordering::SeqCst);
        ProvideCredentialsFuture::ready(Ok(Credentials::new("AKIDTEST", "a secret of no use", None, None, "test")))
    }
}

#[tokio::test]
async fn connections_last_until_a_reconnect_and_credentials_longer() {
    let server = Server::start(vec![Answer::ok(json!({}))]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let credentials = SharedCredentialsProvider::new(Counted(asked.clone()));
    let config = sdk_config().to_builder().credentials_provider(credentials).build();
    let address = QueueAddress::Url(QueueUrl::parse(&server.url("chat-events")).unwrap());
    let queue = SqsQueue::with_config(&config, address).await.unwrap().with_client(super::CLIENT);

    let wait = Duration::from_secs(20);
    queue.receive(10, wait, None).await.unwrap();
    queue.facts().await.unwrap();
    queue.receive(10, wait, None).await.unwrap();
    // Our own client and the SDK each keep theirs.
    let pools = if super::CLIENT == SqsClient::Sdk { 1 } else { 2 };
    assert_eq!(server.connections(), pools);
    queue.reconnect();
    queue.facts().await.unwrap();
    queue.receive(10, wait, None).await.unwrap();
    assert_eq!((server.connections(), asked.load(Ordering::SeqCst)), (2 * pools, 1));
}
