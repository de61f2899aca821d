//! `stream-sqsd setup` from nothing: the queues in LocalStack, the hooks in a Stream of the test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

use super::body::event;
use super::daemon::command_with_keys;
use super::endpoint::{ACCOUNT, REGION, endpoint, sns, sqs};
use super::proxy::{Fault, Proxy};
use super::stream::{KEY, SECRET, Stream, Trouble};

const THEIR_SECRET: &str = "their-s3cret";

/// Hooks of somebody else's, one with a secret.
fn others() -> Value {
    json!([
        {"id": "7a1c0000-0000-4000-8000-000000000001", "hook_type": "webhook", "enabled": true, "event_types": ["message.new"],
         "webhook_url": "https://example.com/messages?token=t0ken", "later": {"field": 1.50}},
        {"id": "7a1c0000-0000-4000-8000-000000000002", "hook_type": "sns", "sns_topic_arn": "arn:aws:sns:us-east-1:1:topic",
         "sns_auth_type": "keys", "sns_key": "AKIA", "sns_secret": THEIR_SECRET},
    ])
}

/// A person's machine: a home, a configuration, an app at Stream.
struct Machine {
    stream: Stream,
    home: TempDir,
    queue: String,
}

impl Machine {
    fn new(test: &str) -> Machine {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Machine {
            stream: Stream::start(others()),
            home: tempfile::tempdir().unwrap(),
            queue: format!("{test}-{:x}", now.as_nanos()),
        }
    }

    fn configuration(&self, more: &str) -> String {
        let queue = format!("name = \"{}\"\nregion = \"{REGION}\"\nendpoint_url = \"{}\"\n", self.queue, endpoint());
        self.configuration_of(&queue, more)
    }

    /// With this section `[queue]`.
    fn configuration_of(&self, queue: &str, more: &str) -> String {
        format!(
            "[queue]\n{queue}[stream]\napi_key = \"{KEY}\"\napi_secret = {{ env = \"STREAM_API_SECRET\" }}\n\
             base_url = \"{}\"\n{more}",
            self.stream.url()
        )
    }

    fn command(&self, arguments: &[&str], more: &str) -> Command {
        let mut command = command_with_keys(arguments);
        command.env("HOME", self.home.path()).env("STREAM_API_SECRET", SECRET).env("KEY_OF_AWS", "aws-s3cret");
        command.env("STREAM_SQSD_CONFIG_TOML", self.configuration(more));
        let mut command = Command::from(command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn setup(&self, arguments: &[&str]) -> Ended {
        self.setup_with(arguments, "").await
    }

    async fn setup_with(&self, arguments: &[&str], more: &str) -> Ended {
        let arguments: Vec<&str> = ["setup"].iter().chain(arguments).copied().collect();
        let running = self.command(&arguments, more).output();
        Ended::of(timeout(Duration::from_secs(120), running).await.expect("it ends in time").unwrap())
    }

    async fn check(&self, more: &str) -> Ended {
        self.check_with("RUST_LOG", "", more).await
    }

    /// With a variable of the environment.
    async fn check_with(&self, name: &str, value: &str, more: &str) -> Ended {
        let output = self.command(&["check", "--online"], more).env(name, value).output();
        Ended::of(timeout(Duration::from_secs(60), output).await.expect("it ends in time").unwrap())
    }

    /// What was saved before a change.
    fn saved(&self) -> Vec<PathBuf> {
        let directory = self.home.path().join(".local/state/stream-sqsd");
        let entries = fs::read_dir(directory).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
        entries.unwrap_or_default()
    }

    fn writes(&self) -> usize {
        self.stream.calls("PATCH /app").len()
    }

    async fn exists(&self) -> bool {
        let answer = sqs("ListQueues", json!({"QueueNamePrefix": self.queue})).await;
        answer["QueueUrls"].as_array().is_some_and(|urls| !urls.is_empty())
    }
}

/// How it ended, with all that it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    said: String,
}

impl Ended {
    fn of(output: Output) -> Ended {
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        // Whatever happens.
        for secret in [SECRET, THEIR_SECRET, "aws-s3cret", "t0ken", "eyJ"] {
            assert!(!said.contains(secret), "a secret is told: {said}");
        }
        Ended { code: output.status.code(), said }
    }

    #[track_caller]
    fn with(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{}", self.said);
        for word in words {
            assert!(self.said.contains(word), "{word:?} is missing from:\n{}", self.said);
        }
        self.said
    }
}

fn without_stamps(hooks: &[Value]) -> Vec<Value> {
    let mut hooks = hooks.to_vec();
    for hook in &mut hooks {
        hook.as_object_mut().unwrap().retain(|name, _| name != "updated_at" && name != "created_at");
    }
    hooks
}

#[tokio::test]
async fn from_nothing_an_event_of_streams_reaches_the_daemon() {
    let machine = Machine::new("setup_from_nothing");
    let queue = &machine.queue;
    let dead = format!("+ queue        {queue}-dead-letter");
    let plan =
        ["Stream app 1257545 \"garden\", 2 event hooks", &dead, "keeps messages 14 days; encrypted", "+ permission"];
    machine.setup(&["--dry-run"]).await.with(0, &plan);
    assert!(
        !machine.exists().await && machine.writes() == 0 && machine.saved().is_empty(),
        "a dry run changes nothing"
    );

    let done = ["saved the hooks as they were", "read back: 3 hooks, as planned", "Stream can send: ok (check_sqs)"];
    machine.setup(&["--yes"]).await.with(0, &done);
    let hooks = without_stamps(&machine.stream.hooks());
    assert_eq!(hooks[..2], others().as_array().unwrap()[..]);
    let url = sqs("GetQueueUrl", json!({"QueueName": queue})).await["QueueUrl"].as_str().unwrap().to_owned();
    assert_eq!(hooks[2]["sqs_queue_url"], url);
    assert_eq!((&hooks[2]["sqs_auth_type"], &hooks[2]["sqs_region"]), (&json!("resource"), &json!(REGION)));
    assert_eq!((&hooks[2]["event_types"], &hooks[2]["should_send_custom_events"]), (&json!([]), &json!(true)));

    let saved = machine.saved();
    assert_eq!(fs::metadata(&saved[0]).unwrap().permissions().mode() & 0o777, 0o600);
    let saved: Value = serde_json::from_slice(&fs::read(&saved[0]).unwrap()).unwrap();
    assert_eq!(saved["event_hooks"], others(), "whole, with its secrets");

    let writes = machine.writes();
    machine.setup(&["--yes", "--update"]).await.with(0, &["there is nothing to do", "Stream can send: ok"]);
    assert_eq!((machine.writes(), machine.saved().len()), (writes, 1), "a second run changes nothing");

    sqs("SendMessage", json!({"QueueUrl": url, "MessageBody": event(1).to_string()})).await;
    let run = machine.command(&["run", "--until-empty", "--wait", "1s"], "").output().await.unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(String::from_utf8_lossy(&run.stdout).lines().count(), 1);
}

#[tokio::test]
async fn nothing_is_done_unasked_and_run_needs_no_secret_of_streams() {
    let machine = Machine::new("setup_unasked");
    machine.setup(&[]).await.with(2, &["--yes"]);
    assert!(!machine.exists().await);
    machine.setup(&["--yes"]).await.with(0, &[]);
    let mut run = machine.command(&["run", "--until-empty", "--wait", "1s"], "");
    let run = run.env_remove("STREAM_API_SECRET").output().await.unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    let mut setup = machine.command(&["setup", "hooks"], "");
    let setup = Ended::of(setup.env_remove("STREAM_API_SECRET").output().await.unwrap());
    setup.with(2, &["`api_secret` in [stream]"]);
}

#[tokio::test]
async fn a_list_that_came_out_wrong_is_exit_1_and_can_be_restored() {
    let machine = Machine::new("setup_wrong");
    machine.stream.set(|state| state.mangle = Some(|hooks| hooks[0]["enabled"] = false.into()));
    let words = ["differs in enabled", "nothing more was written", "stream-sqsd setup restore"];
    machine.setup(&["--yes"]).await.with(1, &words);
    assert_eq!(machine.writes(), 1);
    assert_eq!(machine.stream.hooks()[0]["enabled"], false);

    machine.stream.set(|state| state.mangle = None);
    let saved = machine.saved()[0].to_str().unwrap().to_owned();
    machine.setup(&["restore", &saved, "--dry-run"]).await.with(0, &["~ event hook", "- event hook"]);
    assert_eq!(machine.writes(), 1);
    machine.setup(&["restore", &saved, "--yes"]).await.with(0, &["read back: 2 hooks"]);
    assert_eq!(without_stamps(&machine.stream.hooks()), *others().as_array().unwrap());
    machine.setup(&["restore", &saved, "--yes"]).await.with(0, &["there is nothing to do"]);

    let other = machine.home.path().join("other.json");
    fs::write(&other, r#"{"app":"7","saved_at":"","event_hooks":[]}"#).unwrap();
    machine.setup(&["restore", other.to_str().unwrap(), "--yes"]).await.with(2, &["the hooks of the app 7"]);
    fs::write(&other, "nonsense").unwrap();
    machine.setup(&["restore", other.to_str().unwrap(), "--yes"]).await.with(66, &["other.json"]);
}

#[tokio::test]
async fn remove_takes_this_hook_away_and_leaves_the_queue() {
    let machine = Machine::new("setup_remove");
    machine.setup(&["--yes"]).await.with(0, &[]);
    machine.setup(&["hooks"]).await.with(0, &["webhook", "https://example.com/messages", &machine.queue]);
    let json = machine.setup(&["hooks", "--json"]).await.with(0, &[]);
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((shown["hooks"].as_array().unwrap().len(), &shown["hooks"][1]["auth"]), (3, &json!("keys")));

    machine.setup(&["remove", "--dry-run"]).await.with(0, &["- event hook"]);
    machine.setup(&["remove", "--yes"]).await.with(0, &["read back: 2 hooks"]);
    assert_eq!(without_stamps(&machine.stream.hooks()), *others().as_array().unwrap());
    assert!(machine.exists().await);
    machine.setup(&["remove", "--yes"]).await.with(0, &["there is nothing to do"]);
}

#[tokio::test]
async fn a_hook_that_differs_is_changed_only_with_update() {
    let machine = Machine::new("setup_update");
    machine.setup(&["--yes"]).await.with(0, &[]);
    let more = "event_types = [\"message.new\"]\n";
    let stays = ["~ event hook", "event_types", "--update changes it", "there is nothing to do"];
    machine.setup_with(&["--yes"], more).await.with(0, &stays);
    assert_eq!(machine.stream.hooks()[2]["event_types"], json!([]));
    machine.setup_with(&["--yes", "--update"], more).await.with(0, &["read back: 3 hooks"]);
    assert_eq!(machine.stream.hooks()[2]["event_types"], json!(["message.new"]));
    assert_eq!(without_stamps(&machine.stream.hooks())[..2], others().as_array().unwrap()[..]);
}

#[tokio::test]
async fn keys_are_sent_to_stream_and_shown_to_nobody() {
    let machine = Machine::new("setup_keys");
    let more = "auth = \"keys\"\nsqs_key = \"AKIAEXAMPLE\"\nsqs_secret = { env = \"KEY_OF_AWS\" }\n";
    let said = machine.setup_with(&["--yes"], more).await.with(0, &["auth keys"]);
    assert!(!said.contains("+ permission"), "the key needs none by the queue's policy: {said}");
    assert_eq!(machine.stream.hooks()[2]["sqs_secret"], "aws-s3cret");

    let writes = machine.writes();
    let mut elsewhere = machine.command(&["setup", "--yes", "--update"], more);
    let elsewhere = Ended::of(elsewhere.env_remove("KEY_OF_AWS").output().await.unwrap());
    elsewhere.with(2, &["`sqs_secret` in [stream] names a secret that is not here"]);
    assert_eq!(machine.writes(), writes, "nothing else is written in its place");
}

#[tokio::test]
async fn a_masked_secret_is_exit_69_and_nothing_is_written() {
    let machine = Machine::new("setup_masked");
    machine.stream.set(|state| state.masks = true);
    machine.setup(&["--yes"]).await.with(69, &["sns_secret masked", "dashboard", "Nothing was changed"]);
    assert!(!machine.exists().await && machine.writes() == 0);
}

#[tokio::test]
async fn the_old_hook_system_is_told_and_set_only_on_request() {
    let machine = Machine::new("setup_legacy");
    machine.stream.set(|state| {
        state.app["use_hook_v2"] = false.into();
        state.app["event_hooks"] = json!([]);
    });
    let keys = "auth = \"keys\"\nsqs_key = \"AKIAEXAMPLE\"\nsqs_secret = { env = \"KEY_OF_AWS\" }\n";
    machine.setup_with(&["--yes"], keys).await.with(69, &["old hook system", "--legacy"]);
    assert!(!machine.exists().await && machine.writes() == 0);
    machine.setup_with(&["--yes", "--legacy"], keys).await.with(0, &["read back: as planned"]);
    let sent = machine.stream.calls("PATCH /app");
    let names: Vec<&String> = sent[0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["sqs_key", "sqs_secret", "sqs_url"]);
}

#[tokio::test]
async fn a_stream_that_cannot_send_is_exit_1_after_a_wait() {
    let machine = Machine::new("setup_cannot_send");
    let denied = || json!({"status": "error", "error": "AccessDenied: not authorized"});
    machine.stream.set(|state| state.checks = [denied(), json!({"status": "ok"})].into());
    machine.setup(&["--yes"]).await.with(0, &["Stream can send: ok"]);
    machine.stream.set(|state| state.checks = [denied()].into());
    let words = ["there is nothing to do", "Stream cannot send: AccessDenied", "is lost"];
    machine.setup(&["--yes"]).await.with(1, &words);
}

#[tokio::test]
async fn a_fifo_queue_is_refused() {
    let mut machine = Machine::new("setup_fifo");
    machine.queue += ".fifo";
    machine.setup(&["--yes"]).await.with(2, &["FIFO", "group id"]);
    assert!(!machine.exists().await && machine.writes() == 0);
}

#[tokio::test]
async fn on_aws_no_queue_is_made_in_another_account_than_named() {
    let machine = Machine::new("setup_whose_account");
    // What stands for AWS, which has no queue yet: SQS by a proxy, and STS not at all.
    let aws = Proxy::start(|_| Some(Fault::Refused(400, "QueueDoesNotExist"))).await;
    let setup = async |queue: &str, sts: &str| {
        let queue = format!("{queue}region = \"{REGION}\"\nendpoint_url = \"http://sqs.{REGION}.amazonaws.com\"\n");
        let mut command = machine.command(&["setup", "--dry-run"], "");
        command.env("STREAM_SQSD_CONFIG_TOML", machine.configuration_of(&queue, ""));
        command.env("HTTP_PROXY", aws.url()).env("AWS_ENDPOINT_URL_STS", sts);
        let output = command.output();
        Ended::of(timeout(Duration::from_secs(60), output).await.expect("it ends in time").unwrap())
    };
    let nowhere = "http://127.0.0.1:1";
    let refused = "is not in account 123456789012, and would be made in that of the credentials, ";
    let words = [&format!("{refused}which may be another"), "by `name` in [queue]", "setup print aws-cli", "+ queue"];
    let url = format!("url = \"http://sqs.{REGION}.amazonaws.com/123456789012/{}\"\n", machine.queue);
    setup(&url, nowhere).await.with(2, &words);
    let name = format!("name = \"{}\"\n", machine.queue);
    let named = format!("{name}account = \"123456789012\"\n");
    setup(&named, nowhere).await.with(2, &words);
    let said = setup(&name, nowhere).await.with(0, &["+ queue"]);
    assert!(!said.contains("AWS account"), "whose it is, nobody says: {said}");

    let words = ["AWS account 999999999999, us-east-1", &format!("{refused}999999999999")];
    setup(&named, &sts("999999999999").await).await.with(2, &words);
    setup(&named, &sts("123456789012").await).await.with(0, &["AWS account 123456789012, us-east-1", "+ queue"]);
}

/// An STS that says whose account it is, for as long as the test's runtime lives. Its URL.
async fn sts(account: &str) -> String {
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    );
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !String::from_utf8_lossy(&asked).contains("Action=GetCallerIdentity") {
                asked.push(stream.read_u8().await.unwrap());
            }
            // The rest of the request is still on its way.
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    });
    url
}

#[tokio::test]
async fn a_signal_says_what_state_things_are_in() {
    let machine = Machine::new("setup_signal");
    machine.stream.set(|state| state.lag = Duration::from_secs(600));
    let mut child = machine.command(&["setup", "--yes"], "").spawn().unwrap();
    let written = async {
        while machine.writes() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), written).await.expect("it writes in time");
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let _ = child.stdin.take();
    let ended = timeout(Duration::from_secs(60), child.wait_with_output()).await.expect("it ends in time").unwrap();
    Ended::of(ended).with(130, &["Stream has", "setup restore"]);
    assert_eq!(machine.writes(), 1);
}

#[tokio::test]
async fn the_same_is_printed_as_commands_and_as_a_policy() {
    let machine = Machine::new("setup_print");
    let policy = machine.setup(&["print", "policy"]).await.with(0, &["sqs:ReceiveMessage", "sqs:StartMessageMoveTask"]);
    let policy: Value = serde_json::from_str(&policy).unwrap();
    assert_eq!(policy["Statement"].as_array().unwrap().len(), 2);
    let words = ["aws sqs create-queue", "185583345998", "MessageRetentionPeriod", &machine.queue];
    machine.setup(&["print", "aws-cli"]).await.with(0, &words);
    assert!(!machine.exists().await && machine.writes() == 0);
}

/// What stands between the tags of this name, each time.
fn tagged(xml: &str, name: &str) -> Vec<String> {
    let tag = format!("<{name}>");
    let parts = xml.split(&tag).skip(1);
    parts.map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

/// A machine with a topic of the queue's name, and the line of the configuration that names it.
async fn with_topic(test: &str) -> (Machine, String, String) {
    let machine = Machine::new(test);
    let topic = tagged(&sns("CreateTopic", &[("Name", &machine.queue)]).await, "TopicArn").remove(0);
    let more = format!("sns_topic = \"{topic}\"\n");
    (machine, topic, more)
}

#[tokio::test]
async fn by_a_topic_an_event_of_streams_reaches_the_daemon() {
    let (machine, topic, more) = with_topic("setup_topic").await;
    let name = &machine.queue;
    let plan = [
        format!("+ permission   {name} may send to {name}"),
        format!("+ subscription {name} → {name}, raw delivery"),
        format!("+ permission   Stream (185583345998) may publish to {name}"),
        format!("+ event hook   sns → {name} (all events, auth resource)"),
    ];
    let plan = plan.each_ref().map(String::as_str);
    let said = machine.setup_with(&["--dry-run"], &more).await.with(0, &plan);
    assert!(!said.contains(&format!("Stream (185583345998) may send to {name}")), "it need not: {said}");
    assert!(!machine.exists().await && machine.writes() == 0, "a dry run changes nothing");

    let done = ["the queue is subscribed to", "read back: 3 hooks, as planned", "Stream can send: ok (check_sns)"];
    machine.setup_with(&["--yes"], &more).await.with(0, &done);
    let hooks = without_stamps(&machine.stream.hooks());
    assert_eq!(hooks[..2], others().as_array().unwrap()[..]);
    assert_eq!((&hooks[2]["hook_type"], &hooks[2]["sns_topic_arn"]), (&json!("sns"), &json!(topic)));
    assert_eq!((&hooks[2]["sns_auth_type"], &hooks[2]["sns_region"]), (&json!("resource"), &json!(REGION)));
    assert!(machine.stream.calls("POST /check_sqs").is_empty());
    machine.setup_with(&["--yes", "--update"], &more).await.with(0, &["there is nothing to do"]);

    sns("Publish", &[("TopicArn", &topic), ("Message", &event(1).to_string())]).await;
    let run = machine.command(&["run", "--until-empty", "--wait", "1s"], &more).output().await.unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(String::from_utf8_lossy(&run.stdout).lines().count(), 1);

    let commands = ["aws sns subscribe", "RawMessageDelivery=true", "sns:Publish", "aws:SourceArn"];
    machine.setup_with(&["print", "aws-cli"], &more).await.with(0, &commands);
    machine.setup_with(&["remove", "--yes"], &more).await.with(0, &["- event hook   sns", "read back: 2 hooks"]);
    assert_eq!(without_stamps(&machine.stream.hooks()), *others().as_array().unwrap());
    sns("DeleteTopic", &[("TopicArn", &topic)]).await;
    machine.setup_with(&["--yes"], &more).await.with(2, &["there is no topic", "aws sns create-topic"]);
    machine.setup_with(&["--yes"], "sns_topic = \"chat\"\n").await.with(2, &["is not the ARN of a topic"]);
    let fifo = format!("sns_topic = \"{topic}.fifo\"\n");
    machine.setup_with(&["--yes"], &fifo).await.with(2, &["group id"]);
}

#[tokio::test]
async fn check_sees_the_topic_between_both_ends() {
    let (machine, topic, more) = with_topic("setup_topic_check").await;
    let check = async |more: &str| machine.check(more).await;
    machine.setup_with(&["--yes"], &more).await.with(0, &[]);
    check(&more).await.with(0, &["the queue is good"]);
    let unknown = ["cannot be looked at", "is not known", "allow sns:GetTopicAttributes"];
    machine.check_with("AWS_ENDPOINT_URL_SNS", "http://127.0.0.1:1", &more).await.with(0, &unknown);
    let url = sqs("GetQueueUrl", json!({"QueueName": machine.queue})).await["QueueUrl"].clone();

    let subscription =
        tagged(&sns("ListSubscriptionsByTopic", &[("TopicArn", &topic)]).await, "SubscriptionArn").remove(0);
    let raw =
        [("AttributeName", "RawMessageDelivery"), ("AttributeValue", "false"), ("SubscriptionArn", &subscription)];
    sns("SetSubscriptionAttributes", &raw).await;
    check(&more).await.with(0, &["wraps each event in SNS's envelope", "setup --update"]);
    let stays = ["~ subscription", "--update changes it", "there is nothing to do"];
    machine.setup_with(&["--yes"], &more).await.with(0, &stays);
    machine.setup_with(&["--yes", "--update"], &more).await.with(0, &["changed what differed"]);
    check(&more).await.with(0, &["the queue is good"]);

    let denied = json!({"status": "error", "error": "AuthorizationError: not authorized"});
    machine.stream.set(|state| state.checks = [denied].into());
    check(&more).await.with(1, &["Stream tried to send to the topic and could not: AuthorizationError"]);
    machine.stream.set(|state| state.checks = [json!({"status": "ok"})].into());
    let nobody = r#"{"Version":"2012-10-17","Statement":[]}"#;
    sns("SetTopicAttributes", &[("TopicArn", &topic), ("AttributeName", "Policy"), ("AttributeValue", nobody)]).await;
    check(&more).await.with(1, &["the topic's policy does not let Stream's account publish"]);
    sqs("SetQueueAttributes", json!({"QueueUrl": url, "Attributes": {"Policy": ""}})).await;
    check(&more).await.with(1, &["the queue's policy does not let the topic send"]);
    machine.setup_with(&["--yes"], &more).await.with(0, &["may send to the queue"]);
    check(&more).await.with(0, &["the queue is good"]);

    // Beside the topic's hook one of the queue: each event has two ways.
    let direct =
        json!({"hook_type": "sqs", "sqs_queue_url": url, "sqs_auth_type": "keys", "sqs_secret": "x", "enabled": true});
    machine.stream.set(|state| state.app["event_hooks"].as_array_mut().unwrap().push(direct));
    let twice = "Each event comes once by each of them";
    check(&more).await.with(0, &["to this queue, and another one to its topic", twice]);
    let beside = format!("to this queue, and another one to the topic {}", machine.queue);
    let said = check("").await.with(0, &[&beside, twice]);
    assert!(!said.contains("cannot be seen"), "{said}");
    sns("Unsubscribe", &[("SubscriptionArn", &subscription)]).await;
    let said = check("").await.with(0, &[]);
    assert!(!said.contains(&beside), "it does not lead here: {said}");
    check(&more).await.with(1, &["the queue is not subscribed to the topic"]);

    sns("DeleteTopic", &[("TopicArn", &topic)]).await;
    check(&more).await.with(1, &["there is no topic", "aws sns create-topic"]);
    check("").await.with(0, &[&beside, "cannot be seen from here", "aws sns list-subscriptions-by-topic"]);
    let other = format!("sns_topic = \"arn:aws:sns:{REGION}:{ACCOUNT}:another\"\n");
    check(&other).await.with(1, &["no event hook of the app sends to this topic"]);
}

#[tokio::test]
async fn check_says_that_a_fifo_queue_needs_group_ids() {
    let mut machine = Machine::new("setup_check_fifo");
    machine.queue += ".fifo";
    let created = sqs("CreateQueue", json!({"QueueName": machine.queue, "Attributes": {"FifoQueue": "true"}})).await;
    let hook =
        json!({"hook_type": "sqs", "sqs_queue_url": created["QueueUrl"], "sqs_auth_type": "keys", "enabled": true});
    machine.stream.set(|state| state.app["event_hooks"] = json!([hook]));
    machine.check("").await.with(1, &["the event hook sends no group id to a FIFO queue", "relay"]);
    machine.stream.set(|state| state.app["event_hooks"][0]["sqs_event_based_message_group_id_enabled"] = true.into());
    let said = machine.check("").await.said;
    assert!(!said.contains("group id"), "{said}");
}

#[tokio::test]
async fn check_sees_the_one_queue_of_the_old_hook_system() {
    let machine = Machine::new("setup_check_legacy");
    machine.setup(&["--yes"]).await.with(0, &[]);
    let url = machine.stream.hooks()[2]["sqs_queue_url"].clone();
    machine.stream.set(|state| state.app["use_hook_v2"] = false.into());
    machine.check("").await.with(1, &["the app sends to no queue", "setup --legacy"]);
    machine.stream.set(|state| state.app["sqs_url"] = "https://sqs.eu-west-1.amazonaws.com/123456789012/other".into());
    machine
        .check("")
        .await
        .with(1, &["the app sends to another queue: https://sqs.eu-west-1.amazonaws.com", "setup --legacy"]);
    machine.stream.set(|state| state.app["sqs_url"] = url);
    machine.check("").await.with(0, &["the queue is good"]);
}

#[tokio::test]
async fn a_stream_that_cannot_be_asked_is_advice() {
    let machine = Machine::new("setup_check_unknown");
    machine.setup(&["--yes"]).await.with(0, &[]);
    let refused = json!({"code": 99, "message": "suspended", "StatusCode": 403});
    machine.stream.set(|state| state.troubles = [("GET /app", Trouble::Answer(403, refused))].into());
    machine.check("").await.with(0, &["Stream cannot be asked: ", "Whether Stream sends to this queue is not known."]);
}

#[tokio::test]
async fn check_sees_both_ends() {
    let machine = Machine::new("setup_check");
    let check = async |more: &str| machine.check(more).await;
    machine.setup(&["--yes"]).await.with(0, &[]);
    check("").await.with(0, &["the queue is good"]);

    // Routes that wait for what does not come, and events that no route takes.
    let routes = "event_types = [\"message.new\"]\n[[route]]\nevents = [\"message.new\", \"reaction.new\"]\nhandler = \"stdout\"\n";
    machine.setup_with(&["--yes", "--update"], "event_types = [\"message.new\"]\n").await.with(0, &[]);
    let words =
        ["route 1 waits for reaction.new", "setup --update", "no route takes", "call.*", "(`unrouted = \"ack\"`)"];
    check(routes).await.with(1, &words);

    let hook = || machine.stream.hooks()[2].clone();
    let with = |change: fn(&mut Value)| {
        let mut changed = hook();
        change(&mut changed);
        machine.stream.set(|state| state.app["event_hooks"][2] = changed);
    };
    with(|hook| hook["enabled"] = false.into());
    check("").await.with(1, &["the event hook of this queue is disabled"]);
    with(|hook| hook["enabled"] = true.into());
    with(|hook| hook["sqs_region"] = "eu-west-1".into());
    check("").await.with(1, &["says region eu-west-1, and the queue is in us-east-1"]);
    with(|hook| hook["sqs_region"] = REGION.into());

    let twice = hook();
    machine.stream.set(|state| state.app["event_hooks"].as_array_mut().unwrap().push(twice));
    check("").await.with(0, &["several event hooks send to this queue", "setup remove --id"]);
    machine.stream.set(|state| drop(state.app["event_hooks"].as_array_mut().unwrap().pop()));

    let denied = json!({"status": "error", "error": "AccessDenied: not authorized"});
    machine.stream.set(|state| state.checks = [denied].into());
    check("").await.with(1, &["Stream tried to send to the queue and could not: AccessDenied"]);
    machine.stream.set(|state| state.checks = [json!({"status": "ok"})].into());

    let url = hook()["sqs_queue_url"].clone();
    sqs("SetQueueAttributes", json!({"QueueUrl": url, "Attributes": {"Policy": ""}})).await;
    check("")
        .await
        .with(1, &["the queue's policy does not let Stream's account send, and the event hook relies on it"]);
    with(|hook| hook["sqs_auth_type"] = "keys".into());
    let said = check("").await.with(0, &[]);
    assert!(!said.contains("policy"), "a key needs none: {said}");

    with(|hook| {
        hook["sqs_queue_url"] = hook["sqs_queue_url"].as_str().unwrap().replace("000000000000", "111111111111").into()
    });
    check("").await.with(1, &["no event hook of the app sends to this queue", "a queue of the same name at"]);
    machine.stream.set(|state| drop(state.app["event_hooks"].as_array_mut().unwrap().pop()));
    check("").await.with(0, &["no event hook of the app sends to this queue", "One sends to an SNS topic"]);
    machine.stream.set(|state| state.app["event_hooks"] = json!([]));
    check("").await.with(1, &["no event hook of the app sends to this queue", "Stream sends nothing to it"]);
    machine.stream.set(|state| state.app["suspended"] = true.into());
    check("").await.with(1, &["Stream has suspended the app"]);

    let mut alone = machine.command(&["check", "--online"], "");
    let alone = Ended::of(alone.env_remove("STREAM_API_SECRET").output().await.unwrap());
    alone.with(0, &["Stream cannot be asked: `api_secret` in [stream] names a secret that is not here"]);
}

#[tokio::test]
async fn a_webhook_is_added_with_the_same_care_and_without_aws() {
    let machine = Machine::new("setup_webhook");
    let url = "https://relay.example.com/webhooks/stream?token=t0ken";
    let added = "+ event hook   webhook https://relay.example.com/webhooks/stream?… (all events)";
    machine.setup(&["--webhook", url]).await.with(2, &["--yes"]);
    machine
        .setup(&["--webhook", url, "--dry-run"])
        .await
        .with(0, &[added, "= event hook   webhook https://example.com"]);
    assert!(machine.writes() == 0 && machine.saved().is_empty(), "a dry run changes nothing");

    let done = ["saved the hooks as they were", "read back: 3 hooks, as planned", "see that it arrives"];
    // Nobody is there: AWS is not asked.
    let nowhere = ["--endpoint-url", "http://127.0.0.1:1"];
    machine.setup(&[&["--webhook", url, "--yes"], &nowhere[..]].concat()).await.with(0, &done);
    let hooks = without_stamps(&machine.stream.hooks());
    assert_eq!(hooks[..2], others().as_array().unwrap()[..]);
    assert_eq!((&hooks[2]["hook_type"], &hooks[2]["webhook_url"]), (&json!("webhook"), &json!(url)));
    assert_eq!((&hooks[2]["event_types"], &hooks[2]["should_send_custom_events"]), (&json!([]), &json!(true)));
    assert!(machine.stream.calls("POST /check_sqs").is_empty());

    let writes = machine.writes();
    let other_case = "https://RELAY.example.com:443/webhooks/stream?token=t0ken";
    machine.setup(&["--webhook", other_case, "--yes", "--update"]).await.with(0, &["there is nothing to do"]);
    let more = "event_types = [\"message.new\"]\n";
    let stays = ["~ event hook", "event_types", "--update changes it", "there is nothing to do"];
    machine.setup_with(&["--webhook", url, "--yes"], more).await.with(0, &stays);
    assert_eq!(machine.writes(), writes);
    machine.setup_with(&["--webhook", url, "--yes", "--update"], more).await.with(0, &["read back: 3 hooks"]);
    assert_eq!(machine.stream.hooks()[2]["event_types"], json!(["message.new"]));

    machine.setup(&["remove", "--webhook", url, "--dry-run"]).await.with(0, &["- event hook   webhook https://relay"]);
    machine.setup(&["remove", "--webhook", url, "--yes"]).await.with(0, &["read back: 2 hooks"]);
    assert_eq!(without_stamps(&machine.stream.hooks()), *others().as_array().unwrap());
    machine.setup(&["remove", "--webhook", url, "--yes"]).await.with(0, &["sends to this URL: there is nothing to do"]);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_added_leaves_the_hooks_alone() {
    let machine = Machine::new("setup_no_webhook");
    let url = "https://relay.example.com/webhooks/stream";
    machine
        .setup(&["--webhook", "relay.example.com", "--yes"])
        .await
        .with(2, &["did you mean https://relay.example.com"]);
    machine.setup(&["--webhook", url, "--yes", "--legacy"]).await.with(2, &["--legacy"]);
    machine.stream.set(|state| state.unknown_hosts = vec!["relay.example.com"]);
    machine.setup(&["--webhook", url, "--yes"]).await.with(69, &["lookup relay.example.com: no such host"]);
    machine.stream.set(|state| (state.unknown_hosts, state.masks) = (Vec::new(), true));
    let writes = machine.writes();
    machine.setup(&["--webhook", url, "--yes"]).await.with(69, &["sns_secret masked", "Nothing was changed"]);
    machine.stream.set(|state| state.app["use_hook_v2"] = false.into());
    machine.setup(&["--webhook", url, "--yes"]).await.with(69, &["old hook system", "dashboard"]);
    assert_eq!((machine.writes(), machine.stream.hooks()), (writes, others().as_array().unwrap().clone()));
}

#[tokio::test]
async fn a_webhook_beside_a_hook_of_the_queue_is_told() {
    let machine = Machine::new("setup_twice");
    let ours = format!("https://sqs.us-east-1.amazonaws.com/123456789012/{}", machine.queue);
    let hook = json!({"id": "7a1c0000-0000-4000-8000-000000000003", "hook_type": "sqs", "sqs_queue_url": ours});
    machine.stream.set(|state| state.app["event_hooks"].as_array_mut().unwrap().push(hook));
    let arguments = ["--webhook", "http://relay.example.com/", "--dry-run"];
    machine.setup(&arguments).await.with(0, &["sends to the queue itself", "comes twice", "not encrypted"]);
}
