//! Records of failed last receives, kept as a daemon keeps them.

use std::sync::{Arc, Mutex};

use stream_sqsd::telemetry::{DeadLetter, DeadLetterKeeper};

#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<DeadLetter>>>);

impl DeadLetterKeeper for Kept {
    fn keep(&self, record: &DeadLetter) {
        self.0.lock().unwrap().push(record.clone());
    }

    fn dropped(&self) -> u64 {
        0
    }
}

impl Kept {
    /// In the order of the messages, what is told of each.
    pub(crate) fn told(&self) -> Vec<DeadLetter> {
        let mut records = self.0.lock().unwrap().clone();
        records.sort_by(|one, other| one.message_id.cmp(&other.message_id));
        records
    }
}
