//! Stream's end of the queue: whether the app's event hooks send there what the routes wait for.

use stream_sqsd::event::Pattern;
use stream_sqsd::queue::sqs::provision::ProvisionError;
use stream_sqsd::queue::sqs::{QueueUrl, SqsQueue, Subscription, TopicArn};
use stream_sqsd::stream::{App, Auth, Hook};

use super::finding::{Finding, Grade};
use crate::config::Config;
use crate::config::address;
use crate::terminal::screen::shown;

/// What it means where Stream cannot send.
const LOST: &str = "Stream keeps nothing that it cannot send: each event is lost.";

/// What it means where an event has two ways.
const TWICE: &str = "Each event comes once by each of them, as messages of their own: a repeat is not recognised.";

/// What asking Stream has brought.
#[derive(Default)]
pub(super) struct OfStream {
    pub(super) findings: Vec<Finding>,
    /// How Stream proves to SQS who it is.
    pub(super) auth: Option<Auth>,
    /// Whether it sends to a topic, and not to the queue.
    pub(super) by_topic: bool,
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
        ..OfStream::default()
    };
    let api = match stream.api() {
        Ok(api) => api,
        Err(failure) => return unknown(format!("Stream cannot be asked: {failure}")),
    };
    let app = match api.app().await {
        Ok(app) => app,
        Err(error) => return unknown(format!("Stream cannot be asked: {:#}", anyhow::Error::new(error))),
    };
    let topic = stream.topic.as_ref();
    let subject = Subject { config, url: queue.url(), region: queue.region(), topic };
    let mut found = subject.check(&app);
    // Stream tries the hook that is there.
    let check = match (&found.auth, topic) {
        (None, _) => None,
        (Some(_), Some(_)) => api.check_sns(None).await.ok(),
        (Some(_), None) => api.check_sqs(None).await.ok(),
    };
    if let Some(check) = check.filter(|check| !check.is_ok()) {
        let why = shown(check.error.as_deref().unwrap_or("no reason given"));
        let what = format!("Stream tried to send to the {} and could not: {why}", subject.end());
        found.findings.push(harm(&what, LOST, Some(subject.setup(""))));
    }
    match topic {
        Some(topic) => {
            found.findings.extend(subject.way(queue, topic, found.auth).await);
            found.by_topic = true;
        }
        None => found.findings.extend(subject.topics_beside(queue, &app).await),
    }
    found
}

/// The queue whose hook is judged.
struct Subject<'a> {
    config: &'a Config,
    url: &'a QueueUrl,
    region: &'a str,
    /// Between Stream and the queue, where there is one.
    topic: Option<&'a TopicArn>,
}

impl Subject<'_> {
    fn check(&self, app: &App) -> OfStream {
        let mut findings = Vec::new();
        if app.is_suspended {
            findings.push(harm("Stream has suspended the app", "It sends no events.", None));
        }
        if app.has_hook_list == Some(false) {
            findings.extend(self.old_system(app));
            return OfStream { findings, auth: Some(Auth::Keys), ..OfStream::default() };
        }
        let here: Vec<&Hook> = app.hooks.iter().filter(|hook| self.is_about(hook)).collect();
        let Some(hook) = here.iter().find(|hook| hook.is_enabled()).or(here.first()) else {
            findings.push(self.no_hook(app));
            return OfStream { findings, ..OfStream::default() };
        };
        if !hook.is_enabled() {
            let what = format!("the event hook of this {} is disabled", self.end());
            findings.push(harm(&what, "Stream sends nothing to it.", Some(self.setup(" --update"))));
        }
        if here.iter().filter(|hook| hook.is_enabled()).count() > 1 {
            findings.push(Finding {
                grade: Grade::Advice,
                what: format!("several event hooks send to this {}", self.end()),
                why: TWICE.to_owned(),
                fix: Some(format!("stream-sqsd setup remove --id ID{}", self.file())),
            });
        }
        let beside = app.hooks.iter().find(|hook| self.topic.is_some() && hook.is_enabled() && self.is_direct(hook));
        if let Some(beside) = beside {
            let id = beside.id().unwrap_or_else(|| "ID".to_owned());
            findings.push(Finding {
                grade: Grade::Advice,
                what: "an event hook sends to this queue, and another one to its topic".to_owned(),
                why: TWICE.to_owned(),
                fix: Some(format!("take the hook {} away in Stream's dashboard, or leave out `sns_topic`", shown(&id))),
            });
        }
        findings.extend(self.wrong_region(hook));
        findings.extend(self.not_sent(hook));
        if self.topic.is_none()
            && self.url.is_fifo()
            && hook.field("sqs_event_based_message_group_id_enabled").as_bool() != Some(true)
        {
            let why = "A FIFO queue refuses messages without a group id, and Stream keeps nothing that it cannot send.";
            let fix = "let Stream send to a standard queue (`stream-sqsd setup` makes one), or relay its webhooks to this one";
            findings.push(harm("the event hook sends no group id to a FIFO queue", why, Some(fix.to_owned())));
        }
        OfStream { findings, auth: hook.auth(), by_topic: false }
    }

    /// What Stream sends to.
    fn end(&self) -> &'static str {
        if self.topic.is_some() { "topic" } else { "queue" }
    }

    fn is_about(&self, hook: &Hook) -> bool {
        match self.topic {
            Some(topic) => hook.hook_type() == "sns" && hook.target() == topic.as_str(),
            None => self.is_direct(hook),
        }
    }

    fn is_direct(&self, hook: &Hook) -> bool {
        hook.hook_type() == "sqs" && self.url.leads_to_the_same_as(&hook.target())
    }

    /// Whether what is published to the topic comes to the queue.
    async fn way(&self, queue: &SqsQueue, arn: &TopicArn, auth: Option<Auth>) -> Vec<Finding> {
        let unknown = |error: String| {
            vec![Finding {
                grade: Grade::Advice,
                what: format!("the topic {} cannot be looked at: {error}", arn.name()),
                why: "Whether it lets Stream publish, and sends to this queue, is not known.".to_owned(),
                fix: Some(
                    "allow sns:GetTopicAttributes, sns:ListSubscriptionsByTopic and sns:GetSubscriptionAttributes to the \
                     role or user that this runs as"
                        .to_owned(),
                ),
            }]
        };
        let Ok(attributes) = queue.attributes().await else { return Vec::new() };
        let topic = match SqsQueue::topic(&self.config.queue, arn.clone()).await {
            Ok(topic) => topic,
            Err(error) => return unknown(error.to_string()),
        };
        let plan = match topic.plan(Some(&attributes), auth == Some(Auth::Resource)).await {
            Ok(plan) => plan,
            Err(error @ ProvisionError::NoTopic(_)) => {
                let fix = format!("aws sns create-topic --region {} --name {}", arn.region(), arn.name());
                return vec![harm(&error.to_string(), LOST, Some(fix))];
            }
            Err(error) => return unknown(error.to_string()),
        };
        let mut findings = Vec::new();
        if plan.adds_permission {
            let what = "the topic's policy does not let Stream's account publish, and the event hook relies on it";
            findings.push(harm(what, LOST, Some(self.setup(""))));
        }
        if plan.adds_way {
            let what = "the queue's policy does not let the topic send";
            findings.push(harm(what, "SNS drops what a queue does not take from it.", Some(self.setup(""))));
        }
        match plan.subscription {
            Subscription::Missing => {
                let why = "What Stream publishes does not come to this queue.";
                findings.push(harm("the queue is not subscribed to the topic", why, Some(self.setup(""))));
            }
            Subscription::Wrapped { .. } => findings.push(Finding {
                grade: Grade::Advice,
                what: "the subscription wraps each event in SNS's envelope".to_owned(),
                why: "The daemon takes it off, but messages are larger, and attributes that Stream sets are lost."
                    .to_owned(),
                fix: Some(self.setup(" --update")),
            }),
            _ => {}
        }
        findings
    }

    /// Topics of the app that lead to the queue beside the hook that sends there.
    async fn topics_beside(&self, queue: &SqsQueue, app: &App) -> Vec<Finding> {
        if !app.hooks.iter().any(|hook| hook.is_enabled() && self.is_direct(hook)) {
            return Vec::new();
        }
        let mut findings = Vec::new();
        for hook in app.hooks.iter().filter(|hook| hook.hook_type() == "sns" && hook.is_enabled()) {
            let Some(arn) = TopicArn::parse(&hook.target()) else { continue };
            let (why, fix) = match self.is_subscribed(queue, &arn).await {
                Some(false) => continue,
                Some(true) => (TWICE.to_owned(), "take one of the two hooks away in Stream's dashboard".to_owned()),
                // Perhaps it belongs to somebody else.
                None => (
                    format!("Whether this queue is subscribed to it cannot be seen from here. If it is: {TWICE}"),
                    format!(
                        "aws sns list-subscriptions-by-topic --region {} --topic-arn {}",
                        arn.region(),
                        arn.as_str()
                    ),
                ),
            };
            let what = format!("an event hook sends to this queue, and another one to the topic {}", arn.name());
            findings.push(Finding { grade: Grade::Advice, what, why, fix: Some(fix) });
        }
        findings
    }

    async fn is_subscribed(&self, queue: &SqsQueue, arn: &TopicArn) -> Option<bool> {
        let topic = SqsQueue::topic(&self.config.queue, arn.clone()).await.ok()?;
        let subscription = topic.subscription(&queue.arn()?).await.ok()?;
        Some(subscription != Subscription::Missing)
    }

    /// Nothing sends here. What sends to a queue of the same name elsewhere was probably meant.
    fn no_hook(&self, app: &App) -> Finding {
        let name = |url: &str| QueueUrl::parse(url).map(|url| url.name().to_owned()).ok();
        let is_alike = |hook: &&Hook| name(&hook.target()).is_some_and(|name| name == self.url.name());
        let alike = app.hooks.iter().filter(|hook| hook.hook_type() == "sqs").find(is_alike);
        let by_topic =
            self.topic.is_none() && app.hooks.iter().any(|hook| hook.hook_type() == "sns" && hook.is_enabled());
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
        let what = format!("no event hook of the app sends to this {}", self.end());
        let grade = if alike.is_none() && by_topic { Grade::Advice } else { Grade::Harm };
        Finding { grade, what, why, fix: Some(self.setup("")) }
    }

    fn wrong_region(&self, hook: &Hook) -> Option<Finding> {
        let is = self.topic.map_or(self.region, TopicArn::region);
        let said = hook.text(&format!("{}_region", hook.hook_type()));
        let region = Some(said).filter(|region| !region.is_empty() && region != is)?;
        let what = format!("the event hook says region {}, and the {} is in {is}", shown(&region), self.end());
        Some(harm(&what, "Stream looks for it in the wrong place.", Some(self.setup(" --update"))))
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
