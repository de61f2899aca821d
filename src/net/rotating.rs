//! What is made of files that change while we run, such as secrets and certificates: made again after a change.

#![allow(clippy::disallowed_methods, reason = "files are looked at on a thread of their own, by the real clock")]

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

/// How often the files are looked at, at the most.
const EVERY: Duration = Duration::from_secs(1);

/// How long one who asks waits for that look. A disk that takes longer is not waited for: the value before serves meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// A value, and the files that it is made of.
pub(crate) struct Rotating<T>(Arc<Shared<T>>);

type Make<T> = dyn Fn() -> Result<T, String> + Send + Sync;

struct Shared<T> {
    files: Vec<PathBuf>,
    make: Box<Make<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// Of the files when the value was made.
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
    /// Whether a thread looks at the files just now.
    is_looking: bool,
    /// Whether the files make no value now.
    is_old: bool,
    /// Why, until the log was told.
    untold: Option<String>,
}

/// What tells one state of a file from another.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    size: u64,
    inode: (u64, u64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let facts = fs::metadata(path).ok()?;
        Some(Stamp {
            modified: (facts.mtime(), facts.mtime_nsec()),
            size: facts.size(),
            inode: (facts.dev(), facts.ino()),
        })
    }
}

impl<T: Send + Sync + 'static> Rotating<T> {
    /// Makes the first value. `make` reads the files and may wait for the disk.
    pub(crate) fn new<E: Display>(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before the files are read: what changes meanwhile is seen by the next look.
        let stamps = files.iter().map(|path| Stamp::of(path)).collect();
        let value = Arc::new(make()?);
        let state = State { value, stamps, looked: Instant::now(), is_looking: false, is_old: false, untold: None };
        let make = move || make().map_err(|error| error.to_string());
        Ok(Rotating(Arc::new(Shared { files, make: Box::new(make), state: Mutex::new(state) })))
    }

    /// The value as the files make it, at most a second old. Where they make none, as in the middle of a rotation, it is
    /// the one before, and the log says so once.
    pub(crate) async fn current(&self) -> Arc<T> {
        if self.0.is_due() {
            let shared = self.0.clone();
            let _ = timeout(PATIENCE, spawn_blocking(move || shared.look())).await;
        }
        let mut state = self.0.state();
        if let Some(error) = state.untold.take() {
            tracing::warn!(error, "what a target needs cannot be read again; what was read before is used meanwhile");
        }
        state.value.clone()
    }
}

impl<T> Shared<T> {
    /// Whether the files are to be looked at now, by the one who asks.
    fn is_due(&self) -> bool {
        if self.files.is_empty() {
            return false;
        }
        let mut state = self.state();
        let due = !state.is_looking && state.looked.elapsed() >= EVERY;
        if due {
            state.is_looking = true;
            state.looked = Instant::now();
        }
        due
    }

    fn look(&self) {
        let stamps: Vec<_> = self.files.iter().map(|path| Stamp::of(path)).collect();
        let made = (self.state().stamps != stamps).then(|| (self.make)());
        let mut state = self.state();
        state.is_looking = false;
        match made {
            None => state.is_old = false,
            Some(Ok(value)) => {
                state.value = Arc::new(value);
                state.stamps = stamps;
                state.is_old = false;
            }
            Some(Err(error)) if !state.is_old => {
                state.untold = Some(error);
                state.is_old = true;
            }
            Some(Err(_)) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn after_a_second(rotating: &Rotating<String>) -> String {
        tokio::time::advance(EVERY).await;
        String::clone(&*rotating.current().await)
    }

    fn of_file(path: &Path, made: Arc<AtomicUsize>) -> Rotating<String> {
        let file = path.to_owned();
        let make = move || {
            made.fetch_add(1, Ordering::SeqCst);
            fs::read_to_string(&file)
        };
        Rotating::new(vec![path.to_owned()], make).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_after_a_second() {
        let place = tempfile::tempdir().unwrap();
        let (path, made) = (place.path().join("secret"), Arc::new(AtomicUsize::new(0)));
        fs::write(&path, "one").unwrap();
        let rotating = of_file(&path, made.clone());
        fs::write(&path, "two!").unwrap();
        assert_eq!(*rotating.current().await, "one", "it was looked at in this second");
        assert_eq!(after_a_second(&rotating).await, "two!");
        assert_eq!(after_a_second(&rotating).await, "two!");
        assert_eq!(made.load(Ordering::SeqCst), 2, "read again only where it has changed");
        // Of the same size, and put in its place as Kubernetes and editors do.
        fs::write(place.path().join("next"), "six!").unwrap();
        fs::rename(place.path().join("next"), &path).unwrap();
        assert_eq!(after_a_second(&rotating).await, "six!");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_keeps_the_value_until_it_is_back() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("secret");
        fs::write(&path, "one").unwrap();
        let rotating = of_file(&path, Arc::default());
        fs::remove_file(&path).unwrap();
        for _ in 0..3 {
            assert_eq!(after_a_second(&rotating).await, "one");
        }
        fs::write(&path, "two").unwrap();
        assert_eq!(after_a_second(&rotating).await, "two");
    }
}
