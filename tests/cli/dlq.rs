//! `dlq`: what each verb says, whom it asks, how it ends, and that nothing stays hidden.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rustix::process::Signal;
use serde_json::{Value, json};
use stream_sqsd::queue::MessageId;
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};

use crate::daemon::{Ended, daemon, file, on_a_terminal, run, run_with, start};
use crate::queue::Sqs;
use crate::support::until::block_until;

/// What the messages say, which is seen only where somebody asks for it.
const PRIVATE: &str = "meet me at the old mill";

fn event(kind: &str) -> String {
    format!(r#"{{"type":"{kind}","cid":"messaging:1","message":{{"text":"{PRIVATE}"}}}}"#)
}

/// A dead-letter queue of four kinds: three events that a route takes, one that none does, two that cannot be decoded.
fn four_kinds() -> (Sqs, Vec<MessageId>) {
    let sqs = Sqs::with_dead_letter_queue();
    let bodies = [
        event("message.new"),
        event("message.new"),
        event("message.deleted"),
        event("reaction.new"),
        format!("{PRIVATE}: neither base64 nor JSON!"),
        "nor is this!".to_owned(),
    ];
    let ids = bodies.into_iter().map(|body| sqs.dead().send(body)).collect();
    (sqs, ids)
}

/// A configuration with a route that takes messages, by a program.
fn configuration(directory: &Path, program: &str) -> String {
    let toml = format!(
        "[[route]]\nname = \"hook\"\nevents = [\"message.*\"]\nhandler = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", {program:?}]\n"
    );
    file(directory, "c.toml", toml)
}

struct Dlq {
    sqs: Sqs,
    ids: Vec<MessageId>,
    directory: tempfile::TempDir,
    path: String,
}

impl Dlq {
    /// The four kinds, and a route whose program is this.
    fn with(program: &str) -> Dlq {
        let (sqs, ids) = four_kinds();
        let directory = tempfile::tempdir().unwrap();
        let path = configuration(directory.path(), program);
        Dlq { sqs, ids, directory, path }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let url = self.sqs.url();
        let mut all = vec!["dlq", arguments[0], "--config", &self.path, "--queue-url", &url];
        all.extend(&arguments[1..]);
        let mut command = daemon(&all);
        command.current_dir(self.directory.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        run(self.command(arguments))
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        serde_json::from_str(&self.run(arguments).with(code).stdout).unwrap()
    }

    /// How many can be received now, how many cannot, and how many are gone.
    fn counts(&self) -> (u64, u64, u64) {
        let counts = self.sqs.dead().counts();
        (counts.visible, counts.hidden, counts.deleted)
    }

    fn id(&self, number: usize) -> &str {
        self.ids[number].as_str()
    }
}

#[test]
fn list_says_how_many_why_and_until_when() {
    let dlq = Dlq::with("exit 0");
    let listing = dlq.json(&["list", "--json"], 0);
    assert_eq!(listing["messages"], 6);
    let groups = listing["groups"].as_array().unwrap();
    let facts: Vec<_> = groups
        .iter()
        .map(|group| (group["count"].as_u64().unwrap(), group["reason"].as_str(), group["route"].as_str()))
        .collect();
    assert_eq!(facts[0], (3, None, Some("hook")));
    assert!(facts.iter().any(|(count, reason, _)| *count == 2 && reason.unwrap().starts_with("invalid_base64")));
    assert!(facts.iter().any(|(count, reason, _)| *count == 1 && reason.unwrap().starts_with("unrouted")));
    assert_eq!(groups[0]["types"], json!(["message.deleted", "message.new"]));
    let keys: Vec<&String> = groups[0].as_object().unwrap().keys().collect();
    let mut expected = ["count", "ids", "newest_sent_at", "oldest_sent_at", "reason", "route", "types"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    // 14 days after it was sent.
    let time = |name: &str| listing[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!((time("first_lost_at") - time("oldest_sent_at")).get_seconds(), 1_209_600);
    let told = dlq.run(&["list"]).with(0).stdout;
    let told_time = |what: &str| {
        let (_, rest) = told.split_once(what).unwrap_or_else(|| panic!("{told}"));
        rest.split([',', '\n']).next().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    let kept = told_time("the first is lost at ") - told_time("the oldest was sent at ");
    assert_eq!(kept.get_seconds(), 1_209_600, "{told}");
    assert_eq!(dlq.counts(), (6, 0, 0), "all is visible again");
    assert_eq!(dlq.sqs.dead().receive_count(&dlq.ids[0]), Some(2), "one look is one receive");
}

#[test]
fn list_is_a_table_on_a_terminal_and_fields_elsewhere() {
    let dlq = Dlq::with("exit 0");
    let plain = dlq.run(&["list", "--type", "message.*"]).with(0);
    assert!(plain.stdout.contains("/dead: 3 dead letters\n"), "{}", plain.stdout);
    assert!(plain.stdout.contains("3\tnot known\thook\tmessage.deleted message.new\t"), "{}", plain.stdout);
    assert!(!plain.stdout.contains('\x1b') && !plain.stdout.contains("count"), "{}", plain.stdout);
    plain.saying(&["counts as a receive", "[dead_letters]"]);

    let shown = run(on_a_terminal(&dlq.command(&["list"]))).with(0).stdout;
    assert!(shown.contains("\x1b[1mcount  reason") && shown.contains("    3  not known"), "{shown}");
    for text in [&plain_stdout(&dlq), &shown] {
        assert!(!text.contains(PRIVATE), "no text of a message: {text}");
    }
}

fn plain_stdout(dlq: &Dlq) -> String {
    let ended = dlq.run(&["list"]);
    ended.stdout + &ended.stderr
}

#[test]
fn reasons_come_from_the_file_and_from_saved_logs() {
    let dlq = Dlq::with("exit 0");
    let reasons = dlq.directory.path().join("reasons.jsonl");
    let record = |id: &str, error: &str| {
        json!({"time": "2026-11-21T03:12:45.003Z", "message_id": id, "receive_count": 3, "route": "hook",
            "outcome": "rejected", "error": error, "version": "0.1.0"})
    };
    // The older file, and a torn line.
    file(dlq.directory.path(), "reasons.jsonl.1", format!("{}\n", record(dlq.id(0), "answered 422")));
    file(dlq.directory.path(), "reasons.jsonl", "{\"torn");
    let mut logged = record(dlq.id(1), "answered 410");
    logged["level"] = "WARN".into();
    let log = file(dlq.directory.path(), "host-b.log", format!("not JSON\n{logged}\n"));
    let with_file = ["list", "--json", "--dead-letters-reasons", reasons.to_str().unwrap(), "--reasons", &log];
    let listing = dlq.json(&with_file, 0);
    let reasons: Vec<&str> =
        listing["groups"].as_array().unwrap().iter().filter_map(|group| group["reason"].as_str()).collect();
    for expected in ["rejected: answered 422", "rejected: answered 410"] {
        assert!(reasons.contains(&expected), "{expected} is not in {reasons:?}");
    }
    let found = dlq.json(&["list", "--json", "--reasons", &log, "--reason", "ANSWERED 410"], 0);
    assert_eq!((&found["messages"], &found["groups"][0]["ids"]), (&json!(1), &json!([dlq.id(1)])));
    dlq.run(&["list", "--reasons", "/nonexistent"]).with(2).saying(&["--reasons: /nonexistent"]);
}

#[test]
fn show_prints_a_message_whole() {
    let dlq = Dlq::with("exit 0");
    let shown = dlq.run(&["show", dlq.id(0), dlq.id(4)]).with(0).stdout;
    for text in [dlq.id(0), "message.new", PRIVATE, "hook, to the program /bin/sh", "JSON", "messaging:1"] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    assert!(shown.contains("invalid_base64_encoding") && shown.contains("it would fail in the same way"), "{shown}");
    let whole = dlq.json(&["show", "--json", dlq.id(2)], 0);
    assert_eq!((&whole["message_id"], &whole["route"]), (&json!(dlq.id(2)), &json!("hook")));
    assert_eq!(
        (&whole["event"]["message"]["text"], &whole["body"]),
        (&json!(PRIVATE), &json!(event("message.deleted")))
    );
    dlq.run(&["show", "dead-letter-99999999"]).with(1).saying(&["was not found"]);
    dlq.run(&["show", "short"]).with(2).saying(&["too short"]);
    assert_eq!(dlq.counts(), (6, 0, 0));
}

#[test]
fn retry_handles_what_matches_and_leaves_the_others_alone() {
    let dlq = Dlq::with("cat > $STREAM_MESSAGE_ID");
    let ended = dlq.run(&["retry", "--yes", "--type", "message.new"]).with(0);
    for number in [0, 1] {
        assert!(ended.stdout.contains(&format!("handled  {}\n", dlq.id(number))), "{}", ended.stdout);
        let handled = fs::read_to_string(dlq.directory.path().join(dlq.id(number))).unwrap();
        assert!(handled.contains(PRIVATE), "the handler was called with the old id");
    }
    assert!(
        ended.stdout.contains("seen 6 = handled 2 + failed 0 + did not match 4 + left 0 + lost 0\n"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("approximately, SQS says: 6 before, 4 after\n"), "{}", ended.stdout);
    assert_eq!(dlq.counts(), (4, 0, 2));
    assert!(!(ended.stdout + &ended.stderr).contains(PRIVATE));
}

#[test]
fn what_fails_again_stays_and_its_new_reason_is_kept() {
    let dlq = Dlq::with("exit 65");
    let reasons = dlq.directory.path().join("reasons.jsonl");
    let reasons = reasons.to_str().unwrap();
    let ended = dlq.run(&["retry", "--yes", "--json", "--dead-letters-reasons", reasons]).with(1);
    let mut lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sums = lines.pop().unwrap();
    assert_eq!((&sums["seen"], &sums["handled"], &sums["failed"]), (&json!(6), &json!(0), &json!(6)), "{sums}");
    assert_eq!(lines.len(), 6, "one for each");
    let of = |number: usize| lines.iter().find(|line| line["message_id"] == dlq.id(number)).unwrap();
    assert_eq!(of(0)["outcome"], "failed");
    assert!(of(0)["reason"].as_str().unwrap().contains("exit status: 65"), "{}", of(0));
    assert!(of(3)["reason"].as_str().unwrap().starts_with("unrouted"), "{}", of(3));
    assert_eq!(dlq.counts(), (6, 0, 0));
    let listed = dlq.json(&["list", "--json", "--dead-letters-reasons", reasons, "--reason", "exit status: 65"], 0);
    assert_eq!(listed["messages"], 3);
    let mode = fs::metadata(format!("{reasons}.dlq")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_limit_and_a_dry_run_leave_the_rest() {
    let dlq = Dlq::with("echo called >> calls");
    let ended = dlq.run(&["retry", "--dry-run", "--limit", "2", "--route", "hook"]).with(0);
    assert_eq!(ended.stdout.matches("goes to the route hook").count(), 2, "{}", ended.stdout);
    assert!(ended.stdout.ends_with("nothing was done\n"), "{}", ended.stdout);
    let ended = dlq.run(&["retry", "--dry-run", "--type", "message.deleted"]).with(0);
    assert!(ended.stdout.ends_with("seen 6, of which 1 match; nothing was done\n"), "{}", ended.stdout);
    assert!(!dlq.directory.path().join("calls").exists());
    assert_eq!(dlq.counts(), (6, 0, 0));
    let limited = dlq.run(&["retry", "--yes", "--limit", "1", "--route", "hook"]).with(0);
    assert!(limited.stdout.contains("handled 1 + failed 0"), "{}", limited.stdout);
    assert_eq!(fs::read_to_string(dlq.directory.path().join("calls")).unwrap(), "called\n");
    assert_eq!(dlq.counts(), (5, 0, 1));
}

#[test]
fn changes_ask_on_a_terminal_and_need_yes_elsewhere() {
    let dlq = Dlq::with("exit 0");
    let export = dlq.directory.path().join("export.jsonl");
    dlq.run(&["export", "--yes", "export.jsonl"]).with(0);
    let asking: [&[&str]; 3] = [&["retry"], &["export", "other.jsonl"], &["drop", "--exported", "export.jsonl"]];
    for verb in asking {
        dlq.run(verb).with(2).saying(&["say --yes"]);
        let refused = run_with(on_a_terminal(&dlq.command(verb)), b"n\n").with(0);
        assert!(
            refused.stdout.contains("Go on? [y/N]") && refused.stdout.contains("nothing was done"),
            "{}",
            refused.stdout
        );
        assert!(refused.stdout.contains("6 messages"), "it shows the count: {}", refused.stdout);
        assert_eq!(dlq.counts(), (6, 0, 0));
    }
    assert!(!dlq.directory.path().join("other.jsonl").exists() && export.exists());
    let agreed = run_with(on_a_terminal(&dlq.command(asking[2])), b"y\n").with(0);
    assert!(agreed.stdout.contains("dropped 6"), "{}", agreed.stdout);
    assert_eq!(dlq.counts(), (0, 0, 6));
}

#[test]
fn export_keeps_each_byte_and_drop_deletes_exactly_that() {
    let dlq = Dlq::with("exit 0");
    let exported = dlq.run(&["export", "--yes", "--reason", "invalid_base64", "bad.jsonl"]).with(0);
    assert!(exported.stdout.starts_with("bad.jsonl: 2 messages, of 6 seen"), "{}", exported.stdout);
    let path = dlq.directory.path().join("bad.jsonl");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let bodies: Vec<&str> = lines.iter().map(|line| line["body"].as_str().unwrap()).collect();
    assert!(bodies.contains(&"nor is this!"), "{bodies:?}");
    assert_eq!(dlq.counts(), (6, 0, 0), "nothing is deleted");
    dlq.run(&["export", "--yes", "bad.jsonl"]).with(2).saying(&["is there already"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    // One whose body is another stays, and so does what stands in no file.
    let forged = text.replacen("nor is this!", "nor is that!", 1);
    file(dlq.directory.path(), "torn.jsonl", &text[..text.len() - 9]);
    dlq.run(&["drop", "--yes", "--exported", "torn.jsonl"]).with(2).saying(&["torn.jsonl: line 2"]);
    file(dlq.directory.path(), "forged.jsonl", &forged);
    dlq.run(&["drop", "--yes", "--exported", "forged.jsonl"]).with(2);
    assert_eq!(dlq.counts(), (6, 0, 0));
    let dropped = dlq.run(&["drop", "--yes", "--exported", "bad.jsonl"]).with(0);
    assert!(dropped.stdout.contains("dropped 2"), "{}", dropped.stdout);
    assert_eq!(dlq.counts(), (4, 0, 2));
    dlq.run(&["drop", "--yes", "--exported", "/nonexistent"]).with(66);
}

#[test]
fn drop_says_what_is_not_there_and_what_has_another_body() {
    let dlq = Dlq::with("exit 0");
    dlq.run(&["export", "--yes", "--reason", "invalid_base64", "bad.jsonl"]).with(0);
    let text = fs::read_to_string(dlq.directory.path().join("bad.jsonl")).unwrap();
    let (one, other) = (dlq.id(4), dlq.id(5));
    let exchanged = text.replace(one, "X").replace(other, one).replace('X', other);
    file(dlq.directory.path(), "exchanged.jsonl", exchanged);
    let dropped = dlq.run(&["drop", "--yes", "--exported", "exchanged.jsonl"]).with(1);
    assert!(dropped.stdout.contains("2 have the id of one in the file and another body"), "{}", dropped.stdout);
    assert_eq!(dlq.counts(), (6, 0, 0));
    dlq.run(&["drop", "--yes", "--exported", "bad.jsonl"]).with(0);
    let again = dlq.run(&["drop", "--yes", "--exported", "bad.jsonl"]).with(0);
    assert!(again.stdout.contains("2 of the file were not seen in the queue"), "{}", again.stdout);
}

#[test]
fn an_edited_event_is_handled_in_the_place_of_the_original() {
    let dlq = Dlq::with("grep -q better && cat > edited");
    let edit = |editor: &str, number: usize| {
        let mut command = dlq.command(&["edit", dlq.id(number)]);
        command.env("EDITOR", editor).env("TMPDIR", dlq.directory.path());
        run(command)
    };
    let drafts = || {
        let names = fs::read_dir(dlq.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("stream-sqsd-")).count()
    };
    edit("true", 0).with(0).saying(&["so nothing was done"]);
    edit("false", 0).with(69).saying(&["nothing was done"]);
    assert_eq!((dlq.counts(), drafts()), ((6, 0, 0), 0));
    edit("sed -i s/mill/well/", 0).with(1).saying(&["is kept in"]);
    edit("sed -i s/{/x/", 0).with(2).saying(&["not a JSON object", "is kept in"]);
    assert_eq!((dlq.counts(), drafts()), ((6, 0, 0), 2));
    edit("sed -i s/old/better/", 0).with(0);
    assert_eq!((dlq.counts(), drafts()), ((5, 0, 1), 2));
    edit("sed -i s/old/better/", 0).with(1).saying(&["was not found"]);
}

#[test]
fn a_file_that_the_daemon_has_locked_gets_one_beside_it() {
    let (sqs, ids) = four_kinds();
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events.jsonl");
    let toml = format!("[[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = {events:?}\n");
    let dlq = Dlq { sqs, ids, path: file(directory.path(), "c.toml", toml), directory };
    let locked = File::create(&events).unwrap();
    locked.lock().unwrap();
    let ended = dlq.run(&["retry", "--yes", "--type", "message.*"]).with(0);
    let ended = ended.saying(&["its file is locked", "events.jsonl.dlq-20"]);
    assert_eq!(fs::read_to_string(&events).unwrap(), "", "{}", ended.stderr);
    let beside = fs::read_dir(dlq.directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let beside = beside.into_iter().find(|path| path.to_string_lossy().contains(".dlq-")).unwrap();
    assert_eq!(fs::read_to_string(beside).unwrap().lines().count(), 3);
    locked.unlock().unwrap();
    dlq.run(&["retry", "--yes"]).with(1);
    assert_eq!(fs::read_to_string(&events).unwrap().lines().count(), 1, "its own file when nobody else has it");
}

#[test]
fn events_on_standard_output_are_alone_there() {
    let (sqs, ids) = four_kinds();
    let directory = tempfile::tempdir().unwrap();
    let toml = "[[route]]\nevents = [\"message.*\"]\nhandler = \"stdout\"\n";
    let dlq = Dlq { sqs, ids, path: file(directory.path(), "c.toml", toml), directory };
    let ended = dlq.run(&["retry", "--yes", "--type", "message.*"]).with(0);
    for line in ended.stdout.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["event"]["message"]["text"], PRIVATE);
    }
    assert_eq!(ended.stdout.lines().count(), 3);
    ended.saying(&["handled  dead-letter-", "seen 6 = handled 3"]);
}

#[test]
fn a_signal_makes_visible_what_is_held_and_is_130() {
    let mut dlq = Dlq::with("touch started; sleep 40");
    let short = format!("grace = \"3s\"\n[queue]\nwait = \"1s\"\n{}", fs::read_to_string(&dlq.path).unwrap());
    dlq.path = file(dlq.directory.path(), "short.toml", short);
    let retry = start(dlq.command(&["retry", "--yes"]));
    block_until("a handler is at work", || dlq.directory.path().join("started").exists());
    retry.signal(Signal::INT);
    let ended = retry.wait().with(130);
    assert!(ended.stdout.contains("handled 0"), "{}", ended.stdout);
    assert_eq!(dlq.counts(), (6, 0, 0));

    for verb in [&["list"][..], &["export", "--yes", "e.jsonl"]] {
        let receives = dlq.sqs.calls("ReceiveMessage").len();
        let looking = start(dlq.command(verb));
        // Everything is held by then, and the last receive waits.
        dlq.sqs.until_called("ReceiveMessage", receives + 2);
        looking.signal(Signal::TERM);
        looking.wait().with(130);
        assert_eq!(dlq.counts(), (6, 0, 0), "{verb:?}");
    }
}

#[test]
fn a_queue_with_a_redrive_policy_of_its_own_is_refused() {
    let dlq = Dlq::with("exit 0");
    let redrive = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:deader","maxReceiveCount":2}"#;
    dlq.sqs.set("dead", &[("RedrivePolicy", redrive)]);
    for verb in [&["list"][..], &["retry", "--yes"], &["show", dlq.id(0)], &["export", "--yes", "e.jsonl"]] {
        dlq.run(verb).with(2).saying(&["redrive policy of its own", "--force"]);
    }
    assert!(dlq.sqs.calls("ReceiveMessage").is_empty(), "nothing was looked at");
    dlq.run(&["list", "--force"]).with(0);
}

#[test]
fn bad_filters_and_queues_are_refused_before_a_look() {
    let dlq = Dlq::with("exit 0");
    let refused = |arguments: &[&str], what: &str| {
        dlq.run(&[&["list"], arguments].concat()).with(2).saying(&[what]);
    };
    refused(&["--id", "abc"], "--id");
    refused(&["--route", "hok"], "did you mean hook?");
    refused(&["--since", "yesterday"], "6h for six hours ago");
    refused(&["--type", "mess*"], "star");
    refused(&["--dlq-url", &dlq.sqs.url()], "is the queue itself");
    refused(&["--dlq-url", "dead"], "--dlq-url");
    dlq.run(&["retry", "--yes", "--rate", "0/s"]).with(2).saying(&["20/s"]);
    assert!(dlq.sqs.calls("ReceiveMessage").is_empty());
    let by_url = dlq.sqs.url().replace("chat-events", "dead");
    let named =
        dlq.json(&["list", "--json", "--dlq-url", &by_url, "--since", "1h", "--until", "2999-01-01T00:00:00Z"], 0);
    assert_eq!(named["messages"], 6);
    dlq.sqs.deny("ReceiveMessage");
    dlq.run(&["list"]).with(69).saying(&["sqs:ReceiveMessage", "arn:aws:sqs:us-east-1:123456789012:dead"]);
}

#[test]
fn what_may_not_be_deleted_does_not_count_as_handled() {
    let mut dlq = Dlq::with("exit 0");
    let short = format!("grace = \"3s\"\n[queue]\nwait = \"1s\"\n{}", fs::read_to_string(&dlq.path).unwrap());
    dlq.path = file(dlq.directory.path(), "short.toml", short);
    dlq.sqs.deny("DeleteMessageBatch");
    let ended = run(dlq.command(&["retry", "--yes", "--type", "message.new"]));
    let ended = ended.with(69).saying(&["a delete is refused", "access denied to sqs:DeleteMessage"]);
    assert!(ended.stdout.contains("handled 0") && ended.stdout.contains("lost 2"), "{}", ended.stdout);
    assert_eq!(dlq.counts().2, 0);
}

#[test]
fn a_daemon_and_a_dlq_retry_call_each_of_two_places_once() {
    let dead = MemoryQueue::new(MemorySettings::new().with_name("dead-letter").with_wall_clock(SystemTime::now));
    let settings = MemorySettings::new().with_max_receive_count(1).with_dead_letter_queue(dead);
    let sqs = Sqs::start(settings.with_wall_clock(SystemTime::now));
    let dead_arn = "arn:aws:sqs:us-east-1:123456789012:dead";
    let redrive = format!(r#"{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":1}}"#);
    sqs.set("chat-events", &[("RedrivePolicy", &redrive)]);
    sqs.set("dead", &[("QueueArn", dead_arn), ("MessageRetentionPeriod", "1209600")]);
    sqs.queue().send(event("message.new"));
    let directory = tempfile::tempdir().unwrap();
    let in_it = |name: &str| directory.path().join(name);
    let toml = "journal = \"journal\"\n\
                [dead_letters]\nreasons = \"reasons\"\n\
                [[route]]\nname = \"archive\"\ncontinue = true\nevents = [\"*\"]\nhandler = \"file\"\npath = \"archive\"\n\
                [[route]]\nname = \"hook\"\nevents = [\"message.*\"]\nhandler = \"exec\"\n\
                command = [\"/bin/sh\", \"-c\", \"echo x >> called; test -e fixed || exit 65\"]\n";
    let path = file(directory.path(), "c.toml", toml);
    let url = sqs.url();
    let lines = |name: &str| fs::read_to_string(in_it(name)).unwrap().lines().count();
    let asked = |arguments: &[&str], code: i32| {
        let mut command = daemon(&[arguments, &["--config", &path, "--queue-url", &url]].concat());
        command.current_dir(directory.path());
        run(command).with(code)
    };
    // It is dead-lettered at the receive after its last one, when its delay is over.
    block_until("it is dead-lettered", || {
        asked(&["run", "--until-empty", "--wait", "1s"], 0);
        sqs.dead().counts().visible == 1
    });
    assert_eq!((lines("archive"), lines("called")), (1, 1), "each was called in the one receive");
    let record: Value = serde_json::from_str(&fs::read_to_string(in_it("reasons")).unwrap()).unwrap();
    let done = record["routes_done"].as_str().unwrap();
    assert!(done.starts_with("archive@") && record["route"] == "hook", "{record}");

    let shown = asked(&["dlq", "show", record["message_id"].as_str().unwrap()], 0).stdout;
    assert!(shown.contains("archive, to the file archive; it is done, and not called again"), "{shown}");
    let planned = asked(&["dlq", "retry", "--dry-run", "--json"], 0).stdout;
    let planned: Value = serde_json::from_str(planned.lines().next().unwrap()).unwrap();
    assert_eq!((&planned["route"], &planned["routes_done"]), (&json!("hook"), &json!(["archive"])), "{planned}");
    fs::write(in_it("fixed"), "").unwrap();
    asked(&["dlq", "retry", "--yes"], 0);
    assert_eq!((lines("archive"), lines("called"), sqs.dead().counts().deleted), (1, 2, 1));
}
