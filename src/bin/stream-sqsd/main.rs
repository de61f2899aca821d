//! The daemon: a table of contents.
//!
//! Everything that consumes, decodes and settles is the library's. Here are:
//!
//! | room | what it is |
//! |---|---|
//! | `cli` | the table of the subcommands |
//! | `commands` | the subcommands, one file each: arguments, help, what it does |
//! | `daemon` | what a run has around it: signals, supervisor, listener, file of reasons |
//! | `config` | TOML, environment and flags to checked settings |
//! | `terminal` | standard output and error, the log, exit codes |

#![allow(
    clippy::disallowed_methods,
    reason = "the library is handed its clock and its random source; here they are ambient"
)]

// In reading order: each room imports only from those below it.
mod cli;
mod commands;
mod daemon;
mod config;
mod terminal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use daemon::signals::Signals;
use terminal::exit::{Exit, Failure};
use terminal::stderr;

/// A message makes and drops some hundred small things, which is a fifth cheaper here than in the C library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_memory_private();
    // First of all: a signal that comes before there is anything to drain must not kill either.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return Failure::internal(error).report(),
    };
    let command = cli::parse();

    let outcome = catch_unwind(AssertUnwindSafe(|| command.run(signals)));
    let code = match outcome {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(failure)) => failure.report(),
        // The panic has been printed where it happened.
        Err(_) => Exit::Internal.into(),
    };
    stderr::flush();
    code
}

/// From now on neither a program that this one starts nor another process of the same user can read what is here: the
/// environment with its secrets in `/proc`, and the memory. Nor is a core of it written when it crashes.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // A kernel that refuses has nothing better to offer.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
