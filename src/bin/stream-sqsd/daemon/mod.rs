//! What a run has around it: signals, the supervisor that started it, the listener for operators, the file of reasons.

pub(crate) mod admin;
pub(crate) mod supervisor;
pub(crate) mod reasons;
pub(crate) mod signals;
