//! `stream-sqsd init`: a commented file to start from. It is made from the table of the settings, so it says what holds.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::config;
use crate::config::routes::HANDLERS;
use crate::config::routes::reader::{INSTEAD_OF_BASIC, Key, REQUIRED};
use crate::config::settings::{self, Setting, Unset};
use crate::config::source::DEFAULT_FILE;
use crate::config::{relay, stream};
use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure, print, say};

/// Write a commented configuration file to start from.
#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The file to write, which must not be there yet; `-` is standard output.
    #[arg(default_value = DEFAULT_FILE)]
    pub(crate) file: PathBuf,
}

pub(crate) fn init(arguments: InitArguments, signals: Signals) -> Result<Exit, Failure> {
    signals.end_at_once()?;
    let text = starting_file();
    if arguments.file == Path::new("-") {
        print(&text)?;
        return Ok(Exit::Done);
    }
    let shown = arguments.file.display();
    // Never over a file that is there: it may be somebody's configuration.
    // And for its owner's eyes: many will write a secret into it, where it does not belong, or the URL of a webhook.
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&arguments.file);
    match created.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => {
            say(&format!(
                "{shown} is written. Put in the URL of your queue, then try: stream-sqsd check --online {shown}"
            ));
            Ok(Exit::Done)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::usage(format!("{shown} is there already, and was left as it is")))
        }
        Err(error) => Err(Failure::usage(format!("cannot write {shown}: {error}"))),
    }
}

const HEAD: &str = "\
# The configuration of stream-sqsd: stream-sqsd run THIS_FILE
#
# A line that begins with one # and a key shows what holds when nothing is said. Flags and environment variables beat what
# stands here. Times are written as 500ms, 20s, 5m or 12h, sizes as 64KiB or 256MiB. stream-sqsd check finds mistakes.
";

const ROUTES: &str = r##"
# Where events go. An event goes to the first route that takes it, and without any route to standard output. Besides
# `events`, a route can ask for `channel_type = "messaging"` and `team = "red"`, or lists of them, and have a `name`; with
# `continue = true` its events go on to the next route that takes them. A secret stands elsewhere: { env = "NAME" }, { file = "PATH" }, or with systemd { credential = "NAME" }.

[[route]]
events = ["*"]   # or one type, "message.new", or all below a dot, "message.*"
handler = "stdout"
"##;

/// The text of the file.
pub(crate) fn starting_file() -> String {
    let mut text = HEAD.to_owned();
    for setting in settings::ALL.iter().filter(|setting| setting.file.0.is_empty()) {
        push(setting, &mut text);
    }
    for section in config::SECTIONS {
        text.push_str(&format!("\n[{section}]\n"));
        for setting in settings::ALL.iter().filter(|setting| setting.file.0 == section) {
            push(setting, &mut text);
        }
    }
    text.push_str(
        "\n# The app at Stream, for `stream-sqsd setup` and `check --online`; `run` does not need it.\n# [stream]\n",
    );
    for key in stream::KEYS {
        text.push_str(&format!("# {} = {}{}\n", key.name, key.example, remark(key)));
    }
    text.push_str("\n# Webhooks that come in by HTTP, for `stream-sqsd relay`; `run` does not need it.\n# [relay]\n");
    for key in relay::KEYS {
        text.push_str(&format!("# {} = {}{}\n", key.name, key.example, remark(key)));
    }
    text.push_str(ROUTES);
    // Without keys there is nothing to explain.
    for kind in HANDLERS.iter().filter(|kind| !kind.keys.is_empty()) {
        text.push('\n');
        for line in wrapped(&format!("{}.", kind.about)) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("#\n# [[route]]\n# events = [\"*\"]\n# handler = \"{}\"\n", kind.name));
        for key in kind.keys {
            let or = if key.default == INSTEAD_OF_BASIC { "or " } else { "" };
            text.push_str(&format!("# {or}{} = {}{}\n", key.name, key.example, remark(key)));
        }
    }
    text
}

/// What holds without this line of a route, where the line does not show it.
fn remark(key: &Key) -> String {
    match key.default {
        REQUIRED => "   # required".to_owned(),
        // What it stands in place of is the line above.
        INSTEAD_OF_BASIC => String::new(),
        Unset::Value(value) if as_toml(value) == key.example => String::new(),
        Unset::Value(value) => format!("   # default: {}", as_toml(value)),
        Unset::Words(words) => format!("   # default: {words}"),
    }
}

fn push(setting: &Setting, text: &mut String) {
    text.push('\n');
    for line in wrapped(&format!("{}.", setting.help)) {
        text.push_str(&format!("# {line}\n"));
    }
    let key = setting.file.1;
    match setting.default {
        _ if setting.flag == settings::QUEUE_URL.flag => {
            text.push_str("url = \"https://sqs.us-east-1.amazonaws.com/123456789012/chat-events\"\n");
        }
        Unset::Value(value) => text.push_str(&format!("# {key} = {}\n", as_toml(value))),
        Unset::Words(words) => {
            let words = if words.is_empty() { "nothing" } else { words };
            let example = match setting.value.split_once(',') {
                Some((one, _)) => format!("[\"{one}\"]"),
                None => format!("\"{}\"", setting.value),
            };
            text.push_str(&format!("# {key} = {example}   # default: {words}\n"));
        }
    }
}

fn as_toml(value: &str) -> String {
    let bare = matches!(value, "true" | "false") || value.bytes().all(|b| b.is_ascii_digit());
    if bare { value.to_owned() } else { format!("\"{value}\"") }
}

/// Lines of at most 110 characters.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, String::len);
        if line > 0 && line + 1 + word.len() > 110 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::diagnostics::Diagnostics;
    use crate::config::document::{Entry, Item, Section};
    use crate::config::routes;
    use crate::config::secret::Missing;

    /// The starting file with everything commented in that is not a comment in words.
    fn all_of_it() -> String {
        let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let is_setting = |rest: &str| {
            ["[[route]]", "[stream]"].contains(&rest) || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key))
        };
        let text = starting_file();
        let lines = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_setting(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        });
        lines.collect()
    }

    #[test]
    fn required_keys_are_marked_and_no_default_is_said_twice() {
        let text = starting_file();
        assert!(text.contains("# path = \"/var/lib/stream-sqsd/events.jsonl\"   # required\n"), "{text}");
        assert!(text.contains("# rotate_age = \"1d\"   # default: never\n"), "{text}");
        assert!(text.contains("# redirects = false\n"), "{text}");
    }

    #[test]
    fn everything_in_the_starting_file_can_be_commented_in() {
        let file: Arc<Path> = Path::new("starting.toml").into();
        let mut diagnostics = Diagnostics::default();
        let mut root = Section::parse(&all_of_it(), &file, &mut diagnostics).expect("TOML");
        for setting in settings::ALL.iter().filter(|setting| setting.file.0.is_empty()) {
            assert!(root.take(setting.file.1).is_some(), "{}", setting.file.1);
        }
        for name in config::SECTIONS {
            let section = root.take(name).unwrap().item;
            let Item::Section(mut section) = section else { panic!("{section:?}") };
            for setting in settings::ALL.iter().filter(|setting| setting.file.0 == name) {
                assert!(section.take(setting.file.1).is_some(), "{}", setting.file.1);
            }
        }

        let Item::Section(mut section) = root.take("stream").unwrap().item else { panic!("no section") };
        for key in stream::KEYS {
            assert!(section.take(key.name).is_some(), "{}", key.name);
        }

        let Item::List(list) = root.take("route").unwrap().item else { panic!("no routes") };
        assert_eq!(list.len(), HANDLERS.len());
        // Each by itself: they all take the same events.
        for route in list {
            let entry = Entry { place: route.place.clone(), item: Item::List(vec![route]) };
            let found = routes::read(entry, Missing::Warned, &mut diagnostics);
            assert_eq!(found.len(), 1, "{diagnostics:?}");
        }
        assert!(!diagnostics.any(), "{diagnostics:?}");
    }
}
