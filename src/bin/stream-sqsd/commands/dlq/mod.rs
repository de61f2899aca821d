//! `stream-sqsd dlq`: what can be done with dead letters, a verb for each, one file each.
//!
//! The library scans, filters, handles and deletes. Here are the arguments, the question, what a person or a program reads,
//! and the exit code.

mod list;
mod show;
mod edit;
pub(crate) mod retry;
mod export;
mod drop;
mod redrive;
mod finding;
mod place;
pub(crate) mod report;
pub(crate) mod arguments;

use tokio::runtime::Builder;

use crate::commands::dlq::arguments::{DlqArguments, DlqVerb};
use crate::daemon::signals::{OnHangup, Signals};
use crate::terminal::exit::{Exit, Failure};

pub(crate) fn dlq(arguments: DlqArguments, signals: Signals) -> Result<Exit, Failure> {
    // The first signal asks to give back what is held.
    let stop = signals.drain(OnHangup::Drain)?.drain;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        match arguments.verb {
            DlqVerb::List(arguments) => list::list(arguments, stop).await,
            DlqVerb::Show(arguments) => show::show(arguments, stop).await,
            DlqVerb::Retry(arguments) => retry::retry(arguments, stop).await,
            DlqVerb::Edit(arguments) => edit::edit(arguments, stop).await,
            DlqVerb::Export(arguments) => export::export(arguments, stop).await,
            DlqVerb::Drop(arguments) => drop::drop(arguments, stop).await,
            DlqVerb::Redrive(arguments) => redrive::redrive(arguments, stop).await,
        }
    });
    // What still runs is a thread that reads an answer, or a handler's own.
    runtime.shutdown_background();
    ended
}
