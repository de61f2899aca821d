//! Whether our own client is worth its use: where the SDK gets through and it does not, it is given up.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// After so many calls of one kind in a row that only the SDK could make, all calls go through the SDK.
const ENOUGH: u32 = 3;

/// The calls that are told apart, so that deletes that go well do not hide receives that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Receive,
    Delete,
}

#[derive(Debug, Default)]
pub(crate) struct Trust {
    receives: AtomicU32,
    deletes: AtomicU32,
    is_lost: AtomicBool,
    fallbacks: AtomicU64,
}

impl Trust {
    /// Whether our own client may still be used.
    pub(crate) fn holds(&self) -> bool {
        !self.is_lost.load(Ordering::Relaxed)
    }

    /// How many calls only the SDK could make.
    pub(crate) fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    /// A call went well, without the SDK.
    pub(super) fn kept(&self, call: Call) {
        let in_a_row = self.in_a_row(call);
        if in_a_row.load(Ordering::Relaxed) != 0 {
            in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// A call went well by the SDK alone, and this is why.
    pub(crate) fn broken(&self, call: Call, why: &str) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
        let in_a_row = self.in_a_row(call).fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(?call, why, "a call went through the AWS SDK instead");
        if in_a_row >= ENOUGH && !self.is_lost.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                why,
                "{ENOUGH} calls in a row got through by the AWS SDK alone: from now on all do, which costs more CPU; please \
                 report this"
            );
        }
    }

    fn in_a_row(&self, call: Call) -> &AtomicU32 {
        match call {
            Call::Receive => &self.receives,
            Call::Delete => &self.deletes,
        }
    }
}
