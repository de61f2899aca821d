//! `decode` and `events`.

use std::process::Stdio;

use serde_json::json;

use crate::daemon::{daemon, file, run, run_with, start_writing_to};

const BASE64: &str = "eyJ0eXBlIjoiYS5iIn0=";

#[test]
fn a_body_in_any_form_gives_its_event_and_nothing_of_it_changes() {
    let odd = r#" {"a":1e400,"type":"message.new","a":"\ud800" ,"deep":[[[[]]]]}"#;
    let decoded = run_with(daemon(&["decode"]), odd.as_bytes()).with(0);
    assert_eq!(decoded.stdout.trim(), odd.trim());
    assert_eq!(run_with(daemon(&["decode"]), BASE64.as_bytes()).with(0).stdout, "{\"type\":\"a.b\"}\n");
    let envelope = json!({"Type": "Notification", "TopicArn": "arn:x", "Message": BASE64}).to_string();
    assert_eq!(run_with(daemon(&["decode", "-"]), envelope.as_bytes()).with(0).stdout, "{\"type\":\"a.b\"}\n");
}

#[test]
fn a_file_is_one_body_and_comes_out_as_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let json = file(directory.path(), "a.json", "{\n  \"type\":\r\n \"a.b\"}\n");
    let base64 = file(directory.path(), "b.txt", "eyJ0eXBl\nIjoiYS5i\nIn0=\n");
    let decoded = run(daemon(&["decode", &json, &base64])).with(0).saying(&["       2  a.b\n"]);
    assert_eq!(decoded.stdout, "{   \"type\":   \"a.b\"}\n{\"type\":\"a.b\"}\n");
}

#[test]
fn with_lines_the_good_bodies_come_out_beside_the_bad() {
    let lines = format!("{BASE64}\n\nnot base64!\n{{\"type\":\"c.d\"}}\n");
    let decoded = run_with(daemon(&["decode", "--lines", "--type"]), lines.as_bytes()).with(65);
    assert_eq!(decoded.stdout, "a.b\nc.d\n");
    let said: Vec<&str> = decoded.stderr.lines().collect();
    assert_eq!(said[0], "invalid base64 encoding (standard input, line 3)");
    assert!(said[1].starts_with("hint: a body is "), "{said:?}");
    assert_eq!(said[2..], ["       1  a.b", "       1  c.d", "       1  cannot be decoded"]);
}

#[test]
fn every_error_begins_with_the_words_of_streams_own_sdks() {
    let cases: [(&[u8], &str); 6] = [
        (b"%%%", "invalid base64 encoding"),
        (b"\xff\xfe", "invalid base64 encoding"),
        (b"H4sIAAAA", "gzip decompression failed"),
        (b"{", "invalid JSON payload"),
        (b"bnVsbA==", "invalid JSON payload"),
        (b"{\"type\":\"a.b\",\"x\":\"\xff\"}", "invalid JSON payload"),
    ];
    for (body, words) in cases {
        let decoded = run_with(daemon(&["decode"]), body).with(65);
        assert!(decoded.stderr.starts_with(words), "{words}: {}", decoded.stderr);
        assert_eq!(decoded.stderr.lines().filter(|line| !line.starts_with("hint: ")).count(), 1);
        assert_eq!(decoded.stdout, "");
    }
}

#[test]
fn what_is_not_a_body_is_told_in_plain_words_what_one_is() {
    let plain = "hint: a body is a JSON object, which begins with `{`; or base64 of one; or base64 of gzip of one";
    for body in ["%%%", "not json at all", "null", "hello"] {
        let told = run_with(daemon(&["decode"]), body.as_bytes()).with(65).saying(&[plain, "SNS envelope"]);
        assert!(!told.stderr.contains("UTF-8"), "{body}: {}", told.stderr);
    }
    let neither = "invalid JSON payload: neither a JSON object nor base64 of one (standard input)\n";
    let told = run_with(daemon(&["decode"]), b"not json at all").with(65);
    assert!(told.stderr.starts_with(neither), "{}", told.stderr);
    // Once, however many there are.
    let told = run_with(daemon(&["decode", "--lines"]), "%%%\n".repeat(5).as_bytes()).with(65);
    assert_eq!(told.stderr.matches(plain).count(), 1, "{}", told.stderr);
    // What begins as one of the forms needs no lecture on them.
    for body in ["{\"type\":", "H4sIAAAA", "{}"] {
        let told = run_with(daemon(&["decode"]), body.as_bytes()).with(65);
        assert!(!told.stderr.contains("hint: a body is"), "{body}: {}", told.stderr);
    }
}

#[test]
fn lines_that_are_bodies_of_their_own_are_told_of_the_flag() {
    for lines in ["{\"type\":\"a.b\"}\n{\"type\":\"c.d\"}\n".to_owned(), format!("{BASE64}\n{BASE64}\n")] {
        let told = run_with(daemon(&["decode"]), lines.as_bytes()).with(65);
        told.saying(&["hint: each line of standard input seems to be a body of its own: try --lines"]);
    }
    let one = run_with(daemon(&["decode"]), b"{\n  \"type\":\n \"a.b\"\n").with(65);
    assert!(!one.stderr.contains("--lines"), "{}", one.stderr);
    let page = json!({"Messages": [{"MessageId": "m1", "Body": BASE64}]}).to_string();
    run_with(daemon(&["decode"]), page.as_bytes()).with(65).saying(&["hint:", "try --messages"]);
}

#[test]
fn what_the_aws_command_line_prints_is_read_as_it_is() {
    let page = json!({"Messages": [{"MessageId": "m1", "Body": BASE64}, {"MessageId": "m2", "Body": "%"}]}).to_string();
    let decoded = run_with(daemon(&["decode", "--messages"]), page.as_bytes()).with(65);
    assert_eq!(decoded.stdout, "{\"type\":\"a.b\"}\n");
    assert!(
        decoded.stderr.starts_with("invalid base64 encoding (standard input, message 2, m2)\n"),
        "{}",
        decoded.stderr
    );
    // With no message it prints nothing at all.
    run_with(daemon(&["decode", "--messages"]), b"").with(0);
}

#[test]
fn a_file_that_cannot_be_read_is_66_and_the_others_are_decoded() {
    let directory = tempfile::tempdir().unwrap();
    let good = file(directory.path(), "good", BASE64);
    let missing = directory.path().join("missing").to_str().unwrap().to_owned();
    let folder = directory.path().to_str().unwrap();
    let decoded = run(daemon(&["decode", &missing, folder, &good])).with(66);
    assert_eq!(decoded.stdout, "{\"type\":\"a.b\"}\n");
    assert_eq!(decoded.stderr.matches("cannot read").count(), 2);
}

#[test]
fn the_limit_of_inflation_is_kept() {
    let body = format!(r#"{{"type":"a.b","x":"{}"}}"#, "x".repeat(2000));
    run_with(daemon(&["decode", "--inflate-limit", "1KiB"]), body.as_bytes())
        .with(65)
        .saying(&["too large: more than 1024"]);
    let mut from_environment = daemon(&["decode"]);
    from_environment.env("STREAM_SQSD_INFLATE_LIMIT", "1KiB");
    run_with(from_environment, body.as_bytes()).with(65);
}

#[test]
fn typed_names_the_field_of_a_wrong_kind_and_not_its_value() {
    let event = r#"{"type":"message.new","my_field":[1,2],"message":{"text":"hi","mine":1.50}}"#;
    let typed = run_with(daemon(&["decode", "--typed"]), event.as_bytes()).with(0);
    let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
    assert_eq!(value(&typed.stdout), value(event));
    let new = r#"{"type":"brand.new","b":1,"a":2}"#;
    assert_eq!(run_with(daemon(&["decode", "--typed"]), new.as_bytes()).with(0).stdout.trim(), new);

    let wrong = r#"{"type":"message.new","message":{"text":["private words"]}}"#;
    let refused = run_with(daemon(&["decode", "--typed"]), wrong.as_bytes()).with(65).saying(&["message.text"]);
    assert!(!refused.stderr.contains("private"), "{}", refused.stderr);
}

#[test]
fn a_webhook_is_verified_before_it_is_decoded() {
    let body = br#"{"type":"message.new","message":{"text":"the quick brown fox"}}"#;
    let signature = "a91edf26f024e0efad88b0e2561e4841fa6f8c85f98ecb85dcd12e58563c2218";
    let webhook = |secret: &str| {
        let mut command =
            daemon(&["decode", "--type", "--webhook", "--signature", signature, "--secret-env", "SECRET"]);
        command.env("SECRET", secret);
        run_with(command, body)
    };
    assert_eq!(webhook("tsec2").with(0).stdout, "message.new\n");
    let refused = webhook("other").with(65);
    assert!(refused.stderr.starts_with("signature mismatch"), "{}", refused.stderr);
    webhook("").with(2).saying(&["--secret-env: the environment variable SECRET holds no secret"]);
    run(daemon(&["decode", "--webhook"])).with(2).saying(&["--signature"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_not_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let many = file(directory.path(), "many", format!("{BASE64}\n").repeat(50_000));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = start_writing_to(daemon(&["decode", "--lines", &many]), Stdio::from(writer)).wait().with(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_type_with_a_line_break_stays_one_line() {
    let body = br#"{"type":"a\nb\u001b[31m"}"#;
    assert_eq!(run_with(daemon(&["decode", "--type"]), body).with(0).stdout, "a\\nb\\u{1b}[31m\n");
}

#[test]
fn the_event_types_can_be_listed_and_looked_at() {
    let known = stream_sqsd::event::KNOWN.len();
    let all = run(daemon(&["events"])).with(0).saying(&[&format!("{known} types")]);
    assert_eq!(all.stdout.lines().count(), known);
    assert_eq!(run(daemon(&["events", "reaction.*"])).with(0).stdout.lines().count(), 3);
    let one = run(daemon(&["events", "message.new"])).with(0).stdout;
    assert!(one.contains("struct MessageNew") && one.contains("\n  message "), "{one}");
    run(daemon(&["events", "mesage.new"])).with(2).saying(&["`message.new`"]);
    run(daemon(&["events", "*.new"])).with(2).saying(&["star"]);
}
