//! `stream-sqsd setup`: the queue, its dead-letter queue, Stream's permission and the hook at Stream that fills them.
//!
//! A plan is shown, asked about, carried out and read back. Nothing is ever received, and no queue and no message is
//! deleted.

mod print;
mod restore;
mod saved;
mod remove;
mod hooks;
mod webhook;
mod apply;
mod view;
mod wanted;
mod ground;
pub(crate) mod arguments;

use tokio::runtime::Builder;

use crate::commands::setup::arguments::{SetupArguments, SetupVerb};
use crate::daemon::signals::{OnHangup, Signals};
use crate::terminal::exit::{Exit, Failure};

pub(crate) fn setup(arguments: SetupArguments, signals: Signals) -> Result<Exit, Failure> {
    // The first signal ends it between two steps and says what state things are in; a second one ends it at once.
    let stop = signals.drain(OnHangup::Drain)?.drain;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        match arguments.verb {
            None => match &arguments.plan.webhook {
                Some(url) => webhook::apply(arguments.place, url, &arguments.plan, stop).await,
                None => apply::apply(arguments.place, &arguments.plan, stop).await,
            },
            Some(SetupVerb::Hooks(arguments)) => hooks::hooks(arguments, stop).await,
            Some(SetupVerb::Remove(arguments)) => remove::remove(arguments, stop).await,
            Some(SetupVerb::Restore(arguments)) => restore::restore(arguments, stop).await,
            Some(SetupVerb::Print(arguments)) => print::print_as(arguments),
        }
    });
    runtime.shutdown_background();
    ended
}
