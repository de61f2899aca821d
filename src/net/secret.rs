//! Texts that are not shown: a password, a token, the secret of an app. Given as they are, or as the file that holds them.

#![allow(clippy::disallowed_methods, reason = "a file is read where secrets are taken up, never on the engine's path")]

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that is read of a file that holds a secret, in bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// A text that may be secret. Its `Debug` shows nothing of it.
///
/// A text becomes one by `into()`. One in a [file](Secret::file) is read again when the file changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Text(String),
    File(PathBuf),
}

/// Why a file does not hold a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It is not there, not to be read by us, or not UTF-8.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds more than 64 KiB.
    #[error("{} is too large for a secret", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It holds nothing, or line ends alone.
    #[error("{} is empty", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// The secret in this file: its text without the line ends at its end, up to 64 KiB.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Secret(Source::File(path.into()))
    }

    /// The text as it is now. Waits for the disk where it is in a file.
    ///
    /// # Errors
    ///
    /// Where the file holds none: see [`SecretError`].
    pub fn read(&self) -> Result<Cow<'_, str>, SecretError> {
        match &self.0 {
            Source::Text(text) => Ok(Cow::Borrowed(text)),
            Source::File(path) => read(path).map(Cow::Owned),
        }
    }

    /// The file that it stands in, if it does.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Source::Text(_) => None,
            Source::File(path) => Some(path),
        }
    }

    /// The text, if it does not stand in a file.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.0 {
            Source::Text(text) => Some(text),
            Source::File(_) => None,
        }
    }
}

fn read(path: &Path) -> Result<String, SecretError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SIZE + 1).read_to_string(&mut text));
    read.map_err(|source| SecretError::Unreadable { path: path.to_owned(), source })?;
    if text.len() as u64 > MAX_SIZE {
        return Err(SecretError::TooLarge { path: path.to_owned() });
    }
    // Editors and `echo` end a file with a line end, which is not part of the secret.
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    if text.is_empty() { Err(SecretError::Empty { path: path.to_owned() }) } else { Ok(text) }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(Source::Text(text.to_owned()))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(Source::Text(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_holds_a_secret_without_the_line_ends_at_its_end() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("secret");
        let secret = Secret::file(&path);
        assert!(matches!(secret.read(), Err(SecretError::Unreadable { .. })));
        fs::write(&path, "hush\n hush\r\n\n").unwrap();
        assert_eq!(secret.read().unwrap(), "hush\n hush");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(secret.read(), Err(SecretError::Empty { .. })));
        fs::write(&path, "x".repeat(64 * 1024 + 1)).unwrap();
        assert!(matches!(secret.read(), Err(SecretError::TooLarge { .. })));
        assert_eq!(format!("{:?}", Secret::from("hush")), "Secret(…)");
    }
}
