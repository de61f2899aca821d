//! The hook that is wanted, and which hooks of the app are about the queue already. Pure.

use serde_json::Value;
use stream_sqsd::queue::sqs::QueueUrl;
use stream_sqsd::stream::{Hook, HookPlan, PlanError};

use crate::config::stream::StreamConfig;
use crate::terminal::exit::Failure;

/// What the hook for a queue is to be; with a topic, what the hook for that is to be.
///
/// # Errors
///
/// Where the access key is not here that Stream is to send with.
pub(super) fn hook(stream: &StreamConfig, queue: &str, region: &str) -> Result<Hook, Failure> {
    let hook = match &stream.topic {
        Some(topic) => Hook::new("sns").with("sns_topic_arn", topic.as_str()).with("sns_region", topic.region()),
        None => Hook::new("sqs").with("sqs_queue_url", queue).with("sqs_region", region),
    };
    let hook = with_events(stream, hook);
    let of_service = |name: &str| format!("{}_{name}", hook.hook_type());
    let [auth, key, secret] = ["auth_type", "key", "secret"].map(of_service);
    Ok(match stream.keys()? {
        None => hook.with(&auth, "resource"),
        Some((id, own)) => hook.with(&auth, "keys").with(&key, id).with(&secret, own),
    })
}

/// What the hook for an endpoint is to be.
pub(super) fn webhook(stream: &StreamConfig, url: &str) -> Hook {
    with_events(stream, Hook::new("webhook").with("webhook_url", url))
}

/// The hook with the events that it is to send.
fn with_events(stream: &StreamConfig, hook: Hook) -> Hook {
    hook.with("event_types", stream.event_types.clone())
        .with("product", stream.product.as_str())
        .with("should_send_custom_events", stream.custom_events)
}

/// Scheme, host without the default port, and what follows, as it is: scheme and host are the same in whatever case.
fn normal(url: &str) -> Option<(String, String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let scheme = scheme.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    let port = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(port).map(str::to_owned).unwrap_or(host);
    Some((scheme, host, if path.is_empty() { "/" } else { path }))
}

/// The places of the hooks of this type that send there. URLs that differ in their form alone lead to the same place.
pub(super) fn about(hooks: &[Hook], hook_type: &str, target: &str) -> Vec<usize> {
    let url = QueueUrl::parse(target).ok();
    // A queue that is not there yet has no URL.
    let leads_there = |other: &str| match hook_type {
        "sqs" => url.as_ref().is_some_and(|url| url.leads_to_the_same_as(other)),
        "webhook" => normal(other).is_some_and(|other| normal(target) == Some(other)),
        _ => target == other,
    };
    let is_about = |hook: &Hook| hook.hook_type() == hook_type && leads_there(&hook.target());
    hooks.iter().enumerate().filter(|(_, hook)| is_about(hook)).map(|(place, _)| place).collect()
}

/// What becomes of the hooks so that the queue is fed.
#[derive(Clone, Debug)]
pub(super) struct HookChange {
    pub(super) plan: HookPlan,
    /// The hook that is there already, by its place, and the fields in which it is another than wanted.
    pub(super) there: Option<(usize, Vec<String>)>,
    /// How many hooks send to this queue now. With two each event comes twice.
    pub(super) count: usize,
}

/// Adds the hook where there is none; changes the one that is there only with `update`.
pub(super) fn change(before: Vec<Hook>, wanted: Hook, update: bool) -> Result<HookChange, PlanError> {
    let places = about(&before, &wanted.hook_type(), &wanted.target());
    let count = places.len();
    let Some(place) = places.first().copied() else {
        return Ok(HookChange { plan: HookPlan::add(before, wanted), there: None, count });
    };
    let differing = before.get(place).map(|hook| differing(&wanted, hook)).unwrap_or_default();
    let plan = match (before.get(place).cloned(), update && !differing.is_empty()) {
        // What the hook has besides is left as it is.
        (Some(hook), true) => {
            let hook = differing.iter().fold(hook, |hook, name| hook.with(name, wanted.field(name)));
            HookPlan::replace(before, place, hook)?
        }
        _ => HookPlan::keep(before),
    };
    Ok(HookChange { plan, there: Some((place, differing)), count })
}

/// The fields of the wanted hook that the one which is there has otherwise. All types is said in two ways, and so is a
/// default.
fn differing(wanted: &Hook, there: &Hook) -> Vec<String> {
    let same = |name: &String| {
        let (one, two) = (wanted.field(name), there.field(name));
        match name.as_str() {
            "event_types" => wanted.event_types() == there.event_types(),
            "enabled" => there.is_enabled(),
            "product" => two == Value::Null && one == "all",
            "sqs_queue_url" | "webhook_url" => true,
            _ => false,
        }
    };
    wanted.fields_missing_in(there).into_iter().filter(|name| !same(name)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/chat-events";

    fn wanted() -> Hook {
        Hook::new("sqs").with("sqs_queue_url", QUEUE).with("sqs_auth_type", "resource").with("product", "all")
    }

    fn there() -> Hook {
        Hook::from_json(
            r#"{"id":"1","hook_type":"sqs","sqs_queue_url":"https://queue.amazonaws.com/123456789012/chat-events",
            "sqs_auth_type":"resource","event_types":null,"enabled":true,"later_field":7}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_hook_for_the_queue_is_added_once() {
        let before =
            vec![Hook::new("webhook").with("id", "w"), Hook::new("sqs").with("sqs_queue_url", format!("{QUEUE}-2"))];
        let change = change(before, wanted(), true).unwrap();
        assert_eq!((change.plan.after().len(), change.count, change.there), (3, 0, None));
        let again = super::change(change.plan.after(), wanted(), true).unwrap();
        assert!(again.plan.is_empty());
        assert_eq!((again.count, again.there), (1, Some((2, Vec::new()))));
    }

    #[test]
    fn a_webhook_is_known_by_its_url_and_no_other_hook_is() {
        let url = "https://relay.example.com/webhooks/stream";
        let webhook = |url: &str| Hook::new("webhook").with("webhook_url", url);
        for same in [url, "HTTPS://Relay.Example.com:443/webhooks/stream"] {
            assert_eq!(about(&[Hook::new("sqs"), webhook(same)], "webhook", url), [1], "{same}");
        }
        let others =
            ["https://relay.example.com/Webhooks/stream", "https://relay.example.com:8443/webhooks/stream", "", "x"];
        for other in others.map(webhook).into_iter().chain([Hook::new("pending_message").with("webhook_url", url)]) {
            assert!(about(std::slice::from_ref(&other), "webhook", url).is_empty(), "{other:?}");
        }
        assert_eq!(about(&[webhook("https://relay.example.com")], "webhook", "https://relay.example.com/"), [0]);
    }

    #[test]
    fn a_hook_that_differs_is_changed_only_on_request() {
        let hook = there().with("sqs_queue_url", QUEUE).with("enabled", false).with("sqs_auth_type", "keys");
        let fields = vec!["enabled".to_owned(), "sqs_auth_type".to_owned()];
        let shown = change(vec![hook.clone()], wanted(), false).unwrap();
        assert!(shown.plan.is_empty());
        assert_eq!(shown.there, Some((0, fields)));
        let changed = change(vec![hook], wanted(), true).unwrap().plan.after();
        assert!(changed[0].is_enabled());
        assert_eq!((changed[0].field("later_field"), changed[0].text("sqs_auth_type")), (7.into(), "resource".into()));
    }
}
