//! A look at one message after the other, each held until the look ends.

use std::marker::PhantomData;

use super::letter::Letter;
use super::opened::{DeadLetterError, DeadLetterQueue};
use crate::queue::{Attributes, Queue};

/// A look at one message after the other. What it shows stays hidden until [`Scan::end`]; dropped, it leaves that to the
/// end of the hold.
pub struct Scan<Q> {
    queue: PhantomData<Q>,
}

/// One message that a [`Scan`] found. Each is shown once, however often it is received.
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// What it is.
    pub letter: Letter,
    /// Its body, byte for byte.
    pub body: String,
    /// All its attributes.
    pub attributes: Attributes,
}

/// How a [`Scan`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanEnd {
    /// How many messages it showed.
    pub seen: u64,
    /// Why it ended.
    pub ended: ScanEnded,
    /// Whether there may be more: on a FIFO queue behind what was seen, or since it was not looked through to its end.
    pub at_least: bool,
    /// How many messages could not be made visible: they come back when the hold of [`HOLD`](super::HOLD) runs out.
    pub not_returned: u64,
}

/// Why a [`Scan`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScanEnded {
    /// A full long poll brought nothing.
    QueueEmpty,
    /// It was told to stop, or [`Scan::end`] was called before.
    Stopped,
    /// As many messages are held as may be, or the queue says that too many are in flight.
    TooManyInFlight,
}

impl<Q: Queue> Scan<Q> {
    pub(super) fn begin(queue: &DeadLetterQueue<Q>, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        let _ = (queue, stop);
        todo!()
    }

    /// The next message; None when there is none left to see, or it was told to stop.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError::Queue`] when the queue refuses, or goes on failing for a minute. What is held is to be returned
    /// by [`Scan::end`] then too.
    pub async fn next(&mut self) -> Result<Option<Found>, DeadLetterError> {
        todo!()
    }

    /// Makes everything visible again that it holds.
    pub async fn end(self) -> ScanEnd {
        todo!()
    }
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Looks at one message after the other, until the queue is empty or `stop` completes.
    ///
    /// This is the look that [`list`](Self::list), [`export`](Self::export) and [`drop_exported`](Self::drop_exported) are
    /// made of, for whatever else is to be done with single messages.
    pub fn scan(&self, stop: impl Future<Output = ()> + Send + 'static) -> Scan<Q> {
        Scan::begin(self, stop)
    }
}
