//! The requests, as the SDK makes them: the same path, headers, signature and bodies.
//!
//! Left out are the headers that tell AWS about the SDK (`x-amz-user-agent`, `amz-sdk-invocation-id`, `amz-sdk-request`).

use std::time::SystemTime;

use aws_sdk_sqs::error::BoxError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use serde::Serialize;

use super::trust::Call;
use crate::queue::interface::Receipt;

/// What a receive asks for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ask<'a> {
    pub(crate) queue_url: &'a str,
    pub(crate) message_system_attribute_names: &'a [&'a str],
    pub(crate) message_attribute_names: &'a [&'a str],
    pub(crate) max_number_of_messages: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) visibility_timeout: Option<i32>,
    pub(crate) wait_time_seconds: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receive_request_attempt_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Deletes<'a> {
    queue_url: &'a str,
    entries: Vec<Delete<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Delete<'a> {
    id: String,
    receipt_handle: &'a str,
}

pub(super) fn receive(ask: &Ask<'_>) -> Result<Bytes, BoxError> {
    Ok(serde_json::to_vec(ask)?.into())
}

pub(super) fn delete(queue_url: &str, batch: &[Receipt]) -> Result<Bytes, BoxError> {
    let entries = batch.iter().enumerate();
    let entries =
        entries.map(|(position, receipt)| Delete { id: position.to_string(), receipt_handle: &receipt.handle });
    Ok(serde_json::to_vec(&Deletes { queue_url, entries: entries.collect() })?.into())
}

/// What the requests to one endpoint have in common.
#[derive(Debug)]
pub(super) struct Requests {
    /// With the path, as it is signed.
    uri: String,
    path: Uri,
    region: String,
    receives: HeaderMap,
    deletes: HeaderMap,
}

impl Requests {
    /// None where the endpoint is not one of HTTP.
    pub(super) fn new(endpoint: &Uri, region: &str) -> Option<Requests> {
        let path = endpoint.path_and_query()?.as_str().parse().ok()?;
        let host = HeaderValue::from_str(&host_of(endpoint)?).ok()?;
        let headers = |target| {
            HeaderMap::from_iter([
                (HOST, host.clone()),
                (CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0")),
                (HeaderName::from_static("x-amz-target"), HeaderValue::from_static(target)),
                // Errors come with their code of the older query protocol too.
                (HeaderName::from_static("x-amzn-query-mode"), HeaderValue::from_static("true")),
                (USER_AGENT, HeaderValue::from_static(concat!("stream-sqsd/", env!("CARGO_PKG_VERSION")))),
            ])
        };
        Some(Requests {
            uri: endpoint.to_string(),
            path,
            region: region.to_owned(),
            receives: headers("AmazonSQS.ReceiveMessage"),
            deletes: headers("AmazonSQS.DeleteMessageBatch"),
        })
    }

    /// A request with this body, signed at this time.
    pub(super) fn signed(
        &self,
        call: Call,
        body: Bytes,
        identity: &Identity,
        time: SystemTime,
    ) -> Result<Request<Full<Bytes>>, BoxError> {
        let mut headers = match call {
            Call::Receive => self.receives.clone(),
            Call::Delete => self.deletes.clone(),
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let params = v4::SigningParams::builder()
            .identity(identity)
            .region(&self.region)
            .name("sqs")
            .time(time)
            .settings(SigningSettings::default())
            .build()?;
        let texts = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
        let signable = SignableRequest::new("POST", &*self.uri, texts, SignableBody::Bytes(&body))?;
        let (instructions, _) = sign(signable, &SigningParams::V4(params))?.into_parts();
        for (name, value) in instructions.headers() {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// The host as the header names it: without the port that its scheme has anyway.
fn host_of(endpoint: &Uri) -> Option<String> {
    let host = endpoint.host()?;
    let usual = if endpoint.scheme_str() == Some("https") { 443 } else { 80 };
    Some(match endpoint.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}
