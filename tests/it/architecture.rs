//! The code keeps to the plan on the crate's front page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from top to bottom: each may import from those after it.
const ROOMS: [&str; 16] = [
    "handlers",
    "relay",
    "admin",
    "dead_letters",
    "consumer",
    "router",
    "handler",
    "hooks",
    "webhook",
    "decode",
    "event",
    "queue",
    "telemetry",
    "stream",
    "net",
    "shutdown",
];

/// Where one seed must give one history: chance and time are passed in, and nothing depends on the order of a hash map.
const DETERMINISTIC: [&str; 5] = ["dead_letters", "consumer", "router", "handler", "queue/memory"];

/// Their edges to the outside: the journal writes on a thread of its own, in the order and the time of its disk, for
/// which the time of a simulated world stands still.
const EDGES: [&str; 2] = ["consumer/journal/mod", "consumer/journal/file"];

/// The structs of Stream's API contain each other, so the files that they stand in name each other too.
const CONTAIN_EACH_OTHER: &str = "event/object";

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

/// The paths that a file names from `crate::` or `super::` on, each as the names of its modules, with the line.
///
/// `module` is the file's own path. Of `use super::{a::B, c}` both are told.
fn references(module: &[String], lines: &[(usize, String)]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (at, (number, line)) in lines.iter().enumerate() {
        for (start, root) in line.match_indices("crate::").chain(line.match_indices("super::")) {
            // The second `super::` of a chain is read with the first.
            if line[..start].ends_with("super::") {
                continue;
            }
            let rest: Vec<&str> = lines[at + 1..].iter().map(|(_, line)| line.as_str()).collect();
            let text = format!("{}\n{}", &line[start..], rest.join("\n"));
            let mut paths = Vec::new();
            tree(&text, &mut Vec::new(), &mut paths);
            for mut path in paths {
                let supers = path.iter().take_while(|part| *part == "super").count();
                let base = match root {
                    "super::" => &module[..module.len().saturating_sub(supers)],
                    _ => &module[..if module[0] == "bin" { 2 } else { 0 }],
                };
                path.drain(..supers.max(1));
                found.push((*number, base.iter().cloned().chain(path).collect()));
            }
        }
    }
    found
}

/// Reads one tree of a `use`, and returns what stands behind it.
fn tree<'a>(text: &'a str, above: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = above.len();
    let mut text = text;
    loop {
        text = text.trim_start();
        if let Some(group) = text.strip_prefix('{') {
            text = group;
            while !text.trim_start().starts_with('}') {
                text = tree(text, above, found).trim_start();
                text = text.strip_prefix(',').unwrap_or(text);
            }
            text = &text.trim_start()[1..];
            break;
        }
        let name = text.trim_start_matches(|c: char| c.is_alphanumeric() || "_*#".contains(c));
        above.push(text[..text.len() - name.len()].to_owned());
        text = name;
        match text.strip_prefix("::") {
            Some(rest) => text = rest,
            None => {
                found.push(above.clone());
                break;
            }
        }
    }
    above.truncate(depth);
    let end = text.find([',', '}', ';']).unwrap_or(text.len());
    &text[end..]
}

/// All modules, each by its path; those that are folders end with `mod`.
fn modules() -> BTreeMap<Vec<String>, Vec<(usize, String)>> {
    let parts = |name: &str| name.split('/').map(str::to_owned).collect();
    files(&source()).iter().map(|path| read(path)).map(|(name, lines)| (parts(&name), lines)).collect()
}

/// For each folder: which of its entries name which other, and where.
fn imports_within_folders() -> BTreeMap<String, BTreeMap<(String, String), String>> {
    let modules = modules();
    let is_folder = |path: &[String]| modules.contains_key(&[path, &["mod".to_owned()]].concat());
    let mut folders: BTreeMap<String, BTreeMap<(String, String), String>> = BTreeMap::new();
    for (file, lines) in &modules {
        let module = if file.ends_with(&["mod".to_owned()]) { &file[..file.len() - 1] } else { &file[..] };
        for (number, path) in references(module, lines) {
            // The longest beginning that is a module; what is named in a folder itself stands in its `mod.rs`.
            let mut to: Vec<String> = Vec::new();
            for part in path {
                to.push(part);
                if !modules.keys().any(|module| module.starts_with(&to)) {
                    to.pop();
                    break;
                }
            }
            if is_folder(&to) {
                to.push("mod".to_owned());
            }
            let shared = file.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (file.get(shared), to.get(shared)) else { continue };
            if shared > 0 {
                let place = format!("src/{}.rs:{number} {from} → {to}", file.join("/"));
                folders.entry(file[..shared].join("/")).or_default().entry((from.clone(), to.clone())).or_insert(place);
            }
        }
    }
    folders
}

/// What is wrong with a folder: an import from its `mod.rs`, which is above all that it declares, or the arrows that are
/// part of a circle.
fn circle(imports: &BTreeMap<(String, String), String>) -> Vec<&String> {
    // Nothing below `mod.rs` may name it, so it is not a node: what names it is wrong, and what it names is right.
    let upwards: Vec<&String> = imports.iter().filter(|((_, to), _)| to == "mod").map(|(_, place)| place).collect();
    if !upwards.is_empty() {
        return upwards;
    }
    let mut left: BTreeMap<&(String, String), &String> = imports.iter().collect();
    loop {
        // What imports from nothing that is left is in no circle, and neither is what nothing left imports from.
        let from: BTreeSet<&String> = left.keys().map(|(from, _)| from).collect();
        let to: BTreeSet<&String> = left.keys().map(|(_, to)| to).collect();
        let before = left.len();
        left.retain(|arrow, _| from.contains(&arrow.1) && to.contains(&arrow.0));
        if left.len() == before {
            return left.into_values().collect();
        }
    }
}

#[test]
fn no_folder_has_a_circle_of_imports() {
    let folders = imports_within_folders();
    assert!(folders["event"].len() > 20, "the imports are not found: {:?}", folders["event"]);
    let circles = folders.iter().map(|(folder, imports)| (folder.as_str(), circle(imports)));
    let circles = circles.filter(|(folder, arrows)| *folder != CONTAIN_EACH_OTHER && !arrows.is_empty());
    let circles: BTreeMap<&str, Vec<&String>> = circles.collect();
    assert!(circles.is_empty(), "imports upwards or in a circle: {circles:#?}");
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
            // What handlers of users may return, behind a feature.
            if name == "handler" && line.contains("anyhow::Error") {
                continue;
            }
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
            for banned in ["HashMap", "HashSet", "std::time::Instant", "thread::"] {
                assert!(!line.contains(banned), "src/{name}.rs:{number} has {banned}");
            }
            if line.contains("select! {") {
                let next = lines.iter().find(|(other, _)| other > number).map(|(_, line)| line.trim());
                assert_eq!(next, Some("biased;"), "src/{name}.rs:{number}: a select! that is not biased");
            }
        }
    }
}

/// A name is a promise that fits on a line of a report; the cases stand in the body.
#[test]
fn the_names_of_tests_are_at_most_60_characters_long() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut long = Vec::new();
    for path in files(&source()).into_iter().chain(files(&tests)) {
        let text = fs::read_to_string(&path).unwrap();
        // Behind `#[test]` and further attributes, of which one may span lines, the function.
        for test in text.split("#[test]\n").skip(1).chain(text.split("#[tokio::test").skip(1)) {
            let Some((_, function)) = test.split_once("fn ") else { continue };
            let name: String = function.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.len() > 60 {
                long.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "longer than 60 characters: {long:#?}");
}

#[test]
fn every_file_says_what_it_is() {
    for path in files(&source()) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not open by saying what it is", path.display());
    }
}
