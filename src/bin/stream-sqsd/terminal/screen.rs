//! What a person sees: whether there is a terminal, whether it takes colours, and the progress line with everything that
//! is written beside it.

use std::io::{self, IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The terminal, if there is one. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    stdout: bool,
    stderr: bool,
    colours: bool,
    progress: MultiProgress,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Screen {
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
            colours: !set("NO_COLOR") && !dumb,
            // It draws on standard error, and only on a terminal.
            progress: MultiProgress::new(),
        }
    }

    /// Whether a person reads standard output.
    pub(crate) fn shows_stdout(&self) -> bool {
        self.stdout
    }

    /// Whether a person reads standard error.
    pub(crate) fn shows_stderr(&self) -> bool {
        self.stderr
    }

    /// Whether standard output takes colours.
    pub(crate) fn colours_stdout(&self) -> bool {
        self.stdout && self.colours
    }

    /// Whether standard error takes colours.
    pub(crate) fn colours_stderr(&self) -> bool {
        self.stderr && self.colours
    }

    /// A progress line, which shows on a terminal only and is gone when it is dropped. With `total` it is a bar.
    pub(crate) fn progress(&self, total: Option<u64>, template: &str) -> Progress {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress(self.progress.add(bar.with_style(style)))
    }

    /// Writes something while the progress line is out of the way.
    pub(crate) fn beside_progress<T>(&self, write: impl FnOnce() -> T) -> T {
        self.progress.suspend(write)
    }
}

/// A progress line.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    pub(crate) fn message(&self, text: String) {
        self.0.set_message(text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
