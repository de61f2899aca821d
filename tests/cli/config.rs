//! Settings from flags, environment and file, and what is said of mistakes in them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use stream_sqsd::queue::memory::MemorySettings;

use crate::daemon::{Ended, daemon, file, run};
use crate::queue::Sqs;

const QUEUE: &str = "[queue]\nurl = \"https://sqs.us-east-1.amazonaws.com/123456789012/chat-events\"\n";

/// Checks a file that begins with the queue.
fn check(routes: &str) -> Ended {
    check_text(&format!("{QUEUE}{routes}"))
}

/// Checks this text as a file.
fn check_text(text: &str) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    file(directory.path(), "c.toml", text);
    let mut command = daemon(&["check", "--config", "c.toml"]);
    command.current_dir(directory.path());
    run(command)
}

#[test]
fn a_queue_must_be_named_and_the_message_says_how() {
    for command in ["run", "check", "send"] {
        run(daemon(&[command])).with(2).saying(&["no queue", "--queue-url", "STREAM_SQSD_QUEUE_URL"]);
    }
}

#[test]
fn a_number_without_its_unit_is_refused_with_what_to_write() {
    run(daemon(&[
        "check",
        "--queue-url",
        "http://h/1/q",
        "--wait",
        "20",
        "--inflate-limit",
        "1mb",
        "--concurrency",
        "many",
    ]))
    .with(2)
    .saying(&["--wait: \"20\" has no unit: write 20s", "did you mean 1MB?", "\"many\" is not a whole number"]);
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "c.toml", format!("grace = \"1s\"\n{QUEUE}"));
    // The file's grace is too short, so each layer that hides it makes the check pass.
    run(daemon(&["check", "--config", &path])).with(2).saying(&["c.toml:1: `grace`: 1s is too short"]);
    let mut environment = daemon(&["check", "--config", &path]);
    environment.env("STREAM_SQSD_GRACE", "2s");
    run(environment).with(2).saying(&["STREAM_SQSD_GRACE: 2s is too short"]);
    let mut flag = daemon(&["check", "--config", &path, "--grace", "30s"]);
    flag.env("STREAM_SQSD_GRACE", "2s");
    run(flag).with(0);
}

#[test]
fn an_empty_variable_is_unset_and_a_misspelt_one_a_warning() {
    let mut command = daemon(&["check", "--queue-url", "http://127.0.0.1/1/q"]);
    command.env("STREAM_SQSD_GRACE", "").env("STREAM_SQSD_CONCURENCY", "3").env("STREAM_SQSD_TEST_ENDPOINT", "x");
    let checked = run(command).with(0);
    assert!(checked.stdout.contains("did you mean STREAM_SQSD_CONCURRENCY?"), "{}", checked.stdout);
    assert!(!checked.stdout.contains("TEST_ENDPOINT"), "{}", checked.stdout);
}

#[test]
fn the_whole_file_can_come_in_a_variable() {
    let mut command = daemon(&["check"]);
    command.env("STREAM_SQSD_CONFIG_TOML", format!("{QUEUE}vait = \"1s\""));
    run(command).with(2).saying(&["STREAM_SQSD_CONFIG_TOML:3: unknown key `vait`; did you mean `wait`?"]);
    let mut both = daemon(&["check"]);
    both.env("STREAM_SQSD_CONFIG_TOML", QUEUE).env("STREAM_SQSD_CONFIG", "/x");
    run(both).with(2).saying(&["both set"]);
}

#[test]
fn a_key_in_the_wrong_place_is_sent_to_the_right_one() {
    check("concurrency = 3\n").with(2).saying(&["c.toml:3", "`concurrency` belongs to the top of the file"]);
    check("queue_url = 3\n").with(2).saying(&["did you mean `url`?"]);
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "c.toml", format!("wait = \"1s\"\n{QUEUE}"));
    run(daemon(&["check", "--config", &path])).with(2).saying(&["c.toml:1", "belongs to the section [queue]"]);
}

#[test]
fn what_is_not_toml_is_told_with_its_line_without_its_text() {
    let refused = check("password = \"secret words\nx").with(2).saying(&["c.toml:4: this is not valid TOML"]);
    assert!(!refused.stderr.contains("secret words"), "{}", refused.stderr);
    let torn = check("password = 'secret words\nx = 1").with(2).saying(&["c.toml:3: this is not valid TOML"]);
    assert!(!torn.stderr.contains("secret words"), "{}", torn.stderr);
    let twice = check("url = \"https://h/1/q\"\n").with(2);
    assert!(twice.stderr.contains("c.toml:3"), "{}", twice.stderr);
}

#[test]
fn a_mistyped_pattern_is_refused_and_a_new_type_a_warning() {
    let route = |pattern: &str| check(&format!("[[route]]\nevents = [\"{pattern}\"]\nhandler = \"stdout\"\n"));
    route("mesage.new").with(2).saying(&["c.toml:4", "did you mean `message.new`?"]);
    route("mes*").with(2).saying(&["star"]);
    assert!(route("shiny.new_thing").with(0).stdout.contains("matches no event type that this version knows"));
    assert!(!route("order_shipped").with(0).stdout.contains("advice"));
}

#[test]
fn a_route_that_can_never_be_reached_is_refused_in_these_words() {
    let all = "[[route]]\nevents = [\"*\"]\nhandler = \"stdout\"\n";
    let some = "[[route]]\nevents = [\"message.new\", \"call.*\"]\nhandler = \"stdout\"\n";
    check(&format!("{all}{some}")).with(2).saying(&["c.toml:6: this route can never be reached"]);
    check(&format!("{some}{all}")).with(0);
    // One that takes only some channels leaves the others.
    let of_channel = all.replace("handler", "channel_type = \"livestream\"\nhandler");
    check(&format!("{of_channel}{some}")).with(0);
    let partly = "[[route]]\nevents = [\"call.*\"]\nhandler = \"stdout\"\n";
    assert!(check(&format!("{partly}{some}")).with(0).stdout.contains("`call.*` can never be reached here"));
}

#[test]
fn routes_have_names_and_no_two_the_same() {
    let route = |more: &str| format!("[[route]]\nevents = [\"message.*\"]\nhandler = \"stdout\"\n{more}\n");
    let red = route("team = \"red\"");
    check(&format!("{red}{}", route(""))).with(2).saying(&["c.toml:7: the route at c.toml:3 has the same patterns"]);
    let named = check(&format!("{red}{}", route("name = \"others\""))).with(0);
    assert!(named.stdout.contains("route 2: others, message.* to standard output"), "{}", named.stdout);
    let twice = format!("{}{}", route("name = \"a\"\nteam = \"red\""), route("name = \"a\""));
    check(&twice).with(2).saying(&["c.toml:8: the route at c.toml:3 is called `a` too"]);
    // The name of a route that has none of its own is its pattern.
    let like_a_pattern = "[[route]]\nevents = [\"message.new\"]\nhandler = \"stdout\"\n";
    check(&format!("{like_a_pattern}{}", route("name = \"message.new\"")))
        .with(2)
        .saying(&["is called `message.new` too"]);
    for wrong in ["", "a b", "message.*", "é", &"x".repeat(61)] {
        check(&route(&format!("name = \"{wrong}\""))).with(2).saying(&["c.toml:6: `name`", "is not a name"]);
    }
}

/// A file with routes for all events, each with these lines besides.
fn routes(each: &[&str]) -> String {
    each.iter().map(|more| format!("[[route]]\nevents = [\"message.*\"]\nhandler = \"stdout\"\n{more}\n")).collect()
}

#[test]
fn a_route_that_continues_is_printed_as_that_and_refused_well() {
    let [first, last] = ["name = \"archive\"\ncontinue = true", "name = \"hook\""];
    let good = check(&routes(&[first, last])).with(0).stdout;
    assert!(good.contains("archive, message.* to standard output, and on to the next route that takes them"), "{good}");
    let refused = |each: &[&str], saying: &str| drop(check(&routes(each)).with(2).saying(&[saying]));
    refused(&["continue = true", last], "c.toml:6: `continue = true` needs a `name`");
    refused(&[last, first], "c.toml:11: `continue` has nowhere to go: this is the last route");
    refused(&["name = \"a\"\ncontinue = \"yes\"", last], "c.toml:7: `continue`: \"yes\" is neither true nor false");
    refused(&["name = \"a\"\ncontinues = true", last], "did you mean `continue`?");
    let elsewhere = "[[route]]\nevents = [\"call.*\"]\nhandler = \"stdout\"\n";
    let nowhere = check(&format!("{}{elsewhere}", routes(&[first]))).with(2);
    nowhere.saying(&["c.toml:7: `continue` has nowhere to go: no route below this one takes any of its events"]);
    // Of other teams there are no events in common, and one that does not go on ends the way.
    let teams = ["team = \"red\"\nname = \"a\"\ncontinue = true", "team = \"blue\"\nname = \"b\""];
    refused(&teams, "no route below this one takes any of its events");
    refused(&["name = \"a\"", first, last], "c.toml:7: this route can never be reached");
    check(&routes(&[first, "name = \"b\"\ncontinue = true", last])).with(0);
}

#[test]
fn a_check_of_an_event_prints_its_routes_and_calls_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{QUEUE}[[route]]\nname = \"archive\"\nevents = [\"message.*\"]\nhandler = \"stdout\"\ncontinue = true\n\
         [[route]]\nname = \"teams\"\nevents = [\"message.new\"]\nhandler = \"http\"\ncontinue = true\n\
         url = \"http://127.0.0.1:9/{{team}}\"\n\
         [[route]]\nname = \"hook\"\nevents = [\"message.*\"]\nhandler = \"exec\"\ncommand = [\"/bin/true\"]\n\
         [[route]]\nevents = [\"message.read\", \"user.*\"]\nhandler = \"stdout\"\n"
    );
    file(directory.path(), "c.toml", text);
    let asked = |event: &str, json: bool, code: i32| {
        file(directory.path(), "event.json", event);
        let mut command = daemon(&["check", "--config", "c.toml", "--event", "event.json"]);
        command.args(json.then_some("--json")).current_dir(directory.path());
        run(command).with(code)
    };
    let told = asked("{\"type\":\"message.new\"}\n", false, 0).stdout;
    for line in [
        "the event message.new:",
        "  route archive takes it to standard output, and on",
        "  route teams takes it to http://127.0.0.1:9/{team}, which rejects it: the event has no team, which the URL needs, and on",
        "  route hook takes it to the program /bin/true",
        "  it is deleted when all 3 have succeeded",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
    let json: Value = serde_json::from_str(&asked(r#"{"type":"message.new","team":"red"}"#, true, 0).stdout).unwrap();
    assert_eq!(json["event"]["routes"][1]["rejects"], Value::Null, "{json}");
    assert_eq!(json["event"]["routes"][2]["route"], "hook", "{json}");
    assert!(
        asked(r#"{"type":"user.updated"}"#, false, 0)
            .stdout
            .contains("  route message.read,user.* takes it to standard")
    );
    let unrouted = asked(r#"{"type":"call.ended"}"#, false, 0).stdout;
    assert!(unrouted.contains("  no route takes it: it is deleted (`unrouted = \"ack\"`)"), "{unrouted}");
    asked("not an event", false, 65).saying(&["event.json cannot be decoded"]);
}

#[test]
fn a_secret_is_never_in_the_file_and_never_printed() {
    let http = "[[route]]\nevents = [\"*\"]\nhandler = \"http\"\nurl = \"https://example.com/hook/token\"\n";
    let literal = check(&format!("{http}api_secret = \"hush\"\n")).with(2).saying(&["c.toml:7", "{ env = \"NAME\" }"]);
    assert!(!literal.stderr.contains("hush"), "{}", literal.stderr);

    let directory = tempfile::tempdir().unwrap();
    let secret = file(directory.path(), "secret", "hush\n");
    let path = file(directory.path(), "c.toml", format!("{QUEUE}{http}api_secret = {{ file = \"{secret}\" }}\n"));
    let checked = run(daemon(&["check", "--config", &path])).with(0);
    assert!(!checked.stdout.contains("hush"), "{}", checked.stdout);

    let credential = format!("{QUEUE}{http}api_secret = {{ credential = \"secret\" }}\n");
    let path = file(directory.path(), "c.toml", credential);
    let mut with_systemd = daemon(&["check", "--config", &path]);
    with_systemd.env("CREDENTIALS_DIRECTORY", directory.path());
    assert!(!run(with_systemd).with(0).stdout.contains("advice"));
    assert!(run(daemon(&["check", "--config", &path])).with(0).stdout.contains("LoadCredential=secret"));
    // What systemd hands to a unit is nowhere else: a check can be made without it, and a run cannot.
    run(daemon(&["run", "--config", &path])).with(2).saying(&["CREDENTIALS_DIRECTORY is not set"]);

    for wrong in ["{ env = \"A\", file = \"B\" }", "{ }", "{ enw = \"A\" }"] {
        check(&format!("{http}api_secret = {wrong}\n")).with(2);
    }
}

#[test]
fn a_secret_of_the_environment_ends_before_its_line_end() {
    // As it comes from `echo secret | base64` in a Kubernetes secret.
    let checked = |secret: &str| {
        let directory = tempfile::tempdir().unwrap();
        let toml = format!("{QUEUE}[[route]]\nevents = [\"*\"]\n{HTTP}bearer = {{ env = \"GATEWAY_TOKEN\" }}\n");
        let path = file(directory.path(), "c.toml", toml);
        let mut command = daemon(&["check", "--config", &path]);
        command.env("GATEWAY_TOKEN", secret);
        run(command)
    };
    checked("hush\r\n").with(0);
    assert!(checked("\n").with(1).stdout.contains("the environment variable GATEWAY_TOKEN is empty"));
    let within = checked("hu\nsh").with(2).saying(&["`bearer`: the token"]);
    assert!(!within.stderr.contains("hu"), "{}", within.stderr);
}

/// What may be a secret, in the forms in which secrets are handed out.
const HUSH: [&str; 4] = [
    "k7q2m9x4c8v1b5n3",
    "Zx81/kQ0+pLm=",
    "5bwhzr7nq3kuv9sx2yfg8mcae6dtjp4l5bwhzr7nq3kuv9sx2yfg8mcae6dtjp4l",
    "AKIAQ7ZX2M9P4L8VB5NC",
];

#[test]
fn a_secret_that_stands_where_a_name_belongs_is_not_echoed() {
    let http = "[[route]]\nevents = [\"*\"]\nhandler = \"http\"\nurl = \"https://h/\"\n";
    let exec = "[[route]]\nevents = [\"*\"]\nhandler = \"exec\"\ncommand = [\"sh\"]\n";
    for hush in HUSH {
        let silent = |told: Ended| {
            let said = told.stdout + &told.stderr;
            assert!(!said.contains(hush), "{said}");
            assert!(said.contains("c.toml:"), "{said}");
        };
        for source in ["env", "credential", "file"] {
            silent(check(&format!("{http}api_secret = {{ {source} = \"{hush}\" }}\n")));
        }
        silent(check(&format!("{exec}env = [\"{hush}\"]\n")));
        silent(check(&format!("{http}\"{hush}\" = \"api_secret\"\n")).with(2));
        silent(check(&format!("{http}api_secret = {{ \"{hush}\" = \"env\" }}\n")).with(2));
        silent(check(&format!("\"{hush}\" = \"x\"\n")).with(2));
        let webhook = run(daemon(&["decode", "--signature", "x", "--secret-env", hush, "-"])).with(2);
        assert!(!webhook.stderr.contains(hush), "{}", webhook.stderr);
    }
    // What is the name of a variable is said.
    let told = check(&format!("{http}api_secret = {{ env = \"STREAM_API_SECRET\" }}\n")).with(1);
    assert!(told.stdout.contains("the environment variable STREAM_API_SECRET is not set"), "{}", told.stdout);
    check(&format!("{http}retries = 5\n")).with(2).saying(&["unknown key `retries`"]);
}

#[test]
fn a_check_fails_where_a_run_would_not_start() {
    let route = |handler: &str| format!("[[route]]\nevents = [\"*\"]\nhandler = {handler}\n");
    let http = "\"http\"\nurl = \"https://example.com/\"\napi_secret = ";
    for (handler, what) in [
        (
            format!("{http}{{ env = \"NOT_HERE\" }}"),
            "c.toml:7: `api_secret`: the environment variable NOT_HERE is not set",
        ),
        (format!("{http}{{ file = \"/not-here/secret\" }}"), "c.toml:7: `api_secret`: /not-here/secret cannot be read"),
        ("\"file\"\npath = \"/not-here/events\"".to_owned(), "c.toml:6: there is no directory /not-here"),
        ("\"exec\"\ncommand = [\"/not-here/program\"]".to_owned(), "c.toml:6: "),
        (
            "\"exec\"\ncommand = [\"sh\"]\nenv = [\"NOT_HERE\"]".to_owned(),
            "c.toml:6: `env`: the environment variable NOT_HERE",
        ),
    ] {
        let checked = check(&route(&handler)).with(1).stdout;
        assert!(checked.contains(&format!("loses or delays messages: {what}")), "{checked}");
        assert!(checked.contains("The daemon would not start here.") && !checked.contains("is good"), "{checked}");
    }
    let reasons = "[dead_letters]\nreasons = \"/not-here/of/letters\"\n";
    let checked = check_text(&format!("journal = \"/not-here/journal\"\n{QUEUE}{reasons}")).with(1).stdout;
    for words in ["c.toml:1: there is no directory /not-here\n", "c.toml:5: ", "to fix it: mkdir -p /not-here/of\n"] {
        assert!(checked.contains(words), "{words} is not in {checked}");
    }
}

#[test]
fn a_signed_queue_url_is_refused_without_its_signature() {
    for command in ["check", "run"] {
        let url = "https://sqs.us-east-1.amazonaws.com/123456789012/q?X-Amz-Signature=k7q2m9x4c8v1b5n3";
        let told = run(daemon(&[command, "--queue-url", url])).with(2).saying(&["it holds more than a path"]);
        assert!(!told.stderr.contains("k7q2m9"), "{}", told.stderr);
    }
}

#[test]
fn a_password_in_a_database_url_is_refused_like_any_secret() {
    let postgres = |url: &str| check(&format!("[[route]]\nevents = [\"*\"]\nhandler = \"postgres\"\nurl = {url}\n"));
    for url in ["postgres://u:hush@127.0.0.1/db", "host=127.0.0.1 user=u password=hush"] {
        let told = postgres(&format!("\"{url}\"")).with(2).saying(&["c.toml:6: `url` holds a password", "{ env = "]);
        assert!(!told.stderr.contains("hush"), "{}", told.stderr);
    }
    postgres("\"postgres://u@127.0.0.1/db\"").with(0);
    // Elsewhere it may have one.
    let directory = tempfile::tempdir().unwrap();
    let url = file(directory.path(), "url", "postgres://u:hush@127.0.0.1/db\n");
    postgres(&format!("{{ file = \"{url}\" }}")).with(0);
}

#[test]
fn a_port_that_is_none_is_refused() {
    let http = |url: &str| check(&format!("[[route]]\nevents = [\"*\"]\nhandler = \"http\"\nurl = \"{url}\"\n"));
    http("https://h:notaport/").with(2).saying(&["c.toml:6: the port of the URL is not a number from 1 to 65535"]);
    run(daemon(&["check", "--queue-url", "https://h:notaport/1/q"])).with(2).saying(&["its port is not a number"]);
}

#[test]
fn a_variable_in_braces_is_refused_everywhere_but_in_a_command() {
    let route = |handler: &str, more: &str| format!("[[route]]\nevents = [\"*\"]\nhandler = \"{handler}\"\n{more}\n");
    for (text, said) in [
        (route("http", "url = \"${HOOK_URL}\""), "c.toml:6: `url`: ${HOOK_URL} is not replaced"),
        (route("http", "url = \"https://${HOST:-hush}/\""), "where a secret may stand write { env = \"HOST\" }"),
        (
            route("http", "url = \"https://h/\"\napi_secret = { env = \"${KEY}\" }"),
            "c.toml:7: `env` takes the name alone",
        ),
        (route("file", "path = \"/var/${NAME}/events.jsonl\""), "c.toml:6: `path`: ${NAME} is not replaced"),
        ("region = \"${AWS_REGION}\"\n".to_owned(), "c.toml:3: `region`: ${AWS_REGION} is not replaced"),
    ] {
        let told = check(&text).with(2).saying(&[said]);
        assert!(!told.stderr.contains("hush"), "{}", told.stderr);
    }
    run(daemon(&["check", "--queue-url", "${QUEUE_URL}"]))
        .with(2)
        .saying(&["--queue-url: ${QUEUE_URL} is not replaced"]);
    check(&route("exec", "command = [\"sh\", \"-c\", \"echo ${STREAM_MESSAGE_ID}\"]")).with(0);
}

#[test]
fn settings_of_handlers_are_judged_before_anything_runs() {
    let http = |more: &str| check(&format!("[[route]]\nevents = [\"*\"]\nhandler = \"http\"\n{more}"));
    http("").with(2).saying(&["this route needs `url`"]);
    http("url = \"ftp://h/\"\n").with(2).saying(&["c.toml:6"]);
    http("url = \"https://h/\"\nconnections = 0\n").with(2).saying(&["more than zero"]);
    http("url = \"https://h/\"\npath = \"x\"\n").with(2).saying(&["belongs to the handler \"file\""]);
    assert!(http("url = \"http://example.com/\"\n").with(0).stdout.contains("unencrypted to http://example.com"));
    assert!(!http("url = \"http://127.0.0.1:1/\"\n").with(0).stdout.contains("advice"));
    check("[[route]]\nevents = [\"*\"]\nhandler = \"htp\"\n").with(2).saying(&["did you mean \"http\"?"]);
    check("[[route]]\nevents = [\"*\"]\nhandler = \"exec\"\ncommand = []\n").with(2).saying(&["empty"]);
    check("[route]\nevents = [\"*\"]\n").with(2).saying(&["[[route]]"]);
}

/// Checks a route to `https://h/` with these lines from line 7 on.
fn check_http(more: &str) -> Ended {
    check(&format!("[[route]]\nevents = [\"*\"]\n{HTTP}{more}\n"))
}

#[test]
fn each_key_of_the_http_target_is_refused_well_when_wrong() {
    for (more, said) in [
        ("headers = \"X-A: hush\"", "c.toml:7: `headers` has keys of its own: headers = { X-Tenant"),
        ("headers = { Content-Type = \"hush\" }", "the header Content-Type is set by the daemon itself"),
        ("headers = { X-A = \"hush\\n\" }", "the header X-A has a value that no header can hold"),
        ("headers = { X-A = { enw = \"hush\" } }", "c.toml:7: `headers: X-A` comes from one place"),
        ("basic = \"hush:hush\"", "c.toml:7: `basic` has keys of its own: basic = { user ="),
        ("basic = { user = \"a\" }", "c.toml:7: `basic` needs `password`"),
        ("basic = { user = \"a\", password = \"hush\" }", "c.toml:7: `password` does not stand in the file itself"),
        ("basic = { usr = \"a\" }", "did you mean `user`?"),
        ("bearer = \"hush\"", "c.toml:7: `bearer` does not stand in the file itself"),
        ("oauth2 = { client_id = \"a\" }", "`oauth2` needs `token_url`: the URL that gives tokens"),
        ("server_errors = \"target-down\"", "c.toml:7: `server_errors`: \"target-down\" is unknown; did you mean"),
        ("tls = \"/hush.pem\"", "c.toml:7: `tls` has keys of its own: tls = { ca ="),
        ("tls = { cert = \"/x\" }", "unknown key `cert`; there can be ca, certificate, key"),
        ("tls = { certificate = \"/dev/null\" }", "`certificate` and `key` belong together"),
        ("bearer = { env = \"HOME\" }\nbasic = { user = \"a\", password = { env = \"HOME\" } }", "exclude each other"),
        (
            "bearer = { env = \"HOME\" }\nheaders = { authorization = \"hush\" }",
            "the header Authorization is set already",
        ),
    ] {
        let told = check_http(more).with(2).saying(&[said]);
        assert!(!told.stderr.contains("hush"), "{}", told.stderr);
    }
    let oauth2 = |token_url: &str| {
        format!("oauth2 = {{ token_url = \"{token_url}\", client_id = \"a\", client_secret = {{ env = \"HOME\" }} }}")
    };
    check_http(&oauth2("ftp://h/")).with(2).saying(&["token_url: the URL must begin with https:// or http://"]);
    let exposed = check_http(&oauth2("http://id.example.com/token")).with(0).stdout;
    assert!(exposed.contains("the client secret travels unencrypted to http://id.example.com"), "{exposed}");
    // A configuration may be checked where its secrets and certificates are not.
    let absent = check_http("bearer = { env = \"NOT_HERE\" }\ntls = { ca = \"/not/here\" }").with(1).stdout;
    assert!(absent.contains("NOT_HERE is not set") && absent.contains("/not/here cannot be read"), "{absent}");
}

#[test]
fn a_program_that_stays_is_configured_and_refused_well() {
    let exec = |more: &str| check(&format!("[[route]]\nevents = [\"*\"]\n{EXEC}{more}\n"));
    let checked = exec("persistent = true\nprocesses = 4").with(0).stdout;
    assert!(checked.contains("the program sh, which stays"), "{checked}");
    exec("processes = 4").with(2).saying(&["c.toml:7: `processes` needs persistent = true"]);
    exec("persistent = true\nprocesses = 0").with(2).saying(&["c.toml:8: `processes`: it must be more than zero"]);
    exec("persistent = true\nprocesses = 1025").with(2).saying(&["c.toml:8: `processes`: 1025 is more than 1,024"]);
    exec("persistent = 2").with(2).saying(&["c.toml:7: `persistent`"]);
}

#[test]
fn a_command_line_in_one_text_is_told_and_its_arguments_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let route = "[[route]]\nevents = [\"*\"]\nhandler = \"exec\"\ncommand = \"python3 x.py --token hush\"\n";
    let path = file(directory.path(), "c.toml", format!("{QUEUE}{route}"));
    for (command, exit) in [("check", 1), ("run", 2)] {
        let told = run(daemon(&[command, "--config", &path])).with(exit);
        let said = told.stdout + &told.stderr;
        assert!(said.contains("python3 … is not a program that can be executed: each argument is a text"), "{said}");
        assert!(said.contains("command = [\"python3\", \"--verbose\"]") && !said.contains("hush"), "{said}");
    }
}

#[test]
fn a_url_with_a_user_or_a_wrong_brace_says_what_to_write() {
    let http = |url: &str| check(&format!("[[route]]\nevents = [\"*\"]\nhandler = \"http\"\nurl = \"{url}\"\n"));
    let told =
        http("https://u:hush@h/").with(2).saying(&["c.toml:6: `url` must not carry a user", "write basic = { user ="]);
    assert!(!told.stderr.contains("hush"), "{}", told.stderr);
    http("https://h/{cid}")
        .with(2)
        .saying(&["c.toml:6", "a brace that is not part of {type}, {channel_type} or {team}"]);
    http("https://{team}.h/").with(2).saying(&["{team} in the URL must be a whole segment of the path"]);
    assert!(http("https://h/{type}?t={team}").with(0).stdout.contains("https://h/{type}?…"));
}

/// A file of four lines before the route, whose handler stands on line 6.
fn with_times(times: [&str; 2], more: &str) -> Ended {
    check_text(&format!("{}\n{}\n{QUEUE}[[route]]\nevents = [\"*\"]\n{more}", times[0], times[1]))
}

const HTTP: &str = "handler = \"http\"\nurl = \"https://h/\"\n";
const POSTGRES: &str = "handler = \"postgres\"\nurl = \"postgres://u@127.0.0.1/db\"\n";
const EXEC: &str = "handler = \"exec\"\ncommand = [\"sh\"]\n";
const STDOUT: &str = "handler = \"stdout\"\n";

#[test]
fn impossible_time_limits_are_refused_with_line_and_reason() {
    let timeout = |handler: &str, time: &str| format!("{handler}timeout = \"{time}\"\n");
    let cases = [
        (["grace = \"21s\"", ""], STDOUT.to_owned(), "c.toml:1: `grace`: 21s is too short: a drain waits"),
        (["", "handler_timeout = \"13h\""], STDOUT.to_owned(), "c.toml:2: `handler_timeout`: 46800s is not"),
        (["", "handler_timeout = \"0s\""], STDOUT.to_owned(), "c.toml:2: `handler_timeout`: 0ns is not"),
        // The rest of an answer takes up to a second more.
        (["", ""], timeout(HTTP, "29s"), "c.toml:9: with its `timeout` of 29s the route at c.toml:5 can take 30s"),
        // The `timeout` is the default's, so what was given is the mistake.
        (["", "handler_timeout = \"7s\""], HTTP.to_owned(), "c.toml:2: with its `timeout` of 6s"),
        (["", ""], timeout(POSTGRES, "30s"), "c.toml:9: with its `timeout` of 30s the route at c.toml:5 can take 30s"),
        (["", "handler_timeout = \"10s\""], POSTGRES.to_owned(), "c.toml:2: with its `timeout` of 10s"),
    ];
    for (times, route, said) in cases {
        with_times(times, &route).with(2).saying(&[said]);
    }
    check("wait = \"21s\"\n").with(2).saying(&["c.toml:3: `wait`: 21s is more than the 20 s"]);
    check("visibility = \"1s\"\n").with(2).saying(&["c.toml:3: `visibility`: 1s is not between 2 s and 12 h"]);
    check("visibility = \"13h\"\n").with(2).saying(&["c.toml:3: `visibility`: 46800s is not"]);
    // What just fits.
    for (times, route) in [
        (["grace = \"22s\"", ""], STDOUT.to_owned()),
        (["grace = \"40s\"", ""], timeout(HTTP, "28s")),
        (["", "handler_timeout = \"8s\""], HTTP.to_owned()),
        (["grace = \"40s\"", ""], timeout(POSTGRES, "29s")),
    ] {
        let checked = with_times(times, &route).with(0);
        assert!(!checked.stdout.contains("advice"), "{}", checked.stdout);
    }
    // A run says the same before it begins.
    let directory = tempfile::tempdir().unwrap();
    let path =
        file(directory.path(), "c.toml", format!("{QUEUE}[[route]]\nevents = [\"*\"]\n{}", timeout(HTTP, "29s")));
    run(daemon(&["run", "--config", &path])).with(2).saying(&["c.toml:7: with its `timeout` of 29s"]);
}

#[test]
fn only_time_limits_that_cost_receives_are_advised_against() {
    let slow = format!("{HTTP}timeout = \"20s\"\n");
    let (long, short) = ("handler_timeout = \"50s\"", "handler_timeout = \"5s\"");
    for (times, route, advice) in [
        // A drain gives 22s of a grace of 25s to handlers.
        (
            ["", long],
            EXEC,
            "c.toml:2: the program of the route at c.toml:5 may work for 50s (handler_timeout), and a stop",
        ),
        (
            ["grace = \"22s\"", long],
            &slow,
            "c.toml:9: the route at c.toml:5 may wait 20s for an answer (timeout), and a stop",
        ),
    ] {
        let checked = with_times(times, route).with(0);
        assert!(checked.stdout.contains("advice: "), "{}", checked.stdout);
        assert!(checked.stdout.contains(advice), "{advice} is not in {}", checked.stdout);
    }
    for (times, route) in [
        (["", short], EXEC),
        (["", short], STDOUT),
        // Nobody chose the 30 s that do not fit, so nobody is told.
        (["", ""], EXEC),
        (["", "handler_timeout = \"22s\""], EXEC),
        (["grace = \"33s\"", ""], EXEC),
        (["", long], &slow),
    ] {
        let checked = with_times(times, route).with(0);
        assert!(!checked.stdout.contains("advice"), "{}", checked.stdout);
    }
    for (visibility, advice) in [("9s", true), ("10s", false), ("15m", false), ("16m", true)] {
        let checked = check(&format!("visibility = {visibility:?}\n")).with(0);
        assert_eq!(
            checked.stdout.contains(&format!("c.toml:3: `visibility` is {visibility}.")),
            advice,
            "{}",
            checked.stdout
        );
    }
    // Where nobody has written a file.
    let checked = run(daemon(&["check", "--queue-url", "http://127.0.0.1/1/q", "--visibility", "9s"])).with(0);
    assert!(checked.stdout.contains("advice: --visibility: `visibility` is 9s."), "{}", checked.stdout);
}

#[test]
fn a_starting_file_is_written_once_and_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let mut init = daemon(&["init"]);
    init.current_dir(directory.path());
    run(init).with(0).saying(&["stream-sqsd.toml is written"]);
    let path = directory.path().join("stream-sqsd.toml").to_str().unwrap().to_owned();
    run(daemon(&["check", "--config", &path])).with(0);
    std::fs::write(&path, "mine").unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner's eyes");
    run(daemon(&["init", &path])).with(2).saying(&["is there already"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert!(run(daemon(&["init", "-"])).with(0).stdout.contains("[queue]"));
}

#[test]
fn what_a_check_finds_can_be_read_by_a_program() {
    let directory = tempfile::tempdir().unwrap();
    let path =
        file(directory.path(), "c.toml", format!("{QUEUE}[[route]]\nevents = [\"x.y\"]\nhandler = \"stdout\"\n"));
    let found: Value =
        serde_json::from_str(&run(daemon(&["check", "--json", "--config", &path])).with(0).stdout).unwrap();
    assert_eq!(found["findings"][0]["grade"], "advice");
    assert_eq!(found["file"], path);
}

#[test]
fn the_schema_needs_neither_database_nor_password() {
    let directory = tempfile::tempdir().unwrap();
    let route = "[[route]]\nevents = [\"*\"]\nhandler = \"postgres\"\nurl = \"postgres://u@127.0.0.1:1/db\"\n";
    let toml = format!("{QUEUE}{route}password = {{ env = \"NOT_HERE\" }}\ntable = \"app.events\"\n");
    let path = file(directory.path(), "c.toml", toml);
    let printed = run(daemon(&["init-postgres", "--print", "--config", &path])).with(0).stdout;
    assert!(printed.contains(r#"CREATE TABLE IF NOT EXISTS "app"."events""#), "{printed}");
    run(daemon(&["init-postgres", "--config", &path])).with(2).saying(&["c.toml:7", "NOT_HERE is not set"]);
    let mut unreachable = daemon(&["init-postgres", "--config", &path]);
    unreachable.env("NOT_HERE", "hush");
    let refused = run(unreachable).with(69).saying(&["c.toml:3", "cannot be reached"]);
    assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
    run(daemon(&["init-postgres", "--queue-url", "http://127.0.0.1/1/q"])).with(2).saying(&["no route"]);
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let readme = include_str!("../../README.md");
    let (_, example) = readme.split_once("## Configuration").unwrap().1.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let checked = check_text(example).with(1);
    assert!(checked.stdout.contains("route 1: message.* reaction.new to https://example.com"), "{}", checked.stdout);
    // Its secrets and its directory are not here, and nothing else is to be said of it.
    let advice = checked.stdout.lines().filter(|line| line.starts_with("advice") || line.starts_with("loses"));
    let not_here = |line: &str| line.contains("is not set") || line.contains("there is no directory");
    assert!(advice.into_iter().all(not_here), "{}", checked.stdout);
}

#[test]
fn one_file_is_not_both_a_journal_and_the_target_of_a_route() {
    let directory = tempfile::tempdir().unwrap();
    let events = file(directory.path(), "events.jsonl", "");
    let other = directory.path().join("other-name");
    std::fs::hard_link(&events, &other).unwrap();
    let toml = format!(
        "journal = {other:?}\n[queue]\nurl = \"http://127.0.0.1:1/123456789012/q\"\n\
         [[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = {events:?}\n"
    );
    let config = file(directory.path(), "c.toml", toml);
    for command in ["run", "check"] {
        run(daemon(&[command, "--config", &config])).with(2).saying(&["c.toml:4: ", "is the journal of", "c.toml:1, "]);
    }
}

#[test]
fn two_routes_to_one_file_say_so_and_blame_no_other_process() {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events.jsonl");
    let link = directory.path().join("link.jsonl");
    std::os::unix::fs::symlink(&events, &link).unwrap();
    let config = |second: &Path, more: &str| {
        let toml = format!(
            "[queue]\nurl = \"http://127.0.0.1:1/123456789012/q\"\n\
             [[route]]\nevents = [\"call.*\"]\nhandler = \"file\"\npath = {events:?}\n\
             [[route]]\nevents = [\"*\"]\nhandler = \"file\"\npath = {second:?}\n{more}"
        );
        file(directory.path(), "c.toml", toml)
    };
    for config in [config(&link, ""), config(&events, "rotate_size = \"1MiB\"\n")] {
        for command in ["run", "check"] {
            let ended = run(daemon(&[command, "--config", &config])).with(2);
            let ended = ended.saying(&["c.toml:7: ", "is the file of the route at", "c.toml:3 too"]);
            assert!(!ended.stderr.contains("another process"), "{}", ended.stderr);
        }
    }
}

#[test]
fn two_routes_with_the_same_settings_share_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = Sqs::start(MemorySettings::default());
    for name in ["call.ended", "message.new"] {
        sqs.queue().send(format!(r#"{{"type":"{name}"}}"#));
    }
    let path = directory.path().join("events.jsonl");
    let mut toml = format!("[queue]\nurl = \"{}\"\nwait = \"1s\"\n", sqs.url());
    for events in ["call.*", "*"] {
        toml.push_str(&format!("[[route]]\nevents = [\"{events}\"]\nhandler = \"file\"\npath = {path:?}\n"));
    }
    let config = file(directory.path(), "c.toml", toml);
    run(daemon(&["run", &config, "--until-empty"])).with(0);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[test]
fn max_files_is_above_zero_and_needs_rotation() {
    let route = |more: &str| {
        let path = "path = \"/tmp/events.jsonl\"";
        check(&format!("[[route]]\nevents = [\"*\"]\nhandler = \"file\"\n{path}\n{more}\n"))
    };
    route("max_files = 0\nrotate_age = \"1d\"").with(2).saying(&["c.toml:7: `max_files`: it must be more than zero"]);
    let alone = route("max_files = 3").with(0).stdout;
    assert!(alone.contains("advice: c.toml:7: `max_files` counts files that were put aside"), "{alone}");
    assert!(!route("max_files = 3\nrotate_age = \"1d\"").with(0).stdout.contains("advice"));
}

#[test]
fn of_rotated_files_a_run_keeps_as_many_as_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let sqs = Sqs::start(MemorySettings::default());
    for _ in 0..10 {
        sqs.queue().send(format!(r#"{{"type":"message.new","text":"{}"}}"#, "x".repeat(600)));
    }
    let path = directory.path().join("events.jsonl");
    let toml = format!(
        "concurrency = 1\n[queue]\nurl = \"{}\"\nwait = \"1s\"\n[[route]]\nevents = [\"*\"]\nhandler = \"file\"\n\
         path = {path:?}\nrotate_size = \"1KiB\"\nmax_files = 2\n",
        sqs.url()
    );
    let config = file(directory.path(), "c.toml", toml);
    run(daemon(&["run", &config, "--until-empty"])).with(0).saying(&["the oldest file was deleted"]);
    let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let events: Vec<_> = names.filter(|name| name.to_str().unwrap().starts_with("events")).collect();
    assert_eq!(events.len(), 3, "the file and two that were put aside: {events:?}");
}

#[test]
fn a_number_far_too_large_never_panics() {
    let sqs = Sqs::start(MemorySettings::default());
    sqs.queue().send(r#"{"type":"message.new"}"#);
    let url = sqs.url();
    for concurrency in ["120001", "9223372036854775807", "18446744073709551615"] {
        let ended = run(daemon(&["run", "--queue-url", &url, "--concurrency", concurrency]));
        ended.with(2).saying(&["--concurrency", "is not between 1 and 120000"]);
    }
    let largest = [
        ["--concurrency", "120000"],
        ["--max-in-flight-bytes", "18446744073709551615B"],
        ["--inflate-limit", "18446744073709551615B"],
        ["--fifo-attempts", "18446744073709551615"],
        ["--grace", "18446744073709551s"],
        ["--handler-timeout", "12h"],
    ];
    let arguments = ["run", "--queue-url", &url, "--wait", "1s", "--until-empty"];
    run(daemon(&[&arguments[..], largest.as_flattened()].concat())).with(0);
    assert_eq!(sqs.queue().counts().deleted, 1);
}
