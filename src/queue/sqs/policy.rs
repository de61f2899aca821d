//! The policy of a queue, as far as it lets Stream send: read, and a statement added to it. Pure.

use serde_json::{Value, json};

/// The account from which Stream sends to queues that let it (`sqs_auth_type` is `resource`).
///
/// Source: Stream's documentation of SQS hooks.
pub const STREAMS_ACCOUNT: &str = "185583345998";

/// The id of the statement that is added. AWS allows letters and digits in a queue's policy.
const STATEMENT: &str = "StreamSends";

/// A policy that cannot be read cannot be added to either.
#[derive(Debug, thiserror::Error)]
#[error("the queue's policy cannot be read, so nothing can be added to it")]
pub struct BadPolicy;

/// Whether a queue's policy has a statement that lets Stream's account send. Conditions and denials are not looked at.
pub fn lets_stream_send(policy: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return false };
    let some = |value: Option<&Value>, test: &dyn Fn(&str) -> bool| match value {
        Some(Value::String(text)) => test(text),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).any(test),
        _ => false,
    };
    let is_stream = |principal: &str| principal == "*" || principal.contains(STREAMS_ACCOUNT);
    let sends = |action: &str| {
        let action = action.to_ascii_lowercase();
        matches!(action.as_str(), "*" | "sqs:*" | "sqs:send*" | "sqs:sendmessage")
    };
    let lets = |statement: &Value| {
        let principal = statement.get("Principal");
        let is_stream = some(principal, &is_stream) || some(principal.and_then(|by| by.get("AWS")), &is_stream);
        statement.get("Effect").and_then(Value::as_str) == Some("Allow")
            && is_stream
            && some(statement.get("Action"), &sends)
    };
    match policy.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().any(lets),
        Some(statement) => lets(statement),
        None => false,
    }
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

/// The policy with that statement added; the statements of others stay as they are.
///
/// # Errors
///
/// Where there is a policy and it is not one: adding to it would replace it.
pub fn with_stream(policy: Option<&str>, arn: &str) -> Result<String, BadPolicy> {
    let Some(policy) = policy else {
        return Ok(json!({"Version": "2012-10-17", "Statement": [stream_statement(arn)]}).to_string());
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
    statements.retain(|statement| statement.get("Sid").and_then(Value::as_str) != Some(STATEMENT));
    statements.push(stream_statement(arn));
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
}
