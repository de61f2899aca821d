//! Stream's end of the queue: whether the app's event hooks send there what the routes wait for.

use stream_sqsd::event::Pattern;
use stream_sqsd::queue::sqs::{QueueUrl, SqsQueue};
use stream_sqsd::stream::{App, Auth, Hook};

use super::finding::{Finding, Grade};
use crate::config::Config;
use crate::config::address;
use crate::terminal::screen::shown;

/// What asking Stream has brought.
#[derive(Default)]
pub(super) struct OfStream {
    pub(super) findings: Vec<Finding>,
    /// How Stream proves to SQS who it is.
    pub(super) auth: Option<Auth>,
}

/// Asks Stream, where the configuration says which app it is.
pub(super) async fn examine(config: &Config, queue: &SqsQueue) -> OfStream {
    let Some(stream) = &config.stream else { return OfStream::default() };
    let unknown = |what: String| OfStream {
        findings: vec![Finding {
            grade: Grade::Advice,
            what,
            why: "Whether Stream sends to this queue is not known.".to_owned(),
            fix: None,
        }],
        auth: None,
    };
    let api = match stream.api() {
        Ok(api) => api,
        Err(failure) => return unknown(format!("Stream cannot be asked: {failure}")),
    };
    let app = match api.app().await {
        Ok(app) => app,
        Err(error) => return unknown(format!("Stream cannot be asked: {:#}", anyhow::Error::new(error))),
    };
    let subject = Subject { config, url: queue.url(), region: queue.region(), is_fifo: queue.url().is_fifo() };
    let mut found = subject.check(&app);
    // Stream tries the hook that is there.
    if found.auth.is_some()
        && let Ok(check) = api.check_sqs(None).await
        && !check.is_ok()
    {
        let why = shown(check.error.as_deref().unwrap_or("no reason given"));
        found.findings.push(Finding {
            grade: Grade::Harm,
            what: format!("Stream tried to send to the queue and could not: {why}"),
            why: "Stream keeps nothing that it cannot send: each event is lost.".to_owned(),
            fix: Some(subject.setup("")),
        });
    }
    found
}

/// The queue whose hook is judged.
struct Subject<'a> {
    config: &'a Config,
    url: &'a QueueUrl,
    region: &'a str,
    is_fifo: bool,
}

impl Subject<'_> {
    fn check(&self, app: &App) -> OfStream {
        let mut findings = Vec::new();
        if app.is_suspended {
            findings.push(harm("Stream has suspended the app", "It sends no events.", None));
        }
        if app.has_hook_list == Some(false) {
            findings.extend(self.old_system(app));
            return OfStream { findings, auth: Some(Auth::Keys) };
        }
        let here: Vec<&Hook> = app.hooks.iter().filter(|hook| self.is_about(hook)).collect();
        let Some(hook) = here.iter().find(|hook| hook.is_enabled()).or(here.first()) else {
            findings.push(self.no_hook(app));
            return OfStream { findings, auth: None };
        };
        if !hook.is_enabled() {
            let why = "Stream sends nothing to the queue.";
            findings.push(harm("the event hook of this queue is disabled", why, Some(self.setup(" --update"))));
        }
        if here.iter().filter(|hook| hook.is_enabled()).count() > 1 {
            findings.push(Finding {
                grade: Grade::Advice,
                what: "several event hooks send to this queue".to_owned(),
                why: "Each event comes once by each of them, as messages of their own: a repeat is not recognised."
                    .to_owned(),
                fix: Some(format!("stream-sqsd setup remove --id ID{}", self.file())),
            });
        }
        findings.extend(self.wrong_region(hook));
        findings.extend(self.not_sent(hook));
        if self.is_fifo && hook.field("sqs_event_based_message_group_id_enabled").as_bool() != Some(true) {
            let why = "A FIFO queue refuses messages without a group id, and Stream keeps nothing that it cannot send.";
            findings.push(harm("the event hook sends no group id to a FIFO queue", why, None));
        }
        OfStream { findings, auth: hook.auth() }
    }

    fn is_about(&self, hook: &Hook) -> bool {
        hook.hook_type() == "sqs" && self.url.leads_to_the_same_as(&hook.target())
    }

    /// Nothing sends here. What sends to a queue of the same name elsewhere was probably meant.
    fn no_hook(&self, app: &App) -> Finding {
        let name = |url: &str| QueueUrl::parse(url).map(|url| url.name().to_owned()).ok();
        let is_alike = |hook: &&Hook| name(&hook.target()).is_some_and(|name| name == self.url.name());
        let alike = app.hooks.iter().filter(|hook| hook.hook_type() == "sqs").find(is_alike);
        let by_topic = app.hooks.iter().any(|hook| hook.hook_type() == "sns" && hook.is_enabled());
        let why = match alike {
            Some(hook) => format!(
                "One sends to a queue of the same name at {}, and this queue is at {}.",
                shown(&address::shown(&hook.target())),
                self.url
            ),
            None if by_topic => {
                "One sends to an SNS topic: events come if that topic has a subscription of this queue.".to_owned()
            }
            None => "Stream sends nothing to it.".to_owned(),
        };
        let grade = if alike.is_none() && by_topic { Grade::Advice } else { Grade::Harm };
        Finding {
            grade,
            what: "no event hook of the app sends to this queue".to_owned(),
            why,
            fix: Some(self.setup("")),
        }
    }

    fn wrong_region(&self, hook: &Hook) -> Option<Finding> {
        let region = Some(hook.text("sqs_region")).filter(|region| !region.is_empty() && region != self.region)?;
        let what = format!("the event hook says region {}, and the queue is in {}", shown(&region), self.region);
        Some(harm(&what, "Stream looks for the queue in the wrong place.", Some(self.setup(" --update"))))
    }

    /// Routes that wait for what never comes.
    fn not_sent(&self, hook: &Hook) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (position, route) in self.config.routes.iter().enumerate() {
            let waiting: Vec<&str> =
                route.patterns().iter().filter(|pattern| !can_come(pattern, hook)).map(Pattern::as_str).collect();
            if waiting.is_empty() {
                continue;
            }
            let what =
                format!("route {} waits for {}, which the event hook does not send", position + 1, waiting.join(", "));
            let why = "No such event comes through this queue.";
            findings.push(harm(&what, why, Some(self.setup(" --update"))));
        }
        findings
    }

    fn old_system(&self, app: &App) -> Vec<Finding> {
        match &app.old_sqs_url {
            Some(url) if self.url.leads_to_the_same_as(url) => Vec::new(),
            Some(url) => vec![harm(
                &format!("the app sends to another queue: {}", shown(&address::shown(url))),
                "It is on Stream's old hook system, which has one queue.",
                Some(self.setup(" --legacy")),
            )],
            None => vec![harm(
                "the app sends to no queue",
                "It is on Stream's old hook system, which has one queue, and none is set.",
                Some(self.setup(" --legacy")),
            )],
        }
    }

    fn setup(&self, flags: &str) -> String {
        format!("stream-sqsd setup{flags}{}", self.file())
    }

    fn file(&self) -> String {
        self.config.file.as_ref().map(|file| format!(" --config {}", file.display())).unwrap_or_default()
    }
}

fn harm(what: &str, why: &str, fix: Option<String>) -> Finding {
    Finding { grade: Grade::Harm, what: what.to_owned(), why: why.to_owned(), fix }
}

/// Whether some event of this pattern can come by the hook.
fn can_come(pattern: &Pattern, hook: &Hook) -> bool {
    let custom = hook.field("should_send_custom_events").as_bool() == Some(true);
    match hook.event_types() {
        None => custom || pattern.known().next().is_some() || pattern.as_str().contains('.') || pattern.as_str() == "*",
        Some(types) => {
            // A name without a dot can only be a custom event.
            types.iter().any(|name| pattern.matches(name)) || custom && !pattern.as_str().contains('.')
        }
    }
}
