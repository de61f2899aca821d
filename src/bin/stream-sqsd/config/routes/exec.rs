//! The keys of the handler `exec`.

use stream_sqsd::handlers::exec::{Exec, ExecError, ExecSettings};

use super::reader::{Key, REQUIRED, Reader};
use super::shipped::{CallTime, Shipped, Started};
use crate::config::secret::{Missing, show_variable};
use crate::config::settings::Unset;
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

impl Shipped for ExecSettings {
    const NAME: &'static str = "exec";
    const ALSO: &'static [&'static str] = &["command", "program", "script", "shell", "process"];
    const ABOUT: &'static str = "A program is run for each event, which it reads from its standard input; 0 means done";
    const KEYS: &'static [&'static Key] = &[&COMMAND, &ENV];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let command = reader.needed(&COMMAND)?;
        let place = command.place.clone();
        let command = command.texts(COMMAND.name, reader.diagnostics)?.into_iter().map(|(_, text)| text);
        let mut settings = ExecSettings::new(command);
        settings.env = reader.texts(&ENV);
        match Exec::new(settings.clone()) {
            Ok(_) => {}
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
            Err(error @ ExecError::NotFound { .. }) if reader.missing == Missing::Warned => {
                reader.diagnostics.not_here(&place, error.to_string(), None);
            }
            Err(error) => {
                reader.check(&place, Some(error));
                return None;
            }
        }
        Some(settings)
    }

    // Of the command not the arguments, which may hold a secret.
    fn destination(&self, _: Option<&str>) -> String {
        format!("the program {}", self.command[0])
    }

    fn call_time(&self) -> CallTime {
        CallTime::Unlimited
    }

    fn start(&self, _: Option<&str>) -> Result<Started, Failure> {
        let exec = Exec::new(self.clone()).map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Started::new(exec))
    }
}
