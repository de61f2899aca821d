//! Where a disk may refuse, so that a test can let it.

use std::io;

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only a test refuses"))]
pub(super) enum Step {
    /// To make a file, or its name durable.
    Create,
    Write,
    Sync,
    /// To cut off what was written and is not durable.
    Cut,
    Position,
    Remove,
    SetAside,
}

/// The steps that are refused: never any, except in a test.
#[derive(Debug, Default)]
pub(super) struct Refused {
    #[cfg(test)]
    pub(super) steps: Vec<Step>,
}

impl Refused {
    /// Called when a step was taken, which a disk that refuses may have done in part or as a whole.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub(super) fn after(&self, step: Step) -> io::Result<()> {
        #[cfg(test)]
        if self.steps.contains(&step) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let _ = step;
        Ok(())
    }
}
