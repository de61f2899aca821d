//! The question before something that cannot be undone: asked on a terminal, answered by `--yes` elsewhere.

use std::io::{self, IsTerminal, Write};
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::terminal::exit::{Exit, Failure, say};
use crate::terminal::screen::Screen;

/// Whether somebody has agreed already, or is there to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// By `--yes`.
    Given,
    /// A person is at the terminal.
    Asked,
}

impl Consent {
    /// Finds out before anything is done: what cannot be agreed to is refused at once.
    ///
    /// # Errors
    ///
    /// A usage error where nobody can be asked and `--yes` was not given.
    pub(crate) fn of(yes: bool, screen: &Screen) -> Result<Self, Failure> {
        match (yes, io::stdin().is_terminal() && screen.shows_stderr()) {
            (true, _) => Ok(Consent::Given),
            (false, true) => Ok(Consent::Asked),
            (false, false) => Err(Failure::usage(
                "nobody can be asked here, since this is not a terminal: say --yes to go on unasked",
            )),
        }
    }

    /// Says what is going to be done, and asks whether it should be. Anything but yes means no.
    ///
    /// # Errors
    ///
    /// When a signal comes meanwhile, or the answer cannot be read.
    pub(crate) async fn ask(self, what: &str, stop: &CancellationToken) -> Result<bool, Failure> {
        if self == Consent::Given {
            say(what);
            return Ok(true);
        }
        let mut stderr = io::stderr();
        stderr.write_all(format!("{what}\nGo on? [y/N] ").as_bytes()).and_then(|()| stderr.flush())?;
        // On a thread of its own, which nobody waits for: a signal must be able to end this.
        let (answer, answered) = oneshot::channel();
        thread::Builder::new().name("question".to_owned()).spawn(move || {
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line).map(|_| line);
            // Nobody may be waiting for it any more.
            let _ = answer.send(read);
        })?;
        let line = tokio::select! { biased;
            () = stop.cancelled() => {
                say("");
                return Err(Failure::new(Exit::Interrupted, anyhow::anyhow!("stopped before anything was done")));
            }
            answer = answered => answer??,
        };
        let agreed = ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str());
        if !agreed {
            say("nothing was done");
        }
        Ok(agreed)
    }
}
