//! What Stream asks.

use crate::event::PayloadError;
use crate::event::object::{ChannelResponse, MessageResponse, RequestInfo, UserResponse};
use crate::event::payload::read_json;
use crate::event::table::objects;

objects! {
    /// Before a message is sent. Answered by an [`Answer`](super::Answer) within
    /// [`limits::BEFORE_MESSAGE_SEND`](super::limits::BEFORE_MESSAGE_SEND).
    ///
    /// The message is as the user wrote it: most of what Stream sets, such as its id, may be missing or empty.
    BeforeMessageSend {
        message: Box<MessageResponse>;
        user: Box<UserResponse>;
        channel: Box<ChannelResponse>;
        request_info: Box<RequestInfo>;
    }
    /// A custom command, or a press on a button that an answer to it showed. Answered by an [`Answer`](super::Answer) within
    /// [`limits::CUSTOM_COMMAND`](super::limits::CUSTOM_COMMAND).
    CustomCommand {
        message: Box<MessageResponse>;
        user: Box<UserResponse>;
        form_data: Extra;
        request_info: Box<RequestInfo>;
    }
    /// A message that waits to be committed (`/PassOnPendingMessage`), or one that was deleted meanwhile
    /// (`/DeletedPendingMessage`): the path tells. Any status of 200 to 299 is an answer; the body is not read.
    ///
    /// What was given as `pending_message_metadata` stands in `metadata`.
    PendingMessage {
        message: Box<MessageResponse>;
        metadata: Extra;
        request_info: Box<RequestInfo>;
    }
}

impl CustomCommand {
    /// The name of the command without its slash, as in `ticket`.
    pub fn command(&self) -> Option<&str> {
        self.message.as_ref()?.command.as_deref()
    }

    /// What the user wrote behind the command.
    pub fn args(&self) -> Option<String> {
        self.message.as_ref()?.extra.get("args")
    }

    /// The value of the button that was pressed, by its name, or of another field of the form. None where there is none, as
    /// in the first call of a command.
    pub fn form_value(&self, name: &str) -> Option<String> {
        self.form_data.as_ref()?.get(name)
    }
}

/// A request of one of these hooks. Not for implementing: these are all that there are.
pub trait HookRequest: sealed::Sealed {}

pub(super) mod sealed {
    pub trait Sealed: Sized {
        /// From JSON that was checked to be an object.
        fn read(json: &str) -> Result<Self, crate::event::PayloadError>;
    }
}

macro_rules! requests {
    ($($name:ident)*) => {$(
        impl HookRequest for $name {}

        impl sealed::Sealed for $name {
            fn read(json: &str) -> Result<Self, PayloadError> {
                read_json(json)
            }
        }
    )*};
}

requests! { BeforeMessageSend CustomCommand PendingMessage }
