//! `stream-sqsd completions`: the command line as shells want it described. It is made from the definitions that the help is
//! made from, so it says what holds.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure, print};

const COMPLETIONS_HELP: &str = "\
The Debian package brings them for bash, fish and zsh.

Example:
  stream-sqsd completions bash > ~/.local/share/bash-completion/completions/stream-sqsd";

/// Print what completes this command line in a shell.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// `definition` is that of the whole command line.
pub(crate) fn completions(
    arguments: &CompletionsArguments,
    definition: Command,
    signals: Signals,
) -> Result<Exit, Failure> {
    signals.end_at_once()?;
    print(&script(arguments.shell, definition)?)?;
    Ok(Exit::Done)
}

pub(crate) fn script(shell: Shell, mut definition: Command) -> Result<String, Failure> {
    // What generates them panics where it cannot write, and nobody may be reading.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition, "stream-sqsd", &mut script);
    let script = String::from_utf8(script)?;
    Ok(match shell {
        // clap_complete 4.6 spells the hyphen of the program in two ways, and then completes no flag of a subcommand
        // (clap's issue 6421). Where it no longer does, this changes nothing.
        Shell::Bash => script.replace("stream__subcmd__sqsd", "stream__sqsd"),
        _ => script,
    })
}
