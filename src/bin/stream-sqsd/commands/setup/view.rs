//! The plan as a person reads it: `+` is made, `~` differs, `-` goes, `=` stays.

use stream_sqsd::queue::sqs::provision::{Plan, QueuePlan};
use stream_sqsd::queue::sqs::{Subscription, TopicPlan};
use stream_sqsd::stream::{App, Auth, Hook};

use crate::config::address;
use crate::terminal::screen::shown;

/// The columns of what a line is about, and of its name.
const KIND: usize = 13;
const NAME: usize = 27;

/// The app, and where the queues are.
pub(super) fn head(app: &App, account: Option<&str>, region: &str) -> String {
    let hooks = match app.hooks.len() {
        1 => "1 event hook".to_owned(),
        count => format!("{count} event hooks"),
    };
    let account = account.map(|account| format!("AWS account {account}, ")).unwrap_or_default();
    format!("Stream app {} \"{}\", {hooks}          {account}{region}\n", shown(&app.id), shown(&app.name))
}

pub(super) fn line(sign: char, kind: &str, name: &str, what: &str) -> String {
    format!("  {sign} {kind:<KIND$}{name:<NAME$} {what}").trim_end().to_owned() + "\n"
}

/// The queues and the permission. `update`: what differs is changed.
pub(super) fn queues(plan: &Plan, update: bool) -> String {
    let mut text = queue(&plan.dead, update) + &queue(&plan.main, update);
    if plan.adds_redrive && plan.main.found.is_some() {
        text.push_str(&line('+', "redrive", &plan.main.name, &format!("5 receives, then to {}", plan.dead.name)));
    }
    if plan.adds_permission {
        let account = stream_sqsd::queue::sqs::policy::STREAMS_ACCOUNT;
        text.push_str(&format!("  + {:<KIND$}Stream ({account}) may send to {}\n", "permission", plan.main.name));
    }
    text
}

/// The topic and its way to the queue. `update`: what differs is changed.
pub(super) fn topic(plan: &TopicPlan, queue: &str, update: bool) -> String {
    let name = plan.topic.name();
    let way = format!("{name} → {queue}");
    let mut text = line('=', "topic", name, "");
    if plan.adds_way {
        text.push_str(&format!("  + {:<KIND$}{name} may send to {queue}\n", "permission"));
    }
    text.push_str(&match plan.subscription {
        Subscription::Missing => format!("  + {:<KIND$}{way}, raw delivery\n", "subscription"),
        Subscription::Wrapped { .. } => {
            format!("  ~ {:<KIND$}{way}: in SNS's envelope → raw delivery{}\n", "subscription", unless(update))
        }
        _ => format!("  = {:<KIND$}{way}, raw delivery\n", "subscription"),
    });
    if plan.adds_permission {
        let account = stream_sqsd::queue::sqs::policy::STREAMS_ACCOUNT;
        text.push_str(&format!("  + {:<KIND$}Stream ({account}) may publish to {name}\n", "permission"));
    }
    text
}

fn queue(plan: &QueuePlan, update: bool) -> String {
    if plan.found.is_none() {
        return line('+', "queue", &plan.name, &plan.will_be.join("; "));
    }
    let mut text = line('=', "queue", &plan.name, "");
    for differing in &plan.differing {
        let what = format!("{} → {}", differing.is, differing.wanted);
        text.push_str(&line('~', "queue", &plan.name, &(what + unless(update))));
    }
    text
}

/// What is said of a difference that stays.
fn unless(update: bool) -> &'static str {
    if update { "" } else { "   (stays; --update changes it)" }
}

/// A hook that differs.
pub(super) fn differing(hook: &Hook, fields: &[String], update: bool) -> String {
    format!("  ~ {:<KIND$}{}: {}{}\n", "event hook", described(hook), fields.join(", "), unless(update))
}

/// A hook with its sign.
pub(super) fn hook(sign: char, hook: &Hook) -> String {
    format!("  {sign} {:<KIND$}{}\n", "event hook", described(hook))
}

/// A hook in one line, without a secret.
pub(super) fn described(hook: &Hook) -> String {
    let arrow = if hook.hook_type() == "sqs" || hook.hook_type() == "sns" { "→ " } else { "" };
    let target = target(hook);
    let mut details = vec![events(hook)];
    details.extend(auth(hook).map(|auth| format!("auth {auth}")));
    if !hook.is_enabled() {
        details.push("disabled".to_owned());
    }
    format!("{} {arrow}{target} ({})", shown(&hook.hook_type()), details.join(", "))
}

/// Where a hook leads, as it may be shown.
pub(super) fn target(hook: &Hook) -> String {
    let target = hook.target();
    let target = if target.contains("://") { address::shown(&target) } else { target };
    let short = match (hook.hook_type().as_str(), target.rsplit_once(['/', ':'])) {
        ("sqs" | "sns", Some((_, name))) if !name.is_empty() => name.to_owned(),
        _ => target,
    };
    shown(&short)
}

/// How Stream proves who it is, where the hook says.
pub(super) fn auth(hook: &Hook) -> Option<&'static str> {
    hook.auth().map(|auth| match auth {
        Auth::Resource => "resource",
        Auth::Keys => "keys",
        Auth::Role => "role",
        _ => "unknown",
    })
}

/// Which events a hook sends, in few words.
pub(super) fn events(hook: &Hook) -> String {
    match hook.event_types() {
        None => "all events".to_owned(),
        Some(types) if types.len() <= 3 => shown(&types.join(", ")),
        Some(types) => format!("{} event types", types.len()),
    }
}
