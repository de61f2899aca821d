//! `stream-sqsd completions` and `stream-sqsd manual`: the command line as shells and man want it described. Both are made
//! from the definitions that the help is made from, so they say what holds.

use clap_complete::Shell;

use crate::cli::{self, CompletionsArguments, ManualArguments};
use crate::terminal::exit::{Exit, Failure, print};

pub(crate) fn completions(arguments: &CompletionsArguments) -> Result<Exit, Failure> {
    // What generates them panics where it cannot write, and nobody may be reading.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut cli::definition(), "stream-sqsd", &mut script);
    if arguments.shell == Shell::Bash {
        // clap_complete 4.6 spells the hyphen of the program in two ways, and then completes no flag of a subcommand
        // (clap's issue 6421). Where it no longer does, this changes nothing.
        script = String::from_utf8(script)?.replace("stream__subcmd__sqsd", "stream__sqsd").into_bytes();
    }
    print(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}

/// One page for the program and one for each subcommand, such as `stream-sqsd-run.1`.
pub(crate) fn manual(arguments: &ManualArguments) -> Result<Exit, Failure> {
    let shown = arguments.directory.display();
    clap_mangen::generate_to(cli::definition(), &arguments.directory)
        .map_err(|error| Failure::usage(format!("cannot write the pages into {shown}: {error}")))?;
    Ok(Exit::Done)
}
