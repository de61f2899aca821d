//! `stream-sqsd relay` into a queue of LocalStack: killed again and again, and with SQS away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::webhook::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::daemon::{Started, command_with_keys, start};
use super::proxy::{Fault, Proxy};
use super::queue::{TestQueue, Wanted};
use super::scale;
use super::support::daemon::file;

/// How often the relay is killed.
const KILLS: usize = 20;

/// A relay on a port that stays the same over its lives.
struct Place {
    directory: tempfile::TempDir,
    address: String,
    config: String,
}

impl Place {
    async fn new(queue: &TestQueue, endpoint: &str, spool: bool) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let spool = if spool {
            format!("spool = {:?}", directory.path().join("spool").display().to_string())
        } else {
            String::new()
        };
        let text = format!(
            "[queue]\nurl = \"{}\"\nendpoint_url = \"{endpoint}\"\nregion = \"us-east-1\"\n[admin]\nlisten = \"none\"\n[relay]\nlisten = \
             \"{address}\"\napps = [{{ api_key = \"k\", api_secret = {{ env = \"SECRET\" }} }}]\n{spool}\n",
            queue.url
        );
        let config = file(directory.path(), "relay.toml", text);
        Place { directory, address, config }
    }

    fn start(&self) -> Started {
        let mut command = command_with_keys(&["relay", "--config", &self.config, "--log-format", "human"]);
        command.env("SECRET", "s3cret");
        start(command)
    }

    fn spool(&self) -> std::path::PathBuf {
        self.directory.path().join("spool")
    }
}

/// An event of this number, and the webhook id that goes with it.
fn event(number: usize) -> (String, String) {
    (format!(r#"{{"type":"message.new","cid":"messaging:c{}","number":{number}}}"#, number % 7), format!("id-{number}"))
}

/// One attempt of Stream: the code of the answer, or None where there was none.
async fn attempt(address: &str, number: usize, attempt: u32) -> Option<u16> {
    let (json, id) = event(number);
    let signature = SigningKey::new("s3cret").unwrap().sign(json.as_bytes());
    let request = format!(
        "POST /webhooks/stream HTTP/1.1\r\nHost: relay\r\nX-Api-Key: k\r\nX-Signature: {signature}\r\nX-Webhook-Id: \
         {id}\r\nX-Webhook-Attempt: {attempt}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    );
    let exchange = async {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(Duration::from_secs(6), exchange).await.ok()?.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// An event as Stream sends it: three attempts on 5xx, two where there is no answer. Whether one was answered with 200.
async fn delivered(address: &str, number: usize) -> bool {
    let mut lost = 0;
    for nth in 1..=3 {
        match attempt(address, number, nth).await {
            Some(200) => return true,
            Some(code) => assert!(code >= 500, "{code}"),
            None => {
                lost += 1;
                if lost == 2 {
                    return false;
                }
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

/// Senders side by side, until they are told to stop. What was answered with 200 is noted.
struct Senders {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<BTreeSet<usize>>>,
}

impl Senders {
    fn start(address: &str, pause: Duration) -> Senders {
        let (mut tasks, stop, answered) = (JoinSet::new(), Arc::new(AtomicBool::new(false)), Arc::default());
        for sender in 0..8 {
            let (address, stop, answered) =
                (address.to_owned(), stop.clone(), Arc::<Mutex<BTreeSet<_>>>::clone(&answered));
            tasks.spawn(async move {
                let mut number = sender;
                while !stop.load(Ordering::Relaxed) {
                    if delivered(&address, number).await {
                        answered.lock().unwrap().insert(number);
                    }
                    number += 8;
                    sleep(pause).await;
                }
            });
        }
        Senders { tasks, stop, answered }
    }

    async fn stop(mut self) -> BTreeSet<usize> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.answered.lock().unwrap().clone()
    }
}

/// How often each event is in the queue.
async fn in_queue(queue: &TestQueue) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for message in queue.drain().await {
        let json: serde_json::Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        *found.entry(json["number"].as_u64().unwrap() as usize).or_default() += 1;
    }
    found
}

/// Until everything in the spool is in the queue, and the relay has ended.
async fn finish(place: &Place, relay: Started) {
    if place.spool().exists() {
        let began = Instant::now();
        while has_segments(&place.spool()) {
            assert!(began.elapsed() < Duration::from_secs(60), "the spool is not empty");
            sleep(Duration::from_millis(50)).await;
        }
        println!("the spool was empty after {:.1} s", began.elapsed().as_secs_f64());
    }
    relay.terminate();
    let ended = relay.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn has_segments(spool: &Path) -> bool {
    let names = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.into_iter().any(|name| name.ends_with(".spool"))
}

fn missing(answered: &BTreeSet<usize>, found: &BTreeMap<usize, usize>) -> Vec<usize> {
    answered.iter().filter(|number| !found.contains_key(number)).copied().collect()
}

async fn killed_twenty_times(test: &str, queue: TestQueue, spool: bool) -> (BTreeSet<usize>, BTreeMap<usize, usize>) {
    let mut random = scale::random(test);
    // Every few calls one is refused, so that the spool is used too.
    let mut calls = 0;
    let proxy = Proxy::start(move |action| {
        calls += 1;
        (action == "SendMessageBatch" && spool && calls % 60 >= 57).then_some(Fault::Refused(503, "ServiceUnavailable"))
    })
    .await;
    let place = Place::new(&queue, &proxy.url(), spool).await;
    let senders = Senders::start(&place.address, Duration::from_millis(10));
    for _ in 0..KILLS {
        let relay = place.start();
        sleep(Duration::from_millis(random.u64(100..900))).await;
        relay.kill().await;
    }
    let relay = place.start();
    sleep(Duration::from_secs(1)).await;
    let answered = senders.stop().await;
    finish(&place, relay).await;
    let found = in_queue(&queue).await;
    println!("{test}: {} answered with 200, {} in the queue", answered.len(), found.values().sum::<usize>());
    assert!(answered.len() > 100, "{}", answered.len());
    (answered, found)
}

#[tokio::test]
async fn killed_twenty_times_what_was_answered_200_is_queued() {
    let queue = TestQueue::new("relay_kill", Wanted::default()).await;
    let (answered, found) = killed_twenty_times("relay_kill", queue, true).await;
    assert_eq!(missing(&answered, &found), [0_usize; 0]);
}

#[tokio::test]
async fn killed_on_a_fifo_queue_each_event_is_there_once() {
    let queue = TestQueue::fifo("relay_kill_fifo", Wanted::default()).await;
    let (answered, found) = killed_twenty_times("relay_kill_fifo", queue, true).await;
    assert_eq!(missing(&answered, &found), [0_usize; 0]);
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// SQS away for so long, in a world where Stream goes on sending.
async fn away(test: &str, spool: bool) -> (usize, BTreeSet<usize>, BTreeMap<usize, usize>) {
    let seconds = scale::of("STREAM_SQSD_TEST_RELAY_AWAY_SECONDS", 3) as u64;
    let queue = TestQueue::new(test, Wanted::default()).await;
    let is_away = Arc::new(AtomicBool::new(false));
    let seen = is_away.clone();
    let proxy =
        Proxy::start(move |_| seen.load(Ordering::Relaxed).then_some(Fault::Refused(503, "ServiceUnavailable"))).await;
    let place = Place::new(&queue, &proxy.url(), spool).await;
    let mut relay = place.start();
    relay.until("webhooks are received at");
    let senders = Senders::start(&place.address, Duration::from_millis(10));
    sleep(Duration::from_secs(1)).await;
    is_away.store(true, Ordering::Relaxed);
    let before = senders.answered.lock().unwrap().len();
    sleep(Duration::from_secs(seconds)).await;
    let during = senders.answered.lock().unwrap().len() - before;
    is_away.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(1)).await;
    let answered = senders.stop().await;
    finish(&place, relay).await;
    let found = in_queue(&queue).await;
    println!("{test}: {seconds} s away, {} answered with 200, {during} of them meanwhile", answered.len());
    (during, answered, found)
}

#[tokio::test]
async fn with_a_spool_nothing_is_lost_or_doubled_while_sqs_is_away() {
    let (during, answered, found) = away("relay_away_spool", true).await;
    assert!(during > 50, "{during}");
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), answered);
    assert!(found.values().all(|times| *times == 1), "nothing was killed and every send was answered");
}

#[tokio::test]
async fn without_a_spool_no_event_is_answered_200_while_sqs_is_away() {
    let (during, answered, found) = away("relay_away", false).await;
    // Those that were on their way when it went.
    assert!(during <= 8, "{during}");
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), answered);
    assert!(found.values().all(|times| *times == 1));
}
