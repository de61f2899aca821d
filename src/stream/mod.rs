//! Stream's REST API, as far as the hooks of an app go: read the app, change its list of event hooks, let Stream check that
//! it can send.
//!
//! A leaf: it knows no queue, no file and no command. The list of hooks is the dangerous part, since a write replaces it
//! and hooks that are left out are gone: [`HookPlan`] is what would be written, as data, and [`write()`] is the only way to
//! write it: it reads the list again just before, has the old one saved, and reads the result back.

#![allow(clippy::disallowed_methods, reason = "the end of a rate limit is a time of the wall clock")]

mod app;
mod check;
mod client;
mod error;
mod hook;
mod plan;
mod token;
mod write;

pub use app::App;
pub use check::{Check, SnsKeys, SqsKeys};
pub use client::{DEFAULT_BASE_URL, StreamApi, StreamSettings};
pub use error::{StreamError, StreamSetupError};
pub use hook::{Auth, BadHook, Hook};
pub use plan::{Difference, HookPlan, PlanError};
pub use write::{Stage, WriteError, write};
