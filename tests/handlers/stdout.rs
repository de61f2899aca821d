//! The promises of the stdout handler.

use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_sqsd::handler::{Context, FailureKind, Handler};
use stream_sqsd::handlers::stdout::Stdout;
use tokio::time::{sleep, timeout};

use crate::engine::Engine;
use crate::event;

const SOON: Duration = Duration::from_secs(10);

/// Remembers each write on its own.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<String>>>);

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().push("flush".into());
        Ok(())
    }
}

#[tokio::test]
async fn each_line_is_one_write_and_is_flushed_before_success() {
    let writes = Writes::default();
    let stdout = Stdout::new(writes.clone()).unwrap();
    for id in ["a", "b"] {
        let ctx = Context::for_test(id);
        let deadline = ctx.deadline();
        stdout.handle(event(id), ctx.clone()).await.unwrap();
        assert!(ctx.deadline() > deadline, "the wait for its turn is not part of its time");
        let writes = std::mem::take(&mut *writes.0.lock().unwrap());
        assert_eq!(writes.len(), 2, "{writes:?}");
        assert!(writes[0].starts_with(&format!(r#"{{"type":"message.new","message_id":"{id}""#)), "{}", writes[0]);
        assert!(writes[0].ends_with("}\n"));
        assert_eq!(writes[1], "flush");
    }
}

#[tokio::test]
async fn a_terminal_is_sent_no_commands_and_no_turned_text() {
    let text = "\u{9d}0;title\u{9c} \u{9b}31m\u{7f} \u{202e}olleh\u{2066} \u{2028} grüße \u{1f642}";
    let json = format!("{{\"type\":\"a.b\",\t\"text\":\"{text}\"}}");
    let event = stream_sqsd::event::Event::from_json(&*json).unwrap();
    for (terminal, raw) in [(true, false), (false, true)] {
        let writes = Writes::default();
        let stdout = if terminal { Stdout::on_terminal(writes.clone()) } else { Stdout::new(writes.clone()) }.unwrap();
        stdout.handle(event.clone(), Context::for_test("a")).await.unwrap();
        let line = writes.0.lock().unwrap()[0].clone();
        assert_eq!(line.contains(text), raw, "{line:?}");
        let dangerous = |c: char| stream_sqsd::event::is_unsafe_to_show(c) && c != '\t';
        assert_eq!(line.trim_end().contains(dangerous), raw, "{line:?}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["event"]["text"], text, "it means the same");
    }
}

#[tokio::test]
async fn a_reader_that_has_gone_is_a_target_down_and_told() {
    let (reader, writer) = io::pipe().unwrap();
    let stdout = Stdout::new(writer).unwrap();
    let closed = stdout.closed();
    stdout.handle(event("1"), Context::for_test("1")).await.unwrap();
    assert!(!closed.is_closed());

    drop(reader);
    for id in ["2", "3"] {
        let error = stdout.handle(event(id), Context::for_test(id)).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    }
    timeout(SOON, closed.wait()).await.unwrap();
}

/// A handler whose reader has paused is dropped in the middle of its line: the runtime goes on, and when the reader
/// reads again the line is whole.
#[tokio::test]
async fn a_stalled_pipe_blocks_no_runtime_and_leaves_no_half_line() {
    let (mut reader, writer) = io::pipe().unwrap();
    let stdout = Stdout::new(writer).unwrap();
    // More than a pipe holds.
    let long = "x".repeat(1 << 19);
    let begun = async {
        while rustix::io::ioctl_fionread(&reader).unwrap() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        ended = stdout.handle(event(&long), Context::for_test("long")) => panic!("the pipe took it all: {ended:?}"),
        begun = timeout(SOON, begun) => begun.expect("it is begun"),
    }
    // Taken back before it was begun: no line at all.
    let waiting = timeout(Duration::from_millis(50), stdout.handle(event("x"), Context::for_test("never"))).await;
    assert!(waiting.is_err(), "written past a stalled line");

    let (text, read) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        text.send(all).unwrap();
    });
    timeout(SOON, stdout.handle(event("y"), Context::for_test("after"))).await.unwrap().unwrap();
    drop(stdout);
    let all = read.recv_timeout(SOON).unwrap();
    reading.join().unwrap();
    let lines: Vec<serde_json::Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = lines.iter().map(|line| line["message_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["long", "after"]);
}

/// Time is paused: it advances when nothing else is left to wait for.
#[tokio::test(start_paused = true)]
async fn a_paused_reader_is_a_target_down_before_the_handler_timeout() {
    let (_reader, writer) = io::pipe().unwrap();
    let stdout = Stdout::new(writer).unwrap();
    let handled = stdout.handle(event(&"x".repeat(1 << 19)), Context::for_test("1"));
    let error = timeout(Duration::from_secs(30), handled).await.expect("it waits no longer").unwrap_err();
    assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    assert!(!stdout.closed().is_closed(), "it has paused, not gone");
}

/// Takes n bytes, then is full until more are allowed.
struct Disk {
    room: Arc<Mutex<usize>>,
    content: Arc<Mutex<Vec<u8>>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room.lock().unwrap();
        let taken = bytes.len().min(*room);
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *room -= taken;
        self.content.lock().unwrap().extend(&bytes[..taken]);
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_line_torn_by_a_full_disk_is_completed_later() {
    let (room, content) = (Arc::new(Mutex::new(150)), Arc::new(Mutex::new(Vec::new())));
    let stdout = Stdout::new(Disk { room: room.clone(), content: content.clone() }).unwrap();
    stdout.handle(event("1"), Context::for_test("1")).await.unwrap();
    for _ in 0..2 {
        let error = stdout.handle(event("2"), Context::for_test("2")).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::TargetDown);
    }
    assert!(!stdout.closed().is_closed(), "a full disk has not gone for good");
    assert_eq!(content.lock().unwrap().len(), 150);

    *room.lock().unwrap() = 1000;
    stdout.handle(event("2"), Context::for_test("2")).await.unwrap();
    let content = String::from_utf8(content.lock().unwrap().clone()).unwrap();
    let ids: Vec<String> = content
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message_id"].to_string())
        .collect();
    assert_eq!(ids, [r#""1""#, r#""2""#, r#""2""#], "at least once, and each line whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_full_for_a_while_dead_letters_nothing() {
    let (room, content) = (Arc::new(Mutex::new(150)), Arc::new(Mutex::new(Vec::new())));
    let stdout = Stdout::new(Disk { room: room.clone(), content: content.clone() }).unwrap();
    let engine = Engine::start(Arc::new(stdout), 64);
    engine.send(1);
    engine.until_deleted(1).await;
    engine.meet_an_outage().await;
    engine.send(16);
    *room.lock().unwrap() = 1_000_000;
    engine.until_deleted(20).await;
    engine.end().await;
    let lines = String::from_utf8(content.lock().unwrap().clone()).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_fills_the_slots_and_the_rest_stays_queued() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    // The pipe is full, so that nothing is taken until somebody reads.
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b' '; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let engine = Engine::start(Arc::new(Stdout::new(writer).unwrap()), 4);
    engine.send(40);
    engine.until_full(4).await;
    let reading = std::thread::spawn(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).map(|_| all.lines().count())
    });
    engine.until_deleted(40).await;
    assert_eq!(engine.most_at_work(), 4);
    engine.end().await;
    assert_eq!(reading.join().unwrap().unwrap(), 40);
}
