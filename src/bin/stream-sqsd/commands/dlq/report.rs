//! What became of messages: a line for each, and the sums, for a person or for a program.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};
use stream_sqsd::dead_letters::{Account, Outcome, OutcomeKind};

use crate::terminal::screen::{Progress, Screen, shown};

/// Tells what became of messages, while it happens.
pub(crate) struct Report {
    screen: Screen,
    json: bool,
    /// Events go to standard output, so all else goes to standard error.
    beside_events: bool,
    progress: Option<Progress>,
    told: u64,
    /// Nobody reads it any more.
    unread: bool,
}

impl Report {
    /// `total` is about how many messages there are.
    pub(crate) fn new(screen: &Screen, json: bool, beside_events: bool, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{bar:30} {pos} of about {len} {msg} {elapsed}",
            None => "{spinner} {pos} {msg} {elapsed}",
        };
        let progress = Some(screen.progress(total, template));
        Report { screen: screen.clone(), json, beside_events, progress, told: 0, unread: false }
    }

    /// Tells of one message. A person is not told of those that nothing was done with: they are in the sums.
    pub(crate) fn outcome(&mut self, outcome: &Outcome) {
        self.told += 1;
        if let Some(progress) = &self.progress {
            progress.at(self.told);
        }
        let nothing_done = matches!(outcome.kind, OutcomeKind::NotMatched | OutcomeKind::Left);
        match (self.json, nothing_done) {
            (true, _) => self.object(outcome),
            (false, true) => {}
            (false, false) => {
                let reason = outcome.reason.as_deref().map(|reason| format!("  {}", shown(reason))).unwrap_or_default();
                self.line(&format!("{:<8} {}{reason}", outcome.kind.word(), outcome.message_id));
            }
        }
    }

    /// Tells of one message in other words.
    pub(crate) fn object(&mut self, object: &impl Serialize) {
        // What is serialised here has neither odd keys nor odd numbers.
        let line = serde_json::to_string(object).unwrap_or_default();
        self.line(&line);
    }

    /// The sums. `more` are further keys of the object for programs, which a person reads as `words`.
    pub(crate) fn sums(mut self, account: &Account, more: Value, words: &[String]) {
        // The bar would stand above them for ever.
        self.progress = None;
        if self.json {
            let mut sums = json!(account);
            if let (Some(sums), Value::Object(more)) = (sums.as_object_mut(), more) {
                sums.extend(more);
            }
            self.object(&sums);
            return;
        }
        let Account { seen, handled, failed, dropped, not_matched, left, lost, .. } = account;
        let dropped = if *dropped > 0 { format!(" + dropped {dropped}") } else { String::new() };
        self.line(&format!(
            "seen {seen} = handled {handled} + failed {failed}{dropped} + did not match {not_matched} + left {left} + lost {lost}"
        ));
        for word in words {
            self.line(word);
        }
    }

    /// A line, as it is.
    pub(crate) fn line(&mut self, line: &str) {
        if self.unread {
            return;
        }
        let line = format!("{line}\n");
        let write = || match self.beside_events {
            true => io::stderr().lock().write_all(line.as_bytes()),
            false => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
            }
        };
        self.unread = self.screen.beside_progress(write).is_err();
    }
}
