//! `stream-sqsd setup hooks`: the event hooks of the app, without their secrets.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ground::Ground;
use super::view;
use crate::commands::setup::arguments::HooksArguments;
use crate::terminal::exit::{Exit, Failure, print};
use crate::terminal::table::{Column, Table};

pub(super) async fn hooks(arguments: HooksArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let ground = Ground::read(arguments.place, stop)?;
    let app = ground.app().await?;
    if arguments.json {
        let hooks: Vec<_> = app
            .hooks
            .iter()
            .map(|hook| {
                json!({
                    "id": hook.id(), "hook_type": hook.hook_type(), "enabled": hook.is_enabled(),
                    "event_types": hook.event_types(), "auth": view::auth(hook), "target": view::target(hook),
                })
            })
            .collect();
        print(&format!("{}\n", json!({"app": app.id, "name": app.name, "hooks": hooks})))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        Column::text("id"),
        Column::text("type"),
        Column::text("enabled"),
        Column::prose("events"),
        Column::text("auth"),
        Column::prose("target"),
    ]);
    for hook in &app.hooks {
        let enabled = if hook.is_enabled() { "yes" } else { "no" };
        table.row([
            hook.id().unwrap_or_default(),
            hook.hook_type(),
            enabled.to_owned(),
            view::events(hook),
            view::auth(hook).unwrap_or("-").to_owned(),
            view::target(hook),
        ]);
    }
    print(&table.of(&ground.screen))?;
    Ok(Exit::Done)
}
