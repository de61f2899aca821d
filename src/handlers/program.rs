//! What the handlers that run programs share: which program, what it sees of the environment, what its end means, and what
//! the log takes of its standard error.

use std::env;
use std::ffi::OsString;
use std::io;
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;

use crate::event::escape_controls;
use crate::handler::HandlerError;
use crate::queue::MessageId;

/// What of the daemon's environment every program sees.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// What the log takes of the standard error of one run: n bytes and lines, and n bytes of one line.
const LOGGED_BYTES: usize = 16 * 1024;
const LOGGED_LINES: usize = 64;
const LOGGED_LINE: usize = 1024;

/// Why the settings do not make a handler.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// There is no program.
    #[error("the command is empty")]
    Empty,
    /// There is no such program, or it may not be executed.
    #[error("{program} is not a program that can be executed")]
    NotFound {
        /// As the settings name it.
        program: String,
    },
    /// A variable that should be passed on is not there.
    #[error("the environment variable {name} is not set")]
    NotSet {
        /// As the settings name it.
        name: String,
    },
    /// A number of nothing.
    #[error("{setting} must not be zero")]
    Zero {
        /// The name of the setting.
        setting: &'static str,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that looks after programs")]
    Thread(#[source] io::Error),
}

/// A program that was found, and what it sees of the environment.
pub(super) struct Program {
    pub(super) path: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// Looks for it, and for the variables of these names.
    pub(super) fn find(command: Vec<String>, variables: Vec<String>) -> Result<Self, ExecError> {
        let mut command = command.into_iter();
        let name = command.next().filter(|name| !name.is_empty()).ok_or(ExecError::Empty)?;
        let path = find(&name).ok_or(ExecError::NotFound { program: name })?;
        let mut environment: Vec<(OsString, OsString)> =
            PASSED_ON.iter().filter_map(|name| Some((name.into(), env::var_os(name)?))).collect();
        for name in variables {
            let value = env::var_os(&name).ok_or_else(|| ExecError::NotSet { name: name.clone() })?;
            environment.push((name.into(), value));
        }
        Ok(Program { path, arguments: command.collect(), environment })
    }

    /// In a process group of its own, with pipes to its standard input and from its standard error.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }
}

/// Why a program could not even begin: a reason of the system's or of the installation's, not of the message's.
#[derive(Debug, thiserror::Error)]
#[error("the program cannot be started")]
pub(super) struct Unstarted(#[source] pub(super) io::Error);

/// What the end of a program means for the one message that it worked on.
pub(super) fn outcome(status: ExitStatus) -> Result<(), HandlerError> {
    let told = format!("the program ended by {status}");
    match status.code() {
        Some(0) => Ok(()),
        Some(65) => Err(HandlerError::reject(told)),
        Some(69) => Err(HandlerError::target_down(told)),
        _ => Err(HandlerError::retry(told)),
    }
}

/// The program's full path, so that what is run does not change with anything but the file.
fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return executable(Path::new(name));
    }
    env::split_paths(&env::var_os("PATH")?).find_map(|directory| executable(&directory.join(name)))
}

fn executable(path: &Path) -> Option<PathBuf> {
    let facts = path.metadata().ok()?;
    let may = facts.is_file() && facts.permissions().mode() & 0o111 != 0;
    if may { std::path::absolute(path).ok() } else { None }
}

/// What a program says on its standard error. Dropped, it logs what is left and how much was left out.
pub(super) struct Said {
    /// Which message it was run for, where it was for one.
    message_id: Option<MessageId>,
    line: Vec<u8>,
    /// What was taken for the log, since the last renewal.
    bytes: usize,
    lines: usize,
    unlogged_bytes: u64,
    unlogged_lines: u64,
    /// Whether something of the current line was left out.
    cut: bool,
}

impl Said {
    pub(super) fn new(message_id: Option<MessageId>) -> Self {
        Said { message_id, line: Vec::new(), bytes: 0, lines: 0, unlogged_bytes: 0, unlogged_lines: 0, cut: false }
    }

    pub(super) fn push(&mut self, byte: u8) {
        let room = self.bytes < LOGGED_BYTES && self.lines < LOGGED_LINES && self.line.len() < LOGGED_LINE;
        if byte == b'\n' {
            self.end_line();
        } else if room {
            self.line.push(byte);
            self.bytes += 1;
        } else {
            self.unlogged_bytes += 1;
            self.cut = true;
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            let text = String::from_utf8_lossy(&self.line);
            tracing::info!(message_id = self.message_id.as_ref().map(tracing::field::display), stderr = %escape_controls(&text), "the program says");
            self.lines += 1;
        }
        self.unlogged_lines += u64::from(mem::take(&mut self.cut) && self.line.is_empty());
        self.line.clear();
    }
}

impl Said {
    /// Says how much was left out, and begins to count again.
    pub(super) fn renew(&mut self) {
        if self.unlogged_bytes > 0 {
            tracing::info!(
                message_id = self.message_id.as_ref().map(tracing::field::display),
                unlogged_bytes = self.unlogged_bytes,
                unlogged_lines = self.unlogged_lines,
                "the program wrote more to its standard error than is logged"
            );
        }
        (self.bytes, self.lines, self.unlogged_bytes, self.unlogged_lines) = (0, 0, 0, 0);
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        self.end_line();
        self.renew();
    }
}
