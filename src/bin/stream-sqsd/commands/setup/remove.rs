//! `stream-sqsd setup remove`: takes the hook of this queue away, and nothing else.

use stream_sqsd::queue::sqs::SqsQueue;
use stream_sqsd::stream::HookPlan;
use tokio_util::sync::CancellationToken;

use super::apply::carry_out;
use super::ground::Ground;
use super::{view, wanted};
use crate::commands::advice;
use crate::commands::setup::arguments::RemoveArguments;
use crate::terminal::exit::{Exit, Failure, print, say};
use crate::terminal::question::Consent;

pub(super) async fn remove(arguments: RemoveArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let ground = Ground::read(arguments.place, stop)?;
    let consent = if arguments.dry_run { None } else { Some(Consent::of(arguments.yes, &ground.screen)?) };
    let app = ground.app().await?;
    let ((hook_type, target), what) = match (&arguments.webhook, &ground.stream.topic) {
        (Some(url), _) => (("webhook", url.clone()), "URL"),
        (None, Some(topic)) => (("sns", topic.as_str().to_owned()), "topic"),
        (None, None) => (("sqs", queue_url(&ground).await?), "queue"),
    };
    let mut places = wanted::about(&app.hooks, hook_type, &target);
    if let Some(id) = &arguments.id {
        places.retain(|place| app.hooks.get(*place).and_then(|hook| hook.id()).as_ref() == Some(id));
    }
    let place = match places.as_slice() {
        [] => {
            say(&format!("no event hook of this app sends to this {what}: there is nothing to do"));
            return Ok(Exit::Done);
        }
        [place] => *place,
        _ => {
            return Err(Failure::usage(format!(
                "several event hooks send to this {what}: say which by --id ID, as `stream-sqsd setup hooks` shows them",
            )));
        }
    };
    let mut text = view::head(&app, None, ground.config.queue.region.as_deref().unwrap_or_default());
    for (position, hook) in app.hooks.iter().enumerate() {
        text.push_str(&view::hook(if position == place { '-' } else { '=' }, hook));
    }
    print(&text)?;
    let plan = HookPlan::remove(app.hooks.clone(), place)?;
    plan.check().map_err(super::apply::masked)?;
    let Some(consent) = consent else { return Ok(Exit::Done) };
    let question = format!("Stream will send no more events to the {what}. What is in the queue stays.");
    if !consent.ask(&question, &ground.stop).await? {
        return Ok(Exit::Done);
    }
    carry_out(&ground, &app, &plan).await
}

/// The URL of the queue, which is asked for where the configuration has its name.
async fn queue_url(ground: &Ground) -> Result<String, Failure> {
    if let Some(url) = ground.config.queue.queue.url() {
        return Ok(url.as_str().to_owned());
    }
    let queue = ground.unless_stopped(SqsQueue::connect(ground.config.queue.clone())).await?;
    let queue = queue.map_err(|error| advice::not_connected(error, &ground.config.queue))?;
    Ok(queue.url().as_str().to_owned())
}
