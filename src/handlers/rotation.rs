//! Files that were put aside: when one is due, under which names they stand, and which of them are deleted.
//!
//! Here no file is written to, and none is touched whose name this file did not give.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// The date in the name of a file that was put aside.
const DATE: &str = "%Y-%m-%dT%H-%M-%SZ";

/// How many whole periods of this age have passed since 1970.
pub(super) fn period(time: SystemTime, age: Duration) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() / age.as_nanos().max(1)
}

/// `events.jsonl` becomes `events-2026-01-31T00-00-07Z.jsonl`, or `…Z-2.jsonl` when that is taken.
pub(super) fn free_name(path: &Path, begun: SystemTime) -> io::Result<PathBuf> {
    let date = Timestamp::try_from(begun).unwrap_or_default().strftime(DATE).to_string();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|text| format!(".{}", text.to_string_lossy())).unwrap_or_default();
    for number in 1..10_000 {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let name = path.with_file_name(format!("{stem}-{date}{number}{extension}"));
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Deletes the oldest of the files that were put aside, until so many are left. What cannot be deleted stays, and the log
/// says so: no event is worse off for it.
pub(super) fn delete_oldest(path: &Path, most: usize) {
    let files = match rotated_files(path) {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "files that were put aside cannot be listed, and none is deleted");
            return;
        }
    };
    let surplus = files.len().saturating_sub(most);
    for file in files.into_values().take(surplus) {
        match fs::remove_file(&file) {
            Ok(()) => tracing::info!(path = %file.display(), max_files = most, "the oldest file was deleted"),
            Err(error) => {
                tracing::warn!(path = %file.display(), %error, "the oldest file cannot be deleted, and stays");
            }
        }
    }
}

/// The files that were put aside from under this path, from the oldest: by the date in their names, and the number behind
/// it. Files of any other name are somebody else's.
fn rotated_files(path: &Path) -> io::Result<BTreeMap<(String, u32), PathBuf>> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|text| format!(".{}", text.to_string_lossy())).unwrap_or_default();
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let between =
            name.to_str().and_then(|name| name.strip_prefix(&*stem)?.strip_prefix('-')?.strip_suffix(&extension));
        if let Some(key) = between.and_then(date_and_number)
            && entry.file_type()?.is_file()
        {
            files.insert(key, entry.path());
        }
    }
    Ok(files)
}

/// `2026-01-31T00-00-07Z-2` taken apart; None where it is anything else. A date without a number is the first.
fn date_and_number(text: &str) -> Option<(String, u32)> {
    let (date, rest) = text.split_at_checked("2026-01-31T00-00-07Z".len())?;
    Timestamp::strptime(format!("{DATE} %z"), format!("{date} +0000")).ok()?;
    let number = match rest {
        "" => 1,
        rest => rest.strip_prefix('-')?.parse().ok().filter(|number| *number > 1 && rest == format!("-{number}"))?,
    };
    Some((date.to_owned(), number))
}

pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let at = |seconds| period(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), Duration::from_secs(86_400));
        // 2026-01-31T23:59:59Z and a second later.
        assert_eq!(at(1_769_903_999) + 1, at(1_769_904_000));
        assert_eq!(at(1_769_904_000), at(1_769_904_000 + 86_399));
    }
}
