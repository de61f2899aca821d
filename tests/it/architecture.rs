//! The code keeps to the plan on the crate's front page.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from top to bottom: each may import from those after it.
const ROOMS: [&str; 10] =
    ["handlers", "admin", "consumer", "router", "handler", "webhook", "decode", "event", "queue", "telemetry"];

/// Where one seed must give one history: chance and time are passed in, and nothing depends on the order of a hash map.
const DETERMINISTIC: [&str; 4] = ["consumer", "router", "handler", "queue/memory"];

/// Their edges to the outside: the journal writes on a thread of its own, in the order and the time of its disk, and no
/// simulated world has one.
const EDGES: [&str; 2] = ["consumer/journal/mod", "consumer/journal/file"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The name of a file below `src`, without its ending, and its lines without comments and without its unit tests.
fn read(path: &Path) -> (String, Vec<(usize, String)>) {
    let name = path.strip_prefix(source()).unwrap().with_extension("").to_str().unwrap().to_owned();
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    let code = lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect();
    (name, code)
}

fn library() -> Vec<(String, Vec<(usize, String)>)> {
    files(&source()).iter().map(|path| read(path)).filter(|(name, _)| !name.starts_with("bin/")).collect()
}

fn room(name: &str) -> Option<usize> {
    let first = name.split(['/', ':']).next().unwrap();
    ROOMS.iter().position(|room| *room == first)
}

#[test]
fn imports_point_downwards_only() {
    for (name, lines) in library() {
        if name == "lib" {
            continue;
        }
        let from = room(&name).unwrap_or_else(|| panic!("src/{name}.rs is in no room of the plan"));
        for (number, line) in lines {
            for (at, _) in line.match_indices("crate::") {
                let target: String = line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(to) = room(&target) else { continue };
                assert!(to >= from, "src/{name}.rs:{number}: {} imports upwards from {target}", ROOMS[from]);
            }
        }
    }
}

#[test]
fn the_binary_imports_downwards_too() {
    let below = source().join("bin/stream-sqsd");
    let main = fs::read_to_string(below.join("main.rs")).unwrap();
    let order: Vec<&str> = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let position = |name: &str| order.iter().position(|module| *module == name);
    for path in files(&below) {
        let (name, lines) = read(&path);
        let module = name.strip_prefix("bin/stream-sqsd/").unwrap().split('/').next().unwrap();
        if module == "main" {
            continue;
        }
        let from = position(module).unwrap_or_else(|| panic!("main.rs does not declare {module} on a line of its own"));
        for (number, line) in lines {
            for (at, _) in line.match_indices("crate::") {
                let target: String = line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let to = position(&target).unwrap_or_else(|| panic!("src/{name}.rs:{number}: where is {target}?"));
                assert!(to >= from, "src/{name}.rs:{number}: {module} imports upwards from {target}");
            }
        }
    }
}

#[test]
fn aws_is_named_in_its_room_only() {
    for (name, lines) in library() {
        for (number, line) in lines {
            let names_aws = line.contains("aws_sdk") || line.contains("aws_config") || line.contains("aws_smithy");
            assert!(!names_aws || name.starts_with("queue/sqs"), "src/{name}.rs:{number} names AWS: {line}");
        }
    }
}

#[test]
fn what_is_the_binarys_stays_in_the_binary() {
    for (name, lines) in library() {
        for (number, line) in lines {
            for foreign in ["clap::", "anyhow::", "std::env::args", "std::process::exit"] {
                assert!(!line.contains(foreign), "src/{name}.rs:{number} has {foreign}");
            }
        }
    }
}

#[test]
fn one_seed_gives_one_history() {
    for (name, lines) in library() {
        let deterministic = DETERMINISTIC.iter().any(|place| name == *place || name.starts_with(&format!("{place}/")));
        if !deterministic || EDGES.contains(&&*name) {
            continue;
        }
        for (number, line) in &lines {
            for banned in ["HashMap", "HashSet", "spawn_blocking", "tokio::spawn", "std::time::Instant", "thread::"] {
                assert!(!line.contains(banned), "src/{name}.rs:{number} has {banned}");
            }
            if line.contains("select! {") {
                let next = lines.iter().find(|(other, _)| other > number).map(|(_, line)| line.trim());
                assert_eq!(next, Some("biased;"), "src/{name}.rs:{number}: a select! that is not biased");
            }
            let ambient = line.contains("SystemTime::now") || line.contains("fastrand::Rng::new()");
            let the_one_place = name == "consumer/settings" || name == "consumer/run";
            assert!(!ambient || the_one_place, "src/{name}.rs:{number}: clock and chance are passed in");
        }
    }
}

/// `30s` in one line of the log and `1.5m` in another cannot be compared: a time is a number, with its unit in its name.
#[test]
fn no_field_of_the_log_is_rusts_own_rendering() {
    for (name, lines) in files(&source()).iter().map(|path| read(path)) {
        for (number, line) in lines {
            assert!(!line.contains(" = ?"), "src/{name}.rs:{number}: a field as Debug renders it: {line}");
        }
    }
}

#[test]
fn tasks_belong_to_somebody() {
    for (name, lines) in library() {
        for (number, line) in lines {
            assert!(!line.contains("tokio::spawn("), "src/{name}.rs:{number}: a task that nobody owns");
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for path in files(&source()) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not open by saying what it is", path.display());
    }
}
