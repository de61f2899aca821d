//! What Stream is told.

use crate::event::object::{Action, Attachment, MessageResponse};
use crate::event::table::objects;

objects! {
    /// The answer to a [`BeforeMessageSend`](super::BeforeMessageSend) or a [`CustomCommand`](super::CustomCommand), which goes
    /// out as JSON with the status 200: `serde_json::to_string`, or `axum::Json`.
    ///
    /// Of the message Stream takes `text`, `i18n`, `show_in_channel`, `silent`, `type`, `attachments` and custom fields (which
    /// stand in `extra`), and ignores everything else.
    Answer { message: Box<MessageResponse>; }
}

impl Answer {
    /// The message goes through as it is.
    pub fn accept() -> Answer {
        Answer::default()
    }

    /// The message is not sent, and its author is shown `text`.
    pub fn refuse(text: impl Into<String>) -> Answer {
        Answer::rewrite(MessageResponse {
            r#type: Some("error".to_owned()),
            text: Some(text.into()),
            ..MessageResponse::default()
        })
    }

    /// This message is sent in place of the one that was written.
    ///
    /// Take the message of the request and change it: what it had and nobody changed, custom fields included, goes back as it
    /// came. To take attachments away, leave an empty list: `None` is not written, and says nothing.
    pub fn rewrite(message: impl Into<Box<MessageResponse>>) -> Answer {
        Answer { message: Some(message.into()), ..Answer::default() }
    }

    /// With one more attachment, such as one with [`button`]s.
    #[must_use]
    pub fn with_attachment(mut self, attachment: Attachment) -> Answer {
        let message = self.message.get_or_insert_default();
        let mut attachments = message.attachments.take().map(List::into_vec).unwrap_or_default();
        attachments.push(attachment);
        message.attachments = Some(attachments.into());
        self
    }
}

/// A button for the `actions` of an attachment: its label is `text`, and when it is pressed, `value` stands under `name` in
/// the [`form_data`](super::CustomCommand::form_data) of the next call. How it looks is its field `style`, such as `primary`.
pub fn button(name: impl Into<String>, text: impl Into<String>, value: impl Into<String>) -> Action {
    Action {
        name: Some(name.into()),
        text: Some(text.into()),
        r#type: Some("button".to_owned()),
        value: Some(value.into()),
        ..Action::default()
    }
}
