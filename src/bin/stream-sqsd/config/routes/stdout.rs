//! The handler `stdout`, which has no keys.

use stream_sqsd::handlers::stdout::Stdout;

use super::reader::{Key, Reader};
use super::shipped::{CallTime, Shipped, Started};
use crate::terminal::exit::Failure;

/// There is nothing to set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StdoutSettings;

impl Shipped for StdoutSettings {
    const NAME: &'static str = "stdout";
    const ALSO: &'static [&'static str] = &["console", "print", "log", "standard_output"];
    const ABOUT: &'static str = "Each event is a JSON line on standard output";
    const KEYS: &'static [&'static Key] = &[];

    fn read(_: &mut Reader<'_>) -> Option<Self> {
        Some(StdoutSettings)
    }

    fn destination(&self, _: Option<&str>) -> String {
        "standard output".to_owned()
    }

    fn call_time(&self) -> CallTime {
        CallTime::Moments
    }

    fn start(&self) -> Result<Started, Failure> {
        let stdout = Stdout::of_process()?;
        let closed = stdout.closed();
        Ok(Started::new(stdout).read_until(closed))
    }
}
