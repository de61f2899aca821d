//! How the process ends: the exit codes, and the one place where a failure becomes a line on standard error.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

pub(crate) use crate::terminal::stderr::say;

/// The exit codes, which are those of `sysexits.h` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// A check has found something that loses or delays messages, or some of what was to be handled has failed.
    Findings = 1,
    /// The arguments or the configuration are wrong.
    Usage = 2,
    /// What was read cannot be decoded.
    BadData = 65,
    /// A file cannot be read.
    NoInput = 66,
    /// What is needed is not available: the queue, the target, a reader, or room behind standard output.
    Unavailable = 69,
    /// What should not have happened.
    Internal = 70,
    /// A signal has ended it before it was done, and what it held was given back: the code that shells give to SIGINT.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Writes what a command has to say to standard output.
///
/// # Errors
///
/// [`not_printed`].
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).or_else(not_printed)
}

/// What it means that standard output took no more. A reader that has seen enough (`stream-sqsd events | head`) is not a failure.
pub(crate) fn not_printed(error: io::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::new(Exit::Unavailable, anyhow::Error::new(error).context("cannot write to standard output"))),
    }
}

/// Why a command ended early: the exit code and what a person is to read.
///
/// It is not a [`std::error::Error`] itself, so that `?` makes one of any other error: an internal one, since everything
/// that is to be expected is given its code where it happens.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Failure { exit, error: error.into() }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, anyhow::Error::msg(text.into()))
    }

    pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Self {
        Failure::new(Exit::Internal, error)
    }

    /// The same, with where it happened in front of it.
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        Failure { exit: self.exit, error: self.error.context(place.to_string()) }
    }

    /// Prints what happened, with its causes.
    pub(crate) fn report(&self) -> ExitCode {
        say(&format!("stream-sqsd: {self}"));
        self.exit.into()
    }
}

/// What happened, with its causes.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::internal(error)
    }
}
