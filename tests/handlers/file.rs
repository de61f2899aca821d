//! The promises of the file handler.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use futures_util::future::join_all;
use stream_sqsd::handler::{Context, FailureKind, Handler};
use stream_sqsd::handlers::file::{File, FileError, FileSettings};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::{CHILD, child, event, said, say};

async fn write(file: &File, id: &str) {
    file.handle(event("hello"), Context::for_test(id)).await.unwrap();
}

/// The message ids of a file, each line of which must be whole.
fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line of {} has no end", path.display());
    text.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a whole line");
            line["message_id"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn events_are_appended_to_what_is_there() {
    let place = tempdir().unwrap();
    let path = place.path().join("events.jsonl");
    for id in ["1", "2"] {
        let file = File::open(FileSettings::new(&path)).unwrap();
        write(&file, id).await;
    }
    assert_eq!(ids(&path), ["1", "2"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0, "not for everybody to read");
}

#[tokio::test]
async fn many_events_at_once_are_all_there_once() {
    let place = tempdir().unwrap();
    let path = place.path().join("events.jsonl");
    let file = File::open(FileSettings::new(&path)).unwrap();
    let names: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    join_all(names.iter().map(|name| write(&file, name))).await;
    let mut written = ids(&path);
    written.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(written, names);
}

#[tokio::test]
async fn a_second_writer_is_refused_until_the_first_has_ended() {
    let place = tempdir().unwrap();
    let path = place.path().join("events.jsonl");
    let first = File::open(FileSettings::new(&path)).unwrap();
    let second = File::open(FileSettings::new(&path));
    assert!(matches!(second, Err(FileError::Locked { .. })));
    drop(first);
    File::open(FileSettings::new(&path)).unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_to_is_refused_on_opening() {
    let place = tempdir().unwrap();
    let open = |path: &Path| File::open(FileSettings::new(path)).err().unwrap();
    assert!(matches!(open(place.path()), FileError::NotAFile { .. }));
    assert!(matches!(open(Path::new("/dev/null")), FileError::NotAFile { .. }));
    assert!(matches!(open(&place.path().join("no/events")), FileError::Open { .. }));
    assert!(matches!(open(Path::new("/")), FileError::NoName { .. }));
    let zero = FileSettings::new(place.path().join("events")).with_rotate_size(0);
    assert!(matches!(File::open(zero), Err(FileError::Zero { setting: "rotate_size" })));
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_the_lines_before_it_stay() {
    let place = tempdir().unwrap();
    let path = place.path().join("events.jsonl");
    write(&File::open(FileSettings::new(&path)).unwrap(), "1").await;
    let whole = fs::read(&path).unwrap();
    // A kill can tear a line anywhere; a power failure can leave zeros.
    let mut ends: Vec<Vec<u8>> = (1..whole.len() - 1).map(|length| whole[..length].to_vec()).collect();
    ends.push([&whole[..20], &[0; 100]].concat());
    ends.push(vec![0; 4096]);
    ends.push([br#"{"type":"a","event":""#.as_slice(), &vec![b'x'; 300_000]].concat());
    for end in ends {
        fs::write(&path, [whole.as_slice(), &end].concat()).unwrap();
        drop(File::open(FileSettings::new(&path)).unwrap());
        assert_eq!(fs::read(&path).unwrap(), whole, "after {} bytes", end.len());
    }
}

#[tokio::test]
async fn a_torn_end_in_a_file_with_no_other_line_is_cut_off() {
    let place = tempdir().unwrap();
    let path = place.path().join("events.jsonl");
    fs::write(&path, br#"{"type":"message.ne"#).unwrap();
    write(&File::open(FileSettings::new(&path)).unwrap(), "1").await;
    assert_eq!(ids(&path), ["1"]);
}

#[tokio::test]
async fn a_whole_last_line_that_lacks_its_end_gets_it() {
    let place = tempdir().unwrap();
    let path = place.path().join("events.jsonl");
    write(&File::open(FileSettings::new(&path)).unwrap(), "1").await;
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    write(&File::open(FileSettings::new(&path)).unwrap(), "2").await;
    assert_eq!(ids(&path), ["1", "2"]);
}

#[tokio::test]
async fn a_file_that_somebody_else_wrote_is_refused_and_not_cut() {
    let place = tempdir().unwrap();
    let path = place.path().join("notes.txt");
    fs::write(&path, "first\nno end").unwrap();
    assert!(matches!(File::open(FileSettings::new(&path)), Err(FileError::NotLines { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "first\nno end");
}

#[tokio::test]
async fn a_file_moved_away_keeps_its_lines_and_a_new_one_begins() {
    let place = tempdir().unwrap();
    let (path, old) = (place.path().join("events.jsonl"), place.path().join("events.jsonl.1"));
    let file = File::open(FileSettings::new(&path)).unwrap();
    write(&file, "1").await;
    fs::rename(&path, &old).unwrap();
    write(&file, "2").await;
    fs::remove_file(&path).unwrap();
    write(&file, "3").await;
    assert_eq!((ids(&old), ids(&path)), (vec!["1".to_owned()], vec!["3".to_owned()]));
}

#[tokio::test]
async fn reopening_creates_the_file_before_the_next_event_does() {
    let place = tempdir().unwrap();
    let (path, old) = (place.path().join("events.jsonl"), place.path().join("events.jsonl.1"));
    let file = File::open(FileSettings::new(&path)).unwrap();
    write(&file, "1").await;
    fs::rename(&path, &old).unwrap();
    let reopener = file.reopener();
    reopener.reopen().await;
    // Ending the handler waits for what its thread was asked for.
    drop(file);
    assert_eq!((ids(&old).len(), ids(&path).len()), (1, 0));
    // To ask one that has ended is not an error.
    reopener.reopen().await;
}

#[tokio::test]
async fn a_file_is_rotated_before_it_grows_too_large() {
    let place = tempdir().unwrap();
    let path = place.path().join("events.jsonl");
    let settings = FileSettings::new(&path).with_rotate_size(1000);
    let file = File::open(settings).unwrap();
    for number in 0..40 {
        write(&file, &number.to_string()).await;
    }
    let mut all = Vec::new();
    let mut files = 0;
    for entry in fs::read_dir(place.path()).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.metadata().unwrap().size() <= 1000);
        let name = entry.file_name().into_string().unwrap();
        assert!(name.starts_with("events") && name.ends_with(".jsonl"), "{name}");
        all.extend(ids(&entry.path()));
        files += 1;
    }
    assert!(files >= 4, "only {files} files");
    all.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(all, (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// Writes events side by side for as long as it lives, and says each that it was told success of.
#[tokio::test]
async fn child_that_writes_without_end() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let file = Arc::new(File::open(FileSettings::new(path)).unwrap());
    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let file = file.clone();
        writers.spawn(async move {
            for number in 0.. {
                let id = format!("{}-{writer}-{number}", std::process::id());
                file.handle(event(&"x".repeat(20_000)), Context::for_test(&id)).await.unwrap();
                say(&id);
            }
        });
    }
    writers.join_all().await;
}

#[test]
fn every_success_is_in_the_file_after_kill_9() {
    let place = tempdir().unwrap();
    let path = place.path().join("events.jsonl");
    let mut told = HashSet::new();
    for round in 0..8 {
        let mut child = child("file::child_that_writes_without_end", path.to_str().unwrap()).spawn().unwrap();
        let mut lines = said(&mut child);
        told.extend(lines.by_ref().take(50 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it died counts too.
        told.extend(lines);
        drop(File::open(FileSettings::new(&path)).unwrap());
        let written: HashSet<String> = ids(&path).into_iter().collect();
        let lost: Vec<_> = told.difference(&written).collect();
        assert!(lost.is_empty(), "told as written and not there: {lost:?}");
    }
}

/// Writes until the disk is full, waits to be told that there is room, and writes on.
#[tokio::test]
async fn child_whose_disk_is_full() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let file = File::open(FileSettings::new(&path)).unwrap();
    let mut number = 0;
    let error = loop {
        match file.handle(event(&"x".repeat(1500)), Context::for_test(&number.to_string())).await {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    assert_eq!(ids(Path::new(&path)).len(), number, "half a line was left");
    let id = std::process::id().to_string();
    let freed = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited:unlimited"]).status().unwrap();
    assert!(freed.success());
    write(&file, "after").await;
    assert_eq!(ids(Path::new(&path)).len(), number + 1);
    say(&number.to_string());
}

/// A limit on the size of files stands in for the full disk: a write takes a part and then fails.
#[test]
fn a_size_limit_is_a_target_down_without_half_lines() {
    let place = tempdir().unwrap();
    let inner = child("file::child_whose_disk_is_full", place.path().join("events.jsonl").to_str().unwrap());
    // Ignoring the signal turns the limit into an error; the soft limit can be raised again.
    let mut outer = Command::new("sh");
    outer.args(["-c", r#"trap "" XFSZ; ulimit -S -f 20; exec "$@""#, "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = outer.output().unwrap();
    std::io::stderr().write_all(&output.stderr).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8(output.stdout).unwrap();
    let written: usize = said.split_once("said ").unwrap().1.lines().next().unwrap().parse().unwrap();
    assert!(written > 1, "full before anything was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_directory_dead_letters_nothing() {
    let place = tempdir().unwrap();
    let (directory, away) = (place.path().join("here"), place.path().join("away"));
    fs::create_dir(&directory).unwrap();
    let path = directory.join("events.jsonl");
    let engine = Engine::start(Arc::new(File::open(FileSettings::new(&path)).unwrap()), 64);
    engine.send(20);
    engine.until_deleted(20).await;
    fs::rename(&directory, &away).unwrap();
    engine.meet_an_outage().await;
    engine.send(17);
    fs::rename(&away, &directory).unwrap();
    engine.until_deleted(40).await;
    engine.end().await;
    let written = ids(&path);
    assert_eq!((written.len(), HashSet::<String>::from_iter(written).len()), (40, 40), "each once");
}

/// Writes until the disk is full, makes room, and writes on. The directory is a small file system with a large file.
#[tokio::test]
async fn child_on_a_small_disk() {
    let Ok(place) = std::env::var(CHILD) else { return };
    let place = Path::new(&place);
    let path = place.join("events.jsonl");
    let file = File::open(FileSettings::new(&path)).unwrap();
    let mut number = 0;
    let error = loop {
        match file.handle(event(&"x".repeat(1500)), Context::for_test(&number.to_string())).await {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert_eq!(ids(&path).len(), number, "half a line was left");
    let again = file.handle(event(&"x".repeat(1500)), Context::for_test("again")).await.unwrap_err();
    assert_eq!(again.kind(), FailureKind::TargetDown, "{again}");
    fs::remove_file(place.join("large")).unwrap();
    write(&file, "after").await;
    assert_eq!(ids(&path).len(), number + 1);
    say(&number.to_string());
}

/// On a file system of 256 KiB, which only its own process sees.
#[test]
#[ignore = "needs root, or a kernel that gives name spaces to everybody: `tests/run --all` runs it"]
fn disk_that_is_full_is_a_target_down_without_half_lines() {
    let place = tempdir().unwrap();
    let inner = child("file::child_on_a_small_disk", place.path().to_str().unwrap());
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "--map-root-user", "sh", "-c"]);
    outer.arg(r#"mount -t tmpfs -o size=256k none "$0" && head -c 128k /dev/zero >"$0/large" && exec "$@""#);
    outer.arg(place.path()).arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = outer.output().unwrap();
    std::io::stderr().write_all(&output.stderr).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8(output.stdout).unwrap();
    let written: usize = said.split_once("said ").unwrap().1.lines().next().unwrap().parse().unwrap();
    assert!(written > 1, "full before anything was written");
}

/// Writes one event after the other, in files so small that each takes two, and says each that it was told success of.
#[tokio::test]
async fn child_that_is_looked_over() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let file = File::open(FileSettings::new(path).with_rotate_size(400)).unwrap();
    for id in ["one", "two", "three", "four", "five"] {
        write(&file, id).await;
        say(id);
    }
}

/// The calls of the system, as they were made: what a success rests on is not taken on trust.
#[test]
#[ignore = "needs strace: `tests/run --all` runs it"]
fn disk_has_every_line_and_every_name_before_success_is_told() {
    let place = tempdir().unwrap();
    let (directory, calls) = (place.path().join("here"), place.path().join("calls"));
    fs::create_dir(&directory).unwrap();
    let inner = child("file::child_that_is_looked_over", directory.join("events.jsonl").to_str().unwrap());
    let mut outer = Command::new("strace");
    // With the path of each descriptor, and enough of what is written to tell it by.
    outer.args(["-f", "-y", "-s", "400", "-e", "trace=write,fdatasync,fsync,rename", "-o"]).arg(&calls);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(outer.output().expect("strace runs").status.success());

    let calls = fs::read_to_string(calls).unwrap();
    let (file, directory) = (directory.join("events.jsonl"), directory.display().to_string());
    let file = format!("<{}>", file.display());
    let directory = format!("<{directory}>");
    // What was written and is not on disk yet, what is, and whether the directory's names are.
    let (mut written, mut durable) = (Vec::new(), Vec::new());
    let (mut names_last, mut renamed, mut told) = (false, 0, 0);
    // A call that another thread's interrupted comes in two lines, of which the second has the result.
    let mut syncing = None;
    for call in calls.lines() {
        let call = call.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let begun = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if begun {
            syncing = Some(call.contains(&directory));
        }
        let ended = begun || call.starts_with("<... fdatasync resumed>") || call.starts_with("<... fsync resumed>");
        if ended && call.ends_with("= 0") {
            match syncing.take() {
                Some(true) => names_last = true,
                _ => durable.append(&mut written),
            }
        } else if call.starts_with("rename(") {
            (names_last, renamed) = (false, renamed + 1);
        } else if call.starts_with("write(") && call.contains(&file) {
            let id = call.split_once(r#"\"message_id\":\""#).expect("a line").1.split_once('\\').unwrap().0;
            written.push(id.to_owned());
        } else if let Some((_, said)) = call.split_once(r"\nsaid ") {
            let id = said.split_once('\\').unwrap().0;
            assert!(durable.iter().any(|durable| durable == id), "{id} was told before it was on disk:\n{calls}");
            assert!(names_last, "{id} was told before the name of its file was on disk:\n{calls}");
            told += 1;
        }
    }
    assert_eq!((told, renamed), (5, 2), "{calls}");
}
