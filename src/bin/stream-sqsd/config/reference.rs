//! The reference in the README, of the settings and of how time limits must relate: made from the tables, and held to them
//! by a test.
//!
//! After a change, `STREAM_SQSD_WRITE_REFERENCE=1 cargo test --bin stream-sqsd reference` writes it again.

use std::fs;

use crate::config::routes::{HANDLERS, OF_EVERY_ROUTE};
use crate::config::settings::{Setting, Unset};
use crate::config::timeouts::{Relation, relations};

fn times() -> String {
    let mut text = String::from("\n| limit | must be | why | otherwise |\n|---|---|---|---|\n");
    for Relation { limit, must, why, otherwise } in relations() {
        text.push_str(&format!("| {limit} | {must} | {why}. | {otherwise} |\n"));
    }
    text.push('\n');
    text
}

fn settings() -> String {
    let mut text = String::from("\n| in the file | flag and variable | unless set | what it is |\n|---|---|---|---|\n");
    for setting in crate::config::settings::ALL {
        text.push_str(&row(setting));
    }
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
    let default = unless_set(setting.default);
    format!("| {place} | `--{}`<br>`{}` | {default} | {}. |\n", setting.flag, setting.variable(), setting.help)
}

fn keys<'a>(keys: impl Iterator<Item = (&'a str, &'a str, Unset, &'a str)>) -> String {
    let mut text = String::from("| key | such as | unless set | what it is |\n|---|---|---|---|\n");
    for (name, example, default, help) in keys {
        text.push_str(&format!("| `{name}` | `{example}` | {} | {help}. |\n", unless_set(default)));
    }
    text
}

fn unless_set(default: Unset) -> String {
    match default {
        Unset::Value(value) => format!("`{value}`"),
        Unset::Words(words) => words.to_owned(),
    }
}

#[test]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
fn the_readme_says_what_the_code_knows() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let mut readme = fs::read_to_string(path).unwrap();
    // What stands between `<!-- NAME -->` and `<!-- /NAME -->`.
    for (name, part) in [("settings", settings()), ("times", times())] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let begin = readme.find(&begin).expect("the README has a place for it") + begin.len();
        let end = readme[begin..].find(&end).expect("the place has an end") + begin;
        if std::env::var_os("STREAM_SQSD_WRITE_REFERENCE").is_some() {
            readme.replace_range(begin..end, &part);
        } else {
            assert!(
                readme[begin..end] == part,
                "the {name} in README.md are stale; STREAM_SQSD_WRITE_REFERENCE=1 cargo test --bin stream-sqsd reference"
            );
        }
    }
    if std::env::var_os("STREAM_SQSD_WRITE_REFERENCE").is_some() {
        fs::write(path, readme).unwrap();
    }
}
