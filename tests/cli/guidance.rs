//! What is said to somebody who took the wrong word, the wrong form or the wrong place: the right one, where it is known.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{Ended, daemon, file, on_a_terminal, run};
use crate::queue::Sqs;

const QUEUE: &str = "[queue]\nurl = \"https://sqs.us-east-1.amazonaws.com/123456789012/chat-events\"\n";

fn within(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = daemon(arguments);
    command.current_dir(directory);
    command
}

/// Checks a file that begins with the queue.
fn check(rest: &str) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    file(directory.path(), "c.toml", format!("{QUEUE}{rest}"));
    run(within(directory.path(), &["check", "--config", "c.toml"]))
}

#[test]
fn a_file_that_is_here_and_was_not_named_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let here = "there is a stream-sqsd.toml here, which is read only where it is named, as in `stream-sqsd run \
                stream-sqsd.toml`";
    let path = file(directory.path(), "stream-sqsd.toml", QUEUE);
    for command in ["run", "check", "health"] {
        run(within(directory.path(), &[command])).with(2).saying(&["no queue", here]);
    }
    // Also where the queue comes from elsewhere.
    let sqs = Sqs::start(MemorySettings::default());
    let url = sqs.url();
    let arguments = ["run", "--queue-url", &url, "--until-empty", "--wait", "1s"];
    run(within(directory.path(), &arguments)).with(0).saying(&[here]);
    // Not where one is named, or there is none.
    let mut named = within(directory.path(), &["check"]);
    named.env("STREAM_SQSD_CONFIG", &path);
    assert!(!run(named).with(0).stdout.contains("there is a stream-sqsd.toml here"));
    let elsewhere = tempfile::tempdir().unwrap();
    let nothing = run(within(elsewhere.path(), &["run"])).with(2);
    assert!(!nothing.stderr.contains("stream-sqsd.toml here"), "{}", nothing.stderr);
}

#[test]
fn a_file_can_be_named_without_a_flag() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = Sqs::start(MemorySettings::default());
    sqs.queue().send(r#"{"type":"message.new"}"#);
    file(directory.path(), "c.toml", format!("until_empty = true\n[queue]\nurl = \"{}\"\nwait = \"1s\"\n", sqs.url()));
    run(within(directory.path(), &["run", "c.toml"])).with(0);
    assert_eq!(sqs.queue().counts().deleted, 1);
    let checked = run(within(directory.path(), &["check", "c.toml"])).with(0);
    assert!(checked.stdout.starts_with("c.toml: the configuration is good"), "{}", checked.stdout);
    run(within(directory.path(), &["health", "c.toml"])).with(2).saying(&["--admin is none"]);
    run(within(directory.path(), &["init-postgres", "c.toml"])).with(2).saying(&["no route"]);
    run(within(directory.path(), &["run", "c.toml", "--config", "c.toml"])).with(2).saying(&["cannot be used with"]);
    // The named one is read, not the one of the environment.
    let mut command = within(directory.path(), &["check", "c.toml"]);
    command.env("STREAM_SQSD_CONFIG", "/nowhere");
    run(command).with(0);
}

#[test]
fn an_event_type_in_other_words_is_named_as_it_is() {
    let route = |events: &str| check(&format!("[[route]]\nevents = [\"{events}\"]\nhandler = \"stdout\"\n"));
    route("message.created").with(2).saying(&["c.toml:4", "did you mean `message.new`?"]);
    for (custom, meant) in [("channel_created", "channel.created"), ("MESSAGE_NEW", "message.new")] {
        let advice = format!("did you mean `{meant}`?");
        let checked = route(custom).with(0);
        assert!(checked.stdout.contains(&advice) && checked.stdout.contains("c.toml:4"), "{}", checked.stdout);
        run(daemon(&["events", custom])).with(2).saying(&[&advice]);
    }
    run(daemon(&["events", "message.created"])).with(2).saying(&["`message.new`"]);
}

#[test]
fn a_handler_by_another_name_is_named_as_it_is() {
    for (written, meant) in
        [("webhook", "http"), ("HTTP", "http"), ("command", "exec"), ("postgresql", "postgres"), ("htpp", "http")]
    {
        let told = check(&format!("[[route]]\nevents = [\"*\"]\nhandler = \"{written}\"\n")).with(2);
        told.saying(&[&format!("c.toml:5: \"{written}\" is not a handler; did you mean \"{meant}\"?")]);
    }
    check("[[route]]\nevents = [\"*\"]\nhandler = \"carrier\"\n").with(2).saying(&["there are stdout, file, http"]);
}

#[test]
fn a_url_without_its_scheme_is_shown_with_it() {
    let queue = |url: &str| run(daemon(&["check", "--queue-url", url])).with(2);
    let meant = "did you mean https://sqs.us-east-1.amazonaws.com/123456789012/q?";
    for url in [
        "sqs.us-east-1.amazonaws.com/123456789012/q",
        "htps://sqs.us-east-1.amazonaws.com/123456789012/q",
        "arn:aws:sqs:us-east-1:123456789012:q",
    ] {
        queue(url).saying(&[meant]);
    }
    queue("127.0.0.1:4566/000000000000/q").saying(&["did you mean http://127.0.0.1:4566/000000000000/q?"]);
    queue("chat-events").saying(&["--queue-name chat-events"]);
    run(daemon(&["check", "--queue-url", "http://127.0.0.1/1/q", "--endpoint-url", "127.0.0.1:4566"]))
        .with(2)
        .saying(&["--endpoint-url", "did you mean http://127.0.0.1:4566?"]);

    let http = |url: &str| check(&format!("[[route]]\nevents = [\"*\"]\nhandler = \"http\"\nurl = {url}\n")).with(2);
    http("\"example.com/hook\"").saying(&["c.toml:6: `url` has no scheme: did you mean https://example.com/hook?"]);
    http("\"localhost:8080\"").saying(&["did you mean http://localhost:8080?"]);
    let directory = tempfile::tempdir().unwrap();
    let secret = file(directory.path(), "url", "example.com/hook/hush");
    let told = http(&format!("{{ file = \"{secret}\" }}")).saying(&["did you mean https://example.com?"]);
    assert!(!told.stderr.contains("hush"), "{}", told.stderr);
    // What may be a password is not repeated.
    let told = http("\"ada:hush@example.com/hook?key=hush\"").saying(&["did you mean https://"]);
    assert!(!told.stderr.contains("hush"), "{}", told.stderr);

    let postgres =
        |url: &str| check(&format!("[[route]]\nevents = [\"*\"]\nhandler = \"postgres\"\nurl = \"{url}\"\n"));
    let told = postgres("u:hush@db.example.com/stream").with(2);
    let told = told.saying(&["c.toml:6: `url` has no scheme: did you mean postgres://…@db.example.com/stream?"]);
    assert!(!told.stderr.contains("hush"), "{}", told.stderr);
}

#[test]
fn a_misspelt_subcommand_is_named_as_it_is() {
    for (written, meant) in
        [("rnu", "run"), ("chekc", "check"), ("evnets", "events"), ("initpostgres", "init-postgres")]
    {
        let told = run(daemon(&[written])).with(2);
        told.saying(&[&format!("unrecognized subcommand '{written}'"), &format!("'{meant}'")]);
    }
    let told = run(daemon(&["xyz"])).with(2);
    assert!(!told.stderr.contains("similar"), "{}", told.stderr);
}

#[test]
fn advice_is_printed_beside_mistakes() {
    let route = "[[route]]\nevents = [\"shiny.new_thing\"]\nhandler = \"stdout\"\nurl = \"x\"\n";
    let told = check(&format!("wait = \"1\"\n{route}")).with(2);
    let told = told.saying(&["2 mistakes", "c.toml:3", "\nadvice: c.toml:5: the pattern `shiny.new_thing` matches no"]);
    assert!(told.stderr.find("c.toml:3") < told.stderr.find("advice:"), "{}", told.stderr);
    let one = check(route).with(2).saying(&["\nadvice: c.toml:4: "]);
    assert!(one.stderr.starts_with("stream-sqsd: c.toml:6: unknown key"), "{}", one.stderr);
}

#[test]
fn a_check_shows_where_each_route_leads() {
    let shown = |keys: &str| check(&format!("[[route]]\nevents = [\"*\"]\n{keys}\n")).with(0).stdout;
    let line = |keys: &str| shown(keys).lines().find(|line| line.contains("route 1: ")).unwrap().to_owned();
    let http = "handler = \"http\"\nurl = \"https://example.com:8443/hooks/stream?token=hush\"";
    assert_eq!(line(http), "  route 1: * to https://example.com:8443/hooks/stream?…");
    let file_route = "handler = \"file\"\npath = \"/tmp/events.jsonl\"";
    assert_eq!(line(file_route), "  route 1: * to the file /tmp/events.jsonl");
    let postgres = "handler = \"postgres\"\nurl = \"postgres://ada@db.example.com:5433/stream?sslmode=require\"";
    assert_eq!(line(postgres), "  route 1: * to the table stream_events at postgres://…@db.example.com:5433/stream?…");
    let words = "handler = \"postgres\"\nurl = \"host=db.example.com user=ada\"";
    assert_eq!(line(words), "  route 1: * to the table stream_events");

    let directory = tempfile::tempdir().unwrap();
    let secret = |name: &str, text: &str| file(directory.path(), name, text);
    let path = secret("http", "https://example.com:8443/hooks/hush?token=hush");
    let http = format!("handler = \"http\"\nurl = {{ file = \"{path}\" }}");
    assert_eq!(line(&http), "  route 1: * to https://example.com:8443");
    let path = secret("postgres", "postgres://ada:hush@db.example.com:5433/hush");
    let postgres = format!("handler = \"postgres\"\nurl = {{ file = \"{path}\" }}");
    assert_eq!(line(&postgres), "  route 1: * to the table stream_events at postgres://db.example.com:5433");
    let elsewhere = check("[[route]]\nevents = [\"*\"]\nhandler = \"http\"\nurl = { env = \"NOT_HERE\" }\n").with(1);
    assert!(elsewhere.stdout.contains("  route 1: * to a URL that is not here\n"), "{}", elsewhere.stdout);
}

#[test]
fn what_is_known_stands_in_advice_instead_of_a_placeholder() {
    let by_name = |sqs: &Sqs, name: &str| {
        let endpoint = sqs.url().rsplitn(3, '/').nth(2).unwrap().to_owned();
        let mut command = daemon(&["run", "--queue-name", name, "--endpoint-url", &endpoint]);
        command.env("AWS_REGION", "eu-west-1");
        run(command).with(69)
    };
    // The region of the environment; and where AWS names queue and account, these.
    let sqs = Sqs::start(MemorySettings::default());
    sqs.deny("GetQueueUrl");
    by_name(&sqs, "q").saying(&["Allow sqs:GetQueueUrl on arn:aws:sqs:eu-west-1:ACCOUNT:q in a policy"]);
    sqs.deny_with(
        "User: arn:aws:sts::210987654321:assumed-role/consumer/i-1 is not authorized to perform: sqs:getqueueurl on \
         resource: arn:aws:sqs:eu-west-1:210987654321:q because no identity-based policy allows it",
    );
    let told = by_name(&sqs, "q");
    told.saying(&["Allow sqs:GetQueueUrl on arn:aws:sqs:eu-west-1:210987654321:q in a policy of the role consumer"]);

    // The role or the user that a check was made as.
    let fix = |message: &'static str| {
        let sqs = Sqs::start(MemorySettings::default());
        sqs.deny("DeleteMessageBatch");
        sqs.deny_with(message);
        let told = run(daemon(&["check", "--online", "--json", "--queue-url", &sqs.url()])).with(1).stdout;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let found = told["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|found| found["what"].as_str().unwrap().contains("delete"));
        found.unwrap()["fix"].as_str().unwrap().to_owned()
    };
    let role = fix("User: arn:aws:sts::123456789012:assumed-role/consumer/i-1 is not authorized to perform it");
    assert!(role.starts_with("aws iam put-role-policy --role-name consumer --policy-name"), "{role}");
    let user = fix("User: arn:aws:iam::123456789012:user/team/ada is not authorized to perform it");
    assert!(user.starts_with("aws iam put-user-policy --user-name ada --policy-name"), "{user}");
    assert!(fix("Access is denied").contains("THE_ROLE_OF_THE_DAEMON"));

    // The key of the queue.
    let sqs = Sqs::start(MemorySettings::default());
    let key = "arn:aws:kms:us-east-1:123456789012:key/1";
    for (id, arn) in [("1", key), (key, key), ("alias/a", "arn:aws:kms:us-east-1:123456789012:alias/a")] {
        sqs.set("chat-events", &[("KmsMasterKeyId", id)]);
        sqs.refuse_receives("KMS.AccessDeniedException");
        let arguments = ["check", "--online", "--receive", "--json", "--queue-url", &sqs.url()];
        let told = run(daemon(&arguments)).with(1).stdout;
        assert!(told.contains(&json!(arn).to_string().replace('"', "\\\"")), "{arn}: {told}");
    }
}

#[test]
fn on_a_terminal_help_shows_the_file_without_a_flag() {
    let help = run(on_a_terminal(&daemon(&["run", "--help"]))).with(0).stdout;
    assert!(help.contains("run [OPTIONS] [FILE]") && help.contains("stream-sqsd run stream-sqsd.toml"), "{help}");
}
