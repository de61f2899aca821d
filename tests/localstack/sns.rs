//! Queues that are subscribed to an SNS topic.

use super::body::{base64, event, gzip};
use super::daemon;
use super::endpoint::sns;
use super::queue::{TestQueue, Wanted};

#[tokio::test]
async fn sns_delivers_the_same_events_raw_and_in_its_envelope() {
    let name = format!("chat-{}", std::process::id());
    let created = sns("CreateTopic", &[("Name", &name)]).await;
    let topic = created.split_once("<TopicArn>").and_then(|(_, rest)| rest.split_once('<')).expect("an ARN").0;

    for raw in ["true", "false"] {
        let queue = TestQueue::new(&format!("subscribed_raw_{raw}"), Wanted::default()).await;
        let subscription = [
            ("TopicArn", topic),
            ("Protocol", "sqs"),
            ("Endpoint", &queue.arn),
            ("Attributes.entry.1.key", "RawMessageDelivery"),
            ("Attributes.entry.1.value", raw),
        ];
        sns("Subscribe", &subscription).await;
        sns("Publish", &[("TopicArn", topic), ("Message", &event(1).to_string())]).await;
        sns("Publish", &[("TopicArn", topic), ("Message", &base64(gzip(&event(2).to_string())))]).await;

        let mut daemon = daemon::run(&queue, &["--wait", "1s"]);
        let mut events = [daemon.line().await, daemon.line().await].map(|line| line["event"].clone());
        events.sort_by_key(|event| event["number"].as_u64());
        assert_eq!(events, [event(1), event(2)], "raw message delivery: {raw}");
        queue.emptied().await;
        daemon.terminate();
        assert_eq!(daemon.end().await.code, Some(0));
    }
}
