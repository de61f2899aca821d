//! An event hook of an app: a JSON object of which most fields are none of our business.
//!
//! It travels as the text that Stream sent, field by field, so that what this version does not know comes back to Stream
//! unchanged. A few fields can be asked for by name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// What the name of a field says that holds a secret or half of one. Failover targets have such fields too, under names that
/// no specification lists.
const SECRETS: [&str; 5] = ["secret", "credential", "_key", "password", "token"];

/// The fields that Stream sets itself, and that say nothing of what the hook does.
const STAMPS: [&str; 2] = ["created_at", "updated_at"];

/// The text is not a hook.
#[derive(Debug, thiserror::Error)]
#[error("this is not a JSON object")]
pub struct BadHook(#[source] serde_json::Error);

/// How Stream proves to AWS who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// By the policy of the queue or topic, which lets Stream's AWS account send.
    Resource,
    /// By an access key of the customer's account that Stream keeps.
    Keys,
    /// By a role of the customer's account that Stream assumes.
    Role,
}

/// One hook.
///
/// Its `Debug` shows its fields but no secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hook(BTreeMap<String, Box<RawValue>>);

impl Hook {
    /// Reads one from JSON.
    ///
    /// # Errors
    ///
    /// Where it is not a JSON object.
    pub fn from_json(json: &str) -> Result<Hook, BadHook> {
        serde_json::from_str(json).map(Hook).map_err(BadHook)
    }

    /// A new hook of a type and no more: `sqs`, `sns`, `webhook`. Enabled, for all event types, also those to come.
    pub fn new(hook_type: &str) -> Hook {
        let mut hook = Hook(BTreeMap::new());
        hook.set("hook_type", &hook_type.into());
        hook.set("enabled", &true.into());
        hook.set("event_types", &Value::Array(Vec::new()));
        hook
    }

    /// This hook with one field set, whatever stood there before.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Hook {
        self.set(field, &value.into());
        self
    }

    fn set(&mut self, field: &str, value: &Value) {
        let raw = RawValue::from_string(value.to_string()).expect("a value's text is JSON");
        self.0.insert(field.to_owned(), raw);
    }

    /// The value of a field, null where it has none.
    pub fn field(&self, name: &str) -> Value {
        self.0.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    /// The text of a field; empty where it has none.
    pub fn text(&self, name: &str) -> String {
        self.field(name).as_str().unwrap_or_default().to_owned()
    }

    /// Its id, where Stream has given it one.
    pub fn id(&self) -> Option<String> {
        Some(self.text("id")).filter(|id| !id.is_empty())
    }

    /// `webhook`, `sqs`, `sns`, `pending_message`, or a type to come.
    pub fn hook_type(&self) -> String {
        self.text("hook_type")
    }

    /// Whether Stream sends at all. A hook that does not say so does.
    pub fn is_enabled(&self) -> bool {
        self.field("enabled").as_bool().unwrap_or(true)
    }

    /// The event types that it sends; none where it sends all, also those to come.
    pub fn event_types(&self) -> Option<Vec<String>> {
        let value = self.field("event_types");
        let types: Vec<String> = value.as_array()?.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
        (!types.is_empty()).then_some(types)
    }

    /// Where it sends to: a URL or an ARN; empty where its type is unknown here.
    pub fn target(&self) -> String {
        let field = match self.hook_type().as_str() {
            "sqs" => "sqs_queue_url",
            "sns" => "sns_topic_arn",
            "webhook" | "pending_message" => "webhook_url",
            _ => return String::new(),
        };
        self.text(field)
    }

    /// How Stream proves who it is to the queue or topic of this hook.
    pub fn auth(&self) -> Option<Auth> {
        match self.text(&format!("{}_auth_type", self.hook_type())).as_str() {
            "resource" => Some(Auth::Resource),
            "keys" => Some(Auth::Keys),
            "role" => Some(Auth::Role),
            _ => None,
        }
    }

    /// The first field whose secret came masked, so that writing this hook back would destroy the secret: one that holds a
    /// `*`, or none at all where the hook's authentication needs one.
    pub fn masked_secret(&self) -> Option<String> {
        let mut masked = None;
        for (name, raw) in &self.0 {
            let value = serde_json::from_str(raw.get()).unwrap_or_default();
            masked = masked.or_else(|| masked_within(name, &value));
        }
        masked.or_else(|| {
            let secret = format!("{}_secret", self.hook_type());
            let needed = self.auth() == Some(Auth::Keys);
            (needed && self.text(&secret).is_empty()).then_some(secret)
        })
    }

    /// The fields in which the other differs, not counting times and what is masked on either side.
    pub fn differing_fields(&self, other: &Hook) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let differs = |name: &&&String| {
            let (one, two) = (self.field(name), other.field(name));
            !STAMPS.contains(&name.as_str()) && comparable(name, &one, &two) != comparable(name, &two, &one)
        };
        names.iter().filter(differs).map(|name| (*name).clone()).collect()
    }

    /// The fields of this one that the other does not have with the same value, as
    /// [`differing_fields`](Hook::differing_fields). What the other has besides does not count: Stream adds ids and
    /// defaults to a new hook.
    pub fn fields_missing_in(&self, other: &Hook) -> Vec<String> {
        self.differing_fields(other).into_iter().filter(|name| self.0.contains_key(name)).collect()
    }

    /// As it is sent: without times that the API would refuse, which are those that are not text.
    pub(super) fn for_sending(&self) -> Hook {
        let mut hook = self.clone();
        for stamp in STAMPS {
            if !hook.field(stamp).is_string() {
                hook.0.remove(stamp);
            }
        }
        hook
    }
}

/// What counts of a value when two are compared: nothing of a secret that is masked on either side.
fn comparable(name: &str, value: &Value, other: &Value) -> Value {
    if is_secret(name) && (is_masked(value) || is_masked(other)) {
        return Value::Null;
    }
    match value {
        Value::Object(fields) => {
            let inner = |(name, value): (&String, &Value)| {
                (name.clone(), comparable(name, value, other.get(name).unwrap_or(&Value::Null)))
            };
            Value::Object(fields.iter().map(inner).collect())
        }
        value => value.clone(),
    }
}

fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|part| name.contains(part))
}

fn is_masked(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('*'),
        _ => false,
    }
}

fn masked_within(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| masked_within(name, value)),
        value => (is_secret(name) && is_masked(value)).then(|| name.to_owned()),
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("id", &self.id())
            .field("hook_type", &self.hook_type())
            .field("enabled", &self.is_enabled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_and_odd_numbers_come_back_as_they_came() {
        let json = r#"{"a":1.50,"big":123456789012345678901234567890,"id":"x","new_thing":{"z":[1, 2]}}"#;
        assert_eq!(serde_json::to_string(&Hook::from_json(json).unwrap()).unwrap(), json);
        assert!(Hook::from_json("[]").is_err());
    }

    #[test]
    fn a_masked_secret_is_seen_wherever_it_stands() {
        for json in [
            r#"{"hook_type":"sqs","sqs_auth_type":"keys","sqs_key":"AKIA","sqs_secret":"abc****"}"#,
            r#"{"hook_type":"sqs","sqs_auth_type":"keys","sqs_key":"AKIA","sqs_secret":""}"#,
            r#"{"hook_type":"sqs","sqs_auth_type":"keys","sqs_key":"AKIA"}"#,
            r#"{"hook_type":"sns","sns_auth_type":"keys"}"#,
            r#"{"hook_type":"sqs","sqs_auth_type":"keys","sqs_key":"AK**","sqs_secret":"whole"}"#,
            r#"{"hook_type":"webhook","failover_config":{"type":"gcs","gcs_credentials":"****"}}"#,
            r#"{"hook_type":"webhook","failover_config":{"type":"s3","s3_secret":"**"}}"#,
        ] {
            assert!(Hook::from_json(json).unwrap().masked_secret().is_some(), "{json}");
        }
        for json in [
            r#"{"hook_type":"sqs","sqs_auth_type":"keys","sqs_secret":"whole"}"#,
            r#"{"hook_type":"sqs","sqs_auth_type":"resource"}"#,
            r#"{"hook_type":"webhook","webhook_url":"https://example.com/*"}"#,
        ] {
            assert_eq!(Hook::from_json(json).unwrap().masked_secret(), None, "{json}");
        }
    }

    #[test]
    fn two_hooks_are_compared_without_times_and_masked_secrets() {
        let one = r#"{"id":"1","sqs_secret":"whole","created_at":"2026","failover_config":{"gcs_credentials":"c","type":"gcs"}}"#;
        let two = r#"{"id":"1","sqs_secret":"w****","updated_at":"2027","failover_config":{"gcs_credentials":"**","type":"gcs"}}"#;
        let (one, two) = (Hook::from_json(one).unwrap(), Hook::from_json(two).unwrap());
        assert_eq!(one.differing_fields(&two), Vec::<String>::new());
        let other = two.clone().with("enabled", false).with("sqs_key", "k");
        assert_eq!(one.differing_fields(&other), ["enabled", "sqs_key"]);
        assert_eq!(other.fields_missing_in(&one), ["enabled", "sqs_key"]);
        assert_eq!(one.fields_missing_in(&other), Vec::<String>::new(), "what the other has besides");
        assert_eq!(one.clone().with("sqs_secret", "other").differing_fields(&one), ["sqs_secret"], "neither is masked");
    }

    #[test]
    fn an_empty_list_of_types_is_all_of_them() {
        for all in [r#"{"event_types":[]}"#, r#"{"event_types":null}"#, "{}"] {
            assert_eq!(Hook::from_json(all).unwrap().event_types(), None, "{all}");
        }
        let some = Hook::new("sqs").with("event_types", vec!["message.new"]);
        assert_eq!(some.event_types(), Some(vec!["message.new".to_owned()]));
    }

    #[test]
    fn times_that_are_not_text_are_not_sent_back() {
        let hook =
            Hook::from_json(r#"{"created_at":1760000000000000000,"updated_at":"2026-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(serde_json::to_string(&hook.for_sending()).unwrap(), r#"{"updated_at":"2026-01-01T00:00:00Z"}"#);
    }

    #[test]
    fn no_secret_is_in_the_debug_output() {
        let hook = Hook::new("sqs").with("sqs_secret", "s3cret");
        assert!(!format!("{hook:?}").contains("s3cret"));
    }
}
