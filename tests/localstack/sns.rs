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
        let with_webhook_id = [
            ("TopicArn", topic),
            ("Message", &*event(1).to_string()),
            ("MessageAttributes.entry.1.Name", "webhook_id"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", "w-1"),
        ];
        sns("Publish", &with_webhook_id).await;
        sns("Publish", &[("TopicArn", topic), ("Message", &base64(gzip(&event(2).to_string())))]).await;

        let mut daemon = daemon::run(&queue, &["--wait", "1s"]);
        let mut lines = [daemon.line().await, daemon.line().await];
        lines.sort_by_key(|line| line["event"]["number"].as_u64());
        assert_eq!(lines.each_ref().map(|line| &line["event"]), [&event(1), &event(2)], "raw message delivery: {raw}");
        let ids = lines.each_ref().map(|line| line["webhook_id"].as_str());
        assert_eq!(ids, [Some("w-1"), None], "raw message delivery: {raw}");
        queue.emptied().await;
        daemon.terminate();
        assert_eq!(daemon.end().await.code, Some(0));
    }
}
