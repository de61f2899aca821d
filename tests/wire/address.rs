//! How a queue is found: what its URL says, and which region and endpoint follow from it.

use std::time::Duration;

use serde_json::json;
use stream_sqsd::queue::sqs::{ConnectError, QueueAddress, QueueUrl, SqsOptions, SqsQueue, queue_arn, queue_url_of};
use stream_sqsd::queue::{Queue, QueueError};

use crate::server::{Answer, Server, sdk_config};

#[test]
fn the_arn_of_a_queue_and_its_url_say_the_same() {
    for region in ["eu-west-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"] {
        let arn = queue_arn(region, "123456789012", "chat-events.fifo");
        let url = QueueUrl::parse(&queue_url_of(&arn).unwrap()).unwrap();
        assert_eq!((url.region(), url.arn_in(region)), (Some(region), Some(arn)));
    }
    for other in
        ["arn:aws:sns:eu-west-1:123456789012:q", "arn:aws:sqs:eu-west-1:me:q", "arn:aws:sqs:eu-west-1", "q", ""]
    {
        assert_eq!(queue_url_of(other), None, "{other}");
    }
}

#[test]
fn the_region_is_read_from_every_form_of_a_queue_url() {
    let forms = [
        ("https://sqs.eu-west-1.amazonaws.com", Some("eu-west-1")),
        ("https://SQS.eu-west-1.AmazonAWS.com:443", Some("eu-west-1")),
        ("https://sqs.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
        ("https://sqs.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
        ("https://sqs.eusc-de-east-1.amazonaws.eu", Some("eusc-de-east-1")),
        ("https://us-west-2.queue.amazonaws.com", Some("us-west-2")),
        ("https://queue.amazonaws.com", Some("us-east-1")),
        ("https://sqs-fips.us-east-2.amazonaws.com", Some("us-east-2")),
        ("https://sqs.us-east-1.api.aws", Some("us-east-1")),
        ("https://sqs-fips.us-east-1.api.aws", Some("us-east-1")),
        ("https://vpce-0a1b-2c3d.sqs.ap-south-1.vpce.amazonaws.com", Some("ap-south-1")),
        ("https://vpce-0a1b-2c3d-ap-south-1a.sqs.ap-south-1.vpce.amazonaws.com", Some("ap-south-1")),
        ("http://sqs.us-east-1.localhost.localstack.cloud:4566", Some("us-east-1")),
        ("http://eu-west-3.queue.localhost.localstack.cloud:4566", Some("eu-west-3")),
        ("http://localhost:4566/queue/eu-west-3", Some("eu-west-3")),
        ("http://127.0.0.1:4566", None),
        ("http://[::1]:9324", None),
        ("http://elasticmq:9324/queue", None),
        ("https://sqs.example.com", None),
        ("https://amazonaws.com", None),
        ("https://something.new.amazonaws.com", None),
    ];
    for (front, region) in forms {
        let url = QueueUrl::parse(&format!("{front}/123456789012/chat-events")).unwrap();
        assert_eq!(url.region(), region, "{url}");
        assert_eq!((url.account(), url.name(), url.is_fifo()), (Some("123456789012"), "chat-events", false));
    }
    let elasticmq = QueueUrl::parse("http://localhost:9324/queue/chat.fifo").unwrap();
    assert_eq!((elasticmq.account(), elasticmq.name(), elasticmq.is_fifo()), (None, "chat.fifo", true));
}

#[test]
fn a_wrong_queue_url_is_refused_with_reason_without_password() {
    let cases = [
        ("", "does not begin with https://"),
        ("chat-events", "does not begin with https://"),
        ("arn:aws:sqs:us-east-1:123456789012:chat-events", "does not begin with https://"),
        ("https:///123456789012/chat-events", "does not begin with https://"),
        ("https://sqs.us-east-1.amazonaws.com", "ends before the name"),
        ("https://sqs.us-east-1.amazonaws.com/", "ends before the name"),
        ("https://sqs.us-east-1.amazonaws.com/123456789012/chat events", "a character that SQS does not allow"),
        ("https://sqs.us-east-1.amazonaws.com/123456789012/chat?Action=SendMessage", "more than a path"),
        ("https://user:hunter2@sqs.us-east-1.amazonaws.com/123456789012/chat", "a user name"),
        ("https://sqs.us-east-1.amazonaws.com/123456789012/chat?X-Amz-Signature=hunter2", "more than a path"),
        ("https://sqs.us-east-1.amazonaws.com/123456789012/chat#hunter2", "more than a path"),
        ("https://sqs.us-east-1.amazonaws.com:notaport/123456789012/chat", "its port is not a number"),
        ("https://[::1]:70000/123456789012/chat", "its port is not a number"),
        ("https://h:0/123456789012/chat", "its port is not a number"),
    ];
    for (url, why) in cases {
        let told = QueueUrl::parse(url).unwrap_err().to_string();
        assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn the_arn_names_the_partition_of_its_region() {
    let url = QueueUrl::parse("https://sqs.us-east-1.amazonaws.com/123456789012/chat").unwrap();
    assert_eq!(url.arn_in("us-east-1").unwrap(), "arn:aws:sqs:us-east-1:123456789012:chat");
    assert_eq!(url.arn_in("cn-north-1").unwrap(), "arn:aws-cn:sqs:cn-north-1:123456789012:chat");
    assert_eq!(url.arn_in("us-gov-east-1").unwrap(), "arn:aws-us-gov:sqs:us-gov-east-1:123456789012:chat");
    assert_eq!(QueueUrl::parse("http://localhost:9324/queue/chat").unwrap().arn_in("us-east-1"), None);
}

fn by_url(url: &str) -> QueueAddress {
    QueueAddress::Url(QueueUrl::parse(url).unwrap())
}

#[tokio::test]
async fn the_region_in_the_url_beats_the_configured_one() {
    let address = by_url("https://sqs.eu-west-1.amazonaws.com/123456789012/chat");
    let queue = SqsQueue::with_config(&sdk_config(), address).await.unwrap();
    assert_eq!(queue.region(), "eu-west-1");
    assert_eq!(queue.arn().unwrap(), "arn:aws:sqs:eu-west-1:123456789012:chat");
}

#[tokio::test]
async fn only_a_region_that_contradicts_the_url_is_refused() {
    let mut options = SqsOptions::new(by_url("https://sqs.eu-west-1.amazonaws.com/123456789012/chat"));
    options.region = Some("us-east-1".into());
    let error = SqsQueue::connect(options.clone()).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::RegionContradicts { in_url, asked } if in_url == "eu-west-1" && asked == "us-east-1")
    );
    options.region = Some("eu-west-1".into());
    assert_eq!(SqsQueue::connect(options).await.unwrap().region(), "eu-west-1");
}

#[tokio::test]
async fn an_endpoint_that_is_not_a_url_is_refused() {
    let mut options = SqsOptions::new(by_url("https://sqs.eu-west-1.amazonaws.com/123456789012/chat"));
    options.endpoint_url = Some("localhost:4566".into());
    let error = SqsQueue::connect(options).await.unwrap_err();
    assert!(matches!(error, ConnectError::BadEndpoint { .. }), "{error}");
}

#[tokio::test]
async fn a_url_off_aws_is_its_endpoint_unless_one_is_configured() {
    let own = Server::start(vec![Answer::ok(json!({}))]).await;
    let configured = Server::start(vec![Answer::ok(json!({}))]).await;
    let wait = Duration::from_secs(1);
    own.queue().await.receive(1, wait, None).await.unwrap();
    assert_eq!((own.seen().len(), configured.seen().len()), (1, 0));
    assert_eq!(own.seen()[0].signed_region(), "eu-central-1", "the URL names no region: the configured one counts");

    let config = sdk_config().to_builder().endpoint_url(format!("http://{}", configured.address)).build();
    let queue = SqsQueue::with_config(&config, by_url(&own.url("chat-events"))).await.unwrap();
    queue.receive(1, wait, None).await.unwrap();
    assert_eq!((own.seen().len(), configured.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_queue_is_looked_up_by_name_and_account() {
    let url = "http://sqs.us-east-1.localhost.localstack.cloud:4566/123456789012/chat-events";
    let server = Server::start(vec![Answer::ok(json!({ "QueueUrl": url })), Answer::ok(json!({}))]).await;
    let config = sdk_config().to_builder().endpoint_url(format!("http://{}", server.address)).build();
    let address = QueueAddress::Name { name: "chat-events".into(), account: Some("123456789012".into()) };
    let queue = SqsQueue::with_config(&config, address).await.unwrap();
    assert_eq!(queue.url().as_str(), url);
    assert_eq!(queue.arn().unwrap(), "arn:aws:sqs:eu-central-1:123456789012:chat-events");

    // The endpoint stays the one at which the name was found, whatever host the URL has.
    queue.receive(1, Duration::from_secs(1), None).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[0], json!({ "QueueName": "chat-events", "QueueOwnerAWSAccountId": "123456789012" }));
    assert_eq!(asked[1]["QueueUrl"], url);
}

#[tokio::test]
async fn an_unknown_name_is_an_error_of_its_own() {
    let words = "The specified queue does not exist.";
    let answer =
        Answer::error_with_query_code(400, "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", words);
    let server = Server::start(vec![answer]).await;
    let config = sdk_config().to_builder().endpoint_url(format!("http://{}", server.address)).build();
    let address = QueueAddress::Name { name: "chat-events".into(), account: None };
    let error = SqsQueue::with_config(&config, address).await.unwrap_err();
    let ConnectError::Lookup { source: QueueError::NoSuchQueue { message }, .. } = &error else { panic!("{error:?}") };
    assert_eq!(message, words);
    assert_eq!(error.to_string(), r#"the queue "chat-events" could not be looked up"#);
}
