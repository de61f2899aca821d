//! How the process ends: the exit codes, and the one place where a failure becomes a line on standard error.

use std::fmt;
use std::process::ExitCode;

pub(crate) use crate::stderr::say;

/// The exit codes, which are those of `sysexits.h` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// A check has found something that loses or delays messages.
    Findings = 1,
    /// The arguments or the configuration are wrong.
    Usage = 2,
    /// What was read cannot be decoded.
    BadData = 65,
    /// A file cannot be read.
    NoInput = 66,
    /// What is needed is not available: the queue, the target, or a reader.
    Unavailable = 69,
    /// What should not have happened.
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ended early: the exit code and what a person is to read.
///
/// It is no [`std::error::Error`] itself, so that `?` makes one of any other error: an internal one, since everything
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
