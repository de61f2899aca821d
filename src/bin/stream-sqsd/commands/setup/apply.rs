//! `stream-sqsd setup`: look, show, ask, make, read back.

use std::time::Duration;

use anyhow::anyhow;
use stream_sqsd::queue::sqs::provision::{Found, Made, Plan, ProvisionError};
use stream_sqsd::queue::sqs::{Provisioner, SqsQueue, Topic, TopicArn, TopicPlan, queue_arn};
use stream_sqsd::stream::{App, Hook, HookPlan, SqsKeys, Stage, StreamError, WriteError, write};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, interrupted, refused};
use super::wanted::{self, HookChange};
use super::{saved, view};
use crate::commands::advice;
use crate::commands::setup::arguments::{SetupPlace, SetupPlan};
use crate::terminal::exit::{Exit, Failure, print, say};
use crate::terminal::question::Consent;

/// How long a policy that was just set may be unknown to Stream's check.
const POLICY_LAG: Duration = Duration::from_secs(90);

/// What is there, on both sides.
struct Looked {
    app: App,
    queues: Plan,
    /// The topic between them, where there is one.
    topic: Option<(Topic, TopicPlan)>,
    /// The URL of the queue, where it is known before the queue is made.
    url: Option<String>,
    /// The account of the queues, where anyone tells it.
    account: Option<String>,
    region: String,
}

pub(super) async fn apply(place: SetupPlace, how: &SetupPlan, stop: CancellationToken) -> Result<Exit, Failure> {
    let ground = Ground::read(place, stop)?;
    let consent = if how.dry_run { None } else { Some(Consent::of(how.yes, &ground.screen)?) };
    let provisioner = ground.unless_stopped(SqsQueue::provisioner(&ground.config.queue)).await?;
    let provisioner = provisioner.map_err(|error| advice::not_connected(error, &ground.config.queue))?;
    let looked = look(&ground, &provisioner).await?;
    if looked.app.has_hook_list == Some(false) {
        return old_system(&ground, &provisioner, looked, how, consent).await;
    }
    let change = hook_change(&ground, &looked, looked.url.as_deref(), how.update)?;
    let topic = looked.topic.as_ref().map(|(_, plan)| plan);
    let nothing = looked.queues.is_empty(how.update)
        && topic.is_none_or(|topic| topic.is_empty(how.update))
        && change.plan.is_empty();

    let text = view::head(&looked.app, looked.account.as_deref(), &looked.region)
        + &view::queues(&looked.queues, how.update)
        + &topic.map(|topic| view::topic(topic, &looked.queues.main.name, how.update)).unwrap_or_default()
        + &hooks(&looked.app, &change, how.update);
    print(&text)?;
    if change.count > 1 {
        say(
            "two event hooks lead to this queue: every event comes twice (`stream-sqsd setup remove --id ID` takes one away)",
        );
    }
    ground.unless_stopped(provisioner.check(&looked.queues)).await?.map_err(|error| not_made(&ground, error))?;
    change.plan.check().map_err(masked)?;
    let Some(consent) = consent else { return Ok(Exit::Done) };
    if nothing {
        say("there is nothing to do");
        return checked(&ground, Duration::ZERO).await;
    }
    if !consent.ask("This is what will be done.", &ground.stop).await? {
        return Ok(Exit::Done);
    }

    let queue = make(&ground, &provisioner, &looked, how.update).await?;
    let change = hook_change(&ground, &looked, Some(queue.url.as_str()), how.update)?;
    if !change.plan.is_empty() && carry_out(&ground, &looked.app, &change.plan).await? == Exit::Findings {
        return Ok(Exit::Findings);
    }
    checked(&ground, POLICY_LAG).await
}

/// Asks both ends, and changes nothing.
async fn look(ground: &Ground, provisioner: &Provisioner) -> Result<Looked, Failure> {
    let queue = &ground.config.queue.queue;
    let app = ground.app().await?;
    let main = find(ground, provisioner, queue.name()).await?;
    let dead = main.as_ref().and_then(Found::dead_letter_queue);
    let dead = dead.unwrap_or_else(|| format!("{}-dead-letter", queue.name()));
    let dead_letters = find(ground, provisioner, &dead).await?;
    let account = [&main, &dead_letters].into_iter().flatten().find_map(Found::account).map(str::to_owned);
    let account = match account {
        Some(account) => Some(account),
        None => ground.unless_stopped(provisioner.account()).await?.map(str::to_owned),
    };
    let url = main.as_ref().map(|found| &found.url).or(queue.url()).map(|url| url.as_str().to_owned());
    let by_policy = ground.stream.keys()?.is_none();
    let region = provisioner.region().to_owned();
    let topic = match &ground.stream.topic {
        Some(topic) => Some(look_at_topic(ground, topic, main.as_ref(), by_policy).await?),
        None => None,
    };
    // By way of a topic Stream itself need not send to the queue.
    let queues = Plan::new((queue.name(), main), (&dead, dead_letters), by_policy && topic.is_none());
    Ok(Looked { app, queues: queues.map_err(|error| not_made(ground, error))?, topic, url, account, region })
}

async fn look_at_topic(
    ground: &Ground,
    arn: &TopicArn,
    queue: Option<&Found>,
    by_policy: bool,
) -> Result<(Topic, TopicPlan), Failure> {
    let topic = ground.unless_stopped(SqsQueue::topic(&ground.config.queue, arn.clone())).await?;
    let topic = topic.map_err(|error| advice::not_connected(error, &ground.config.queue))?;
    let plan = ground.unless_stopped(topic.plan(queue.map(|queue| &queue.attributes), by_policy)).await?;
    Ok((topic, plan.map_err(|error| not_made(ground, error))?))
}

async fn find(ground: &Ground, provisioner: &Provisioner, name: &str) -> Result<Option<Found>, Failure> {
    ground.unless_stopped(provisioner.find(name)).await?.map_err(|error| not_made(ground, error))
}

/// The failure that an error of the queues is.
fn not_made(ground: &Ground, error: ProvisionError) -> Failure {
    let region = ground.config.queue.region.as_deref().unwrap_or("REGION");
    match error {
        ProvisionError::Queue(error) => {
            let arn = queue_arn(region, "ACCOUNT", ground.config.queue.queue.name());
            advice::refused(error, &arn)
        }
        error @ ProvisionError::Fifo(_) => {
            Failure::usage(format!("{error}; let Stream send to a standard queue, which keeps no order"))
        }
        ProvisionError::NoTopic(topic) => Failure::usage(format!(
            "there is no topic {}; make it: aws sns create-topic --region {} --name {}",
            topic.as_str(),
            topic.region(),
            topic.name()
        )),
        error @ ProvisionError::WhoseAccount { .. } => Failure::usage(format!(
            "{error}.\n  Use credentials of that account; or name the queue by `name` in [queue], without `account`, to have \
             it made in the account of the credentials; or make it yourself: `stream-sqsd setup print aws-cli` prints the \
             commands. Nothing was changed"
        )),
        error => Failure::new(Exit::Unavailable, error),
    }
}

pub(super) fn masked(error: stream_sqsd::stream::PlanError) -> Failure {
    Failure::new(
        Exit::Unavailable,
        anyhow!(
            "{error}.\n  Stream's API does not show this secret, so this command cannot write the list without losing it: \
             add the hook in Stream's dashboard, or give that hook another authentication there first. Nothing was changed"
        ),
    )
}

fn hook_change(ground: &Ground, looked: &Looked, url: Option<&str>, update: bool) -> Result<HookChange, Failure> {
    // The URL of a queue that is given by name is known once it is made.
    let url = url.unwrap_or_else(|| ground.config.queue.queue.name());
    let wanted = wanted::hook(&ground.stream, url, &looked.region)?;
    Ok(wanted::change(looked.app.hooks.clone(), wanted, update)?)
}

/// The hooks as they will be.
pub(super) fn hooks(app: &App, change: &HookChange, update: bool) -> String {
    let mut text = String::new();
    for (place, hook) in app.hooks.iter().enumerate() {
        match &change.there {
            Some((there, fields)) if *there == place && !fields.is_empty() => {
                text.push_str(&view::differing(hook, fields, update));
            }
            _ => text.push_str(&view::hook('=', hook)),
        }
    }
    if change.there.is_none()
        && let Some(hook) = change.plan.after().last()
    {
        text.insert_str(0, &view::hook('+', hook));
    }
    text
}

/// Makes the queues, and the way through the topic. A signal ends it between two calls.
async fn make(ground: &Ground, provisioner: &Provisioner, looked: &Looked, update: bool) -> Result<Found, Failure> {
    let tell = |step: Made| say(&format!("  {}", told(&step)));
    let making = async {
        let queue = provisioner.apply(&looked.queues, update, tell).await?;
        if let Some((topic, plan)) = &looked.topic {
            if plan.adds_way {
                tell(provisioner.let_topic_send(&queue, &plan.topic).await?);
            }
            topic.apply(plan, &queue, update, tell).await?;
        }
        Ok(queue)
    };
    let outcome = tokio::select! { biased;
        () = ground.stop.cancelled() => None,
        outcome = making => Some(outcome),
    };
    let Some(outcome) = outcome else {
        return Err(interrupted(
            "what is listed above is made, the hooks at Stream are untouched; the same command goes on from here",
        ));
    };
    outcome.map_err(|error| not_made(ground, error))
}

fn told(made: &Made) -> String {
    match made {
        Made::Queue(name) => format!("made the queue {name}"),
        Made::Redrive(name) => format!("{name} has its dead-letter queue"),
        Made::Permission(name) => format!("Stream may send to {name}"),
        Made::Changed(name) => format!("changed what differed of {name}"),
        Made::Way(topic) => format!("{topic} may send to the queue"),
        Made::Subscription(topic) => format!("the queue is subscribed to {topic}"),
        made => format!("{made:?}"),
    }
}

/// Writes the hooks, and says what came of it. [`Exit::Findings`] where they are not what they were to be.
pub(super) async fn carry_out(ground: &Ground, app: &App, plan: &HookPlan) -> Result<Exit, Failure> {
    let mut stage = Stage::Reading;
    let id = app.id.clone();
    let writing = write(
        &ground.api,
        plan,
        |hooks| saved::save(&id, hooks),
        |now| {
            if let Stage::Saved(path) = &now {
                say(&format!("  saved the hooks as they were: {}", path.display()));
            }
            stage = now;
        },
    );
    let outcome = tokio::select! { biased;
        () = ground.stop.cancelled() => None,
        outcome = writing => Some(outcome),
    };
    match outcome {
        None => Err(interrupted(&state(&stage))),
        Some(Ok(hooks)) => {
            say(&format!("  read back: {}", in_number(&hooks)));
            Ok(Exit::Done)
        }
        Some(Err(error)) => failed(error),
    }
}

fn in_number(hooks: &[Hook]) -> String {
    match hooks.len() {
        1 => "1 hook, as planned".to_owned(),
        count => format!("{count} hooks, as planned"),
    }
}

/// What state things are in.
fn state(stage: &Stage) -> String {
    match stage {
        Stage::Writing(path) => format!(
            "whether Stream has carried out the change is not known: `stream-sqsd setup hooks` shows the hooks, and \
             `stream-sqsd setup restore {}` puts back what was",
            path.display()
        ),
        Stage::ReadingBack(path) => format!(
            "Stream has accepted the change, and it was not confirmed by reading back: `stream-sqsd setup hooks` shows the \
             hooks, and `stream-sqsd setup restore {}` puts back what was",
            path.display()
        ),
        _ => "the hooks at Stream are untouched".to_owned(),
    }
}

fn failed(error: WriteError) -> Result<Exit, Failure> {
    match error {
        WriteError::Different { differences, saved, uncertain } => {
            let uncertain =
                uncertain.map(|error| format!("\n  the answer to the write was: {error}")).unwrap_or_default();
            let list: Vec<String> = differences.iter().map(|difference| format!("\n  {difference}")).collect();
            say(&format!(
                "the hooks are not what they were to be, and nothing more was written:{}{uncertain}\n  to put back what \
                 was: stream-sqsd setup restore {}",
                list.concat(),
                saved.display()
            ));
            Ok(Exit::Findings)
        }
        WriteError::ReadBack { saved, source } => {
            say(&format!(
                "the list was written, and the hooks could not be read back: {source}\n  `stream-sqsd setup hooks` shows \
                 them; to put back what was: stream-sqsd setup restore {}",
                saved.display()
            ));
            Ok(Exit::Findings)
        }
        WriteError::Refused(error) => Err(refused(error)),
        WriteError::Read(error) => Err(refused(error)),
        WriteError::Plan(error @ stream_sqsd::stream::PlanError::Masked { .. }) => Err(masked(error)),
        error => Err(Failure::new(Exit::Unavailable, error)),
    }
}

/// Lets Stream try, for as long as what was just made may not be known there yet.
async fn checked(ground: &Ground, lag: Duration) -> Result<Exit, Failure> {
    let end = Instant::now() + lag;
    loop {
        let (check, name) = match ground.stream.topic {
            Some(_) => (ground.unless_stopped(ground.api.check_sns(None)).await?, "check_sns"),
            None => (ground.unless_stopped(ground.api.check_sqs(None)).await?, "check_sqs"),
        };
        let check = check.map_err(refused)?;
        if check.is_ok() {
            say(&format!("  Stream can send: ok ({name})"));
            return Ok(Exit::Done);
        }
        let why = check.error.unwrap_or_default();
        if Instant::now() >= end {
            say(&format!(
                "  Stream cannot send: {}\n  What Stream cannot send is lost: see `stream-sqsd check --online`.",
                crate::terminal::screen::shown(&why)
            ));
            return Ok(Exit::Findings);
        }
        ground.unless_stopped(sleep(Duration::from_secs(5))).await?;
    }
}

/// The app has no list of hooks but one queue, which is set only on request.
async fn old_system(
    ground: &Ground,
    provisioner: &Provisioner,
    looked: Looked,
    how: &SetupPlan,
    consent: Option<Consent>,
) -> Result<Exit, Failure> {
    if ground.stream.topic.is_some() {
        return Err(Failure::usage(
            "this app is on Stream's old hook system, where `sns_topic` cannot be set from here",
        ));
    }
    let Some((key, secret)) = ground.stream.keys()?.filter(|_| how.legacy) else {
        let message = "this app has no list of event hooks".to_owned();
        return Err(refused(StreamError::OldHooks { message }));
    };
    let old = looked.app.old_sqs_url.as_deref();
    let name = &looked.queues.main.name;
    let what = format!("{} → {name}", old.map_or("none".to_owned(), crate::config::address::shown));
    print(
        &(view::head(&looked.app, looked.account.as_deref(), &looked.region)
            + &view::queues(&looked.queues, how.update)
            + &view::line('~', "SQS queue", "of the app", &what)),
    )?;
    ground.unless_stopped(provisioner.check(&looked.queues)).await?.map_err(|error| not_made(ground, error))?;
    let Some(consent) = consent else { return Ok(Exit::Done) };
    if !consent.ask("This is what will be done.", &ground.stop).await? {
        return Ok(Exit::Done);
    }
    let queue = make(ground, provisioner, &looked, how.update).await?;
    let url = queue.url.as_str().to_owned();
    let keys = SqsKeys::new(url.clone(), key, secret);
    ground.api.put_old_sqs(&keys).await.map_err(refused)?;
    let app = ground.app().await?;
    if app.old_sqs_url.as_deref() != Some(&url) {
        say("the queue of the app is not what it was to be; Stream's dashboard shows it");
        return Ok(Exit::Findings);
    }
    say("  read back: as planned");
    checked(ground, POLICY_LAG).await
}
