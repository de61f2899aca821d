//! The binary as its users run it: a process with arguments, an environment of its own, standard output, standard error and
//! signals. Tests with a runtime await it, and those without wait for it.

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::until::{PATIENCE, until};

/// The binary with these arguments, and an environment in which nothing of the tester's is set but the client that receives
/// and deletes.
pub(crate) fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stream-sqsd"));
    command.args(arguments).env_clear().envs([
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/nonexistent"),
        // No test asks the machine for a role.
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    command.envs(env::var("STREAM_SQSD_CLIENT").map(|client| ("STREAM_SQSD_CLIENT", client)));
    command
}

/// The same with credentials and a region, and without a page: they run side by side, and few of them are watched.
pub(crate) fn daemon(arguments: &[&str]) -> Command {
    let mut command = bare(arguments);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "us-east-1");
    command.env("STREAM_SQSD_ADMIN", "none");
    command
}

/// The same command on a terminal of its own, whose output comes as the command's standard output.
pub(crate) fn on_a_terminal(inner: &Command) -> Command {
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]).env_clear();
    script.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = inner.get_current_dir() {
        script.current_dir(directory);
    }
    script
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none after a signal.
    pub(crate) code: Option<i32>,
    /// What of standard output was not asked for before.
    pub(crate) stdout: String,
    /// All of standard error.
    pub(crate) stderr: String,
}

impl Ended {
    /// What is left of standard output, each line as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Fails unless the exit code is this one.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless standard error holds each of these.
    #[track_caller]
    pub(crate) fn saying(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not said in:\n{}", self.stderr);
        }
        self
    }
}

/// Runs the binary to its end.
pub(crate) fn run(command: Command) -> Ended {
    run_with(command, b"")
}

/// Runs the binary to its end with this on standard input.
pub(crate) fn run_with(mut command: Command, input: &[u8]) -> Ended {
    let mut started = Started::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut stdin = started.child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // It may end without having read everything.
        let _ = stdin.write_all(&input);
    });
    let ended = started.wait();
    writer.join().unwrap();
    ended
}

/// Starts the binary.
pub(crate) fn start(command: Command) -> Started {
    start_writing_to(command, Stdio::piped())
}

/// Starts the binary with another standard output.
pub(crate) fn start_writing_to(mut command: Command, stdout: Stdio) -> Started {
    let mut started = Started::spawn(command.stdin(Stdio::null()).stdout(stdout));
    started.guard();
    started
}

/// A run that goes on. It is killed when this is dropped.
pub(crate) struct Started {
    child: Child,
    /// Chunks of standard output. There is room for one: what nobody asks for stays in the pipe, as before a slow reader.
    stdout: mpsc::Receiver<Vec<u8>>,
    /// What was read of a line.
    begun: Vec<u8>,
    stderr: Arc<Stderr>,
    /// How far standard error was looked at.
    seen: usize,
    guard: Option<oneshot::Sender<()>>,
}

/// Standard error, which is read at once.
#[derive(Default)]
struct Stderr {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Default)]
struct Said {
    text: String,
    is_all: bool,
}

impl Started {
    /// With the standard input and the standard output that the command has.
    pub(crate) fn spawn(command: &mut Command) -> Started {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (chunks, stdout) = mpsc::channel(1);
        if let Some(mut from) = child.stdout.take() {
            thread::spawn(move || {
                let mut chunk = vec![0; 8192];
                while let Ok(read @ 1..) = from.read(&mut chunk) {
                    if chunks.blocking_send(chunk[..read].to_vec()).is_err() {
                        break;
                    }
                }
            });
        }
        let stderr = Arc::new(Stderr::default());
        let (mut from, to) = (io::BufReader::new(child.stderr.take().unwrap()), stderr.clone());
        thread::spawn(move || {
            let mut line = String::new();
            while let Ok(1..) = io::BufRead::read_line(&mut from, &mut line) {
                to.said.lock().unwrap().text.push_str(&line);
                to.more.notify_all();
                line.clear();
            }
            to.said.lock().unwrap().is_all = true;
            to.more.notify_all();
        });
        Started { child, stdout, begun: Vec::new(), stderr, seen: 0, guard: None }
    }

    /// Kills it when it takes too long, so that no test waits for ever.
    fn guard(&mut self) {
        if self.guard.is_some() {
            return;
        }
        let (done, mut ended) = oneshot::channel();
        let pid = Pid::from_child(&self.child);
        thread::spawn(move || {
            let began = std::time::Instant::now();
            while ended.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                if began.elapsed() > PATIENCE {
                    let _ = kill_process(pid, Signal::KILL);
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        self.guard = Some(done);
    }

    /// Waits for a line of standard error that holds this.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut said = self.stderr.said.lock().unwrap();
        loop {
            let is_all = said.is_all;
            // The last line may lack its end.
            let lines = said.text[self.seen..].split_inclusive('\n').take_while(|line| is_all || line.ends_with('\n'));
            for line in lines {
                self.seen += line.len();
                if line.contains(text) {
                    return line.to_owned();
                }
            }
            assert!(!said.is_all, "it ended without {text:?}:\n{}", said.text);
            said = self.stderr.more.wait(said).unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to drain.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> String {
        self.child.id().to_string()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        self.guard();
        while let Some(chunk) = self.stdout.blocking_recv() {
            self.begun.extend(chunk);
        }
        let status = self.child.wait().unwrap();
        let mut said = self.stderr.said.lock().unwrap();
        while !said.is_all {
            said = self.stderr.more.wait(said).unwrap();
        }
        drop(said);
        self.ended(status)
    }

    /// The next line of standard output, as JSON.
    pub(crate) async fn line(&mut self) -> Value {
        loop {
            if let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let chunk = timeout(PATIENCE, self.stdout.recv()).await.expect("a line in time");
            self.begun.extend(chunk.expect("a line before the daemon ends"));
        }
    }

    /// Awaits that standard error holds this.
    pub(crate) async fn says(&self, text: &str) {
        let said = async || self.stderr.said.lock().unwrap().text.clone();
        until("it says so", PATIENCE, said, |said| said.contains(text)).await;
    }

    /// Reads to the end and awaits it.
    pub(crate) async fn end(mut self) -> Ended {
        let rest = async {
            while let Some(chunk) = self.stdout.recv().await {
                self.begun.extend(chunk);
            }
        };
        timeout(PATIENCE, rest).await.expect("the daemon ends in time");
        self.end_unread().await
    }

    /// Awaits its end and reads nothing more of standard output, as a reader that hangs.
    pub(crate) async fn end_unread(mut self) -> Ended {
        let status = self.exit().await;
        let all_said = async || self.stderr.said.lock().unwrap().is_all;
        until("all of standard error is read", PATIENCE, all_said, |is_all| *is_all).await;
        self.ended(status)
    }

    /// Kills it, and awaits that it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.exit().await;
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        assert!(killed, "it had ended before, {status}:\n{}", self.stderr.said.lock().unwrap().text);
    }

    async fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let ask = async || child.try_wait().unwrap();
        until("the daemon ends", PATIENCE, ask, Option::is_some).await.expect("it has ended")
    }

    fn ended(&mut self, status: ExitStatus) -> Ended {
        let stdout = String::from_utf8(std::mem::take(&mut self.begun)).unwrap();
        Ended { code: status.code(), stdout, stderr: self.stderr.said.lock().unwrap().text.clone() }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file into a directory and gives its path back.
pub(crate) fn file(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}
