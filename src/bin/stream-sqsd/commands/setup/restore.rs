//! `stream-sqsd setup restore FILE`: puts a saved list of hooks back.

use anyhow::anyhow;
use stream_sqsd::stream::{Difference, HookPlan};
use tokio_util::sync::CancellationToken;

use super::apply::{carry_out, masked};
use super::ground::Ground;
use super::{saved, view};
use crate::commands::setup::arguments::RestoreArguments;
use crate::terminal::exit::{Exit, Failure, print, say};
use crate::terminal::question::Consent;

pub(super) async fn restore(arguments: RestoreArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let shown = arguments.file.display().to_string();
    let saved =
        saved::read(&arguments.file).map_err(|error| Failure::new(Exit::NoInput, anyhow!("{shown}: {error}")))?;
    let ground = Ground::read(arguments.place, stop)?;
    let consent = if arguments.dry_run { None } else { Some(Consent::of(arguments.yes, &ground.screen)?) };
    let app = ground.app().await?;
    if saved.app != app.id {
        return Err(Failure::usage(format!(
            "{shown} holds the hooks of the app {}, and the configuration names the app {}",
            crate::terminal::screen::shown(&saved.app),
            crate::terminal::screen::shown(&app.id)
        )));
    }
    let plan = HookPlan::restore(app.hooks.clone(), saved.event_hooks);
    let mut text = view::head(&app, None, "");
    // Seen from what is there: what is missing in it comes back, and what the saved list does not have goes.
    for difference in plan.differences(&app.hooks) {
        text.push_str(&match difference {
            Difference::Missing(hook) => view::hook('+', &hook),
            Difference::Unexpected(hook) => view::hook('-', &hook),
            Difference::Changed(hook, fields) => view::differing(&hook, &fields, true),
            other => format!("  ~ {other}\n"),
        });
    }
    print(&text)?;
    if plan.is_empty() {
        say("the hooks are as they were saved: there is nothing to do");
        return Ok(Exit::Done);
    }
    plan.check().map_err(masked)?;
    let Some(consent) = consent else { return Ok(Exit::Done) };
    if !consent.ask("This is what will be done.", &ground.stop).await? {
        return Ok(Exit::Done);
    }
    carry_out(&ground, &app, &plan).await
}
