//! The SDK's own reading of an answer: of every error, and of what [`answer`](super::answer) finds odd.

use std::error::Error;
use std::fmt;

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::delete_message_batch::{
    DeleteMessageBatch, DeleteMessageBatchError, DeleteMessageBatchOutput,
};
use aws_sdk_sqs::operation::receive_message::{ReceiveMessage, ReceiveMessageError, ReceiveMessageOutput};
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;

use super::pool::Reply;

/// Why a call failed, as the SDK tells it. In a box, since it holds a whole answer.
pub(crate) type Failure<E> = Box<SdkError<E, HttpResponse>>;

/// An operation of the SDK, as far as its answers are concerned.
pub(super) trait Operation: RuntimePlugin + Sized {
    type Output: fmt::Debug + Send + Sync + 'static;
    type Error: ProvideErrorMetadata + Error + Send + Sync + 'static;

    fn new() -> Self;
}

impl Operation for ReceiveMessage {
    type Output = ReceiveMessageOutput;
    type Error = ReceiveMessageError;

    fn new() -> Self {
        ReceiveMessage::new()
    }
}

impl Operation for DeleteMessageBatch {
    type Output = DeleteMessageBatchOutput;
    type Error = DeleteMessageBatchError;

    fn new() -> Self {
        DeleteMessageBatch::new()
    }
}

/// What the SDK makes of this answer.
pub(super) fn read<O: Operation>(reply: Reply) -> Result<O::Output, Failure<O::Error>> {
    let response = response(reply);
    let layer = O::new().config();
    let Some(reader) = layer.as_ref().and_then(|layer| layer.load::<SharedResponseDeserializer>()) else {
        return Err(Box::new(SdkError::response_error("the SDK has nothing to read it by", response)));
    };
    let foreign = "the SDK reads it as something else";
    let error = match reader.deserialize_nonstreaming_with_config(&response, &ConfigBag::base()) {
        Ok(output) => return output.downcast().map_err(|_| Box::new(SdkError::response_error(foreign, response))),
        Err(error) => error,
    };
    let mut of_service = None;
    let error = error.map_operation_error(|error| {
        of_service = error.downcast::<O::Error>().ok();
        fmt::Error
    });
    Err(Box::new(match of_service {
        Some(error) => SdkError::service_error(error, response),
        None => SdkError::response_error(error, response),
    }))
}

/// In the place of an answer that never came whole.
pub(super) fn nothing() -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(200).expect("a status"), SdkBody::empty())
}

/// The answer in the SDK's form.
fn response(reply: Reply) -> HttpResponse {
    let status = StatusCode::try_from(reply.status.as_u16()).expect("it was read as a status");
    let mut response = HttpResponse::new(status, SdkBody::from(reply.body));
    for (name, value) in &reply.headers {
        // What is not text says nothing of an error.
        if let Ok(value) = value.to_str() {
            let _ = response.headers_mut().try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    response
}
