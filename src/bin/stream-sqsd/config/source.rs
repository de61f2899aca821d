//! The configuration file: which one was named, and its text.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::terminal::exit::Failure;

/// How a configuration file is called unless somebody says otherwise. It is read only where it is named.
pub(crate) const DEFAULT_FILE: &str = "stream-sqsd.toml";

/// Which configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    /// The configuration file, in TOML. Flags and environment variables beat what it says [env: STREAM_SQSD_CONFIG; the
    /// whole file in one: STREAM_SQSD_CONFIG_TOML]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same as --config FILE.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl ConfigArguments {
    /// The file that was named, by the flag or without it.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.config.as_deref().or(self.file.as_deref())
    }
}

/// The environment variable that names the file.
pub(crate) const FILE_VARIABLE: &str = "STREAM_SQSD_CONFIG";

/// The environment variable that holds the whole file, for where there are no files.
pub(crate) const TEXT_VARIABLE: &str = "STREAM_SQSD_CONFIG_TOML";

/// The most that is read of a configuration file.
const MAX_FILE: u64 = 4 << 20;

/// The text of the configuration file, and what mistakes in it are said to be in.
pub(super) struct Source {
    pub(super) name: Arc<Path>,
    pub(super) text: String,
}

impl Source {
    pub(super) fn of(flag: Option<&Path>) -> Result<Option<Source>, Failure> {
        let variable = |name| std::env::var_os(name).filter(|text| !text.is_empty());
        let text = variable(TEXT_VARIABLE);
        let path = match (flag, variable(FILE_VARIABLE)) {
            (Some(flag), _) => Some(flag.to_owned()),
            (None, Some(_)) if text.is_some() => {
                return Err(Failure::usage(format!("{FILE_VARIABLE} and {TEXT_VARIABLE} are both set: leave one out")));
            }
            (None, path) => path.map(PathBuf::from),
        };
        match (path, text) {
            (Some(path), _) => {
                let mut text = String::new();
                let read = File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
                let failed = |what: String| Failure::usage(format!("cannot read {}: {what}", path.display()));
                read.map_err(|error| failed(error.to_string()))?;
                if text.len() as u64 > MAX_FILE {
                    return Err(failed("it is too large for a configuration".to_owned()));
                }
                Ok(Some(Source { name: path.into(), text }))
            }
            (None, Some(text)) => match text.into_string() {
                Ok(text) => Ok(Some(Source { name: Path::new(TEXT_VARIABLE).into(), text })),
                Err(_) => Err(Failure::usage(format!("{TEXT_VARIABLE} is not UTF-8"))),
            },
            (None, None) => Ok(None),
        }
    }
}
