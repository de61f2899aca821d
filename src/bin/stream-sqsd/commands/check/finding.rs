//! What a check has to say.

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    pub(super) what: String,
    pub(super) why: String,
    /// The command that fixes it.
    pub(super) fix: Option<String>,
}

/// Something about the queue that an operator wants to know, though there is nothing to fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) what: String,
    /// How that is meant.
    pub(super) why: String,
}

/// What asking the queue has brought.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) facts: Vec<Fact>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    /// It loses or delays messages.
    Harm,
    Advice,
}
