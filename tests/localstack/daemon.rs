//! The daemon on a queue of LocalStack.

use std::process::{Command, Stdio};

use super::endpoint::endpoint;
use super::queue::TestQueue;
use super::record::Record;
pub(crate) use super::support::daemon::Started;
use super::support::daemon::{Ended, bare};

/// The command, with credentials for LocalStack, which takes any.
pub(crate) fn command_with_keys(arguments: &[&str]) -> Command {
    let mut command = bare(arguments);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command
}

/// The command that consumes a queue of LocalStack.
pub(crate) fn command_on(queue: &TestQueue, endpoint: &str, arguments: &[&str]) -> Command {
    let mut all = vec!["run", "--queue-url", &queue.url, "--endpoint-url", endpoint, "--log-format", "human"];
    all.extend(arguments);
    command_with_keys(&all)
}

/// `stream-sqsd run` on a queue of LocalStack.
pub(crate) fn run(queue: &TestQueue, arguments: &[&str]) -> Started {
    start(command_on(queue, &endpoint(), arguments))
}

/// The same, with every event recorded in a file before its message is deleted.
pub(crate) fn recording(queue: &TestQueue, record: &Record, arguments: &[String]) -> Started {
    recording_through(&endpoint(), queue, record, arguments)
}

/// The same by another way to LocalStack.
pub(crate) fn recording_through(endpoint: &str, queue: &TestQueue, record: &Record, arguments: &[String]) -> Started {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = command_on(queue, endpoint, &arguments);
    command.env("STREAM_SQSD_CONFIG_TOML", record.configuration());
    start(command)
}

/// A daemon that runs for as long as the test wants it to.
pub(crate) fn start(mut command: Command) -> Started {
    Started::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))
}

/// The counts of the shutdown summary.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) received: u64,
    pub(crate) deleted: u64,
    pub(crate) nacked: u64,
    pub(crate) returned: u64,
    pub(crate) interrupted: u64,
    pub(crate) duplicates: u64,
}

/// The shutdown summary on standard error.
pub(crate) fn summary(ended: &Ended) -> Summary {
    let (_, sums) = ended.stderr.rsplit_once("received ").unwrap_or_else(|| panic!("no summary in:\n{}", ended.stderr));
    let sums = sums.lines().next().unwrap();
    let mut numbers = sums.split([' ', '=', '+']).filter_map(|word| word.parse().ok());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("not a summary: {sums}"));
    let summary = Summary {
        received: next(),
        deleted: next(),
        nacked: next(),
        returned: next(),
        interrupted: next(),
        duplicates: next(),
    };
    let Summary { received, deleted, nacked, returned, interrupted, duplicates } = summary;
    assert_eq!(received, deleted + nacked + returned + interrupted + duplicates, "it adds up: {sums}");
    summary
}
