//! The daemon as its users run it: a process with arguments, standard output, standard error and signals.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::endpoint::endpoint;
use super::queue::TestQueue;
use super::record::Record;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of the signal that ends a process at once.
const SIGKILL: i32 = 9;

/// The command, with an environment in which nothing of ours or of AWS is set.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stream-sqsd"));
    command.args(arguments);
    command.env_clear().env("HOME", env!("CARGO_TARGET_TMPDIR")).env("AWS_EC2_METADATA_DISABLED", "true");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The command, with credentials for LocalStack, which takes any.
pub(crate) fn command_with_keys(arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command
}

/// The command that consumes a queue of LocalStack.
pub(crate) fn command_on(queue: &TestQueue, endpoint: &str, arguments: &[&str]) -> Command {
    let mut all = vec!["run", "--queue-url", &queue.url, "--endpoint-url", endpoint, "--log-format", "human"];
    all.extend(arguments);
    command_with_keys(&all)
}

/// A daemon that runs.
pub(crate) struct Daemon {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: JoinHandle<String>,
}

/// How a daemon ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// The lines of standard output that were not asked for before.
    pub(crate) lines: Vec<Value>,
    /// All of standard error.
    pub(crate) log: String,
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

impl Daemon {
    /// `stream-sqsd run` on a queue of LocalStack.
    pub(crate) fn run(queue: &TestQueue, arguments: &[&str]) -> Daemon {
        Daemon::start(command_on(queue, &endpoint(), arguments))
    }

    /// The same, with every event recorded in a file before its message is deleted.
    pub(crate) fn recording(queue: &TestQueue, record: &Record, arguments: &[String]) -> Daemon {
        Daemon::recording_through(&endpoint(), queue, record, arguments)
    }

    /// The same by another way to LocalStack.
    pub(crate) fn recording_through(
        endpoint: &str,
        queue: &TestQueue,
        record: &Record,
        arguments: &[String],
    ) -> Daemon {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = command_on(queue, endpoint, &arguments);
        command.env("STREAM_SQSD_CONFIG_TOML", record.configuration());
        Daemon::start(command)
    }

    pub(crate) fn start(mut command: Command) -> Daemon {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut text = String::new();
            stderr.read_to_string(&mut text).await.unwrap();
            text
        });
        Daemon { child, lines, log }
    }

    /// The next line of standard output.
    pub(crate) async fn line(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line.expect("a line before the daemon ends")).unwrap()
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }

    pub(crate) fn terminate(&self) {
        let pid = self.process();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().expect("it runs");
        let status = timeout(PATIENCE, self.child.wait()).await.expect("a killed process is gone in time").unwrap();
        if status.signal() != Some(SIGKILL) {
            panic!("it had ended before, {status}:\n{}", self.log.await.unwrap());
        }
    }

    /// Reads to the end and waits for it.
    pub(crate) async fn end(self) -> Ended {
        let Daemon { mut child, mut lines, log } = self;
        let ending = async {
            let mut rest = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                rest.push(serde_json::from_str(&line).unwrap());
            }
            let status: ExitStatus = child.wait().await.unwrap();
            Ended { code: status.code(), lines: rest, log: log.await.unwrap() }
        };
        timeout(PATIENCE, ending).await.expect("the daemon ends in time")
    }

    /// Waits for its end and reads nothing more of standard output, as a reader that hangs.
    pub(crate) async fn end_unread(self) -> Ended {
        let Daemon { mut child, lines, log } = self;
        let status = timeout(PATIENCE, child.wait()).await.expect("the daemon ends in time").unwrap();
        drop(lines);
        Ended { code: status.code(), lines: Vec::new(), log: log.await.unwrap() }
    }
}

impl Ended {
    /// The shutdown summary on standard error.
    pub(crate) fn summary(&self) -> Summary {
        let (_, sums) = self.log.rsplit_once("received ").unwrap_or_else(|| panic!("no summary in:\n{}", self.log));
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
}
