//! The hooks as they were, on disk before they are changed: what `setup restore` reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stream_sqsd::stream::Hook;

/// The largest file that is read.
const MAX_SIZE: u64 = 8 << 20;

/// What such a file holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    /// The id of the app.
    pub(super) app: String,
    /// When it was written.
    saved_at: String,
    pub(super) event_hooks: Vec<Hook>,
}

/// Writes the hooks of an app to a new file in the user's state directory, for its owner alone, and waits until it is on
/// the disk.
pub(super) fn save(app: &str, hooks: &[Hook]) -> io::Result<PathBuf> {
    let directory = directory()?;
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let now = Timestamp::now();
    let saved = Saved { app: app.to_owned(), saved_at: now.to_string(), event_hooks: hooks.to_vec() };
    let mut text = serde_json::to_string_pretty(&saved)?;
    text.push('\n');
    let (path, mut file) = create(&directory, &now.strftime("%Y%m%dT%H%M%SZ").to_string())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // Its name too.
    File::open(&directory)?.sync_all()?;
    Ok(path)
}

/// A new file of this time, or with a number behind it: never one that is there.
fn create(directory: &Path, time: &str) -> io::Result<(PathBuf, File)> {
    let names = std::iter::once(format!("hooks-{time}.json")).chain((2..100).map(|n| format!("hooks-{time}-{n}.json")));
    for name in names {
        let path = directory.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// `$XDG_STATE_HOME/stream-sqsd`, or `~/.local/state/stream-sqsd`.
fn directory() -> io::Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let none = || io::Error::new(io::ErrorKind::NotFound, "neither XDG_STATE_HOME nor HOME names a directory");
    Ok(state.ok_or_else(none)?.join("stream-sqsd"))
}

/// Reads what [`save`] has written.
pub(super) fn read(path: &Path) -> io::Result<Saved> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_SIZE).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|error| {
        // Without the text of the error, which may quote a secret.
        let what = format!("line {} is not what `setup` writes", error.line());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}
