//! What reaches a person or a shell: standard output and error, tables, questions, the log, colours, exit codes.

pub(crate) mod input;
pub(crate) mod json;
pub(crate) mod table;
pub(crate) mod question;
pub(crate) mod log;
pub(crate) mod screen;
pub(crate) mod exit;
pub(crate) mod stderr;
pub(crate) mod writer;
