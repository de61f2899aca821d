//! The daemon and its targets: one that is down for a while, and one that is slow.
//!
//! The webhook verifies every signature.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use super::body::event;
use super::daemon::{self, Started, command_on};
use super::endpoint::endpoint;
use super::queue::{Counts, TestQueue, Wanted};
use super::support::receiver::{Receiver, Request};
use super::support::until::until;

/// What signs the events.
const SECRET: &str = "watering-can";

/// How long a test waits for anything else than an outage.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is in a queue when nothing is left to do.
const EMPTY: Counts = Counts { visible: 0, hidden: 0 };

/// The configuration of a daemon that posts every event to the webhook.
fn configuration(webhook: &Receiver, path: &str) -> String {
    let url = format!("http://127.0.0.1:{}{path}", webhook.port);
    format!("[[route]]\nevents = [\"*\"]\nhandler = \"http\"\nurl = {url:?}\napi_secret = {{ env = \"SECRET\" }}\n")
}

/// The ids of the messages that came, sorted.
fn ids<'a>(requests: impl IntoIterator<Item = &'a Request>) -> BTreeSet<String> {
    requests.into_iter().map(|request| request.header("x-webhook-id").expect("an id").to_owned()).collect()
}

/// The daemon on a queue, with a configuration.
fn daemon(queue: &TestQueue, configuration: &str, arguments: &[&str]) -> Started {
    let mut command = command_on(queue, &endpoint(), arguments);
    command.env("STREAM_SQSD_CONFIG_TOML", configuration).env("SECRET", SECRET);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    daemon::start(command)
}

/// Sends events with numbers that no event of the test has yet.
async fn send(queue: &TestQueue, numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    queue.send(numbers.map(|number| event(number).to_string())).await.into_iter().collect()
}

#[tokio::test]
async fn a_webhook_at_503_for_25_seconds_dead_letters_nothing() {
    // Hidden for so short a time that leases must be renewed all through the outage.
    let queue = TestQueue::new("webhook_down", Wanted { visibility: 6, max_receive_count: 3 }).await;
    let receiver = Receiver::start(SECRET, None);
    let mut sent = send(&queue, 0..40).await;
    let daemon = daemon(&queue, &configuration(&receiver, "/down/25/503"), &["--wait", "1s"]);
    until("the outage begins", PATIENCE, async || receiver.requests().len(), |requests| *requests > 0).await;
    // They wait in the queue for its end, and cost no receive.
    sent.append(&mut send(&queue, 40..80).await);

    // The probes are 1, 2, 4, 8 and 16 s apart: the one that succeeds comes after 31 s.
    until("all are delivered", Duration::from_secs(120), async || queue.counts().await, |counts| *counts == EMPTY)
        .await;
    daemon.terminate();
    let ended = daemon.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    assert_eq!(queue.dead_letters.count().await, 0, "dead-lettered by an outage:\n{}", ended.stderr);
    let requests = receiver.requests();
    let first = requests[0].arrived;
    let back = |request: &&Request| request.arrived >= first + Duration::from_secs(25);
    assert!(requests.iter().all(|request| request.valid), "a signature is wrong");
    let delivered: Vec<_> = requests.iter().filter(back).collect();
    assert_eq!(ids(delivered.iter().copied()), sent, "what was sent is what was delivered");
    assert_eq!(delivered.len(), sent.len(), "something was delivered twice");
    let received_again: Vec<_> =
        requests.iter().filter(|request| request.header("x-webhook-attempt") != Some("1")).collect();
    assert!(received_again.is_empty(), "the outage has cost receives: {received_again:?}");
    let summary = daemon::summary(&ended);
    assert_eq!((summary.received, summary.deleted), (80, 80), "{}", ended.stderr);
}

#[tokio::test]
async fn a_program_with_its_target_down_spends_no_receive() {
    // A second receive of any of them would dead-letter it.
    let queue = TestQueue::new("program_down", Wanted { visibility: 6, max_receive_count: 1 }).await;
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("program.sh");
    let text = "cd \"$1\" || exit 65\necho >> tried\n[ -e up ] || exit 69\necho \"$STREAM_MESSAGE_ID\" >> done\n";
    fs::write(&script, text).unwrap();
    let command = ["/bin/sh", script.to_str().unwrap(), place.path().to_str().unwrap()];
    let configuration = format!("[[route]]\nevents = [\"*\"]\nhandler = \"exec\"\ncommand = {command:?}\n");
    let lines = |name: &str| fs::read_to_string(place.path().join(name)).unwrap_or_default().lines().count();

    let sent = send(&queue, 0..3).await;
    let daemon = daemon(&queue, &configuration, &["--wait", "1s"]);
    // Each of the three once, and four probes, the last after 15 s.
    until("it is tried again and again", PATIENCE, async || lines("tried"), |tried| *tried >= 3 + 4).await;
    assert_eq!(lines("done"), 0);
    fs::write(place.path().join("up"), "").unwrap();
    until("all are done", PATIENCE, async || queue.counts().await, |counts| *counts == EMPTY).await;
    daemon.terminate();
    let ended = daemon.end().await;

    assert_eq!(queue.dead_letters.count().await, 0, "dead-lettered by an outage:\n{}", ended.stderr);
    let done = fs::read_to_string(place.path().join("done")).unwrap();
    assert_eq!(done.lines().map(str::to_owned).collect::<BTreeSet<_>>(), sent);
    assert_eq!(done.lines().count(), sent.len(), "something was done twice");
}

#[tokio::test]
async fn a_slow_webhook_fills_the_slots_and_the_rest_stays_queued() {
    const CONCURRENCY: usize = 4;
    const TAKES: Duration = Duration::from_millis(400);
    let queue = TestQueue::new("webhook_slow", Wanted::default()).await;
    let receiver = Receiver::start(SECRET, None);
    let sent = send(&queue, 0..40).await;
    let path = format!("/late/{}", TAKES.as_secs_f64());
    let daemon = daemon(&queue, &configuration(&receiver, &path), &["--wait", "1s", "--concurrency", "4"]);

    let most_hidden = Mutex::new(0);
    let counts = async || {
        let counts = queue.counts().await;
        let mut most = most_hidden.lock().unwrap();
        *most = counts.hidden.max(*most);
        counts
    };
    until("all are delivered", PATIENCE, counts, |counts| *counts == EMPTY).await;
    daemon.terminate();
    let ended = daemon.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let most_hidden = most_hidden.into_inner().unwrap();
    println!("webhook_slow: at most {most_hidden} messages were hidden at the same time");
    let requests = receiver.requests();
    assert_eq!(ids(&requests), sent);
    assert_eq!(requests.len(), sent.len(), "something was delivered twice");
    // Each is being answered for at least so long after it arrived.
    let at_once = |end: &Request| {
        requests.iter().filter(|one| one.arrived <= end.arrived && end.arrived < one.arrived + TAKES).count()
    };
    assert_eq!(requests.iter().map(at_once).max(), Some(CONCURRENCY), "requests at the same time");
    assert!(most_hidden <= CONCURRENCY as u64, "{most_hidden} messages were taken from the queue at the same time");
}
