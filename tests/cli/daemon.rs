//! Running the binary: in an environment of its own, never for longer than a minute.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// After this a run of the binary is killed, and its test fails.
const LIMIT: Duration = Duration::from_secs(60);

/// The binary with these arguments, in a directory, with nothing of the tester's environment.
pub(crate) fn daemon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stream-sqsd"));
    command.args(arguments).env_clear().envs([
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/nonexistent"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        // They run side by side, and few of them are watched.
        ("STREAM_SQSD_ADMIN", "none"),
        // No test asks the machine for a role.
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
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
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
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
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // It may end without having read everything.
        let _ = stdin.write_all(&input);
    });
    let stdout = reader(child.stdout.take().unwrap());
    let stderr = reader(child.stderr.take().unwrap());
    let ended = Running { child, guard: None }.wait(stdout, stderr);
    writer.join().unwrap();
    ended
}

/// A run that goes on: its standard error can be waited for, line by line.
pub(crate) struct Started {
    running: Running,
    stdout: JoinHandle<String>,
    stderr: BufReader<std::process::ChildStderr>,
    said: String,
}

struct Running {
    child: Child,
    guard: Option<mpsc::Sender<()>>,
}

impl Running {
    /// Kills it when it takes too long, so that no test waits for ever.
    fn guard(&mut self) {
        let (done, limit) = mpsc::channel();
        let pid = Pid::from_child(&self.child);
        thread::spawn(move || {
            if limit.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        self.guard = Some(done);
    }

    fn wait(mut self, stdout: JoinHandle<String>, stderr: JoinHandle<String>) -> Ended {
        if self.guard.is_none() {
            self.guard();
        }
        let code = self.child.wait().unwrap().code();
        Ended { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }
}

/// Starts the binary.
pub(crate) fn start(command: Command) -> Started {
    start_writing_to(command, Stdio::piped())
}

/// Starts the binary with another standard output.
pub(crate) fn start_writing_to(mut command: Command, stdout: Stdio) -> Started {
    let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = match child.stdout.take() {
        Some(stdout) => reader(stdout),
        None => thread::spawn(String::new),
    };
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut running = Running { child, guard: None };
    running.guard();
    Started { running, stdout, stderr, said: String::new() }
}

impl Started {
    /// Waits for a line of standard error that holds this.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).unwrap();
            self.said.push_str(&line);
            assert!(read > 0, "it ended without {text:?}:\n{}", self.said);
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.running.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> Ended {
        let Started { running, stdout, stderr, said } = self;
        let ended = running.wait(stdout, reader(stderr));
        Ended { stderr: said + &ended.stderr, ..ended }
    }
}

fn reader(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

/// Writes a file into a directory and gives its path back.
pub(crate) fn file(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}
