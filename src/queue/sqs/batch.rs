//! The answer to a batch call, whichever client made it: each entry at its place.

use aws_sdk_sqs::types::BatchResultErrorEntry;

use super::errors::one_line;
use crate::queue::interface::{EntryError, EntryResult};

/// What an answer says of the entries, whose ids are their positions. Ids that are not are passed over.
#[derive(Debug, Default, PartialEq)]
pub(super) struct BatchAnswer {
    succeeded: Vec<usize>,
    failed: Vec<(usize, EntryError)>,
}

impl BatchAnswer {
    /// What the SDK made of an answer.
    pub(super) fn of_sdk<'a>(succeeded: impl Iterator<Item = &'a str>, failed: Vec<BatchResultErrorEntry>) -> Self {
        let mut answer = BatchAnswer::default();
        succeeded.for_each(|id| answer.succeeded(id));
        for BatchResultErrorEntry { id, sender_fault, code, message, .. } in failed {
            answer.failed(&id, EntryError { code, message: message.unwrap_or_default(), sender_fault });
        }
        answer
    }

    pub(super) fn succeeded(&mut self, id: &str) {
        self.succeeded.extend(id.parse::<usize>());
    }

    pub(super) fn failed(&mut self, id: &str, error: EntryError) {
        let error = EntryError { message: one_line(&error.message), ..error };
        self.failed.extend(id.parse::<usize>().map(|position| (position, error)));
    }

    /// The answers in the order of the entries, of which there were so many. An entry that the answer does not mention has
    /// failed, and so has one that stands in both lists.
    pub(super) fn in_order(self, count: usize) -> Vec<EntryResult> {
        let mut answers: Vec<Option<EntryResult>> = vec![None; count];
        let succeeded = self.succeeded.into_iter().map(|position| (position, Ok(())));
        let failed = self.failed.into_iter().map(|(position, error)| (position, Err(error)));
        for (position, answer) in succeeded.chain(failed) {
            if let Some(place) = answers.get_mut(position) {
                *place = Some(answer);
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }
}

fn unanswered() -> EntryResult {
    let message = "the answer does not mention this entry".to_owned();
    Err(EntryError { code: "Unanswered".to_owned(), message, sender_fault: false })
}
