//! The keys of the handler `exec`.

use stream_sqsd::handlers::exec::{Exec, ExecError, ExecSettings};

use super::reader::{Key, MUST_BE_SET, Reader};
use crate::config::secret::{Missing, show_variable};
use crate::config::settings::Unset;

pub(super) const ABOUT: &str = "A program is run for each event, which it reads from its standard input; 0 means done";

pub(super) const KEYS: &[&Key] = &[&COMMAND, &ENV];

const COMMAND: Key = Key {
    name: "command",
    example: r#"["/usr/local/bin/on-event", "--verbose"]"#,
    default: MUST_BE_SET,
    help: "The program and its arguments; there is no shell. A name without a slash is looked for in PATH",
};

const ENV: Key = Key {
    name: "env",
    example: r#"["HOME"]"#,
    default: Unset::Words("none"),
    help: "Which environment variables the program sees besides PATH, HOME, LANG and TZ",
};

pub(super) fn read(reader: &mut Reader<'_>) -> Option<ExecSettings> {
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
                Missing::Warned => reader.diagnostics.warn(&place, what),
                Missing::Refused => {
                    reader.diagnostics.wrong(&place, what);
                    return None;
                }
            }
        }
        // A configuration may be checked where its program is not.
        Err(error @ ExecError::NotFound { .. }) if reader.missing == Missing::Warned => {
            reader.diagnostics.warn(&place, error.to_string());
        }
        Err(error) => {
            reader.check(&place, Some(error));
            return None;
        }
    }
    Some(settings)
}
