//! `stream-sqsd completions`: the command line as shells want it described. It is made from the definitions that the help is
//! made from, so it says what holds.

use clap_complete::Shell;

use crate::cli::{self, CompletionsArguments};
use crate::terminal::exit::{Exit, Failure, print};

pub(crate) fn completions(arguments: &CompletionsArguments) -> Result<Exit, Failure> {
    print(&script(arguments.shell)?)?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> Result<String, Failure> {
    // What generates them panics where it cannot write, and nobody may be reading.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::definition(), "stream-sqsd", &mut script);
    let script = String::from_utf8(script)?;
    Ok(match shell {
        // clap_complete 4.6 spells the hyphen of the program in two ways, and then completes no flag of a subcommand
        // (clap's issue 6421). Where it no longer does, this changes nothing.
        Shell::Bash => script.replace("stream__subcmd__sqsd", "stream__sqsd"),
        _ => script,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap_complete::Shell;

    use super::script;
    use crate::cli;
    use crate::commands::init;

    /// With `WRITE_PACKAGE_FILES=DIRECTORY` it writes there what packages hold beside the binary. A test rather than a
    /// subcommand: the binary that ships has no use for it, and one for another architecture could not be asked.
    #[test]
    fn package_files_describe_every_subcommand() {
        let written = std::env::var_os("WRITE_PACKAGE_FILES");
        let temporary = tempfile::tempdir().unwrap();
        let directory = written.as_deref().map_or(temporary.path(), Path::new);
        let write = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
        fs::create_dir_all(directory.join("man")).unwrap();

        clap_mangen::generate_to(cli::definition(), directory.join("man")).unwrap();
        for (name, shell) in [("bash", Shell::Bash), ("fish", Shell::Fish), ("zsh", Shell::Zsh)] {
            write(&format!("completions.{name}"), script(shell).unwrap());
        }
        write("all-settings.toml", init::starting_file());

        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        assert!(read("man/stream-sqsd.1").contains("Exit codes:"));
        assert!(read("man/stream-sqsd-run.1").contains("STREAM_SQSD_GRACE"));
        for command in cli::definition().get_subcommands().map(|command| command.get_name()) {
            assert!(read(&format!("man/stream-sqsd-{command}.1")).contains(".SH OPTIONS"), "{command} has no page");
            for shell in ["bash", "fish", "zsh"] {
                assert!(read(&format!("completions.{shell}")).contains(command), "{shell} does not complete {command}");
            }
        }
    }
}
