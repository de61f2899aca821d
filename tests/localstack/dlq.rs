//! `dlq` over the wire, verb by verb, and killed at any moment. What is in a queue is read past SQS, so that looking changes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::body::event;
use super::daemon::command_with_keys;
use super::endpoint::{endpoint, messages_of};
use super::queue::{TestQueue, Wanted};
use super::scale;
use super::support::until::until;

/// How often a verb is killed.
const KILLS: usize = 20;

const UNDECODABLE: &str = "neither base64 nor JSON!";

/// A queue whose dead-letter queue holds something, and a configuration.
struct Dead {
    queue: TestQueue,
    directory: tempfile::TempDir,
}

/// One message as LocalStack has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    body: String,
    visible: bool,
    receives: u32,
}

struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn with(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl Dead {
    /// `routes` is where events go, as the configuration says it.
    async fn new(test: &str, routes: &str) -> Dead {
        let queue = TestQueue::new(test, Wanted::default()).await;
        let directory = tempfile::tempdir().unwrap();
        let url = &queue.url;
        std::fs::write(directory.path().join("c.toml"), format!("[queue]\nurl = \"{url}\"\n{routes}")).unwrap();
        Dead { queue, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let endpoint = endpoint();
        let all = ["dlq", arguments[0], "--config", "c.toml", "--endpoint-url", &endpoint, "--log-format", "human"];
        let mut command = command_with_keys(&[&all, &arguments[1..]].concat());
        command.current_dir(self.directory.path());
        let mut command = Command::from(command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments)).await
    }

    /// What the dead-letter queue holds, by message id.
    async fn kept(&self) -> BTreeMap<String, Kept> {
        let messages = messages_of(self.queue.dead_letters.url()).await;
        messages.into_iter().map(kept).collect()
    }
}

async fn ended(mut command: Command) -> Ended {
    let output =
        tokio::time::timeout(Duration::from_secs(120), command.output()).await.expect("it ends in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn kept(message: Value) -> (String, Kept) {
    let attribute = |name: &str| {
        let attributes = message["Attribute"].as_array().unwrap();
        let found = attributes.iter().find(|attribute| attribute["Name"] == name);
        found.and_then(|attribute| attribute["Value"].as_str()).unwrap_or_default().to_owned()
    };
    let kept = Kept {
        body: message["Body"].as_str().unwrap().to_owned(),
        visible: attribute("IsVisible") == "true",
        receives: attribute("ApproximateReceiveCount").parse().unwrap(),
    };
    (message["MessageId"].as_str().unwrap().to_owned(), kept)
}

/// A route that writes what it handled to a file.
const TO_A_FILE: &str =
    "[[route]]\nname = \"archive\"\nevents = [\"message.*\"]\nhandler = \"file\"\npath = \"events.jsonl\"\n";

#[tokio::test]
async fn each_verb_does_what_it_says_over_the_wire() {
    let dead = Dead::new("dlq_verbs", TO_A_FILE).await;
    let numbered: Vec<String> = (0..25).map(|number| event(number).to_string()).collect();
    let events = dead.queue.dead_letters.send(numbered).await;
    let broken = dead.queue.dead_letters.send(vec![UNDECODABLE.to_owned(); 4]).await;

    let listed = dead.run(&["list", "--json"]).await.with(0);
    let listing: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((&listing["messages"], &listing["groups"][0]["count"]), (&json!(29), &json!(25)));
    let after = dead.kept().await;
    assert!(after.len() == 29 && after.values().all(|kept| kept.visible && kept.receives == 1), "{after:?}");

    let shown = dead.run(&["show", &events[3]]).await.with(0);
    assert!(shown.stdout.contains(&events[3]) && shown.stdout.contains("SentTimestamp"), "{}", shown.stdout);

    let one = dead.run(&["retry", "--yes", "--limit", "1", "--type", "message.*"]).await.with(0);
    assert!(one.stdout.contains("handled 1 + failed 0"), "{}", one.stdout);
    assert_eq!(dead.kept().await.len(), 28);

    let exported = dead.run(&["export", "--yes", "--reason", "invalid_base64", "broken.jsonl"]).await.with(0);
    assert!(exported.stdout.contains("4 messages"), "{}", exported.stdout);
    dead.run(&["drop", "--yes", "--exported", "broken.jsonl"]).await.with(0);
    let after = dead.kept().await;
    assert!(broken.iter().all(|id| !after.contains_key(id)) && after.len() == 24, "{after:?}");

    dead.run(&["retry", "--yes"]).await.with(0);
    assert_eq!(dead.kept().await.len(), 0);
    let archive = std::fs::read_to_string(dead.path("events.jsonl")).unwrap();
    let handled: BTreeSet<String> = archive.lines().map(id_in).collect();
    assert_eq!(handled, events.into_iter().collect(), "each once, by its old id");
}

fn id_in(line: &str) -> String {
    serde_json::from_str::<Value>(line).unwrap()["message_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_redrive_moves_all_back_and_can_be_cancelled() {
    let dead = Dead::new("dlq_redrive", TO_A_FILE).await;
    dead.queue.dead_letter((0..30).map(|number| event(number).to_string())).await;
    let cancelled = dead.command(&["redrive", "--yes", "--json", "--rate", "2/s"]).spawn().unwrap();
    until("some were moved", Duration::from_secs(30), async || dead.queue.counts().await.visible, |moved| *moved >= 2)
        .await;
    let pid = cancelled.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = cancelled.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["state"], "cancelled");
    let left = dead.kept().await.len();
    assert!(left > 0 && left < 30, "{left}");
    let moved = dead.run(&["redrive", "--yes"]).await.with(0);
    assert!(moved.stdout.starts_with("completed"), "{}", moved.stdout);
    assert_eq!((dead.kept().await.len(), dead.queue.counts().await.visible), (0, 30));
}

#[tokio::test]
async fn the_head_of_each_fifo_group_is_handled_in_order() {
    let directory = "[[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = \"events.jsonl\"\n";
    let queue = TestQueue::fifo("dlq_fifo", Wanted::default()).await;
    let dead = Dead { directory: tempfile::tempdir().unwrap(), queue };
    let url = &dead.queue.url;
    std::fs::write(dead.path("c.toml"), format!("[queue]\nurl = \"{url}\"\n{directory}")).unwrap();
    let entry = |number: usize| {
        json!({"MessageBody": event(number).to_string(), "MessageGroupId": format!("group-{}", number % 2),
            "MessageDeduplicationId": number.to_string()})
    };
    let ids = dead.queue.dead_letters.send_entries((0..30).map(entry).collect()).await;
    let listed = dead.run(&["list", "--json"]).await.with(0);
    let listing: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listing["messages"], 20, "ten of each group can be seen");
    let told = dead.run(&["list"]).await.with(0).stdout;
    assert!(told.contains(": at least 20 dead letters\n"), "{told}");
    dead.run(&["retry", "--yes"]).await.with(0);
    assert_eq!(dead.kept().await.len(), 0);
    let archive = std::fs::read_to_string(dead.path("events.jsonl")).unwrap();
    let handled: Vec<String> = archive.lines().map(id_in).collect();
    for group in 0..2 {
        let of_group: Vec<&String> = ids.iter().skip(group).step_by(2).collect();
        let in_order: Vec<&String> = handled.iter().filter(|id| of_group.contains(id)).collect();
        assert_eq!(in_order, of_group, "group {group}");
    }
}

/// Kills the verb after a time that is drawn, and waits until it is gone.
async fn kill(mut command: Command, random: &mut fastrand::Rng, within: u64) {
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    tokio::time::sleep(Duration::from_millis(random.u64(0..within))).await;
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    // What it wrote counts for nothing.
    let mut text = String::new();
    let _ = out.read_to_string(&mut text).await;
    let _ = err.read_to_string(&mut text).await;
}

// What a killed verb held stays hidden for five minutes, so each time there is something new to work on.

#[tokio::test]
async fn killed_twenty_times_retry_deletes_nothing_unhandled() {
    let dead = Dead::new("dlq_kill_retry", TO_A_FILE).await;
    let mut random = scale::random("dlq_kill_retry");
    let mut sent = BTreeSet::new();
    let mut broken_off = 0;
    for kill_number in 0..KILLS {
        let portion = (0..30).map(|number| event(kill_number * 30 + number).to_string());
        sent.extend(dead.queue.dead_letters.send(portion).await);
        let before = dead.kept().await.len();
        kill(dead.command(&["retry", "--yes"]), &mut random, 600).await;
        let deleted = before - dead.assert_each_is_handled_or_kept(&sent).await;
        broken_off += usize::from(deleted > 0 && deleted < 30);
    }
    dead.run(&["retry", "--yes"]).await.with(0);
    dead.assert_each_is_handled_or_kept(&sent).await;
    println!("{broken_off} of {KILLS} kills came in the midst of the deletes");
}

impl Dead {
    /// Fails when a message is neither in the queue nor in the file that the route writes, and returns how many are kept.
    async fn assert_each_is_handled_or_kept(&self, sent: &BTreeSet<String>) -> usize {
        let kept = self.kept().await;
        let archive = std::fs::read_to_string(self.path("events.jsonl")).unwrap_or_default();
        let handled: BTreeSet<String> = archive.lines().filter(|line| line.ends_with("}}")).map(id_in).collect();
        let lost: Vec<_> = sent.iter().filter(|id| !kept.contains_key(*id) && !handled.contains(*id)).collect();
        assert!(lost.is_empty(), "deleted without being handled: {lost:?}");
        kept.len()
    }
}

#[tokio::test]
async fn killed_twenty_times_export_deletes_nothing() {
    let dead = Dead::new("dlq_kill_export", TO_A_FILE).await;
    let mut random = scale::random("dlq_kill_export");
    let mut sent = 0;
    for number in 0..KILLS {
        sent += dead.queue.dead_letters.send((0..30).map(|number| event(number).to_string())).await.len();
        let file = format!("export-{number}.jsonl");
        kill(dead.command(&["export", "--yes", &file]), &mut random, 600).await;
        assert_eq!(dead.kept().await.len(), sent);
        // Half an export is refused, or says what it has.
        if dead.path(&file).exists() {
            let dropped = dead.run(&["drop", "--exported", &file]).await;
            assert_eq!(dropped.status.code(), Some(2), "{}", dropped.stderr);
        }
    }
}

#[tokio::test]
async fn killed_twenty_times_drop_deletes_only_what_is_in_the_file() {
    let dead = Dead::new("dlq_kill_drop", TO_A_FILE).await;
    let mut random = scale::random("dlq_kill_drop");
    let mut exported = BTreeSet::new();
    let mut sent = BTreeSet::new();
    let mut broken_off = 0;
    for number in 0..KILLS {
        let bodies: Vec<String> = (0..40).map(|part| event(number * 40 + part).to_string()).collect();
        let ids = dead.queue.dead_letters.send(bodies.clone()).await;
        let lines = ids.iter().zip(&bodies).step_by(2).map(|(id, body)| line_of_export(id, body));
        let file = format!("export-{number}.jsonl");
        std::fs::write(dead.path(&file), lines.collect::<String>()).unwrap();
        exported.extend(ids.iter().step_by(2).cloned());
        sent.extend(ids);
        let before = dead.kept().await.len();
        kill(dead.command(&["drop", "--yes", "--exported", &file]), &mut random, 600).await;
        let kept = dead.kept().await;
        let deleted: Vec<_> = sent.iter().filter(|id| !kept.contains_key(*id)).collect();
        assert!(deleted.iter().all(|id| exported.contains(*id)), "deleted and in no file");
        broken_off += usize::from(kept.len() < before && before - kept.len() < 20);
    }
    println!("{broken_off} of {KILLS} kills came in the midst of the deletes");
}

fn line_of_export(id: &str, body: &str) -> String {
    use md5::{Digest, Md5};
    let md5: String = Md5::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "message_id": id, "sent_at": null, "receive_count": 1, "group": null, "type": null, "route": null, "reason": null,
        "attributes": {}, "md5_of_body": md5, "body": body,
    })
    .to_string()
        + "\n"
}
