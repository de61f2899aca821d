//! An app as Stream tells of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::hook::Hook;

/// The facts of an app that matter for its hooks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct App {
    /// Its id, in digits; empty where Stream does not say.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Stream does nothing for it at present.
    pub is_suspended: bool,
    /// Its hooks are a list. False for apps on the system before, which have one URL of each kind; none where Stream does
    /// not say.
    pub has_hook_list: Option<bool>,
    /// The list, in Stream's order.
    pub hooks: Vec<Hook>,
    /// The queue of the system before the list, if it has one.
    pub old_sqs_url: Option<String>,
}

/// The answer to "read app".
#[derive(Deserialize)]
pub(super) struct Answer {
    app: BTreeMap<String, Box<RawValue>>,
}

impl Answer {
    pub(super) fn into_app(self) -> Result<App, serde_json::Error> {
        let value = |name: &str| -> Value {
            self.app.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
        };
        let text = |name: &str| match value(name) {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let hooks: Option<Vec<Hook>> = match self.app.get("event_hooks") {
            Some(raw) => serde_json::from_str(raw.get())?,
            None => None,
        };
        Ok(App {
            id: text("id"),
            name: text("name"),
            is_suspended: value("suspended").as_bool().unwrap_or(false),
            has_hook_list: value("use_hook_v2").as_bool(),
            hooks: hooks.unwrap_or_default(),
            old_sqs_url: Some(text("sqs_url")).filter(|url| !url.is_empty()),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn app(json: &str) -> Result<App, serde_json::Error> {
        serde_json::from_str::<Answer>(json)?.into_app()
    }

    #[test]
    fn an_app_without_a_list_has_no_hooks() {
        for json in [r#"{"app":{"id":7}}"#, r#"{"app":{"id":7,"event_hooks":null},"duration":"1ms"}"#] {
            let app = app(json).unwrap();
            assert_eq!((app.id.as_str(), app.hooks.len(), app.has_hook_list), ("7", 0, None));
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_error_and_not_an_empty_list() {
        for json in [r#"{"app":{"event_hooks":"x"}}"#, r#"{"app":{"event_hooks":[1]}}"#, r#"{"app":3}"#, "{}"] {
            assert!(app(json).is_err(), "{json}");
        }
    }
}
