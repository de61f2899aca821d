//! `run` and `demo`: events, signals, summary and exit codes.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{daemon, file, on_a_terminal, run, start, start_writing_to};
use crate::queue::Sqs;

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_event_is_a_line_and_the_run_ends_with_the_queue() {
    let sqs = Sqs::start(MemorySettings::default());
    for number in 0..25 {
        sqs.queue().send(format!(r#"{{"type":"message.new","n":{number}}}"#));
    }
    let ended =
        run(daemon(&["run", "--queue-url", &sqs.url(), "--until-empty", "--wait", "1s", "--log-format", "human"]));
    let ended = ended.with(0).saying(&["received 25 = deleted 25 + nacked 0 + returned 0 + interrupted 0"]);
    let events = lines(&ended.stdout);
    let mut numbers: Vec<u64> = events.iter().map(|line| line["event"]["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..25).collect::<Vec<u64>>());
    assert_eq!(sqs.queue().counts().deleted, 25);
}

#[test]
fn off_a_terminal_log_and_summary_are_json_lines() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.queue().send(r#"{"type":"message.new"}"#);
    let mut command = daemon(&["run", "--until-empty"]);
    command.env("STREAM_SQSD_QUEUE_URL", sqs.url()).env("STREAM_SQSD_WAIT", "1s").env("RUST_LOG", "off");
    let ended = run(command).with(0);
    let log = lines(&ended.stderr);
    assert_eq!(log.len(), 1, "{}", ended.stderr);
    assert_eq!(log[0]["deleted"], 1);
    assert_eq!(log[0]["adds_up"], true);
}

#[test]
fn a_first_signal_drains_an_idle_run() {
    for signal in [Signal::TERM, Signal::INT] {
        let sqs = Sqs::start(MemorySettings::default());
        let daemon = start(daemon(&["run", "--queue-url", &sqs.url(), "--wait", "1s", "--log-format", "human"]));
        sqs.until_called("ReceiveMessage", 2);
        daemon.signal(signal);
        daemon.wait().with(0).saying(&[
            "draining: the open long poll returns within 1s; a second signal stops at once",
            "shutdown summary (drained)",
        ]);
    }
}

#[test]
fn a_second_signal_ends_at_once_and_says_which_it_was() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let sqs = Sqs::start(MemorySettings::default());
        let mut daemon = start(daemon(&["run", "--queue-url", &sqs.url(), "--wait", "20s", "--log-format", "human"]));
        // The first receive is a short one; the second waits for as long as there is nothing.
        sqs.until_called("ReceiveMessage", 2);
        daemon.signal(Signal::TERM);
        daemon.until("draining");
        daemon.signal(signal);
        daemon.wait().with(code);
    }
}

#[test]
fn a_hangup_opens_files_again_and_the_run_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events.jsonl");
    let sqs = Sqs::start(MemorySettings::default());
    let toml = format!("[[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = {events:?}\n");
    let path = file(directory.path(), "c.toml", toml);
    let arguments = ["run", "--config", &path, "--queue-url", &sqs.url(), "--wait", "1s", "--log-format", "human"];
    let mut daemon = start(daemon(&arguments));
    sqs.until_called("ReceiveMessage", 2);
    std::fs::rename(&events, directory.path().join("put-aside.jsonl")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.until("the file was opened again");
    assert!(events.exists(), "it is there before the next event");
    sqs.queue().send(r#"{"type":"message.new"}"#);
    sqs.until_called("DeleteMessageBatch", 1);
    daemon.signal(Signal::TERM);
    daemon.wait().with(0).saying(&["deleted 1 +"]);
    assert_eq!(lines(&std::fs::read_to_string(events).unwrap()).len(), 1);
}

#[test]
fn a_hangup_drains_a_run_without_files_unless_under_nohup() {
    let sqs = Sqs::start(MemorySettings::default());
    let url = sqs.url();
    let arguments = ["run", "--queue-url", &url, "--wait", "1s", "--log-format", "human"];
    let hung_up = start(daemon(&arguments));
    sqs.until_called("ReceiveMessage", 2);
    hung_up.signal(Signal::HUP);
    hung_up.wait().with(0).saying(&["asked to stop"]);

    let inner = daemon(&arguments);
    let mut nohup = Command::new("nohup");
    nohup.arg(inner.get_program()).args(inner.get_args()).env_clear();
    nohup.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let before = sqs.calls("ReceiveMessage").len();
    let kept = start(nohup);
    sqs.until_called("ReceiveMessage", before + 2);
    kept.signal(Signal::HUP);
    // More than what a drain would wait for.
    sqs.until_called("ReceiveMessage", before + 5);
    kept.signal(Signal::TERM);
    kept.wait().with(0);
}

#[test]
fn a_reader_that_goes_away_while_messages_wait_drains_and_is_69() {
    let directory = tempfile::tempdir().unwrap();
    let no_route = file(directory.path(), "none.toml", "");
    let route = file(directory.path(), "one.toml", "[[route]]\nevents = [\"*\"]\nhandler = \"stdout\"\n");
    for config in [no_route, route] {
        let sqs = Sqs::start(MemorySettings::default());
        for _ in 0..30 {
            sqs.queue().send(r#"{"type":"message.new"}"#);
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let command = daemon(&["run", &config, "--queue-url", &sqs.url(), "--wait", "1s", "--log-format", "human"]);
        let ended = start_writing_to(command, Stdio::from(writer)).wait();
        ended.with(69).saying(&["nobody reads standard output any more"]);
        let counts = sqs.queue().counts();
        assert_eq!((counts.deleted, counts.visible), (0, 30), "{config}: everything is returned: {counts:?}");
    }
}

/// As `>> events.jsonl` does, to a file that a full disk has left without the end of its last line.
#[test]
fn a_line_is_never_appended_to_half_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let sqs = Sqs::start(MemorySettings::default());
    for before in ["", "{\"type\":\"message.new\",\"mess", "{\"type\":\"message.new\"}\n"] {
        std::fs::write(&path, before).unwrap();
        sqs.queue().send(r#"{"type":"call.created"}"#);
        let out = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let command = daemon(&["run", "--queue-url", &sqs.url(), "--wait", "1s", "--until-empty"]);
        start_writing_to(command, Stdio::from(out)).wait().with(0);
        let content = std::fs::read_to_string(&path).unwrap();
        let added = content.strip_prefix(before).unwrap();
        let torn = !before.is_empty() && !before.ends_with('\n');
        assert_eq!((added.starts_with('\n'), added.matches('\n').count()), (torn, 1 + usize::from(torn)), "{content}");
        assert_eq!(lines(added.trim_start())[0]["type"], "call.created");
    }
}

#[test]
fn a_denied_queue_is_69_and_names_permission_and_queue() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.deny("ReceiveMessage");
    run(daemon(&["run", "--queue-url", &sqs.url()])).with(69).saying(&[
        "access denied to sqs:ReceiveMessage",
        "Allow sqs:ReceiveMessage on arn:aws:sqs:us-east-1:123456789012:chat-events",
    ]);
}

#[test]
fn a_queue_whose_attributes_are_secret_is_consumed_all_the_same() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.deny("GetQueueAttributes");
    sqs.queue().send(r#"{"type":"message.new"}"#);
    run(daemon(&["run", "--queue-url", &sqs.url(), "--until-empty", "--wait", "1s"])).with(0).saying(&["\"WARN\""]);
    assert_eq!(sqs.queue().counts().deleted, 1);
}

#[test]
fn what_cannot_be_reached_is_69_with_advice() {
    run(daemon(&["run", "--queue-url", "http://127.0.0.1:1/123456789012/q"]))
        .with(69)
        .saying(&["cannot be reached", "endpoint"]);
    let mut command = daemon(&["run", "--queue-url", "http://127.0.0.1:1/123456789012/q"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    run(command).with(69).saying(&["no good credentials", "AWS_ACCESS_KEY_ID"]);
}

#[test]
fn a_region_against_the_url_is_2_and_that_of_the_shell_is_not() {
    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/q";
    run(daemon(&["run", "--queue-url", url, "--region", "us-east-1"])).with(2).saying(&["eu-west-1", "us-east-1"]);
}

#[test]
fn routes_send_each_event_to_the_first_that_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = Sqs::start(MemorySettings::default());
    for body in [
        r#"{"type":"message.new","cid":"livestream:1"}"#,
        r#"{"type":"message.new","cid":"messaging:1","team":"red"}"#,
        r#"{"type":"reaction.new","channel_type":"livestream","cid":"messaging:1"}"#,
        r#"{"type":"call.created"}"#,
    ] {
        sqs.queue().send(body);
    }
    let (streams, red) = (directory.path().join("streams.jsonl"), directory.path().join("red.jsonl"));
    let toml = format!(
        "[queue]\nurl = \"{}\"\nwait = \"1s\"\n\
         [[route]]\nevents = [\"message.*\", \"reaction.*\"]\nchannel_type = \"livestream\"\nhandler = \"file\"\npath = {streams:?}\n\
         [[route]]\nevents = [\"*\"]\nteam = [\"red\", \"blue\"]\nhandler = \"file\"\npath = {red:?}\n",
        sqs.url()
    );
    let path = file(directory.path(), "c.toml", toml);
    let ended = run(daemon(&["run", "--config", &path, "--until-empty", "--log-format", "human"])).with(0);
    let ended = ended.saying(&["deleted 4", "unrouted 1"]);
    assert_eq!(ended.stdout, "");
    let read = |path| lines(&std::fs::read_to_string(path).unwrap());
    let mut types: Vec<String> = read(streams).iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect();
    types.sort();
    assert_eq!(types, ["message.new", "reaction.new"]);
    assert_eq!(read(red)[0]["event"]["team"], "red");
}

#[test]
fn beyond_256_unknown_types_the_log_tells_of_them_once() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = Sqs::start(MemorySettings::default());
    for number in 0..600 {
        sqs.queue().send(format!(r#"{{"type":"made_up_{number}"}}"#));
    }
    let toml = "[[route]]\nevents = [\"message.*\"]\nhandler = \"stdout\"\n";
    let path = file(directory.path(), "c.toml", toml);
    let ended = run(daemon(&["run", "--config", &path, "--queue-url", &sqs.url(), "--until-empty", "--wait", "1s"]));
    let told = ended.with(0).stderr.matches("no route takes events of this type").count();
    assert_eq!(told, 256 + 1, "of 600");
}

#[test]
fn a_type_is_cut_in_each_line_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = Sqs::start(MemorySettings::default());
    let (kind, other) = ("x".repeat(200), "y".repeat(200));
    sqs.queue().send(format!(r#"{{"type":"{kind}","team":"red"}}"#));
    sqs.queue().send(format!(r#"{{"type":"{other}"}}"#));
    let toml = "[[route]]\nevents = [\"*\"]\nteam = \"red\"\nhandler = \"exec\"\n\
                command = [\"sh\", \"-c\", \"echo one >&2; echo two >&2\"]\n";
    let path = file(directory.path(), "c.toml", toml);
    let mut command = daemon(&["run", "--config", &path, "--queue-url", &sqs.url(), "--until-empty", "--wait", "1s"]);
    // With the spans of messages, which are off unless they are asked for.
    command.env("RUST_LOG", "stream_sqsd::message=info");
    let said = run(command).with(0).saying(&["the program says", "no route takes events of this type"]).stderr;
    for kind in [kind, other] {
        assert!(said.contains(&kind[..120]) && !said.contains(&kind[..121]), "{said}");
    }
}

#[test]
fn a_terminal_is_sent_no_commands_of_a_sender() {
    let sqs = Sqs::start(MemorySettings::default());
    let text = "\u{9d}0;title\u{9c} \u{202e}olleh";
    sqs.queue().send(format!(r#"{{"type":"message.new","text":"{text}"}}"#));
    let command = daemon(&["run", "--queue-url", &sqs.url(), "--until-empty", "--wait", "1s"]);
    let shown = run(on_a_terminal(&command)).with(0).stdout;
    assert!(shown.contains(r#""text":"\u009d0;title\u009c \u202eolleh""#), "{shown:?}");
    assert!(!shown.contains(['\u{9d}', '\u{9c}', '\u{202e}']), "{shown:?}");
}

/// How long the receives after the first, which is short, are to wait.
fn waits(sqs: &Sqs) -> Vec<Value> {
    sqs.calls("ReceiveMessage").iter().skip(1).map(|call| call["WaitTimeSeconds"].clone()).collect()
}

#[test]
fn on_a_terminal_a_receive_waits_2s_unless_told_otherwise() {
    let sqs = Sqs::start(MemorySettings::default());
    let queue = ["run", "--until-empty", "--queue-url", &sqs.url()];
    run(on_a_terminal(&daemon(&queue))).with(0);
    assert!(!waits(&sqs).is_empty() && waits(&sqs).iter().all(|wait| *wait == 2), "{:?}", waits(&sqs));

    let named = Sqs::start(MemorySettings::default());
    run(on_a_terminal(&daemon(&["run", "--until-empty", "--wait", "3s", "--queue-url", &named.url()]))).with(0);
    assert!(!waits(&named).is_empty() && waits(&named).iter().all(|wait| *wait == 3), "{:?}", waits(&named));
}

#[test]
fn off_a_terminal_a_receive_waits_20s_and_the_drain_says_so() {
    let sqs = Sqs::start(MemorySettings::default());
    let mut daemon = start(daemon(&["run", "--queue-url", &sqs.url()]));
    sqs.until_called("ReceiveMessage", 2);
    assert_eq!(waits(&sqs)[0], 20);
    daemon.signal(Signal::INT);
    daemon.until("draining: the open long poll returns within 20s");
    daemon.signal(Signal::INT);
    daemon.wait().with(130);
}

#[test]
fn a_wait_of_the_terminal_does_not_let_a_check_pass() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "c.toml", "grace = \"10s\"\n[queue]\nurl = \"http://127.0.0.1:1/1/q\"\n");
    // Under a supervisor it would be refused.
    run(on_a_terminal(&daemon(&["check", "--config", &path]))).with(2);
}

#[test]
fn no_message_of_a_json_log_holds_a_line_end() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.queue().send(r#"{"type":"message.new"}"#);
    let mut command = daemon(&["run", "--queue-url", &sqs.url(), "--until-empty", "--wait", "1s"]);
    command.env("STREAM_SQSD_GRACE\n", "30s");
    let ended = run(command).with(0).saying(&["shutdown summary", "did you mean STREAM_SQSD_GRACE?"]);
    for line in lines(&ended.stderr) {
        assert!(!line["message"].as_str().unwrap().contains(['\n', '\r']), "{line}");
    }
}

#[test]
fn times_in_a_json_log_have_their_unit_in_the_name() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.set("chat-events", &[("VisibilityTimeout", "45")]);
    let mut daemon = start(daemon(&["run", "--queue-url", &sqs.url(), "--wait", "1s"]));
    let consuming: Value = serde_json::from_str(&daemon.until("\"consuming\"")).unwrap();
    assert_eq!(consuming["visibility_seconds"], 45.0, "{consuming}");
    // The second follows the first one's answer: a refusal of the very first would be the end of the run.
    sqs.until_called("ReceiveMessage", 2);
    sqs.deny("ReceiveMessage");
    let refused: Value = serde_json::from_str(&daemon.until("nothing can be received")).unwrap();
    assert!(refused["retry_in_seconds"].as_f64().unwrap() > 3.0, "{refused}");
    assert_eq!(refused["message"], "nothing can be received");
    assert!(refused["error"].as_str().unwrap().contains("access denied to sqs:ReceiveMessage"), "{refused}");
    daemon.signal(Signal::TERM);
    daemon.wait().with(0);
}

/// What the log says of a body that cannot be decoded, and of everything before it.
fn said_of(sqs: &Sqs, body: &str) -> String {
    sqs.queue().send(body);
    let mut daemon = start(daemon(&["run", "--queue-url", &sqs.url(), "--wait", "1s"]));
    daemon.until("a body cannot be decoded");
    daemon.signal(Signal::TERM);
    daemon.wait().with(0).stderr
}

#[test]
fn without_a_redrive_policy_the_log_knows_no_dead_letter_queue() {
    let sqs = Sqs::start(MemorySettings::default());
    let said = said_of(&sqs, "%%%");
    assert!(!said.contains("dead-letter") && !said.contains("dead_letter"), "{said}");

    let sqs = Sqs::start(MemorySettings::default());
    let redrive = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead","maxReceiveCount":5}"#;
    sqs.set("chat-events", &[("RedrivePolicy", redrive)]);
    assert!(said_of(&sqs, "%%%").contains("it is left for the dead-letter queue"));
}

#[test]
fn a_body_that_looks_like_streams_connection_test_is_said_to() {
    for body in [r#"{"message":"hello"}"#, "{}", "This is a test message", "test"] {
        let said = said_of(&Sqs::start(MemorySettings::default()), body);
        assert!(said.contains("it may be Stream's connection test"), "{body}: {said}");
    }
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(2000));
    for body in ["%%%", r#"{"type":"#, &long, r#"[{"feed":"a:b","new":[]}]"#] {
        let said = said_of(&Sqs::start(MemorySettings::default()), body);
        assert!(!said.contains("connection test"), "{body}: {said}");
    }
}

#[test]
fn the_demo_shows_what_can_happen_to_a_message_and_ends() {
    let ended = run(daemon(&["demo", "--messages", "40", "--log-format", "human"])).with(0).saying(&[
        "deleted 38 +",
        "what the demo's queue knows",
        "sent 40 = deleted 38 + dead-lettered 2 + still there 0",
        "after 3 receives: invalid base64 encoding",
        "whose handler failed each time",
    ]);
    let events = lines(&ended.stdout);
    assert_eq!(events.len(), 38);
    assert!(events.iter().any(|line| line["receive_count"] == 3), "one succeeds at its third try");
}

#[test]
fn on_a_terminal_the_demo_prints_one_short_line_an_event() {
    let shown = run(on_a_terminal(&daemon(&["demo", "--messages", "40"]))).with(0).stdout;
    assert!(!shown.contains(r#"{"type":"#), "{shown}");
    let types = ["message.", "member.added", "plant_watered", "reaction.new"];
    let is_event = |line: &&str| types.iter().any(|name| line.starts_with(name));
    // Between two of the terminal's commands, which move the progress line out of the way.
    let events: Vec<&str> = shown.split(['\r', '\n', '\u{1b}']).map(after_command).filter(is_event).collect();
    assert_eq!(events.len(), 38, "{shown}");
    assert!(events.iter().all(|line| line.chars().count() <= 80), "{events:?}");
    assert_eq!(events.iter().filter(|line| line.ends_with("(receive 3)")).count(), 1, "{events:?}");
}

/// What stands behind the rest of a command to the terminal, such as `[2K`.
fn after_command(text: &str) -> &str {
    let rest = text.strip_prefix('[').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    rest.map_or(text, |rest| rest.get(1..).unwrap_or_default())
}
