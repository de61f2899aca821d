//! The keys of the handler `exec`.

use std::path::Path;

use stream_sqsd::handlers::exec::{Exec, ExecError, ExecSettings};
use stream_sqsd::handlers::persistent::{Persistent, PersistentSettings};

use super::reader::{Key, REQUIRED, Reader, above_zero};
use super::shipped::{CallTime, Shipped, Started};
use crate::config::secret::{Missing, show_variable};
use crate::config::settings::Unset;
use crate::config::units;
use crate::terminal::exit::{Exit, Failure};

const COMMAND: Key = Key {
    name: "command",
    example: r#"["/usr/local/bin/on-event", "--verbose"]"#,
    default: REQUIRED,
    help: "The program and its arguments; there is no shell. A name without a slash is looked for in PATH",
};

const ENV: Key = Key {
    name: "env",
    example: r#"["HOME"]"#,
    default: Unset::Words("none"),
    help: "Which environment variables the program sees besides PATH, HOME, LANG and TZ",
};

const PERSISTENT: Key = Key {
    name: "persistent",
    example: "false",
    default: Unset::Value("false"),
    help: "Whether the program stays: started once, it reads a JSON line for each event and answers each with one. A new \
           process for each event costs a millisecond of CPU, a line some microseconds",
};

const PROCESSES: Key = Key {
    name: "processes",
    example: "1",
    default: Unset::Value("1"),
    help: "With `persistent`, how many processes of the program there are, up to 1,024; each event goes to the one that has \
           the fewest",
};

/// Which program is run, and whether it stays.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Program {
    Each(ExecSettings),
    Persistent(PersistentSettings),
}

impl Program {
    /// The program as people may see it: of a command that is one text, as a shell takes it, not what follows the first
    /// word, which may hold a secret.
    fn shown(&self) -> String {
        let (Program::Each(ExecSettings { command, .. }) | Program::Persistent(PersistentSettings { command, .. })) =
            self;
        match command.as_slice() {
            [line] => match line.split_once(char::is_whitespace) {
                Some((first, _)) if !Path::new(line).exists() => format!("{first} …"),
                _ => line.clone(),
            },
            [program, ..] => program.clone(),
            [] => String::new(),
        }
    }

    /// Why it cannot be executed here, and what was meant where that can be told.
    fn not_found(&self) -> String {
        let shown = self.shown();
        match shown.strip_suffix(" …") {
            Some(first) => format!(
                "{shown} is not a program that can be executed: each argument is a text of its own, as in \
                 command = [\"{first}\", \"--verbose\"]"
            ),
            None => ExecError::NotFound { program: shown }.to_string(),
        }
    }

    /// Whether it can be run.
    fn check(&self) -> Result<(), ExecError> {
        match self {
            Program::Each(settings) => Exec::new(settings.clone()).map(drop),
            Program::Persistent(settings) => Persistent::new(settings.clone()).map(drop),
        }
    }
}

impl Shipped for Program {
    const NAME: &'static str = "exec";
    const ALSO: &'static [&'static str] = &["command", "program", "script", "shell", "process"];
    const ABOUT: &'static str = "A program is run for each event, which it reads from its standard input, and 0 means done; or it \
                                 stays and answers each event";
    const KEYS: &'static [&'static Key] = &[&COMMAND, &ENV, &PERSISTENT, &PROCESSES];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let command = reader.needed(&COMMAND)?;
        let place = command.place.clone();
        let command = command.texts(COMMAND.name, reader.diagnostics)?.into_iter().map(|(_, text)| text);
        let env = reader.texts(&ENV);
        let persistent = reader.value(&PERSISTENT, units::truth);
        let processes_place = reader.section.place_of(PROCESSES.name);
        let processes = reader.value(&PROCESSES, above_zero(processes));
        let (persistent, processes) = (persistent??, processes??);
        if let Some(place) = processes_place.filter(|_| !persistent && processes > 1) {
            reader
                .diagnostics
                .wrong(&place, "`processes` needs persistent = true: otherwise each event has a process of its own");
            return None;
        }
        let program = match persistent {
            false => Program::Each(ExecSettings::new(command).with_env(env)),
            true => Program::Persistent(PersistentSettings::new(command).with_env(env).with_processes(processes)),
        };
        match program.check() {
            Ok(()) => {}
            Err(ExecError::NotSet { name }) => {
                let what = format!("`env`: {} is not set", show_variable(&name));
                match reader.missing {
                    Missing::Warned | Missing::Ignored => reader.diagnostics.not_here(&place, what, None),
                    Missing::Refused => {
                        reader.diagnostics.wrong(&place, what);
                        return None;
                    }
                }
            }
            // A configuration may be checked where its program is not.
            Err(ExecError::NotFound { .. }) if reader.missing == Missing::Warned => {
                reader.diagnostics.not_here(&place, program.not_found(), None);
            }
            Err(ExecError::NotFound { .. }) => {
                reader.diagnostics.wrong(&place, program.not_found());
                return None;
            }
            Err(error) => {
                reader.check(&place, Some(error));
                return None;
            }
        }
        Some(program)
    }

    // Of the command not the arguments, which may hold a secret.
    fn destination(&self, _: Option<&str>) -> String {
        match self {
            Program::Each(_) => format!("the program {}", self.shown()),
            Program::Persistent(_) => format!("the program {}, which stays", self.shown()),
        }
    }

    fn call_time(&self) -> CallTime {
        CallTime::Unlimited
    }

    fn start(&self, _: Option<&str>) -> Result<Started, Failure> {
        let refused = |error| Failure::new(Exit::Usage, error);
        match self {
            Program::Each(settings) => Exec::new(settings.clone()).map(Started::new).map_err(refused),
            Program::Persistent(settings) => Persistent::new(settings.clone()).map(Started::new).map_err(refused),
        }
    }
}

fn processes(text: &str) -> Result<usize, String> {
    let processes = units::count(text)?;
    if processes > 1024 { Err(format!("{processes} is more than 1,024")) } else { Ok(processes) }
}
