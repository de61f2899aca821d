//! The policies of a queue and of a topic, as far as they let Stream or the topic send: read, and a statement added. Pure.

use serde_json::{Value, json};

/// The account from which Stream sends to queues that let it (`sqs_auth_type` is `resource`).
///
/// Source: Stream's documentation of SQS hooks.
pub const STREAMS_ACCOUNT: &str = "185583345998";

/// The ids of the statements that are added. AWS allows letters and digits in a queue's policy.
const STATEMENT: &str = "StreamSends";
const OF_TOPIC: &str = "TopicSends";

/// A policy that cannot be read cannot be added to either.
#[derive(Debug, thiserror::Error)]
#[error("the policy cannot be read, so nothing can be added to it")]
pub struct BadPolicy;

/// Whether a queue's policy has a statement that lets Stream's account send. Denials are not looked at, and of conditions
/// only whether one that is put to everybody names Stream's account.
pub fn lets_stream_send(policy: &str) -> bool {
    some_statement(policy, |statement| lets_stream(statement) && allows(statement, "sqs:", "sendmessage"))
}

/// Whether a topic's policy has a statement that lets Stream's account publish, as [`lets_stream_send`] says it of a queue.
pub fn lets_stream_publish(policy: &str) -> bool {
    some_statement(policy, |statement| lets_stream(statement) && allows(statement, "sns:", "publish"))
}

/// Whether a queue's policy has a statement that lets the topic with this ARN send. Denials are not looked at, and of
/// conditions only whether one names the topic.
pub fn lets_topic_send(policy: &str, topic: &str) -> bool {
    some_statement(policy, |statement| {
        let principal = statement.get("Principal");
        let is_sns = |text: &str| text == "*" || text == "sns.amazonaws.com";
        let by = some_text(principal, is_sns)
            || ["Service", "AWS"].iter().any(|kind| some_text(principal.and_then(|by| by.get(kind)), is_sns));
        let condition = statement.get("Condition").map(Value::to_string);
        by && allows(statement, "sqs:", "sendmessage")
            && condition.is_none_or(|text| text.contains(&format!("{topic:?}")))
    })
}

fn some_statement(policy: &str, test: impl Fn(&Value) -> bool) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return false };
    let test = |statement: &Value| statement.get("Effect").and_then(Value::as_str) == Some("Allow") && test(statement);
    match policy.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().any(test),
        Some(statement) => test(statement),
        None => false,
    }
}

fn some_text(value: Option<&Value>, test: impl Fn(&str) -> bool) -> bool {
    match value {
        Some(Value::String(text)) => test(text),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).any(test),
        _ => false,
    }
}

fn lets_stream(statement: &Value) -> bool {
    // What AWS writes into the policy of each new topic lets everybody in who is of the topic's own account.
    let condition = statement.get("Condition").map(Value::to_string);
    let everybody = condition.is_none_or(|text| text.contains(STREAMS_ACCOUNT));
    let is_stream = |principal: &str| principal == "*" && everybody || principal.contains(STREAMS_ACCOUNT);
    let principal = statement.get("Principal");
    some_text(principal, is_stream) || some_text(principal.and_then(|by| by.get("AWS")), is_stream)
}

/// Whether a statement is about this action, which may be written with a star at its end.
fn allows(statement: &Value, service: &str, action: &str) -> bool {
    some_text(statement.get("Action"), |text| {
        let text = text.to_ascii_lowercase();
        let Some(named) = text.strip_prefix(service) else { return text == "*" };
        named.strip_suffix('*').map_or(named == action, |start| action.starts_with(start))
    })
}

/// The statement that lets Stream's account send to the queue with this ARN, and nothing else.
pub fn stream_statement(arn: &str) -> Value {
    json!({
        "Sid": STATEMENT,
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:aws:iam::{STREAMS_ACCOUNT}:root")},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    })
}

/// The statement that lets Stream's account publish to the topic with this ARN, and nothing else.
pub fn publish_statement(topic: &str) -> Value {
    json!({
        "Sid": STATEMENT,
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:aws:iam::{STREAMS_ACCOUNT}:root")},
        "Action": "sns:Publish",
        "Resource": topic,
    })
}

/// The statement that lets this topic send to the queue with this ARN, and nothing else.
pub fn topic_statement(arn: &str, topic: &str) -> Value {
    json!({
        "Sid": OF_TOPIC,
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    })
}

/// The policy of a queue with [`stream_statement`] added; the statements of others stay as they are.
///
/// # Errors
///
/// Where there is a policy and it is not one: adding to it would replace it.
pub fn with_stream(policy: Option<&str>, arn: &str) -> Result<String, BadPolicy> {
    with(policy, stream_statement(arn))
}

/// The policy of a topic with [`publish_statement`] added.
///
/// # Errors
///
/// As for [`with_stream`].
pub fn with_stream_publishing(policy: Option<&str>, topic: &str) -> Result<String, BadPolicy> {
    with(policy, publish_statement(topic))
}

/// The policy of a queue with [`topic_statement`] added.
///
/// # Errors
///
/// As for [`with_stream`].
pub fn with_topic(policy: Option<&str>, arn: &str, topic: &str) -> Result<String, BadPolicy> {
    with(policy, topic_statement(arn, topic))
}

fn with(policy: Option<&str>, added: Value) -> Result<String, BadPolicy> {
    let Some(policy) = policy else {
        return Ok(json!({"Version": "2012-10-17", "Statement": [added]}).to_string());
    };
    let mut policy: Value = serde_json::from_str(policy).map_err(|_| BadPolicy)?;
    let object = policy.as_object_mut().ok_or(BadPolicy)?;
    let mut statements = match object.remove("Statement") {
        Some(Value::Array(statements)) => statements,
        Some(statement @ Value::Object(_)) => vec![statement],
        None => Vec::new(),
        Some(_) => return Err(BadPolicy),
    };
    // Of ours there is one: what an earlier version wrote, or somebody has changed since.
    statements.retain(|statement| statement.get("Sid") != added.get("Sid"));
    statements.push(added);
    object.insert("Statement".to_owned(), statements.into());
    Ok(policy.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:sqs:us-east-1:123456789012:chat-events";

    #[test]
    fn the_statement_is_added_and_those_of_others_stay() {
        let theirs = json!({"Sid": "backup", "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": ARN});
        for statements in [json!([theirs]), theirs.clone()] {
            let policy = json!({"Version": "2008-10-17", "Id": "mine", "Statement": statements}).to_string();
            assert!(!lets_stream_send(&policy));
            let with: Value = serde_json::from_str(&with_stream(Some(&policy), ARN).unwrap()).unwrap();
            assert_eq!((&with["Version"], &with["Id"]), (&json!("2008-10-17"), &json!("mine")));
            assert_eq!(with["Statement"], json!([theirs, stream_statement(ARN)]));
            assert!(lets_stream_send(&with.to_string()));
            assert_eq!(with_stream(Some(&with.to_string()), ARN).unwrap(), with.to_string(), "and once only");
        }
        assert!(lets_stream_send(&with_stream(None, ARN).unwrap()));
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_not_replaced() {
        for policy in ["", "[]", "{", r#"{"Statement":"all"}"#] {
            assert!(with_stream(Some(policy), ARN).is_err(), "{policy}");
        }
    }

    #[test]
    fn a_statement_lets_stream_send_or_it_does_not() {
        let policy = |statement: Value| json!({"Statement": statement}).to_string();
        let stream = json!({"AWS": "arn:aws:iam::185583345998:root"});
        for good in [
            json!({"Effect": "Allow", "Principal": stream, "Action": "SQS:SendMessage"}),
            json!([{"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::1:root", STREAMS_ACCOUNT]}, "Action": ["sqs:Send*"]}]),
            json!({"Effect": "Allow", "Principal": "*", "Action": "sqs:*"}),
        ] {
            assert!(lets_stream_send(&policy(good.clone())), "{good}");
        }
        for bad in [
            json!({"Effect": "Deny", "Principal": stream, "Action": "sqs:SendMessage"}),
            json!({"Effect": "Allow", "Principal": stream, "Action": "sqs:ReceiveMessage"}),
            json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "sqs:SendMessage"}),
            json!(3),
        ] {
            assert!(!lets_stream_send(&policy(bad.clone())), "{bad}");
        }
        assert!(!lets_stream_send("no policy"));
    }

    #[test]
    fn a_condition_that_everybody_must_meet_does_not_let_stream_in() {
        const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:chat-topic";
        let everybody = |action: &str, condition: Value| {
            let statement =
                json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": action, "Condition": condition});
            json!({"Statement": [statement]}).to_string()
        };
        // What each new topic has.
        let own = everybody("SNS:Publish", json!({"StringEquals": {"AWS:SourceOwner": "123456789012"}}));
        assert!(!lets_stream_publish(&own));
        let with: Value = serde_json::from_str(&with_stream_publishing(Some(&own), TOPIC).unwrap()).unwrap();
        assert!(lets_stream_publish(&with.to_string()) && with["Statement"].as_array().unwrap().len() == 2);

        let of_topic = everybody("sqs:SendMessage", json!({"ArnEquals": {"aws:SourceArn": TOPIC}}));
        assert!(lets_topic_send(&of_topic, TOPIC) && !lets_stream_send(&of_topic));
        assert!(!lets_topic_send(&of_topic, "arn:aws:sns:us-east-1:123456789012:chat"));
        let both = with_topic(Some(&with_stream(None, ARN).unwrap()), ARN, TOPIC).unwrap();
        assert!(lets_topic_send(&both, TOPIC) && lets_stream_send(&both));
        assert_eq!(with_topic(Some(&both), ARN, TOPIC).unwrap(), both, "and once only");
        assert!(!lets_topic_send(&with_stream(None, ARN).unwrap(), TOPIC));
    }
}
