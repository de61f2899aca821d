//! kill -9 at any moment: every message is handled all the same.
//!
//! What a kill may cost is a repeat for each message that was at work, and one receive for it. Nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use super::body::event;
use super::daemon;
use super::queue::{Counts, TestQueue, Wanted};
use super::record::Record;
use super::scale;
use super::support::until::until;

/// How often the daemon is killed.
const KILLS: usize = 20;

/// How many messages the daemon works on at the same time.
const SLOTS: usize = 64;

/// How long the daemon may take for what is left after the last kill.
const LAST_LIFE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn killed_twenty_times_it_handles_all_and_dead_letters_nothing() {
    killed_twenty_times("kill_9", |_| Vec::new()).await;
}

#[tokio::test]
async fn what_the_journal_knows_is_not_handled_again() {
    let journal = |record: &Record| vec!["--journal".to_owned(), record.beside(JOURNAL).display().to_string()];
    killed_twenty_times("kill_9_journal", journal).await;
}

/// The name of the journal beside the record, where there is one.
const JOURNAL: &str = "journal";

/// Kills daemons that record to the same file. `more` is what they are told besides.
async fn killed_twenty_times(test: &str, more: impl Fn(&Record) -> Vec<String>) {
    let messages = scale::of("STREAM_SQSD_TEST_KILL_MESSAGES", 2_000);
    let mut random = scale::random(test);
    // So few receives that a message is dead-lettered when anything but a kill costs it one again and again.
    let queue = TestQueue::new(test, Wanted { visibility: 3, max_receive_count: KILLS as u32 + 1 }).await;
    let record = Record::new();
    let arguments = ["--wait".to_owned(), "1s".to_owned(), "--grace".to_owned(), "10s".to_owned()];
    let arguments: Vec<_> = arguments.into_iter().chain(more(&record)).collect();

    let mut sent = Vec::new();
    // How often a message had been handled when the journal first knew of it.
    let mut known = BTreeMap::new();
    for life in 0..KILLS {
        let portion = messages * life / KILLS..messages * (life + 1) / KILLS;
        let size = portion.len();
        sent.extend(queue.send(portion.map(|number| event(number).to_string())).await);
        let before = record.len();
        let daemon = daemon::recording(&queue, &record, &arguments);
        if random.bool() {
            // In the midst of it: between a line and the delete of its message are some twenty milliseconds.
            record.grown_to(before + random.usize(0..=size), Duration::from_secs(10)).await;
            tokio::time::sleep(Duration::from_millis(random.u64(0..40))).await;
        } else {
            // At any time: while it starts, while it works, and when it is done.
            tokio::time::sleep(Duration::from_millis(random.u64(0..1_000))).await;
        }
        daemon.kill().await;
        if let Ok(journal) = std::fs::read_to_string(record.beside(JOURNAL)) {
            let handled = record.handled();
            // A torn last line is none.
            let whole = journal.rsplit_once('\n').map_or("", |(whole, _)| whole);
            for id in whole.lines().filter_map(|line| line.split_once(' ')).map(|(_, id)| id) {
                known.entry(id.to_owned()).or_insert_with(|| handled[id].times);
            }
        }
    }

    let daemon = daemon::recording(&queue, &record, &arguments);
    let empty = Counts { visible: 0, hidden: 0 };
    until("the queue is empty", LAST_LIFE, async || queue.counts().await, |counts| *counts == empty).await;
    daemon.terminate();
    let ended = daemon.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    daemon::summary(&ended);

    let handled = record.handled();
    let lost: Vec<_> = sent.iter().filter(|id| !handled.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} messages were never handled: {lost:?}", lost.len());
    assert_eq!(handled.len(), sent.len(), "something was handled that was never sent");
    assert_eq!(queue.dead_letters.count().await, 0);

    let repeats: usize = handled.values().map(|message| message.times - 1).sum();
    let late = handled.values().filter(|message| message.receive_count > 1).count();
    println!(
        "{test}: {} messages, {KILLS} kills, {repeats} handled again, {late} handled only after a kill",
        sent.len()
    );
    assert!(repeats + late >= KILLS, "the daemon was killed while it had nothing to do");
    assert!(repeats <= KILLS * SLOTS, "more than was at work was handled again");
    for (id, times) in &known {
        assert_eq!(handled[id].times, *times, "{id} was handled again, though the journal knew of it");
    }
    assert_eq!(known.is_empty(), !record.beside(JOURNAL).exists(), "a journal that knows nothing");
}
