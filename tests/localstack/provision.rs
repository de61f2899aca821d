//! Queues that are made, and made what they should be, without a thing of others being lost.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stream_sqsd::queue::sqs::policy::{lets_stream_send, stream_statement};
use stream_sqsd::queue::sqs::provision::{Made, Plan};
use stream_sqsd::queue::sqs::{Provisioner, QueueAddress, SqsQueue};

use super::endpoint::{endpoint, sqs};
use super::engine::aws;

/// A name that no other test has.
fn name(test: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{test}-{:x}", now.as_nanos())
}

fn provisioner(name: &str) -> Provisioner {
    let queue = QueueAddress::Name { name: name.to_owned(), account: None };
    SqsQueue::provisioner_with_config(&aws(&endpoint()), &queue).unwrap()
}

async fn plan(provisioner: &Provisioner, name: &str, dead: &str) -> Plan {
    let main = provisioner.find(name).await.unwrap();
    let dead_letters = provisioner.find(dead).await.unwrap();
    Plan::new((name, main), (dead, dead_letters), true).unwrap()
}

async fn attributes(name: &str) -> Value {
    let url = sqs("GetQueueUrl", json!({"QueueName": name})).await["QueueUrl"].clone();
    sqs("GetQueueAttributes", json!({"QueueUrl": url, "AttributeNames": ["All"]})).await["Attributes"].clone()
}

fn text<'a>(attributes: &'a Value, name: &str) -> &'a str {
    attributes[name].as_str().unwrap_or_default()
}

#[tokio::test]
async fn both_queues_are_made_from_nothing_and_once() {
    let name = name("made_from_nothing");
    let dead = format!("{name}-dead-letter");
    let provisioner = provisioner(&name);
    let mut made = Vec::new();
    let first = plan(&provisioner, &name, &dead).await;
    let queue = provisioner.apply(&first, false, |step| made.push(step)).await.unwrap();
    assert_eq!(made, [Made::Queue(dead.clone()), Made::Queue(name.clone()), Made::Permission(name.clone())]);

    let (main, dead_letters) = (attributes(&name).await, attributes(&dead).await);
    assert_eq!(queue.arn(), text(&main, "QueueArn"));
    let redrive: Value = serde_json::from_str(text(&main, "RedrivePolicy")).unwrap();
    assert_eq!(redrive["deadLetterTargetArn"], dead_letters["QueueArn"]);
    assert_eq!(redrive["maxReceiveCount"].to_string().trim_matches('"'), "5");
    assert_eq!((text(&main, "VisibilityTimeout"), text(&dead_letters, "MessageRetentionPeriod")), ("60", "1209600"));
    assert_eq!((text(&main, "MaximumMessageSize"), text(&main, "SqsManagedSseEnabled")), ("1048576", "true"));
    assert!(lets_stream_send(text(&main, "Policy")));

    let second = plan(&provisioner, &name, &dead).await;
    assert!(second.is_empty(true), "{second:?}");
    provisioner.apply(&second, true, |step| panic!("{step:?}")).await.unwrap();
}

#[tokio::test]
async fn what_is_there_is_added_to_and_changed_only_on_request() {
    let name = name("added_to");
    let dead = format!("{name}-dead-letter");
    let theirs =
        json!({"Sid": "theirs", "Effect": "Allow", "Principal": "*", "Action": "sqs:ReceiveMessage", "Resource": "*"});
    let policy = json!({"Version": "2012-10-17", "Statement": [theirs]}).to_string();
    let settings = json!({"Policy": policy, "VisibilityTimeout": "300"});
    sqs("CreateQueue", json!({"QueueName": name, "Attributes": settings})).await;
    sqs("CreateQueue", json!({"QueueName": dead, "Attributes": {"MessageRetentionPeriod": "3600"}})).await;

    let provisioner = provisioner(&name);
    let mut made = Vec::new();
    let plan_before = plan(&provisioner, &name, &dead).await;
    assert_eq!(plan_before.dead.differing.len(), 1, "{plan_before:?}");
    provisioner.apply(&plan_before, false, |step| made.push(step)).await.unwrap();
    assert_eq!(made, [Made::Redrive(name.clone()), Made::Permission(name.clone())]);
    let main = attributes(&name).await;
    let policy: Value = serde_json::from_str(text(&main, "Policy")).unwrap();
    assert_eq!(policy["Statement"], json!([theirs, stream_statement(text(&main, "QueueArn"))]));
    assert_eq!(text(&main, "VisibilityTimeout"), "300", "what nobody asked about");
    assert_eq!(text(&attributes(&dead).await, "MessageRetentionPeriod"), "3600");

    let mut made = Vec::new();
    let update = plan(&provisioner, &name, &dead).await;
    provisioner.apply(&update, true, |step| made.push(step)).await.unwrap();
    assert_eq!(made, [Made::Changed(dead.clone())]);
    assert_eq!(text(&attributes(&dead).await, "MessageRetentionPeriod"), "1209600");
    assert!(plan(&provisioner, &name, &dead).await.is_empty(true));
}
