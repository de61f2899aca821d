//! What events are made of: messages, users, channels, calls, and what these are made of in turn.
//!
//! The names are Stream's own, so that they can be looked up in its documentation. Stream has several for what looks
//! like the same thing (three of users alone); they differ in their fields, and each stands here as it is.

use super::table::objects;

mod chat;
mod feeds;
mod moderation;
mod user;
mod video;

pub use chat::*;
pub use feeds::*;
pub use moderation::*;
pub use user::*;
pub use video::*;
