//! The subcommands, one file each, and the advice that several of them give.

pub(crate) mod demo;
pub(crate) mod run;
pub(crate) mod relay;
pub(crate) mod health;
pub(crate) mod decode;
pub(crate) mod send;
pub(crate) mod replay;
pub(crate) mod dlq;
pub(crate) mod events;
pub(crate) mod setup;
pub(crate) mod check;
pub(crate) mod init;
pub(crate) mod init_postgres;
pub(crate) mod describe;
pub(crate) mod advice;
