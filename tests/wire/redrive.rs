//! A queue's dead-letter queue, and AWS's task that moves its messages.

use serde_json::json;
use stream_sqsd::queue::QueueError;
use stream_sqsd::queue::sqs::{MoveState, QueueAddress, QueueUrl, SqsQueue};

use crate::server::{Answer, Server, sdk_config};

const DEAD: &str = "arn:aws:sqs:eu-central-1:000000000000:dead";

fn redrive() -> Answer {
    let policy = json!({ "deadLetterTargetArn": DEAD, "maxReceiveCount": 3 });
    Answer::ok(json!({ "Attributes": { "RedrivePolicy": policy.to_string() } }))
}

#[tokio::test]
async fn the_dead_letter_queue_is_looked_up_by_name_and_owner() {
    let found = Answer::ok(json!({ "QueueUrl": "https://sqs.eu-central-1.amazonaws.com/000000000000/dead" }));
    let server = Server::start(vec![redrive(), found, Answer::ok(json!({ "Attributes": {} }))]).await;
    let dead = server.queue().await.dead_letter_queue().await.unwrap().unwrap();
    assert_eq!((dead.url().name(), dead.region()), ("dead", "eu-central-1"));
    // The same endpoint as for the queue, whatever the URL says.
    dead.attributes().await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[1], json!({ "QueueName": "dead", "QueueOwnerAWSAccountId": "000000000000" }));
    assert_eq!(asked[2]["QueueUrl"], "https://sqs.eu-central-1.amazonaws.com/000000000000/dead");
}

#[tokio::test]
async fn without_get_queue_url_it_is_looked_for_beside_its_queue() {
    let server = Server::start(vec![redrive(), Answer::error(403, "AccessDenied", "no")]).await;
    let dead = server.queue().await.dead_letter_queue().await.unwrap().unwrap();
    assert_eq!(dead.url().to_string(), server.url("dead"));
}

#[tokio::test]
async fn a_queue_may_have_none_or_one_that_is_gone_or_elsewhere() {
    let server = Server::start(vec![Answer::ok(json!({ "Attributes": {} }))]).await;
    assert!(server.queue().await.dead_letter_queue().await.unwrap().is_none());

    let gone = Answer::error(400, "QueueDoesNotExist", "The specified queue does not exist.");
    let server = Server::start(vec![redrive(), gone]).await;
    let error = server.queue().await.dead_letter_queue().await.unwrap_err();
    assert!(matches!(error, QueueError::NoSuchQueue { .. }), "{error}");

    let queue = server.queue().await;
    for arn in ["arn:aws:sqs:us-east-1:000000000000:dead", "arn:aws:sns:eu-central-1:000000000000:dead", "dead"] {
        assert!(queue.at_arn(arn).await.is_err(), "{arn}");
    }
}

#[tokio::test]
async fn a_queue_is_itself_however_its_url_is_written() {
    let queue = async |url: &str| {
        SqsQueue::with_config(&sdk_config(), QueueAddress::Url(QueueUrl::parse(url).unwrap())).await.unwrap()
    };
    let ours = queue("https://sqs.eu-central-1.amazonaws.com/123456789012/chat").await;
    for same in [
        "https://sqs.eu-central-1.amazonaws.com/123456789012/chat/",
        "https://eu-central-1.queue.amazonaws.com/123456789012/chat",
        "https://vpce-1.sqs.eu-central-1.vpce.amazonaws.com/123456789012/chat",
        "http://127.0.0.1:9324/queue/chat",
    ] {
        assert!(ours.is_same_queue(&queue(same).await), "{same}");
    }
    for other in [
        "https://sqs.eu-central-1.amazonaws.com/123456789012/chat-dead",
        "https://sqs.eu-central-1.amazonaws.com/210987654321/chat",
        "https://sqs.us-east-1.amazonaws.com/123456789012/chat",
    ] {
        assert!(!ours.is_same_queue(&queue(other).await), "{other}");
    }
}

#[tokio::test]
async fn a_move_is_started_watched_and_cancelled() {
    let tasks = json!({ "Results": [
        { "TaskHandle": "h-2", "Status": "RUNNING", "SourceArn": DEAD, "StartedTimestamp": 1_700_000_000_123_i64,
          "ApproximateNumberOfMessagesMoved": 7, "ApproximateNumberOfMessagesToMove": 20 },
        { "Status": "FAILED", "SourceArn": DEAD, "StartedTimestamp": 1, "DestinationArn": "arn:x",
          "ApproximateNumberOfMessagesMoved": 0, "FailureReason": "CouldNotDetermineMessageSource" },
        { "Status": "RESTING", "SourceArn": DEAD, "StartedTimestamp": 0, "ApproximateNumberOfMessagesMoved": 0 },
    ] });
    let cancelled = json!({ "ApproximateNumberOfMessagesMoved": 9 });
    let answers = [json!({ "TaskHandle": "h-2" }), json!({ "TaskHandle": "h-3" }), tasks, cancelled];
    let server = Server::start(answers.map(Answer::ok).into()).await;
    let queue = server.queue_named("dead").await;
    assert_eq!(queue.start_move(DEAD, None, None).await.unwrap(), "h-2");
    queue.start_move(DEAD, Some("arn:other"), Some(9_999)).await.unwrap();
    let tasks = queue.moves(DEAD).await.unwrap();
    assert_eq!(queue.cancel_move("h-2").await.unwrap(), 9);

    let states: Vec<_> = tasks.iter().map(|task| task.state.clone()).collect();
    assert_eq!(states, [MoveState::Running, MoveState::Failed, MoveState::Other("RESTING".to_owned())]);
    assert_eq!(states.iter().map(MoveState::is_over).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!((tasks[0].handle.as_deref(), tasks[0].moved, tasks[0].to_move), (Some("h-2"), 7, Some(20)));
    assert_eq!(tasks[1].failure.as_deref(), Some("CouldNotDetermineMessageSource"));
    assert_eq!((tasks[1].destination.as_deref(), tasks[2].started_at), (Some("arn:x"), None));
    let asked = server.asked();
    assert_eq!(asked[0], json!({ "SourceArn": DEAD }));
    let more = json!({ "SourceArn": DEAD, "DestinationArn": "arn:other", "MaxNumberOfMessagesPerSecond": 500 });
    assert_eq!(asked[1], more);
    assert_eq!(asked[2], json!({ "SourceArn": DEAD, "MaxResults": 10 }));
    assert_eq!(asked[3], json!({ "TaskHandle": "h-2" }));
}

#[tokio::test]
async fn who_may_not_move_learns_which_permission_is_missing() {
    let server = Server::start(vec![Answer::error(400, "AccessDenied", "not authorized")]).await;
    let queue = server.queue_named("dead").await;
    let actions = [
        queue.start_move(DEAD, None, None).await.unwrap_err(),
        queue.moves(DEAD).await.unwrap_err(),
        queue.cancel_move("h").await.unwrap_err(),
    ];
    let actions = actions.map(|error| match error {
        QueueError::AccessDenied { action, .. } => action,
        error => panic!("{error}"),
    });
    assert_eq!(actions, ["sqs:StartMessageMoveTask", "sqs:ListMessageMoveTasks", "sqs:CancelMessageMoveTask"]);
}
