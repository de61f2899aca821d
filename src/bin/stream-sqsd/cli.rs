//! The command line: the table of the subcommands. What each takes and does is its own file's.

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::*;
use crate::config::diagnostics::nearest;
use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a check has found something that loses or delays messages, the daemon is not healthy, or a dead letter has
       failed again
  2    the arguments are wrong, or the configuration is wrong, or cannot be read
  65   what was read cannot be decoded
  66   a file of bodies or events cannot be read
  69   what is needed is not available (queue, target, journal, reader, room behind standard output)
  70   what should not have happened: please report it
  129, 130, 143   ended at once by SIGHUP, SIGINT or SIGTERM; 130 also where `dlq` gave back what it held first";

#[derive(Debug, Parser)]
#[command(name = "stream-sqsd", version, after_help = EXIT_CODES, max_term_width = 110)]
/// Consumes the events that Stream (getstream.io) sends to Amazon SQS.
///
/// Each message is decoded and handled; it is deleted when it was handled, and stays for another try, and in the end for
/// the dead-letter queue, when it was not.
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

macro_rules! subcommands {
    ($( $name:ident($arguments:ty) => $run:expr, )+) => {
        /// A subcommand, with what was asked of it.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $( $name($arguments), )+
        }

        impl Command {
            /// Does it.
            pub(crate) fn run(self, signals: Signals) -> Result<Exit, Failure> {
                match self {
                    $( Command::$name(arguments) => $run(arguments, signals), )+
                }
            }
        }
    };
}

// In the order of the help.
subcommands! {
    Run(run::RunArguments) => run::run,
    Relay(relay::RelayArguments) => relay::relay,
    Health(health::HealthArguments) => health::health,
    Demo(demo::DemoArguments) => demo::demo,
    Decode(decode::DecodeArguments) => decode::decode,
    Send(send::SendArguments) => send::send,
    Dlq(dlq::arguments::DlqArguments) => dlq::dlq,
    Replay(replay::ReplayArguments) => replay::replay,
    Check(check::CheckArguments) => check::check,
    Setup(setup::arguments::SetupArguments) => setup::setup,
    Init(init::InitArguments) => init::init,
    InitPostgres(init_postgres::InitPostgresArguments) => init_postgres::init_postgres,
    Events(events::EventsArguments) => events::events,
    Completions(describe::CompletionsArguments) => |arguments, signals| {
        describe::completions(&arguments, definition(), signals)
    },
}

/// Reads the command line. Ends the process with its help, or with code 2 and what is wrong with it.
pub(crate) fn parse() -> Command {
    match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => with_suggestion(error).exit(),
    }
}

/// Names the subcommand that was probably meant, where clap itself knows none: it takes no short word for a misspelt one.
fn with_suggestion(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(written)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let definition = definition();
    let known = definition.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    if error.get(ContextKind::SuggestedSubcommand).is_none()
        && let Some(meant) = nearest(written, known)
    {
        let meant = ContextValue::Strings(vec![meant.to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
    error
}

fn definition() -> clap::Command {
    CommandLine::command()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap_complete::Shell;

    use super::definition;
    use crate::commands::describe::script;
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

        clap_mangen::generate_to(definition(), directory.join("man")).unwrap();
        for (name, shell) in [("bash", Shell::Bash), ("fish", Shell::Fish), ("zsh", Shell::Zsh)] {
            write(&format!("completions.{name}"), script(shell, definition()).unwrap());
        }
        write("all-settings.toml", init::starting_file());

        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        assert!(read("man/stream-sqsd.1").contains("Exit codes:"));
        assert!(read("man/stream-sqsd-run.1").contains("STREAM_SQSD_GRACE"));
        for command in definition().get_subcommands().map(|command| command.get_name()) {
            assert!(read(&format!("man/stream-sqsd-{command}.1")).contains(".SH OPTIONS"), "{command} has no page");
            for shell in ["bash", "fish", "zsh"] {
                assert!(read(&format!("completions.{shell}")).contains(command), "{shell} does not complete {command}");
            }
        }
    }
}
