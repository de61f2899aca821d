//! The reference of the settings in src/docs/configuration.md: generated from their table, and held to it by a test.
//!
//! After a change, `WRITE_DOCUMENTATION=1 cargo test --bin stream-sqsd reference` writes it again.

use std::fs;

use crate::config::routes::{HANDLERS, OF_EVERY_ROUTE};
use crate::config::settings::{Setting, Unset};
use crate::config::{relay, stream};

fn settings() -> String {
    let mut text = String::from("\n| in the file | flag and variable | default | meaning |\n|---|---|---|---|\n");
    for setting in crate::config::settings::ALL {
        text.push_str(&row(setting));
    }
    text.push_str("\nThe keys of `[stream]`, which `setup` and `check --online` need and `run` does not:\n\n");
    text.push_str(&keys(stream::KEYS.iter().map(|key| (key.name, key.example, key.default, key.help))));
    text.push_str("\nThe keys of `[relay]`, which `relay` and `check` need and `run` does not:\n\n");
    text.push_str(&keys(relay::KEYS.iter().map(|key| (key.name, key.example, key.default, key.help))));
    text.push_str("\nThe keys of every `[[route]]`:\n\n");
    text.push_str(&keys(OF_EVERY_ROUTE.iter().map(|key| (key.name, key.example, key.default, key.help))));
    for kind in HANDLERS {
        text.push_str(&format!("\nThe handler `{}`. {}.\n", kind.name, kind.about));
        if !kind.keys.is_empty() {
            text.push('\n');
            text.push_str(&keys(kind.keys.iter().map(|key| (key.name, key.example, key.default, key.help))));
        }
    }
    text.push('\n');
    text
}

fn row(setting: &Setting) -> String {
    let (section, key) = setting.file;
    let place = if section.is_empty() { format!("`{key}`") } else { format!("`{key}` in `[{section}]`") };
    let default = in_words(setting.default);
    format!("| {place} | `--{}`<br>`{}` | {default} | {}. |\n", setting.flag, setting.variable(), setting.help)
}

fn keys<'a>(keys: impl Iterator<Item = (&'a str, &'a str, Unset, &'a str)>) -> String {
    let mut text = String::from("| key | example | default | meaning |\n|---|---|---|---|\n");
    for (name, example, default, help) in keys {
        text.push_str(&format!("| `{name}` | `{example}` | {} | {help}. |\n", in_words(default)));
    }
    text
}

fn in_words(default: Unset) -> String {
    match default {
        Unset::Value(value) => format!("`{value}`"),
        Unset::Words(words) => words.to_owned(),
    }
}

#[test]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
fn the_configuration_page_has_the_table_of_the_settings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/docs/configuration.md");
    let mut page = fs::read_to_string(path).unwrap();
    let begin = "<!-- settings -->\n";
    let begin = page.find(begin).expect("the page has a place for it") + begin.len();
    let end = page[begin..].find("<!-- /settings -->").expect("the place has an end") + begin;
    if std::env::var_os("WRITE_DOCUMENTATION").is_some() {
        page.replace_range(begin..end, &settings());
        fs::write(path, page).unwrap();
    } else {
        assert!(
            page[begin..end] == settings(),
            "the settings in configuration.md are stale; WRITE_DOCUMENTATION=1 cargo test --bin stream-sqsd reference"
        );
    }
}
