//! A queue in memory behind the wire protocol of SQS: as much of it as the binary speaks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use md5::{Digest, Md5};
use serde_json::{Value, json};
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryResult, Queue, Receipt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// The ARN of the dead-letter queue.
pub(crate) const DEAD: &str = "arn:aws:sqs:us-east-1:123456789012:dead";

/// A server with a queue, and a second one for dead letters. It is gone when this is dropped.
pub(crate) struct Sqs {
    address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

struct Shared {
    queue: MemoryQueue,
    /// What is called `dead`. Nothing gets there by itself.
    dead: MemoryQueue,
    /// The states of the move task, one for each time that it is looked at; the last one stays.
    moves: Mutex<Vec<Value>>,
    /// The state of a move task that was cancelled.
    cancelled_move: Mutex<Value>,
    attributes: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    denied: Mutex<Vec<&'static str>>,
    /// Whether nobody can reach it.
    away: AtomicBool,
    /// In which words.
    denied_with: Mutex<&'static str>,
    /// With which code receives are refused.
    refused_receives: Mutex<Option<&'static str>>,
    /// Queues whose attributes are answered with an error code.
    refused: Mutex<BTreeMap<&'static str, &'static str>>,
    /// How many receives will be throttled.
    throttled_receives: Mutex<usize>,
    /// Entries of a send that fail the first time.
    failing_sends: Mutex<Vec<&'static str>>,
    calls: Mutex<Vec<(String, Value)>>,
    called: Condvar,
}

impl Sqs {
    /// A server with this queue. Its dead-letter queue, if it has one, is the queue `dead`.
    pub(crate) fn start(settings: MemorySettings) -> Sqs {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            dead: settings.dead_letter_queue.clone().unwrap_or_else(|| MemoryQueue::new(MemorySettings::default())),
            queue: MemoryQueue::new(settings),
            moves: Mutex::default(),
            cancelled_move: Mutex::default(),
            attributes: Mutex::default(),
            denied: Mutex::default(),
            away: AtomicBool::new(false),
            denied_with: Mutex::new("User is not authorized to perform this action"),
            refused_receives: Mutex::default(),
            refused: Mutex::default(),
            throttled_receives: Mutex::default(),
            failing_sends: Mutex::default(),
            calls: Mutex::default(),
            called: Condvar::new(),
        });
        let served = shared.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        });
        Sqs { address, shared, _runtime: runtime }
    }

    /// The URL of the queue.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/123456789012/chat-events", self.address)
    }

    pub(crate) fn queue(&self) -> &MemoryQueue {
        &self.shared.queue
    }

    /// A server with a queue whose redrive policy names the queue `dead`.
    pub(crate) fn with_dead_letter_queue() -> Sqs {
        let dead = MemoryQueue::new(MemorySettings::new().with_name("dead-letter").with_wall_clock(SystemTime::now));
        let settings = MemorySettings::new().with_max_receive_count(3).with_dead_letter_queue(dead);
        let sqs = Sqs::start(settings.with_wall_clock(SystemTime::now));
        let redrive = format!(r#"{{"deadLetterTargetArn":"{DEAD}","maxReceiveCount":3}}"#);
        sqs.set("chat-events", &[("RedrivePolicy", &redrive)]);
        sqs.set("dead", &[("QueueArn", DEAD), ("MessageRetentionPeriod", "1209600")]);
        sqs
    }

    /// The queue that is called `dead`.
    pub(crate) fn dead(&self) -> &MemoryQueue {
        &self.shared.dead
    }

    /// What a move task looks like, one after the other.
    pub(crate) fn moves(&self, looks: Vec<Value>) {
        *self.shared.moves.lock().unwrap() = looks;
    }

    /// What it looks like once it was cancelled.
    pub(crate) fn cancelled_move(&self, look: Value) {
        *self.shared.cancelled_move.lock().unwrap() = look;
    }

    /// From now on this action is denied.
    pub(crate) fn deny(&self, action: &'static str) {
        self.shared.denied.lock().unwrap().push(action);
    }

    /// From now on it cannot be reached, or can be again.
    #[cfg(feature = "test-postgres")]
    pub(crate) fn is_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::Relaxed);
    }

    /// From now on what is denied is denied in these words.
    pub(crate) fn deny_with(&self, message: &'static str) {
        *self.shared.denied_with.lock().unwrap() = message;
    }

    /// From now on receives are refused with this code.
    pub(crate) fn refuse_receives(&self, code: &'static str) {
        *self.shared.refused_receives.lock().unwrap() = Some(code);
    }

    /// From now on anyone who asks for the attributes of this queue gets this error.
    pub(crate) fn refuse_attributes(&self, queue: &'static str, code: &'static str) {
        self.shared.refused.lock().unwrap().insert(queue, code);
    }

    /// The next receives are throttled, so many of them.
    pub(crate) fn throttle_receives(&self, times: usize) {
        *self.shared.throttled_receives.lock().unwrap() = times;
    }

    /// The entry that begins a batch is answered by this code, as often as it is named here.
    pub(crate) fn fail_sends(&self, codes: &[&'static str]) {
        self.shared.failing_sends.lock().unwrap().extend(codes);
    }

    /// Sets attributes of a queue.
    pub(crate) fn set(&self, queue: &str, attributes: &[(&str, &str)]) {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.shared.attributes.lock().unwrap().insert(queue.to_owned(), attributes.collect());
    }

    /// Waits until something was asked so often with this action.
    pub(crate) fn until_called(&self, action: &str, times: usize) {
        let calls = self.shared.calls.lock().unwrap();
        let too_few =
            |calls: &mut Vec<(String, Value)>| calls.iter().filter(|(name, _)| name == action).count() < times;
        let waited = self.shared.called.wait_timeout_while(calls, Duration::from_secs(30), too_few).unwrap();
        assert!(!waited.1.timed_out(), "{action} was not called {times} times");
    }

    /// What was asked with this action.
    pub(crate) fn calls(&self, action: &str) -> Vec<Value> {
        let calls = self.shared.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| name == action).map(|(_, body)| body.clone()).collect()
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some((action, body)) = read_request(&mut stream).await {
        if shared.away.load(Ordering::Relaxed) {
            return;
        }
        let (status, answer) = answer(&shared, &action, body).await;
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let (mut action, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
            Some((name, value)) if name == "x-amz-target" => {
                action = value.strip_prefix("AmazonSQS.").unwrap().to_owned();
            }
            Some((name, value)) if name == "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((action, serde_json::from_slice(&body).unwrap()))
}

async fn answer(shared: &Shared, action: &str, body: Value) -> (&'static str, Value) {
    shared.calls.lock().unwrap().push((action.to_owned(), body.clone()));
    shared.called.notify_all();
    if let Some(error) = refusal(shared, action, &body) {
        return ("400 Bad Request", error);
    }
    let seconds = |name: &str| body[name].as_u64().map(Duration::from_secs);
    let is_dead = body["QueueUrl"].as_str().is_some_and(|url| url.ends_with("/dead"));
    let queue = if is_dead { &shared.dead } else { &shared.queue };
    let answer = match action {
        "GetQueueUrl" => {
            let name = body["QueueName"].as_str().unwrap();
            json!({"QueueUrl": format!("https://sqs.us-east-1.amazonaws.com/123456789012/{name}")})
        }
        "StartMessageMoveTask" | "CancelMessageMoveTask" | "ListMessageMoveTasks" => move_task(shared, action),
        "GetQueueAttributes" => {
            let mut attributes = shared.attributes.lock().unwrap().get(queue_name(&body)).cloned().unwrap_or_default();
            if is_dead {
                let depths = depths(&shared.dead, &attributes);
                attributes.extend(depths);
            }
            json!({"Attributes": attributes})
        }
        "ReceiveMessage" => {
            let max = body["MaxNumberOfMessages"].as_u64().unwrap_or(1) as usize;
            let wait = seconds("WaitTimeSeconds").unwrap_or_default();
            let deliveries = queue.receive(max, wait, seconds("VisibilityTimeout")).await.unwrap();
            let messages = deliveries.iter().map(|delivery| {
                let id = delivery.receipt.message_id.as_str();
                let webhook_id =
                    delivery.webhook_id.as_ref().map(|id| json!({"DataType": "String", "StringValue": id.as_str()}));
                json!({
                    "MessageAttributes": webhook_id.map(|id| json!({"webhook_id": id})),
                    "MessageId": id,
                    "ReceiptHandle": format!("{id}|{}", delivery.receipt.handle),
                    "Body": delivery.body,
                    "MD5OfBody": md5_of(&delivery.body),
                    "Attributes": attributes(delivery),
                })
            });
            json!({"Messages": messages.collect::<Vec<_>>()})
        }
        "DeleteMessageBatch" => {
            let receipts: Vec<Receipt> = entries(&body).map(receipt).collect();
            by_entry(&body, queue.delete(&receipts).await.unwrap())
        }
        "ChangeMessageVisibilityBatch" => {
            let time = |entry: &Value| Duration::from_secs(entry["VisibilityTimeout"].as_u64().unwrap());
            let batch: Vec<_> = entries(&body).map(|entry| (receipt(entry), time(entry))).collect();
            by_entry(&body, queue.change_visibility(&batch).await.unwrap())
        }
        "SendMessageBatch" => send(shared, queue, &body),
        other => panic!("{other} is not known here"),
    };
    ("200 OK", answer)
}

fn move_task(shared: &Shared, action: &str) -> Value {
    let mut moves = shared.moves.lock().unwrap();
    match action {
        "StartMessageMoveTask" => json!({"TaskHandle": "task-1"}),
        "CancelMessageMoveTask" => {
            *moves = vec![shared.cancelled_move.lock().unwrap().clone()];
            json!({"ApproximateNumberOfMessagesMoved": 1})
        }
        _ => {
            let task = if moves.len() > 1 { Some(moves.remove(0)) } else { moves.first().cloned() };
            json!({"Results": task.into_iter().filter(|task| !task.is_null()).collect::<Vec<_>>()})
        }
    }
}

/// How many messages a queue holds, but for what a test says of it.
fn depths(queue: &MemoryQueue, said: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let counts = queue.counts();
    let depths = [("", counts.visible), ("NotVisible", counts.hidden), ("Delayed", 0)];
    let depths = depths.map(|(which, count)| (format!("ApproximateNumberOfMessages{which}"), count.to_string()));
    depths.into_iter().filter(|(name, _)| !said.contains_key(name)).collect()
}

/// The attributes of SQS's own of a delivery.
fn attributes(delivery: &Delivery) -> Value {
    let mut attributes = json!({"ApproximateReceiveCount": delivery.receive_count.to_string()});
    if let Some(sent_at) = delivery.sent_at {
        let millis = sent_at.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        attributes["SentTimestamp"] = millis.to_string().into();
    }
    attributes
}

/// What a test has asked this call to be refused with.
fn refusal(shared: &Shared, action: &str, body: &Value) -> Option<Value> {
    let error =
        |code: &str, message: &str| Some(json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": message}));
    if shared.denied.lock().unwrap().contains(&action) {
        return error("AccessDenied", *shared.denied_with.lock().unwrap());
    }
    match action {
        "ReceiveMessage" => {
            if let Some(code) = *shared.refused_receives.lock().unwrap() {
                return error(code, "It is refused");
            }
            let mut left = shared.throttled_receives.lock().unwrap();
            *left = left.checked_sub(1)?;
            error("RequestThrottled", "Rate exceeded")
        }
        "GetQueueAttributes" => {
            let refused = shared.refused.lock().unwrap();
            refused.get(queue_name(body)).and_then(|code| error(code, "It is refused"))
        }
        _ => None,
    }
}

fn queue_name(body: &Value) -> &str {
    body["QueueUrl"].as_str().unwrap().rsplit('/').next().unwrap()
}

fn send(shared: &Shared, queue: &MemoryQueue, body: &Value) -> Value {
    let fails = shared.failing_sends.lock().unwrap().pop();
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (position, entry) in entries(body).enumerate() {
        match fails.filter(|_| position == 0) {
            Some(code) => {
                let sender_fault = code != "InternalError";
                failed.push(json!({"Id": entry["Id"], "Code": code, "SenderFault": sender_fault}));
            }
            None => {
                let text = entry["MessageBody"].as_str().unwrap();
                let attributes = entry["MessageAttributes"].as_object().into_iter().flatten();
                let text_of = |value: &Value| value["StringValue"].as_str().unwrap().to_owned();
                let attributes = attributes.map(|(name, value)| (name.clone(), text_of(value))).collect();
                let id = queue.send_with_attributes(text, attributes);
                successful.push(json!({"Id": entry["Id"], "MessageId": id.as_str(), "MD5OfMessageBody": md5_of(text)}));
            }
        }
    }
    json!({"Successful": successful, "Failed": failed})
}

fn entries(body: &Value) -> impl Iterator<Item = &Value> {
    body["Entries"].as_array().unwrap().iter()
}

fn receipt(entry: &Value) -> Receipt {
    let handle = entry["ReceiptHandle"].as_str().unwrap();
    let (id, handle) = handle.split_once('|').unwrap_or(("none", handle));
    Receipt::new(id, handle)
}

fn by_entry(body: &Value, results: Vec<EntryResult>) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (entry, result) in entries(body).zip(results) {
        match result {
            Ok(()) => successful.push(json!({"Id": entry["Id"]})),
            Err(error) => {
                failed.push(json!({"Id": entry["Id"], "Code": error.code, "SenderFault": error.sender_fault}))
            }
        }
    }
    json!({"Successful": successful, "Failed": failed})
}

fn md5_of(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
