//! The endpoint that the tests were given, asked by hand.
//!
//! No AWS SDK: what the tests see must not depend on what they test.

use std::env;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The region and the account of everything in LocalStack.
pub(crate) const REGION: &str = "us-east-1";

/// The account.
pub(crate) const ACCOUNT: &str = "000000000000";

/// The limit of one call, beyond what the call itself waits for.
const CALL: Duration = Duration::from_secs(30);

/// Where LocalStack is, such as `http://127.0.0.1:4566`.
pub(crate) fn endpoint() -> String {
    env::var("STREAM_SQSD_TEST_ENDPOINT")
        .expect("STREAM_SQSD_TEST_ENDPOINT says where LocalStack is: run these tests by tests/run")
}

/// A call of SQS.
pub(crate) async fn sqs(action: &str, parameters: Value) -> Value {
    let target = format!("AmazonSQS.{action}");
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", &target)];
    let answer = post("sqs", &headers, &parameters.to_string()).await;
    if answer.is_empty() { Value::Null } else { serde_json::from_str(&answer).unwrap() }
}

/// A call of SNS. Answers in XML.
pub(crate) async fn sns(action: &str, parameters: &[(&str, &str)]) -> String {
    let mut form = format!("Action={action}&Version=2010-03-31");
    for (name, value) in parameters {
        form += &format!("&{name}={}", percent_encoded(value));
    }
    post("sns", &[("content-type", "application/x-www-form-urlencoded")], &form).await
}

/// All messages of a queue, hidden or not, which LocalStack tells without touching them.
pub(crate) async fn messages_of(url: &str) -> Vec<Value> {
    let path = format!("/_aws/sqs/messages?QueueUrl={}&ShowInvisible=true", percent_encoded(url));
    let endpoint = endpoint();
    let host = endpoint.strip_prefix("http://").expect("LocalStack is asked over http");
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\naccept: application/json\r\n\r\n");
    let answer: Value = serde_json::from_str(&exchange(host, &request).await).unwrap();
    // Made of XML: a list of one is not a list, and of none it is nothing.
    match &answer["ReceiveMessageResponse"]["ReceiveMessageResult"]["Message"] {
        Value::Array(messages) => messages.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

async fn post(service: &str, headers: &[(&str, &str)], body: &str) -> String {
    let endpoint = endpoint();
    let host = endpoint.strip_prefix("http://").expect("LocalStack is asked over http");
    // LocalStack checks no signature. It reads the service and the region from this.
    let scope = format!("test/20250101/{REGION}/{service}/aws4_request");
    let mut request = format!("POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    request += &format!("authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());

    exchange(host, &request).await
}

/// Sends a request on a connection of its own, and returns the body of its answer, which must be good.
async fn exchange(host: &str, request: &str) -> String {
    let exchanged = async {
        let mut connection = TcpStream::connect(host).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(CALL, exchanged).await.expect("LocalStack answers in time");
    let (head, answer) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "LocalStack refused {request}: {head}\n{answer}");
    answer.to_owned()
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}
