//! The promises of a program that stays, with `sh` as the program, and with the examples in other languages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use stream_sqsd::consumer::{RetryDelay, Settings};
use stream_sqsd::decode::decode;
use stream_sqsd::handler::{Context, FailureKind, Handler, HandlerError};
use stream_sqsd::handlers::exec::ExecError;
use stream_sqsd::handlers::persistent::{Persistent, PersistentSettings};
use tempfile::tempdir;

use crate::engine::Engine;
use crate::support::until::{PATIENCE, block_until};
use crate::{Log, event};

/// A shell script that stays; `$1` is the directory that it works in. For each line it does what `body` says, which finds
/// `$line`, the `$id` of its message and the `$text` of its event, and has `answer OUTCOME MORE`.
fn settings(before: &str, body: &str, behind: &str, place: &Path) -> PersistentSettings {
    let text = format!(
        r#"answer() {{ printf '{{"message_id":"%s","outcome":"%s"%s}}\n' "$id" "$1" "$2"; }}
echo run >> $1/runs
{before}
while IFS= read -r line; do
id=${{line#*'"message_id":"'}}; id=${{id%%'"'*}}; text=${{line#*'"text":"'}}; text=${{text%%'"'*}}
{body}
done
{behind}"#
    );
    PersistentSettings::new(["sh", "-c", &text, "sh", place.to_str().unwrap()])
}

fn script(body: &str, place: &Path) -> Persistent {
    Persistent::new(settings("", body, "", place)).unwrap()
}

async fn handle(program: &Persistent, id: &str, text: &str) -> Result<(), HandlerError> {
    let handled = program.handle(event(text), Context::for_test(id));
    tokio::time::timeout(PATIENCE, handled).await.expect("an end in time")
}

fn runs(place: &Path) -> usize {
    fs::read_to_string(place.join("runs")).map_or(0, |runs| runs.lines().count())
}

fn lines(place: &Path, name: &str) -> Vec<String> {
    fs::read_to_string(place.join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Dies of `die`, and is done with everything else.
const MORTAL: &str = "case $text in die) exit 1;; *) answer done;; esac";

#[tokio::test]
async fn one_program_gets_a_line_an_event_and_answers_with_a_line() {
    let place = tempdir().unwrap();
    let program = script(r#"printf '%s\n' "$line" >> $1/lines; answer done"#, place.path());
    let body = "{\n \"type\":\"message.new\",\"text\":\"\\u00e9 ü\"}";
    for id in ["id-1", "id-2"] {
        program.handle(decode(body, 1000).unwrap(), Context::for_test(id)).await.unwrap();
    }
    let line = |id: &str| {
        format!(
            r#"{{"message_id":"{id}","type":"message.new","receive_count":1,"attempt":1,"sent_at":null,"event":{{  "type":"message.new","text":"\u00e9 ü"}}}}"#
        )
    };
    assert_eq!(lines(place.path(), "lines"), [line("id-1"), line("id-2")]);
    assert_eq!(runs(place.path()), 1);
}

#[tokio::test]
async fn the_answer_is_the_outcome() {
    let place = tempdir().unwrap();
    let body = r#"case $text in slow) answer retry ',"after":"5s","error":"not now"';; *) answer $text;; esac"#;
    let program = script(body, place.path());
    handle(&program, "1", "done").await.unwrap();
    for (text, kind, delay) in [
        ("retry", FailureKind::Retry, None),
        ("reject", FailureKind::Reject, None),
        ("target_down", FailureKind::TargetDown, None),
        ("slow", FailureKind::Retry, Some(Duration::from_secs(5))),
    ] {
        let error = handle(&program, "1", text).await.unwrap_err();
        assert_eq!((error.kind(), error.delay()), (kind, delay), "{error}");
        assert_eq!(error.to_string() == "not now", text == "slow", "{error}");
    }
    assert_eq!(runs(place.path()), 1);
}

#[tokio::test]
async fn answers_may_come_in_any_order() {
    let place = tempdir().unwrap();
    // It answers when it has three, the last one first.
    let body = r#"all="$id $all"; set -- "$1" $all
        if [ $# = 4 ]; then for id in $all; do echo $id >> $1/order; answer done; done; fi"#;
    let program = script(body, place.path());
    for end in join_all(["1", "2", "3"].map(|id| handle(&program, id, "x"))).await {
        end.unwrap();
    }
    assert_eq!(lines(place.path(), "order"), ["3", "2", "1"]);
}

#[tokio::test]
async fn one_message_by_two_routes_is_worked_on_one_after_the_other() {
    let place = tempdir().unwrap();
    let program = script(r#"echo $text >> $1/order; sleep 0.1; answer $text"#, place.path());
    let (one, two) = join(handle(&program, "1", "done"), handle(&program, "1", "reject")).await;
    assert!(one.is_ok());
    assert_eq!(two.unwrap_err().kind(), FailureKind::Reject);
    assert_eq!(lines(place.path(), "order"), ["done", "reject"]);
}

#[tokio::test]
async fn nonsense_and_answers_to_nobody_are_told_and_ignored() {
    let place = tempdir().unwrap();
    let log = Log::of_this_thread();
    let body = r#"echo hush; echo; echo '{"message_id":"hush","outcome":"done"}'; printf '\377\n'; answer done"#;
    let program = script(body, place.path());
    for id in ["1", "2", "3"] {
        handle(&program, id, "x").await.unwrap();
    }
    assert_eq!(runs(place.path()), 1);
    let said = log.take();
    assert_eq!(said.matches("WARN").count(), 2, "{said}");
    assert!(said.contains("not an answer") && said.contains("does not have") && !said.contains("hush"), "{said}");
}

#[tokio::test]
async fn a_line_that_is_too_long_ends_the_program() {
    let place = tempdir().unwrap();
    let body = r#"case $text in
        long) head -c 65600 /dev/zero | tr '\0' x;; longest) yes x | tr -d '\n' | head -c 9000000;; *) answer done;; esac"#;
    let program = script(body, place.path());
    handle(&program, "1", "short").await.unwrap();
    for (id, text) in [("2", "long"), ("3", "longest")] {
        let error = handle(&program, id, text).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Retry, "{error}");
        assert!(error.to_string().contains("a line that is too long"), "{error}");
        handle(&program, "4", "short").await.unwrap();
    }
    assert_eq!(runs(place.path()), 3);
}

#[tokio::test]
async fn a_program_that_dies_takes_only_the_event_that_kills_it() {
    let place = tempdir().unwrap();
    let body = "echo $text >> $1/texts; [ $text = warm ] || sleep 0.02; ".to_owned() + MORTAL;
    let program = script(&body, place.path());
    handle(&program, "0", "warm").await.unwrap();
    let ends = join_all((1..30).map(|number| {
        let (program, id) = (&program, number.to_string());
        async move { handle(program, &id, if number == 7 { "die" } else { "live" }).await }
    }))
    .await;
    for (number, end) in (1..).zip(ends) {
        match (number, end) {
            (7, Err(error)) => assert_eq!(error.kind(), FailureKind::Retry, "{error}"),
            (_, end) => end.unwrap_or_else(|error| panic!("{number}: {error}")),
        }
    }
    // The first died with others inside, the second with that event alone; what came behind was not with it.
    assert_eq!(runs(place.path()), 3);
    assert_eq!(lines(place.path(), "texts").iter().filter(|text| *text == "die").count(), 2);
}

#[tokio::test]
async fn the_exit_code_judges_an_event_that_was_alone() {
    let place = tempdir().unwrap();
    let program = script("case $text in live) answer done;; *) exit $text;; esac", place.path());
    for (code, kind) in [
        ("65", FailureKind::Reject),
        ("69", FailureKind::TargetDown),
        ("1", FailureKind::Retry),
        ("0", FailureKind::Retry),
    ] {
        handle(&program, "1", "live").await.unwrap();
        let error = handle(&program, "1", code).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {error}");
    }
}

#[tokio::test]
async fn a_program_without_output_or_with_heirs_of_it_is_replaced() {
    let place = tempdir().unwrap();
    // What has left its group is not followed, but nobody waits for it either.
    let body = r#"case $text in
        silent) exec >&- 2>&-; sleep 60;;
        heirs) setsid sleep 60 & sleep 60 & exit 1;;
        *) answer done;; esac"#;
    let program = script(body, place.path());
    for text in ["silent", "heirs"] {
        handle(&program, "1", "live").await.unwrap();
        let began = Instant::now();
        let error = handle(&program, "2", text).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Retry, "{text}: {error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{text}: {:?}", began.elapsed());
    }
    handle(&program, "3", "live").await.unwrap();
    assert_eq!(runs(place.path()), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_reads_no_more_costs_only_its_own_event() {
    let place = tempdir().unwrap();
    // It lives on behind the first event, and what is written to it later is lost.
    let body = r#"if [ ! -e $1/deaf ]; then touch $1/deaf; exec <&-; sleep 60; fi; answer done"#;
    let program = Arc::new(Persistent::new(settings("", body, "", place.path())).unwrap());
    let engine = Engine::with(program, Settings::new().with_handler_timeout(Duration::from_secs(1)));
    engine.send(10);
    engine.until_deleted(10).await;
    let summary = engine.stop().await;
    assert!(summary.counts.received <= 11, "{summary}");
    assert_eq!(runs(place.path()), 2);
}

#[tokio::test]
async fn the_first_of_several_answers_counts_and_for_its_event() {
    let place = tempdir().unwrap();
    let log = Log::of_this_thread();
    let program = script("answer done; answer reject; answer target_down", place.path());
    for end in join_all(["1", "2", "3"].map(|id| handle(&program, id, "x"))).await {
        end.unwrap();
    }
    drop(program);
    assert_eq!(log.take().matches("does not have").count(), 1);
}

#[tokio::test]
async fn a_program_that_cannot_start_is_a_target_that_is_down() {
    let place = tempdir().unwrap();
    let new = |command: [&str; 1]| Persistent::new(PersistentSettings::new(command));
    assert!(matches!(new(["/not/here"]), Err(ExecError::NotFound { .. })));
    let none = PersistentSettings::new(["sh"]).with_processes(0);
    assert!(matches!(Persistent::new(none), Err(ExecError::Zero { .. })));

    let path = place.path().join("program");
    fs::copy("/bin/sh", &path).unwrap();
    let vanished = new([path.to_str().unwrap()]).unwrap();
    fs::remove_file(&path).unwrap();
    for end in join_all(["1", "2"].map(|id| handle(&vanished, id, "x"))).await {
        let error = end.unwrap_err();
        assert_eq!(error.kind(), FailureKind::TargetDown);
        assert!(error.to_string().contains("cannot be started"), "{error}");
    }
}

#[tokio::test]
async fn a_program_that_never_answers_is_down_and_starts_ever_slower() {
    let place = tempdir().unwrap();
    let program = Persistent::new(settings("exit 1", "", "", place.path())).unwrap();
    let began = Instant::now();
    for number in 0..5 {
        let error = handle(&program, &number.to_string(), "x").await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    }
    // Before the second to the fifth run: 100, 200, 400 and 800 ms.
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(runs(place.path()), 5);
}

#[tokio::test]
async fn each_process_works_beside_the_others() {
    let place = tempdir().unwrap();
    // Each waits for the other, which is in vain within one process.
    let body = "touch $1/$id; echo $$ >> $1/pids; until [ -e $1/1 ] && [ -e $1/2 ]; do sleep 0.01; done; answer done";
    let program = Persistent::new(settings("", body, "", place.path()).with_processes(2)).unwrap();
    let both = join(handle(&program, "1", "x"), handle(&program, "2", "x"));
    let (one, two) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("side by side");
    one.unwrap();
    two.unwrap();
    assert_eq!(lines(place.path(), "pids").into_iter().collect::<BTreeSet<_>>().len(), 2);
}

#[tokio::test]
async fn dropped_it_ends_the_input_and_waits_for_the_end() {
    let place = tempdir().unwrap();
    let program = Persistent::new(settings("", "answer done", "sleep 0.3; touch $1/finished", place.path())).unwrap();
    handle(&program, "1", "x").await.unwrap();
    drop(program);
    assert!(place.path().join("finished").exists());

    let deaf = Persistent::new(settings("trap '' TERM", "answer done", "sleep 60; sleep 60", place.path())).unwrap();
    handle(&deaf, "1", "x").await.unwrap();
    let began = Instant::now();
    drop(deaf);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(10), "killed after {took:?}");
    // One that was never started has nothing to end.
    drop(script("", place.path()));
}

#[tokio::test]
async fn standard_error_of_a_program_that_stays_is_logged_and_bounded() {
    let place = tempdir().unwrap();
    let log = Log::of_this_thread();
    let program = script("seq 1 100 >&2; answer done", place.path());
    handle(&program, "1", "x").await.unwrap();
    drop(program);
    let said = log.take();
    assert_eq!(said.matches("the program says").count(), 64, "{said}");
    assert!(said.contains("unlogged_bytes=73 unlogged_lines=36\n"), "{said}");
}

#[tokio::test]
async fn a_program_that_stays_sees_only_some_of_the_environment() {
    let place = tempdir().unwrap();
    let program =
        Persistent::new(settings("env > $1/env", "answer done", "", place.path()).with_env(["CARGO_PKG_NAME"]));
    handle(&program.unwrap(), "1", "x").await.unwrap();
    let names: BTreeSet<String> =
        lines(place.path(), "env").iter().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
    let allowed = ["CARGO_PKG_NAME", "PATH", "HOME", "LANG", "TZ", "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(names.contains("CARGO_PKG_NAME") && names.iter().all(|name| allowed.contains(&&**name)), "{names:?}");
}

/// Has its lock for as long as it lives, and notes when another run has it.
const LOCKED: &str = "exec 9> $1/lock; flock -n 9 || echo overlap >> $1/overlaps";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_out_of_time_is_cancelled_then_killed_then_replaced() {
    let place = tempdir().unwrap();
    let body = r#"printf '%s\n' "$line" | cut -c 1-60 >> $1/lines"#;
    let program = Persistent::new(settings(LOCKED, body, "", place.path())).unwrap();
    let retry = RetryDelay::new(Duration::ZERO, Duration::ZERO);
    let settings = Settings::new().with_handler_timeout(Duration::from_millis(300)).with_retry(retry);
    let engine = Engine::with(Arc::new(program), settings);
    engine.send(1);
    engine.until_dead_lettered(1).await;
    let summary = engine.stop().await;
    let lines = lines(place.path(), "lines");
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(lines.iter().skip(1).step_by(2).all(|line| line.ends_with(r#","cancel":true}"#)), "{lines:?}");
    assert_eq!(runs(place.path()), 3, "{summary}");
    assert!(!place.path().join("overlaps").exists(), "returned while it was at work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_heeds_a_cancel_lives_on() {
    let place = tempdir().unwrap();
    let body = r#"case $line in *'"cancel":true'*) answer retry;; *) ;; esac"#;
    let program = Persistent::new(settings("", body, "", place.path())).unwrap();
    let retry = RetryDelay::new(Duration::ZERO, Duration::ZERO);
    let settings = Settings::new().with_handler_timeout(Duration::from_millis(300)).with_retry(retry);
    let engine = Engine::with(Arc::new(program), settings);
    engine.send(1);
    engine.until_dead_lettered(1).await;
    engine.stop().await;
    assert_eq!(runs(place.path()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_out_of_time_costs_the_others_nothing() {
    let place = tempdir().unwrap();
    // The first message hangs, once; the others come behind it.
    let body = r#"if [ ! -e $1/hung ]; then touch $1/hung; sleep 60; fi; answer done"#;
    let program = Arc::new(Persistent::new(settings("", body, "", place.path())).unwrap());
    let engine = Engine::with(program, Settings::new().with_handler_timeout(Duration::from_secs(1)));
    engine.send(10);
    engine.until_deleted(10).await;
    let summary = engine.stop().await;
    let counts = &summary.counts;
    assert_eq!((counts.timeouts, counts.received), (1, 11), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_behind_others_in_a_program_does_not_count() {
    let place = tempdir().unwrap();
    let program = Arc::new(script("sleep 0.3; answer done", place.path()));
    let engine = Engine::with(program, Settings::new().with_handler_timeout(Duration::from_secs(1)));
    engine.send(10);
    engine.until_deleted(10).await;
    let summary = engine.stop().await;
    assert_eq!((summary.counts.timeouts, summary.counts.received), (0, 10), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_answers_of_a_program_that_stays() {
    let place = tempdir().unwrap();
    let program = Arc::new(script("touch $1/begun; sleep 0.5; answer done", place.path()));
    let engine = Engine::with(program, Settings::new());
    engine.send(2);
    block_until("it is at work", || place.path().join("begun").exists());
    let queue = engine.queue();
    let summary = engine.stop().await;
    assert_eq!(queue.counts().deleted, 2, "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_behind_a_program_that_stays_dead_letters_nothing() {
    let place = tempdir().unwrap();
    let body = "if [ -e $1/up ]; then answer done; else answer target_down; fi";
    let engine = Engine::start(Arc::new(script(body, place.path())), 64);
    engine.meet_an_outage().await;
    engine.send(17);
    fs::write(place.path().join("up"), "").unwrap();
    engine.until_deleted(20).await;
    engine.end().await;
}

async fn example(interpreter: &str, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/example").join(file);
    assert!(fs::read_to_string(&path).unwrap().lines().count() <= 15);
    let log = Log::of_this_thread();
    let program = Persistent::new(PersistentSettings::new([interpreter, path.to_str().unwrap()])).unwrap();
    let ends = join_all((0..100).map(|number| {
        let (program, id) = (&program, number.to_string());
        async move { handle(program, &id, "hello").await }
    }));
    ends.await.into_iter().for_each(|end| end.unwrap());
    let event = decode(r#"{"type":"message.new","text":"\u2028 \ud83d\ude00"}"#, 1000).unwrap();
    program.handle(event, Context::for_test("id-1")).await.unwrap();
    drop(program);
    let said = log.take();
    assert!(said.contains("stderr=message.new") && !said.contains("WARN"), "{said}");
}

#[tokio::test]
#[ignore = "needs Python"]
async fn example_in_python_answers_each_event() {
    example("python3", "persistent.py").await;
}

#[tokio::test]
#[ignore = "needs Node.js"]
async fn example_in_javascript_answers_each_event() {
    example("node", "persistent.mjs").await;
}

#[tokio::test]
#[ignore = "needs Ruby"]
async fn example_in_ruby_answers_each_event() {
    example("ruby", "persistent.rb").await;
}
