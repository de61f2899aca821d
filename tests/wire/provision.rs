//! Where queues are looked for that may have to be made.

use serde_json::json;
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsQueue};

use crate::server::{Answer, Server, sdk_config};

#[tokio::test]
async fn a_queue_is_looked_for_in_the_account_that_was_named() {
    let attributes = json!({"Attributes": {"QueueArn": "arn:aws:sqs:eu-central-1:000000000000:dead"}});
    let server = Server::start(Vec::new()).await;
    let url = server.url("dead");
    server.answer(vec![Answer::ok(json!({"QueueUrl": url})), Answer::ok(attributes)]);
    let address = QueueAddress::Url(QueueUrl::parse(&server.url("chat-events")).unwrap());
    assert_eq!((address.account(), address.name()), (Some("000000000000"), "chat-events"));
    let provisioner = SqsQueue::provisioner_with_config(&sdk_config(), &address).unwrap();
    let found = provisioner.find("dead").await.unwrap().unwrap();
    assert_eq!((found.url.as_str(), found.arn()), (url.as_str(), "arn:aws:sqs:eu-central-1:000000000000:dead"));
    assert_eq!(server.asked()[0], json!({"QueueName": "dead", "QueueOwnerAWSAccountId": "000000000000"}));
}
