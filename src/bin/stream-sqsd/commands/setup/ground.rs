//! What every verb of `setup` begins with: the configuration, the app at Stream, and a way to be stopped.

use std::future::Future;

use anyhow::anyhow;
use stream_sqsd::stream::{App, StreamApi, StreamError};
use tokio_util::sync::CancellationToken;

use crate::commands::setup::arguments::SetupPlace;
use crate::config::secret::Missing;
use crate::config::stream::StreamConfig;
use crate::config::{self, Config};
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::log;
use crate::terminal::screen::Screen;

/// Where a verb works.
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) stream: StreamConfig,
    pub(super) api: StreamApi,
    pub(super) screen: Screen,
    pub(super) stop: CancellationToken,
}

impl Ground {
    /// Reads the configuration, and asks nobody yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the arguments or the configuration, and a section `[stream]` or a secret of it that is missing.
    /// The secrets of the routes are not needed.
    pub(super) fn read(place: SetupPlace, stop: CancellationToken) -> Result<Self, Failure> {
        let mut config = config::of_run(place.settings, place.config.as_deref(), Missing::Warned)?;
        let screen = Screen::new();
        log::start(config.log_format, &screen)?;
        let stream = config.stream.take().ok_or_else(|| {
            Failure::usage(
                "the configuration has no section [stream] with `api_key` and `api_secret`; name its file by --config FILE",
            )
        })?;
        let api = stream.api()?;
        Ok(Ground { config, stream, api, screen, stop })
    }

    /// Reads the app.
    ///
    /// # Errors
    ///
    /// Where Stream cannot be asked, or has suspended the app.
    pub(super) async fn app(&self) -> Result<App, Failure> {
        let app = self.unless_stopped(self.api.app()).await?.map_err(refused)?;
        if app.is_suspended {
            return Err(Failure::new(
                Exit::Unavailable,
                anyhow!("Stream has suspended the app {} {:?}: it sends no events", app.id, app.name),
            ));
        }
        Ok(app)
    }

    /// The outcome, unless a signal comes first. For what changes nothing.
    pub(super) async fn unless_stopped<T>(&self, asking: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! { biased;
            () = self.stop.cancelled() => Err(interrupted("nothing was changed")),
            outcome = asking => Ok(outcome),
        }
    }
}

/// Ended by a signal, with the state that things are in.
pub(super) fn interrupted(state: &str) -> Failure {
    Failure::new(Exit::Interrupted, anyhow!("stopped: {state}"))
}

/// The failure that an error of Stream's API is, with its remedy.
pub(super) fn refused(error: StreamError) -> Failure {
    let remedy = match &error {
        StreamError::Credentials { .. } => {
            "\n  Are `api_key` and `api_secret` in [stream] those of the same app, as Stream's dashboard shows them?"
        }
        StreamError::OldHooks { .. } => {
            "\n  Stream's dashboard can move the app to the new system; --legacy sets the one queue of the old one."
        }
        StreamError::Unreachable { .. } | StreamError::TimedOut { .. } => {
            "\n  Is there a way to it (HTTPS_PROXY, security groups), and is `base_url` in [stream] right?"
        }
        _ => "",
    };
    Failure::new(Exit::Unavailable, anyhow!("{:#}{remedy}", anyhow::Error::new(error)))
}
