//! The queue of one test, with its dead-letter queue, and what is asked of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::endpoint::{ACCOUNT, REGION, endpoint, sqs};
use super::support::until::until;

/// A queue of this test alone, with a dead-letter queue.
pub(crate) struct TestQueue {
    pub(crate) url: String,
    pub(crate) arn: String,
    /// Where its messages go after the last receive.
    pub(crate) dead_letters: DeadLetters,
}

/// What arrives in a dead-letter queue.
pub(crate) struct DeadLetters {
    url: String,
}

/// How many messages a queue holds. LocalStack counts exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Those that can be received now.
    pub(crate) visible: u64,
    /// Those that are in flight or wait out a retry delay.
    pub(crate) hidden: u64,
}

/// What a test may want of its queue. Times are in seconds.
pub(crate) struct Wanted {
    pub(crate) visibility: u32,
    pub(crate) max_receive_count: u32,
}

impl Default for Wanted {
    /// Hidden for so long that a message which is left hidden is seen to be.
    fn default() -> Self {
        Wanted { visibility: 300, max_receive_count: 5 }
    }
}

impl TestQueue {
    /// Makes a queue whose name begins with the name of the test.
    pub(crate) async fn new(test: &str, wanted: Wanted) -> TestQueue {
        TestQueue::with(test, wanted, "").await
    }

    /// The same that keeps the order within message groups.
    pub(crate) async fn fifo(test: &str, wanted: Wanted) -> TestQueue {
        TestQueue::with(test, wanted, ".fifo").await
    }

    async fn with(test: &str, wanted: Wanted, ending: &str) -> TestQueue {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let name = format!("{}-{:x}", &test[..test.len().min(50)], now.as_nanos());
        let dead_letters = format!("{name}-dead{ending}");
        let name = format!("{name}{ending}");
        let redrive = json!({"deadLetterTargetArn": arn(&dead_letters), "maxReceiveCount": wanted.max_receive_count});
        let mut attributes = json!({
            "VisibilityTimeout": wanted.visibility.to_string(),
            "RedrivePolicy": redrive.to_string(),
        });
        let mut of_dead_letters = json!({});
        if ending == ".fifo" {
            attributes["FifoQueue"] = "true".into();
            of_dead_letters["FifoQueue"] = "true".into();
        }
        let dead_letters = DeadLetters { url: create(&dead_letters, of_dead_letters).await };
        TestQueue { url: create(&name, attributes).await, arn: arn(&name), dead_letters }
    }

    /// Sends bodies, and returns their message ids.
    pub(crate) async fn send(&self, bodies: impl IntoIterator<Item = String>) -> Vec<String> {
        self.send_entries(bodies.into_iter().map(|body| json!({"MessageBody": body})).collect()).await
    }

    /// Sends entries of SendMessageBatch, which need no id.
    pub(crate) async fn send_entries(&self, entries: Vec<Value>) -> Vec<String> {
        send_entries(&self.url, entries).await
    }

    /// Sends bodies and has SQS itself move them to the dead-letter queue, so that they have come from here.
    pub(crate) async fn dead_letter(&self, bodies: impl IntoIterator<Item = String>) {
        let sent = self.send(bodies).await.len() as u64;
        let question = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0, "VisibilityTimeout": 0,
        });
        let receive = async || {
            sqs("ReceiveMessage", question.clone()).await;
            self.dead_letters.count().await
        };
        until("all are dead-lettered", Duration::from_secs(60), receive, |moved| *moved == sent).await;
    }

    pub(crate) async fn counts(&self) -> Counts {
        counts(&self.url).await
    }

    /// Receives as another consumer would: waits up to `wait` seconds, and hides what it gets for no time.
    pub(crate) async fn peek(&self, wait: u32) -> Vec<Value> {
        receive(&self.url, wait).await
    }

    /// Waits until nothing is in the queue, nor hidden in it.
    pub(crate) async fn emptied(&self) {
        let empty = Counts { visible: 0, hidden: 0 };
        until("the queue is empty", Duration::from_secs(30), async || self.counts().await, |counts| *counts == empty)
            .await;
    }
}

impl TestQueue {
    /// Takes out all messages.
    pub(crate) async fn drain(&self) -> Vec<Value> {
        let question = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0, "VisibilityTimeout": 300,
        });
        let mut all = Vec::new();
        loop {
            let answer = sqs("ReceiveMessage", question.clone()).await;
            let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            let entry = |(position, message): (usize, &Value)| json!({"Id": position.to_string(), "ReceiptHandle": message["ReceiptHandle"]});
            let entries: Vec<Value> = messages.iter().enumerate().map(entry).collect();
            sqs("DeleteMessageBatch", json!({"QueueUrl": self.url, "Entries": entries})).await;
            all.extend(messages);
        }
    }
}

impl DeadLetters {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends bodies there directly, and returns their message ids.
    pub(crate) async fn send(&self, bodies: impl IntoIterator<Item = String>) -> Vec<String> {
        self.send_entries(bodies.into_iter().map(|body| json!({"MessageBody": body})).collect()).await
    }

    /// Sends entries there directly.
    pub(crate) async fn send_entries(&self, entries: Vec<Value>) -> Vec<String> {
        send_entries(&self.url, entries).await
    }

    pub(crate) async fn count(&self) -> u64 {
        let Counts { visible, hidden } = counts(&self.url).await;
        visible + hidden
    }

    /// The bodies, once there are so many; sorted.
    pub(crate) async fn arrived(&self, count: usize) -> Vec<String> {
        let arrived = async || self.count().await;
        until("messages reach the dead-letter queue", Duration::from_secs(60), arrived, |have| *have >= count as u64)
            .await;
        let messages = receive(&self.url, 1).await;
        let mut bodies: Vec<_> = messages.iter().map(|message| message["Body"].as_str().unwrap().to_owned()).collect();
        bodies.sort();
        bodies
    }
}

async fn send_entries(url: &str, mut entries: Vec<Value>) -> Vec<String> {
    let mut ids = Vec::new();
    for (position, entry) in entries.iter_mut().enumerate() {
        entry["Id"] = json!(position.to_string());
    }
    for batch in entries.chunks(10) {
        let answer = sqs("SendMessageBatch", json!({"QueueUrl": url, "Entries": batch})).await;
        let sent = answer["Successful"].as_array().expect("some were sent");
        assert_eq!(sent.len(), batch.len(), "{answer}");
        ids.extend(sent.iter().map(|entry| entry["MessageId"].as_str().unwrap().to_owned()));
    }
    ids
}

fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

async fn create(name: &str, attributes: Value) -> String {
    sqs("CreateQueue", json!({"QueueName": name, "Attributes": attributes})).await;
    format!("{}/queue/{REGION}/{ACCOUNT}/{name}", endpoint())
}

async fn counts(url: &str) -> Counts {
    let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
    let answer = sqs("GetQueueAttributes", json!({"QueueUrl": url, "AttributeNames": names})).await;
    let number = |name: &str| answer["Attributes"][name].as_str().unwrap().parse().unwrap();
    Counts { visible: number(names[0]), hidden: number(names[1]) }
}

async fn receive(url: &str, wait: u32) -> Vec<Value> {
    let question = json!({
        "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": wait, "VisibilityTimeout": 0,
    });
    sqs("ReceiveMessage", question).await["Messages"].as_array().cloned().unwrap_or_default()
}
