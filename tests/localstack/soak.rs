//! Many messages through one daemon on a wire that breaks: what it holds stays the same, and its log stays readable.
//!
//! ```text
//! STREAM_SQSD_TEST_SOAK_WIRE_MESSAGES=200000 tests/run -- soak
//! ```
#![cfg(target_os = "linux")]

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::body::event;
use super::daemon;
use super::process::{Course, Held};
use super::proxy::{Fault, Proxy};
use super::queue::{TestQueue, Wanted};
use super::record::Record;
use super::scale;

/// How many messages wait in the queue, about.
const WAITING: usize = 500;

/// How many messages are sent before the daemon is looked at again: far fewer than a tenth of them.
const PORTION: usize = 100;

/// How much more memory the last tenth may hold than the first, in KiB: a third of what the bodies of 5,000 messages
/// hold. Some 2 MiB of it the daemon needs to remember its last 8,192 successes.
const MEMORY: u64 = 6 * 1024;

/// How many connections may come and go.
const CONNECTIONS: usize = 16;

/// Of how many deletes one goes wrong: the connection breaks, which the SDK fixes by itself, or it is refused in a way that
/// the SDK leaves to the daemon.
const ONE_IN: u32 = 5;

/// How many lines the daemon logs when all is well.
const LINES_AT_PEACE: u64 = 20;

/// How many kinds of trouble there are here, each of them logged once in ten seconds at the most.
const KINDS_OF_TROUBLE: u64 = 5;

/// How long the daemon may take for a thousand messages.
const FOR_A_THOUSAND: Duration = Duration::from_secs(60);

/// A body of four kilobytes, so that one which is kept is seen to be.
fn bulky(number: usize) -> Value {
    let mut event = event(number);
    event["message"]["text"] = "the kettle is on ".repeat(240).into();
    event
}

#[tokio::test]
async fn memory_descriptors_and_log_stay_flat_on_a_breaking_wire() {
    let messages = scale::of("STREAM_SQSD_TEST_SOAK_WIRE_MESSAGES", 5_000);
    let mut random = scale::random("soak");
    let queue = TestQueue::new("soak", Wanted { visibility: 30, max_receive_count: 100 }).await;
    let proxy = Proxy::start(move |action| {
        // Not the receives: after one that failed the daemon waits, and here it is to work.
        let breaks = action == "DeleteMessageBatch" && random.u32(0..ONE_IN) == 0;
        breaks.then(|| match random.u32(0..4) {
            0 => Fault::Unheard,
            1 => Fault::Unanswered,
            _ => Fault::Refused(403, "AccessDeniedException"),
        })
    })
    .await;
    let record = Record::new();
    let arguments = ["--wait", "1s", "--grace", "10s"].map(str::to_owned);
    let daemon = daemon::recording_through(&proxy.url(), &queue, &record, &arguments);
    let process = daemon.process();

    let began = Instant::now();
    let limit = FOR_A_THOUSAND * messages.div_ceil(1_000) as u32;
    let mut course = Course::of(messages);
    // The first tenth begins with a daemon that works, not with one that starts.
    let (mut sent, mut handled) = (0, 0);
    while handled < messages {
        assert!(began.elapsed() < limit, "only {handled} messages were handled within {limit:?}");
        let next = messages.min(handled + WAITING).min(sent + PORTION);
        // In whole batches, and in the end what is left.
        if next == sent + PORTION || next == messages {
            queue.send((sent..next).map(|number| bulky(number).to_string())).await;
            sent = next;
        }
        record.grown_to(PORTION.min(messages), limit).await;
        sleep(Duration::from_millis(20)).await;
        handled = record.len();
        course.note(handled, Held::by(&process));
    }
    queue.emptied().await;
    let lasted = began.elapsed();
    daemon.terminate();
    let ended = daemon.end().await;

    let lines = ended.stderr.lines().count() as u64;
    println!("soak: {messages} messages in {lasted:.1?}, {lines} lines of log; in tenths: {course}");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(daemon::summary(&ended).deleted as usize, messages, "{}", ended.stderr);
    assert_eq!(queue.dead_letters.count().await, 0);
    course.assert_flat(MEMORY, CONNECTIONS);
    let most = LINES_AT_PEACE + KINDS_OF_TROUBLE * (lasted.as_secs() / 10 + 1);
    assert!(lines <= most, "{lines} lines of log, where {most} are enough:\n{}", ended.stderr);
}
