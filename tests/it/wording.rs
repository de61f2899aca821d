//! A phrase that we do not use: `typos` (`tests/run spelling`) refuses single words only.

use std::fs;
use std::path::{Path, PathBuf};

/// Where our own text stands.
const FOLDERS: [&str; 7] = ["src", "tests", "deploy", "localstack", ".ci", ".cargo", ".github"];
const FILES: [&str; 6] = ["README.md", "CHANGELOG.md", "Cargo.toml", ".clippy.toml", ".deny.toml", ".typos.toml"];

/// Input that is meant to be broken, what Python compiled, and what LocalStack is made of.
const NOT_OURS: [&str; 4] = ["corpus", "__pycache__", ".run", "Cargo.lock"];

fn files(path: PathBuf, found: &mut Vec<PathBuf>) {
    if NOT_OURS.iter().any(|name| path.ends_with(name)) || path.ends_with(file!()) {
        return;
    }
    match fs::read_dir(&path) {
        Ok(entries) => entries.for_each(|entry| files(entry.unwrap().path(), found)),
        Err(_) => found.push(path),
    }
}

/// The words of a text with their lines: letters alone, so that marks of comments and the underscores of names are passed over.
fn words(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate();
    let words = lines.flat_map(|(number, line)| {
        let words = line.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
        words.map(move |word| (number + 1, word.to_ascii_lowercase()))
    });
    words.collect()
}

/// "is not a file", not "is no file". "There is no file", "is no longer" and "is no more than" are right.
#[test]
fn what_is_not_something_is_said_in_the_usual_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    FOLDERS.iter().chain(&FILES).for_each(|name| files(root.join(name), &mut found));
    assert!(found.len() > 300, "{} files", found.len());
    let mut wrong = Vec::new();
    for path in found {
        // What is not text has no words.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for window in words(&text).windows(4) {
            let [(_, before), (line, verb), (_, no), (_, after)] = window else { unreachable!("four words") };
            let right = before == "there" || matches!(&**after, "longer" | "more" | "faster");
            if matches!(&**verb, "is" | "are") && no == "no" && !right {
                wrong.push(format!("{}:{line}: {before} {verb} no {after}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "write \"not a\": {wrong:#?}");
}
