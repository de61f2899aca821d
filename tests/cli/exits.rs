//! The exit codes, each as the help documents it.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{daemon, file, run, run_with, start, start_writing_to};
use crate::queue::Sqs;

const URL: &str = "http://127.0.0.1:1/123456789012/q";

/// The commands that print, and what they print needs no network.
fn printing(directory: &std::path::Path) -> Vec<Command> {
    let config = file(
        directory,
        "c.toml",
        format!(
            "[queue]\nurl = \"{URL}\"\n[[route]]\nevents = [\"*\"]\nhandler = \"postgres\"\nurl = \"postgres://u@127.0.0.1/d\"\n"
        ),
    );
    let body = file(directory, "body", r#"{"type":"message.new"}"#);
    let commands: [&[&str]; 8] = [
        &["check", "--config", &config],
        &["check", "--json", "--config", &config],
        &["completions", "bash"],
        &["init", "-"],
        &["init-postgres", "--print", "--config", &config],
        &["events"],
        &["events", "message.new"],
        &["decode", &body],
    ];
    commands.iter().map(|arguments| daemon(arguments)).collect()
}

#[test]
fn a_reader_that_has_seen_enough_is_0_whatever_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    for command in printing(directory.path()) {
        let shown = format!("{command:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = start_writing_to(command, Stdio::from(writer)).wait();
        assert_eq!(ended.code, Some(0), "{shown}: {}", ended.stderr);
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_69_whatever_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    for command in printing(directory.path()) {
        let shown = format!("{command:?}");
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = start_writing_to(command, Stdio::from(full)).wait();
        assert_eq!(ended.code, Some(69), "{shown}: {}", ended.stderr);
        assert!(ended.stderr.contains("cannot write to standard output"), "{shown}: {}", ended.stderr);
    }
}

#[test]
fn an_unreadable_configuration_is_2_and_another_file_is_66() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing").to_str().unwrap().to_owned();
    for command in ["run", "check", "health", "init-postgres"] {
        run(daemon(&[command, "--config", &missing])).with(2).saying(&["cannot read"]);
    }
    run(daemon(&["decode", &missing])).with(66);
    let sqs = Sqs::start(MemorySettings::default());
    run(daemon(&["send", "--queue-url", &sqs.url(), &missing])).with(66);
    run_with(daemon(&["send", "--queue-url", &sqs.url()]), b"[1]").with(65);
}

/// A supervisor starts a daemon again unless it ends with 2, and this one's predecessor may only be slow to end.
#[test]
fn a_journal_that_another_daemon_has_open_is_69() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal").to_str().unwrap().to_owned();
    let sqs = Sqs::start(MemorySettings::default());
    let url = sqs.url();
    let arguments = ["run", "--queue-url", &url, "--wait", "1s", "--journal", &journal];
    let first = start(daemon(&arguments));
    sqs.until_called("ReceiveMessage", 2);
    run(daemon(&arguments)).with(69).saying(&["is in use by another process"]);
    first.signal(Signal::TERM);
    first.wait().with(0);
    let folder = directory.path().to_str().unwrap();
    run(daemon(&["run", "--queue-url", &url, "--journal", folder])).with(2).saying(&["is not a regular file"]);
}

#[test]
fn a_second_signal_is_128_and_its_number() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let sqs = Sqs::start(MemorySettings::default());
        let mut daemon = start(daemon(&["run", "--queue-url", &sqs.url(), "--log-format", "human"]));
        sqs.until_called("ReceiveMessage", 2);
        daemon.signal(Signal::TERM);
        daemon.until("draining");
        daemon.signal(signal);
        daemon.wait().with(code);
    }
}

#[test]
fn the_help_documents_every_exit_code() {
    let help = run(daemon(&["--help"])).with(0).stdout;
    let codes = help.split("Exit codes:").nth(1).unwrap();
    for (code, words) in [
        ("0", "done"),
        ("1", "a check has found"),
        ("2", "the configuration is wrong, or cannot be read"),
        ("65", "cannot be decoded"),
        ("66", "a file of bodies or events cannot be read"),
        ("69", "standard output"),
        ("70", "please report it"),
        ("129, 130, 143", "SIGHUP, SIGINT or SIGTERM"),
    ] {
        let line = codes.lines().find(|line| line.trim_start().starts_with(&format!("{code} ")));
        assert!(line.is_some_and(|line| line.contains(words)), "{code}: {words}: {codes}");
    }
}
