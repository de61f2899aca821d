//! Many messages through one consumer: what it holds stays the same, and what it logs stays readable.
//!
//! On a queue in memory on which everything goes wrong now and then, under paused time. It is a target of its own since
//! it measures its process; the soak over the wire, in `tests/localstack`, measures the daemon's.
//!
//! ```text
//! STREAM_SQSD_TEST_SOAK_MESSAGES=1000000 cargo test --test soak -- --nocapture
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod process;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stream_sqsd::consumer::{Consumer, Settings};
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, HandlerError};
use stream_sqsd::queue::memory::{Faults, MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use process::{Course, Held};

/// How many messages wait in the queue at the most: so few that not every receive is full, since only one with room brings
/// a duplicate.
const WAITING: u64 = 25;

/// How much memory may come and go, in KiB: that of 100,000 leaks of forty bytes each.
const MEMORY: u64 = 4 * 1024;

/// How many kinds of trouble are logged, each of them once in ten seconds at the most.
const KINDS_OF_TROUBLE: u64 = 20;

/// How much paused time a thousand messages may take: ten times what they do.
const FOR_A_THOUSAND: Duration = Duration::from_secs(100);

/// Counts the lines that go to the log.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(text.iter().filter(|byte| **byte == b'\n').count(), Ordering::Relaxed);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes its time; of a hundred calls ten fail and one panics.
async fn handle(event: Event, ctx: Context) -> Result<(), HandlerError> {
    let number = event.json().len()
        + ctx.receive_count() as usize * 37
        + ctx.message_id().as_str().bytes().map(usize::from).sum::<usize>();
    sleep(Duration::from_millis(number as u64 % 50)).await;
    match number % 100 {
        0..10 => Err(HandlerError::retry("one of ten")),
        10 => panic!("{SIMULATED}"),
        _ => Ok(()),
    }
}

const SIMULATED: &str = "one of a hundred";

#[test]
fn memory_descriptors_and_log_stay_flat_whatever_goes_wrong() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(SIMULATED) {
            hook(info);
        }
    }));
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let messages = std::env::var("STREAM_SQSD_TEST_SOAK_MESSAGES");
    let messages: u64 = messages.map_or(100_000, |number| number.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(soak(messages, &lines));
}

async fn soak(messages: u64, lines: &Lines) {
    let faults = Faults::new()
        .with_duplicate(0.05)
        .with_receive_error(0.05)
        .with_receive_answer_lost(0.02)
        .with_call_error(0.05)
        .with_call_answer_lost(0.05)
        .with_entry_error(0.05)
        .with_hang(0.0)
        .with_latency(Duration::from_millis(30));
    let queue = MemoryQueue::new(MemorySettings::new().with_faults(faults).with_seed(1));
    let settings = Settings::new().with_random_seed(1);
    let consumer = Consumer::new(queue.clone(), Router::new().fallback(handle), settings);
    let (stop, stopped) = oneshot::channel();
    let began = Instant::now();
    let mut course = Course::of(messages as usize);
    let limit = FOR_A_THOUSAND * messages.div_ceil(1_000) as u32;
    let feed = async {
        let text = "the kettle is on ".repeat(100);
        loop {
            let counts = queue.counts();
            course.note(counts.deleted as usize, Held::by("self"));
            if counts.deleted == messages {
                break;
            }
            assert!(began.elapsed() < limit, "only {} messages were deleted within {limit:?}", counts.deleted);
            for number in counts.sent..messages.min(counts.sent + WAITING.saturating_sub(counts.visible)) {
                queue.send(format!(r#"{{"type":"message.new","message":{{"id":"m-{number}","text":"{text}"}}}}"#));
            }
            sleep(Duration::from_millis(20)).await;
        }
        stop.send(()).expect("it runs until it is asked to stop");
    };
    let (summary, ()) = tokio::join!(consumer.run(async { drop(stopped.await) }), feed);
    let summary = summary.unwrap();
    let lasted = began.elapsed();
    let lines = lines.0.load(Ordering::Relaxed) as u64;

    println!(
        "soak: {messages} messages in {} s of paused time, {lines} lines of log; in tenths: {course}",
        lasted.as_secs()
    );
    println!("{summary}");
    assert!(summary.adds_up(), "{summary}");
    assert!(summary.counts.handler_errors > messages / 20 && summary.counts.panics > messages / 200, "{summary}");
    assert!(summary.counts.duplicates > 0, "{summary}");
    course.assert_flat(MEMORY, 0);
    let most = 10 + KINDS_OF_TROUBLE * (lasted.as_secs() / 10 + 1);
    assert!(lines <= most, "{lines} lines of log, where {most} are enough");
}
