//! Signals: the first asks, the second ends.
//!
//! They are watched on a thread of their own, so that the second one ends the process whatever the rest of it is busy
//! with. Only `run` has something to return; every other command ends at the first.

use std::fs;
use std::io;
use std::process;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::terminal::exit::Failure;
use crate::terminal::stderr;

/// The signals that are caught. One that comes before anybody watches is kept.
pub(crate) struct Signals {
    runtime: Runtime,
    caught: Caught,
}

struct Caught {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

/// What a SIGHUP asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnHangup {
    /// That files are opened again: what daemons do.
    Reopen,
    /// To drain: there is no file to open, and the terminal has gone.
    Drain,
}

/// What signals have asked for so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// To finish what is here and end.
    pub(crate) drain: CancellationToken,
    /// To open files again.
    pub(crate) reopen: Arc<Notify>,
}

impl Signals {
    /// Catches SIGINT, SIGTERM and SIGHUP from here on, and SIGXFSZ.
    pub(crate) fn catch() -> io::Result<Signals> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let caught = {
            let _entered = runtime.enter();
            // Nobody waits for it: caught, it does not end the process, and a file that may not grow is a full disk. It
            // is not ignored, since programs that are started would inherit that.
            drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
            Caught {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: if started_by_nohup() { None } else { Some(signal(SignalKind::hangup())?) },
            }
        };
        Ok(Signals { runtime, caught })
    }

    /// For a command that has nothing to return: any signal ends it, as if it were not caught.
    pub(crate) fn end_at_once(self) -> Result<(), Failure> {
        Ok(self.watch(async |caught| end_by(caught.next().await))?)
    }

    /// For a run: the first signal asks to drain, and the second ends the process.
    pub(crate) fn drain(self, on_hangup: OnHangup) -> io::Result<Asked> {
        let asked = Asked::default();
        let ask = asked.clone();
        self.watch(async move |caught| {
            loop {
                let signal = caught.next().await;
                if signal == SignalKind::hangup() && on_hangup == OnHangup::Reopen {
                    ask.reopen.notify_one();
                } else if ask.drain.is_cancelled() {
                    end_by(signal);
                } else {
                    ask.drain.cancel();
                }
            }
        })?;
        Ok(asked)
    }

    fn watch(self, watch: impl AsyncFnOnce(&mut Caught) + Send + 'static) -> io::Result<()> {
        let Signals { runtime, mut caught } = self;
        let watch = move || runtime.block_on(watch(&mut caught));
        thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
    }
}

impl Caught {
    async fn next(&mut self) -> SignalKind {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => None,
            }
        };
        tokio::select! { biased;
            Some(()) = self.terminate.recv() => SignalKind::terminate(),
            Some(()) = self.interrupt.recv() => SignalKind::interrupt(),
            Some(()) = hangup => SignalKind::hangup(),
            else => std::future::pending().await,
        }
    }
}

/// Ends the process as a shell reports one that was killed by the signal.
fn end_by(signal: SignalKind) {
    stderr::flush();
    process::exit(128 + signal.as_raw_value());
}

/// Whether SIGHUP was ignored when this process was started, as `nohup` does: then it stays so.
fn started_by_nohup() -> bool {
    let ignored = fs::read_to_string("/proc/self/status").ok();
    let ignored = ignored.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("SigIgn:")));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // The lowest bit is signal 1.
    ignored & (1 << (SignalKind::hangup().as_raw_value() - 1)) != 0
}
