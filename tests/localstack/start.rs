//! Starts that cannot succeed: the exit code, and what a person reads.

use std::net::TcpListener;

use super::daemon::{self, command_with_keys};
use super::endpoint::{ACCOUNT, REGION, endpoint};
use super::queue::{TestQueue, Wanted};
use super::support::daemon::{Ended, bare};

#[track_caller]
fn assert_says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is missing from:\n{}", ended.stderr);
    }
    assert!(ended.lines().is_empty());
}

#[tokio::test]
async fn a_wrong_queue_url_is_exit_69_and_names_the_queue() {
    let endpoint = endpoint();
    let url = format!("{endpoint}/queue/{REGION}/{ACCOUNT}/no-such-queue");
    let ended =
        daemon::start(command_with_keys(&["run", "--queue-url", &url, "--endpoint-url", &endpoint])).end().await;
    assert_says(&ended, 69, &["no such queue", "no-such-queue"]);
}

#[tokio::test]
async fn a_wrong_queue_name_is_exit_69_and_names_the_queue() {
    let arguments = ["run", "--queue-name", "no-such-queue", "--region", REGION, "--endpoint-url", &endpoint()];
    let ended = daemon::start(command_with_keys(&arguments)).end().await;
    assert_says(&ended, 69, &["no such queue", "no-such-queue"]);
}

#[tokio::test]
async fn a_queue_is_found_by_its_name() {
    let queue = TestQueue::new("found_by_name", Wanted::default()).await;
    let name = queue.url.rsplit('/').next().unwrap();
    let endpoint = endpoint();
    let arguments = ["run", "--queue-name", name, "--until-empty", "--wait", "1s"];
    let mut command = command_with_keys(&arguments);
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", REGION);
    queue.send([super::body::event(1).to_string()]).await;
    let ended = daemon::start(command).end().await;
    assert_eq!((ended.code, ended.lines().len()), (Some(0), 1), "{}", ended.stderr);
}

#[tokio::test]
async fn no_credentials_at_all_is_exit_69_and_says_how_to_give_some() {
    let queue = TestQueue::new("no_credentials", Wanted::default()).await;
    let arguments = ["run", "--queue-url", &queue.url, "--endpoint-url", &endpoint()];
    let ended = daemon::start(bare(&arguments)).end().await;
    assert_says(&ended, 69, &["credentials", "AWS_ACCESS_KEY_ID"]);
}

#[tokio::test]
async fn an_unserved_endpoint_is_exit_69_and_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{free}");
    let url = format!("{endpoint}/queue/{REGION}/{ACCOUNT}/chat-events");
    let ended =
        daemon::start(command_with_keys(&["run", "--queue-url", &url, "--endpoint-url", &endpoint])).end().await;
    assert_says(&ended, 69, &["cannot be reached", "endpoint"]);
}
