//! What is known of one delivery by now, for those who ask afterwards what became of it and why.

use super::branch::Branch;
use super::observer::Became;
use crate::event::{Event, EventKind, escape_controls};
use crate::telemetry::shown;

/// What is known of one delivery.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The type of its event, once it is decoded.
    kind: Option<EventKind>,
    /// The number of its route, once it has one; of several that by which it was settled.
    pub(super) route: Option<usize>,
    /// Of several routes the numbers of those that are done.
    pub(super) done: Vec<usize>,
    /// The channel of its event; looked for on the last receive, and where an observer is told.
    cid: Option<String>,
    /// A stable word for what happened last; empty before anything has.
    pub(super) outcome: &'static str,
    /// What went wrong last; empty where nothing has.
    pub(super) error: String,
    /// How the delivery ended; None while it goes on, and where its message was deleted.
    pub(super) became: Option<Became>,
}

impl Account {
    /// It was decoded; this may be the last time that the event is here.
    pub(super) fn decoded(&mut self, event: &Event, with_channel: bool) {
        self.kind = Some(event.kind().clone());
        if with_channel {
            let [cid] = event.texts(["cid"]);
            self.cid = cid.map(|cid| fit_for_log(&cid));
        }
    }

    /// It failed.
    pub(super) fn failed(&mut self, outcome: &'static str, error: &str) {
        self.outcome = outcome;
        error.clone_into(&mut self.error);
    }

    /// It is settled by what this route has come to.
    pub(super) fn came_to(&mut self, branch: Branch) {
        let Branch { number, outcome, error, .. } = branch;
        (self.route, self.outcome, self.error) = (Some(number), outcome, error);
    }

    /// Its handler succeeded, now or before.
    pub(super) fn is_handled(&self) -> bool {
        self.outcome == HANDLED || self.outcome == REPEAT
    }

    /// The type of its event, fit for a log.
    pub(super) fn event_type(&self) -> Option<String> {
        self.kind.as_ref().map(|kind| fit_for_log(kind.name()))
    }

    /// The channel of its event, fit for a log.
    pub(super) fn cid(&self) -> Option<String> {
        self.cid.clone()
    }

    /// Why it was not handled, with what happened before that.
    pub(super) fn because(&self, reason: &str) -> String {
        if self.error.is_empty() { reason.to_owned() } else { format!("{reason}; before: {}", self.error) }
    }
}

/// The word for a delivery whose handler succeeded, and for one whose handler had succeeded before.
pub(super) const HANDLED: &str = "handled";
pub(super) const REPEAT: &str = "repeat";

/// The word and the text for an event that no route takes.
pub(crate) const UNROUTED: (&str, &str) = ("unrouted", "no route takes it");

/// A sender chose it.
pub(crate) fn fit_for_log(text: &str) -> String {
    shown(&escape_controls(text)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_chose_is_escaped_and_cut() {
        let mut account = Account::default();
        let long = "x".repeat(200);
        let event = Event::from_json(format!(r#"{{"type":"a\u001b[31m{long}","cid":"b\u202e{long}"}}"#));
        let event = event.expect("an event");
        account.decoded(&event, true);
        for (text, begin) in [(account.event_type(), r"a\u{1b}[31mxx"), (account.cid(), r"b\u{202e}xx")] {
            let text = text.expect("it is there");
            assert!(text.starts_with(begin) && text.len() == 120, "{text}");
        }
    }
}
