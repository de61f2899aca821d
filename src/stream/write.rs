//! Writing the list of hooks, so that none is lost: read again, save, write, read back.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::StreamApi;
use super::error::StreamError;
use super::hook::Hook;
use super::plan::{Difference, HookPlan, PlanError};

/// How long Stream's answers may lag behind a write.
const LAG: Duration = Duration::from_secs(10);

/// How far a write has come: what is true when it is interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Nothing is written, neither here nor at Stream.
    Reading,
    /// The hooks as they were stand in this file; nothing is written at Stream.
    Saved(PathBuf),
    /// The request is on its way: whether Stream has carried it out is not known.
    Writing(PathBuf),
    /// Stream has accepted the list; that it is what was meant is not confirmed yet.
    ReadingBack(PathBuf),
}

/// Why the list is not what it was to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Nothing was written: the plan cannot be carried out.
    #[error("nothing was written")]
    Plan(#[from] PlanError),
    /// Nothing was written: the list could not be read.
    #[error("nothing was written: the hooks could not be read")]
    Read(#[source] StreamError),
    /// Nothing was written: the hooks as they were could not be saved.
    #[error("nothing was written: the hooks as they are could not be saved")]
    Save(#[source] std::io::Error),
    /// Stream refused the write.
    #[error("Stream refused the new list of hooks, and the old one stands")]
    Refused(#[source] StreamError),
    /// What was read back is not what was to be. Nothing more was written.
    #[error("the hooks are not what they were to be: {}", .differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Different {
        /// In what they differ.
        differences: Vec<Difference>,
        /// Where the hooks as they were stand.
        saved: PathBuf,
        /// Why it is not known whether Stream carried out the write, where that is so.
        #[source]
        uncertain: Option<StreamError>,
    },
    /// The list was written, or may have been, and could not be read back.
    #[error("the hooks could not be read back")]
    ReadBack {
        /// Where the hooks as they were stand.
        saved: PathBuf,
        /// Why not.
        #[source]
        source: StreamError,
    },
}

/// Carries a plan out. `save` puts the hooks as they are now where they outlive a crash, and says where; `stage` is told
/// how far it has come. Returns the list as it was read back.
///
/// Dropping the future stops it between two stages; the request itself may be carried out all the same.
///
/// # Errors
///
/// See [`WriteError`], which says what state things are in.
pub async fn write(
    api: &StreamApi,
    plan: &HookPlan,
    save: impl FnOnce(&[Hook]) -> std::io::Result<PathBuf>,
    mut stage: impl FnMut(Stage),
) -> Result<Vec<Hook>, WriteError> {
    stage(Stage::Reading);
    plan.check()?;
    let now = api.app().await.map_err(WriteError::Read)?.hooks;
    plan.check_unchanged(&now)?;
    let saved = save(&now).map_err(WriteError::Save)?;
    stage(Stage::Saved(saved.clone()));

    stage(Stage::Writing(saved.clone()));
    // With the flag, for what adds or changes; without it, for what takes away. The list is the whole one either way.
    let outcome = api.put_hooks(&plan.after(), !plan.takes_away()).await;
    let uncertain = match outcome {
        Ok(()) => None,
        Err(error) if error.is_uncertain() => Some(error),
        Err(error) => return Err(WriteError::Refused(error)),
    };
    stage(Stage::ReadingBack(saved.clone()));
    let mut differences = match read_back(api, plan, &saved).await? {
        Ok(hooks) => return Ok(hooks),
        Err(differences) => differences,
    };
    // Some versions of the API keep what a list leaves out, and take a hook away where it says so itself.
    if let (Some(removed), [Difference::Unexpected(_)], None) = (plan.removed(), differences.as_slice(), &uncertain) {
        let mut list = plan.after();
        list.push(removed.clone().with("delete", true));
        api.put_hooks(&list, false).await.map_err(WriteError::Refused)?;
        differences = match read_back(api, plan, &saved).await? {
            Ok(hooks) => return Ok(hooks),
            Err(differences) => differences,
        };
    }
    Err(WriteError::Different { differences, saved, uncertain })
}

/// Reads until the list is what it was to be, for as long as answers may lag.
async fn read_back(
    api: &StreamApi,
    plan: &HookPlan,
    saved: &std::path::Path,
) -> Result<Result<Vec<Hook>, Vec<Difference>>, WriteError> {
    let end = Instant::now() + LAG;
    loop {
        let read = api.app().await;
        let late = Instant::now() >= end;
        match read {
            Ok(app) => match plan.differences(&app.hooks) {
                differences if differences.is_empty() => return Ok(Ok(app.hooks)),
                differences if late => return Ok(Err(differences)),
                _ => {}
            },
            Err(source) if late => return Err(WriteError::ReadBack { saved: saved.to_owned(), source }),
            Err(_) => {}
        }
        sleep(Duration::from_millis(500)).await;
    }
}
