//! What SQS says of a message beside its body.

use std::time::{Duration, SystemTime};

use serde_json::json;
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::router::Router;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::body::event;
use super::engine::{self, quick};
use super::queue::{TestQueue, Wanted};

#[tokio::test]
async fn what_sqs_says_of_a_message_reaches_the_handler() {
    let queue = TestQueue::new("what_sqs_says", Wanted::default()).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let x_ray = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let before = SystemTime::now();
    let entry = json!({
        "MessageBody": event(1).to_string(),
        "MessageAttributes": {
            "traceparent": {"DataType": "String", "StringValue": traceparent},
            "webhook_id": {"DataType": "String", "StringValue": "0d6e2c1a-7f0b-4b0e-9d55-0f7a4e0f6d3c"},
        },
        "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": x_ray}},
    });
    let ids = queue.send_entries(vec![entry]).await;

    let (seen, mut contexts) = mpsc::unbounded_channel();
    let handler = move |_: Event, ctx: Context| {
        seen.send(ctx.clone()).unwrap();
        async move { if ctx.receive_count() == 1 { Err(HandlerError::retry("the first time fails")) } else { Ok(()) } }
    };
    let engine = engine::start(&queue, Router::new().fallback(handler), quick()).await;

    for receive_count in 1..=2 {
        let ctx = timeout(Duration::from_secs(30), contexts.recv()).await.expect("a call in time").unwrap();
        assert_eq!(ctx.message_id().as_str(), ids[0]);
        assert_eq!(ctx.receive_count(), receive_count);
        let sent = ctx.sent_at().expect("SQS says when");
        let second = Duration::from_secs(1);
        assert!(before - second < sent && sent < SystemTime::now() + second, "{sent:?}");
        assert_eq!(ctx.webhook_id(), Some("0d6e2c1a-7f0b-4b0e-9d55-0f7a4e0f6d3c"));
        assert_eq!(ctx.trace().traceparent.as_deref(), Some(traceparent));
        assert_eq!(ctx.trace().aws_trace_header.as_deref(), Some(x_ray));
    }
    queue.emptied().await;
    engine.stop().await;
}
