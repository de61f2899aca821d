//! What a person sees: whether there is a terminal, whether it takes colours, and the progress line with everything that
//! is written beside it.

use std::io::{self, IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;
use stream_sqsd::event::is_unsafe_to_show;

/// The width of a terminal that does not tell it.
const USUAL_WIDTH: usize = 80;

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

    /// How many characters fit into a line of standard output; None where no person reads it.
    pub(crate) fn width(&self) -> Option<usize> {
        let columns =
            || tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        self.stdout.then(|| columns().unwrap_or(USUAL_WIDTH))
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

/// Foreign text as it may be shown within a line: what does more than be read is escaped.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe_to_show(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
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
