//! The promises of the exec handler, with `sh` as the program.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_sqsd::consumer::{RetryDelay, Settings};
use stream_sqsd::decode::decode;
use stream_sqsd::handler::{Context, FailureKind, Handler, HandlerError};
use stream_sqsd::handlers::exec::{Exec, ExecError, ExecSettings};
use tempfile::{TempDir, tempdir};

use crate::engine::Engine;
use crate::{CHILD, Log, child, event, said, say};

/// A shell script; `$1` is the directory that it works in.
fn script(text: &str, place: &Path) -> Exec {
    Exec::new(ExecSettings::new(["sh", "-c", text, "sh", place.to_str().unwrap()])).unwrap()
}

async fn run(text: &str, place: &Path) -> Result<(), HandlerError> {
    script(text, place).handle(event("hello"), Context::for_test("id-1")).await
}

#[tokio::test]
async fn the_event_comes_on_standard_input_as_stream_sent_it() {
    let place = tempdir().unwrap();
    let body = "{\n \"type\":\"message.new\",\"text\":\"\\u00e9 ü\"}";
    let exec = script("cat > $1/event", place.path());
    exec.handle(decode(body, 1000).unwrap(), Context::for_test("id-1")).await.unwrap();
    assert_eq!(fs::read_to_string(place.path().join("event")).unwrap(), body);
}

#[tokio::test]
async fn the_exit_code_is_the_outcome() {
    let place = tempdir().unwrap();
    run("exit 0", place.path()).await.unwrap();
    for (end, failure) in [
        ("exit 65", FailureKind::Reject),
        ("exit 69", FailureKind::TargetDown),
        ("exit 75", FailureKind::Retry),
        ("exit 1", FailureKind::Retry),
        ("exit 127", FailureKind::Retry),
        ("kill -9 $$", FailureKind::Retry),
    ] {
        let error = run(end, place.path()).await.expect_err(end);
        assert_eq!(error.kind(), failure, "{end}: {error}");
    }
}

#[tokio::test]
async fn a_program_sees_the_facts_and_only_some_of_the_environment() {
    let place = tempdir().unwrap();
    let mut settings = ExecSettings::new(["sh", "-c", "env -0 > $1/env", "sh", place.path().to_str().unwrap()]);
    settings.env = vec!["CARGO_PKG_NAME".into()];
    Exec::new(settings).unwrap().handle(event("hello"), Context::for_test("id-1")).await.unwrap();

    let text = fs::read_to_string(place.path().join("env")).unwrap();
    let mut seen: BTreeMap<&str, &str> = text.split_terminator('\0').flat_map(|line| line.split_once('=')).collect();
    // The shell's own.
    for name in ["PWD", "OLDPWD", "SHLVL", "_"] {
        seen.remove(name);
    }
    // These only where the machine sets them.
    for name in ["HOME", "LANG", "TZ"] {
        assert_eq!(seen.remove(name).map(str::to_owned), std::env::var(name).ok(), "{name}");
    }
    assert!(seen.remove("PATH").is_some());
    let expected = [
        ("CARGO_PKG_NAME", "stream-sqsd"),
        ("STREAM_ATTEMPT", "1"),
        ("STREAM_EVENT_TYPE", "message.new"),
        ("STREAM_MESSAGE_ID", "id-1"),
        ("STREAM_RECEIVE_COUNT", "1"),
    ];
    assert_eq!(seen, BTreeMap::from(expected));
}

#[tokio::test]
async fn a_program_that_reads_no_input_is_done_by_its_exit_code() {
    let place = tempdir().unwrap();
    let exec = script("exit 0", place.path());
    exec.handle(event(&"x".repeat(1_000_000)), Context::for_test("id-1")).await.unwrap();
}

#[tokio::test]
async fn what_a_program_leaves_running_is_not_waited_for() {
    let place = tempdir().unwrap();
    let begun = Instant::now();
    run("sleep 20 & exit 0", place.path()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn arguments_are_passed_as_they_are_and_no_shell_reads_them() {
    let place = tempdir().unwrap();
    let target = place.path().join("$HOME; *");
    let exec = Exec::new(ExecSettings::new(["tee".to_owned(), target.to_str().unwrap().to_owned()])).unwrap();
    exec.handle(event("hello"), Context::for_test("id-1")).await.unwrap();
    assert!(target.exists());
}

#[tokio::test]
async fn a_program_that_vanishes_after_the_start_is_a_target_down() {
    let place = tempdir().unwrap();
    let path = place.path().join("program");
    let new = || Exec::new(ExecSettings::new([path.to_str().unwrap()]));
    assert!(matches!(new(), Err(ExecError::NotFound { .. })), "not there");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    assert!(matches!(new(), Err(ExecError::NotFound { .. })), "not executable");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let exec = new().unwrap();
    exec.handle(event("hello"), Context::for_test("1")).await.unwrap();
    fs::remove_file(&path).unwrap();
    let error = exec.handle(event("hello"), Context::for_test("1")).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");

    assert!(matches!(Exec::new(ExecSettings::new(["no-such-program"])), Err(ExecError::NotFound { .. })));
    assert!(matches!(Exec::new(ExecSettings::new([""; 0])), Err(ExecError::Empty)));
    let unset = ExecSettings::new(["sh"]).with_env(["NO_SUCH_VARIABLE"]);
    assert!(matches!(Exec::new(unset), Err(ExecError::NotSet { .. })));
}

/// A pipe with a name: read to its end, it tells when the last of those who hold it has gone.
fn fifo(place: &TempDir) -> PathBuf {
    let path = place.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// Runs the script until it has said a line, drops its handler's future, and tells what else came through the pipe
/// until everything that the script started was gone.
async fn cancelled(text: &str) -> (String, Duration) {
    let place = tempdir().unwrap();
    let path = fifo(&place);
    let (began, has_begun) = tokio::sync::oneshot::channel();
    let listening = tokio::task::spawn_blocking(move || {
        let mut pipe = BufReader::new(fs::File::open(path).unwrap());
        let mut line = String::new();
        pipe.read_line(&mut line).unwrap();
        began.send(()).unwrap();
        let mut rest = String::new();
        pipe.read_to_string(&mut rest).unwrap();
        rest
    });
    let exec = script(&format!("exec 3> $1/fifo\n{text}"), place.path());
    tokio::select! {
        biased;
        () = async { has_begun.await.unwrap() } => {}
        result = exec.handle(event("hello"), Context::for_test("id-1")) => panic!("it ended by itself: {result:?}"),
    }
    let dropped = Instant::now();
    let rest = tokio::time::timeout(Duration::from_secs(15), listening).await.expect("all of it ends").unwrap();
    (rest, dropped.elapsed())
}

#[tokio::test]
async fn a_cancelled_program_may_clean_up() {
    let (rest, _) = cancelled(r#"trap 'echo cleaned up >&3; exit' TERM; echo begun >&3; sleep 60 & wait"#).await;
    assert_eq!(rest, "cleaned up\n");
}

#[tokio::test]
async fn a_cancelled_program_that_ignores_it_is_killed_with_its_group() {
    let deaf = r#"trap "" TERM; sleep 60 & (sleep 60 & sleep 60) & echo begun >&3; sleep 60; sleep 60"#;
    let (rest, after) = cancelled(deaf).await;
    assert_eq!(rest, "");
    assert!(after >= Duration::from_secs(1), "killed after {after:?}");
}

#[tokio::test]
async fn what_a_cancelled_program_leaves_behind_is_killed() {
    let text = r#"(trap "" TERM; sleep 60; sleep 60) & trap 'exit' TERM; echo begun >&3; wait"#;
    let (_, after) = cancelled(text).await;
    assert!(after < Duration::from_secs(1), "killed after {after:?}");
}

#[tokio::test]
async fn standard_error_goes_to_the_log_escaped_and_bounded() {
    let place = tempdir().unwrap();
    let log = Log::of_this_thread();
    run(r#"printf 'first\n\033[2J\377last' >&2"#, place.path()).await.unwrap();
    let said = log.take();
    assert!(said.contains("message_id=id-1 stderr=first\n"), "{said}");
    assert!(said.contains("stderr=\\u{1b}[2J\u{fffd}last\n"), "{said}");

    // Ten megabytes, which no pipe holds: the program ends all the same.
    run("yes 0123456789 | head -c 10000000 >&2", place.path()).await.unwrap();
    run("yes | tr -d '\\n' | head -c 10000000 >&2", place.path()).await.unwrap();
    let said = log.take();
    assert!(said.len() < 50_000, "{} bytes", said.len());
    assert!(said.contains("unlogged_bytes=9090270 unlogged_lines=909027\n"), "{}", &said[said.len() - 500..]);
    assert!(said.contains("unlogged_bytes=9998976 unlogged_lines=0\n"), "{}", &said[said.len() - 500..]);
}

#[tokio::test]
async fn standard_error_is_bounded_and_the_log_counts_the_rest() {
    let place = tempdir().unwrap();
    let log = Log::of_this_thread();
    run("seq 1 100 >&2", place.path()).await.unwrap();
    let said = log.take();
    assert_eq!(said.matches("the program says").count(), 64);
    assert!(said.contains("stderr=64\n") && !said.contains("stderr=65\n"), "{said}");
    assert!(said.contains("unlogged_bytes=73 unlogged_lines=36\n"), "{said}");

    run("seq 1 64 >&2", place.path()).await.unwrap();
    let said = log.take();
    assert_eq!((said.matches("the program says").count(), said.matches("more than").count()), (64, 0));
}

#[tokio::test]
async fn a_program_whose_time_runs_out_is_ended_and_its_message_stays() {
    let place = tempdir().unwrap();
    let pipe = fifo(&place);
    let listening = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        fs::File::open(pipe).unwrap().read_to_string(&mut said).unwrap();
        said
    });
    let text = r#"exec 3> $1/fifo; trap 'echo ended >&3; exit' TERM; echo begun >&3; sleep 60 & wait"#;
    // Time enough for a shell to begin, on a busy machine too.
    let settings = Settings::new().with_handler_timeout(Duration::from_secs(2));
    let engine = Engine::with(Arc::new(script(text, place.path())), settings);
    engine.send(1);
    let said = tokio::time::timeout(Duration::from_secs(15), listening).await.expect("it is ended").unwrap();
    assert_eq!(said, "begun\nended\n");
    // It comes again after a second; whether that is before the stop is left open.
    let summary = engine.stop().await;
    let counts = &summary.counts;
    assert_eq!((counts.deleted, counts.timeouts + counts.returned), (0, counts.received), "{summary}");
    assert!(counts.timeouts > 0, "{summary}");
}

/// Has its lock for as long as one of its processes lives, and notes when another run has it.
const LOCKED: &str = "exec 9> $1/lock; flock -n 9 || echo overlap >> $1/overlaps; echo run >> $1/runs; ";

/// Runs a script for one message, which comes again at once, until its three receives are used up.
async fn uses_up_its_receives_without_overlap(text: &str, handler_timeout: Duration) {
    let place = tempdir().unwrap();
    let exec = Arc::new(script(&format!("{LOCKED}{text}"), place.path()));
    let retry = RetryDelay::new(Duration::ZERO, Duration::ZERO);
    let engine = Engine::with(exec, Settings::new().with_handler_timeout(handler_timeout).with_retry(retry));
    engine.send(1);
    engine.until_dead_lettered(1).await;
    let summary = engine.stop().await;
    assert_eq!(fs::read_to_string(place.path().join("runs")).unwrap().lines().count(), 3, "{summary}");
    assert!(!place.path().join("overlaps").exists(), "returned while it was at work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_out_of_time_is_gone_before_its_message_returns() {
    uses_up_its_receives_without_overlap(r#"trap "" TERM; sleep 60 & sleep 60; sleep 60"#, Duration::from_secs(1))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_of_a_failed_program_are_gone_before_the_retry() {
    let text = r#"(trap "" TERM; touch $1/begun; sleep 60; sleep 60) & until [ -e $1/begun ]; do :; done; exit 1"#;
    uses_up_its_receives_without_overlap(text, Duration::from_secs(30)).await;
}

/// Three seconds of grace: at 2.25 s the program is told, at 2.5 s it is killed, at 3 s all is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_gone_before_a_shutdown_hands_its_message_back() {
    let place = tempdir().unwrap();
    let exec = Arc::new(script(&format!(r#"{LOCKED}trap "" TERM; sleep 60 & sleep 60; sleep 60"#), place.path()));
    let settings = Settings::new().with_grace(Duration::from_secs(3));
    let engine = Engine::with(exec, settings);
    let queue = engine.queue();
    engine.send(1);
    let path = place.path().to_owned();
    engine.until("it is at work", || path.join("runs").exists()).await;
    let returned = async {
        while queue.counts().visible == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let lock = path.join("lock");
        Command::new("flock").arg("-n").arg(lock).arg("true").status().unwrap().success()
    };
    let (summary, is_gone) = tokio::join!(engine.stop(), returned);
    assert!(is_gone, "returned while it was at work");
    assert_eq!(summary.counts.returned, 1, "{summary}");
}

/// Runs programs that leave processes behind, beside one that a library runs, and says what is left of all.
#[tokio::test]
async fn child_that_is_pid_1() {
    let Ok(place) = std::env::var(CHILD) else { return };
    assert_eq!(std::process::id(), 1);
    let text = "sleep 0.1 & setsid sleep 0.1 & (setsid sleep 0.1 &); exit 65";
    let exec = script(text, Path::new(&place));
    let of_a_library = tokio::process::Command::new("sh").args(["-c", "exit 7"]).spawn();
    for _ in 0..50 {
        let handled = exec.handle(event("hello"), Context::for_test("id-1"));
        assert_eq!(handled.await.unwrap_err().kind(), FailureKind::Reject);
    }
    let mut handled = Box::pin(exec.handle(event("hello"), Context::for_test("id-1")));
    assert!(futures_util::poll!(&mut handled).is_pending());
    // All on this thread stands still, so that these two have ended for some time before they are asked for.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(handled.await.unwrap_err().kind(), FailureKind::Reject, "nobody else reaps it");
    assert_eq!(of_a_library.unwrap().wait().await.unwrap().code(), Some(7), "nobody else reaps it");
    let processes = || {
        let names = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.parse::<u32>().is_ok_and(|pid| pid > 1)).count()
    };
    let begun = Instant::now();
    while processes() > 0 && begun.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    say(&format!("{} are left", processes()));
}

#[test]
#[ignore = "a PID namespace of its own, as a container has: needs root, or name spaces for everybody"]
fn namespace_as_pid_1_orphans_are_reaped_exit_codes_kept() {
    let place = tempdir().unwrap();
    let test = child("exec::child_that_is_pid_1", place.path().to_str().unwrap());
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.arg(test.get_program()).args(test.get_args()).env(CHILD, place.path()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let last = said(&mut child).last();
    assert!(child.wait().unwrap().success());
    assert_eq!(last.as_deref(), Some("0 are left"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_programs_fill_the_slots_and_the_rest_stays_queued() {
    let place = tempdir().unwrap();
    let go = place.path().join("go");
    let text = "mkdir $1/at-work-$$; ls -d $1/at-work-* | wc -l >> $1/counts; \
                until [ -e $1/go ]; do sleep 0.02; done; rmdir $1/at-work-$$";
    let engine = Engine::start(Arc::new(script(text, place.path())), 4);
    engine.send(40);
    engine.until_full(4).await;
    fs::write(go, "").unwrap();
    engine.until_deleted(40).await;
    assert_eq!(engine.most_at_work(), 4);
    engine.end().await;
    let counts = fs::read_to_string(place.path().join("counts")).unwrap();
    let most = counts.lines().map(|count| count.trim().parse::<u32>().unwrap()).max();
    assert!(most <= Some(4), "programs at the same time: {most:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_behind_a_program_dead_letters_nothing() {
    let place = tempdir().unwrap();
    let text = "[ -e $1/up ] || exit 69; echo $STREAM_MESSAGE_ID >> $1/done";
    let engine = Engine::start(Arc::new(script(text, place.path())), 64);
    engine.meet_an_outage().await;
    engine.send(17);
    fs::write(place.path().join("up"), "").unwrap();
    engine.until_deleted(20).await;
    engine.end().await;
    assert_eq!(fs::read_to_string(place.path().join("done")).unwrap().lines().count(), 20);
}
