//! The keys of the handler `file`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use stream_sqsd::handlers::file::FileSettings;

use super::reader::{Key, MUST_BE_SET, Reader, above_zero};
use super::{Route, Target};
use crate::config::diagnostics::{Diagnostics, Origin};
use crate::config::settings::Unset;
use crate::config::units;

pub(super) const ABOUT: &str =
    "Each event is a JSON line in a file, on disk before its message is deleted. SIGHUP opens the file again";

pub(super) const KEYS: &[&Key] = &[&PATH, &ROTATE_SIZE, &ROTATE_AGE, &MAX_FILES];

const PATH: Key = Key {
    name: "path",
    example: r#""/var/lib/stream-sqsd/events.jsonl""#,
    default: MUST_BE_SET,
    help: "The file that lines are appended to. It is created when it is not there, its directory is not",
};

const ROTATE_SIZE: Key = Key {
    name: "rotate_size",
    example: r#""1GiB""#,
    default: Unset::Words("never"),
    help: "A file is put aside under a name with its date before it would grow larger. Nothing deletes it unless \
           `max_files` says so",
};

const ROTATE_AGE: Key = Key {
    name: "rotate_age",
    example: r#""1d""#,
    default: Unset::Words("never"),
    help: "A file is put aside at each whole multiple of this time in UTC: `1d` gives one file for each day",
};

const MAX_FILES: Key = Key {
    name: "max_files",
    example: "30",
    default: Unset::Words("all"),
    help: "How many files that were put aside are kept; when there is one more, the oldest is deleted, with its events",
};

pub(super) fn read(reader: &mut Reader<'_>) -> Option<FileSettings> {
    let path = reader.needed_text(&PATH);
    let rotate_size = reader.value(&ROTATE_SIZE, above_zero(units::size));
    let rotate_age = reader.value(&ROTATE_AGE, above_zero(units::duration));
    let max_files_place = reader.section.place_of(MAX_FILES.name);
    let max_files = reader.value(&MAX_FILES, above_zero(units::count));
    let (place, path) = path?;
    let directory = Path::new(&path).parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        reader.diagnostics.warn(&place, format!("there is no directory {}", directory.display()));
    }
    let mut settings = FileSettings::new(path);
    settings.rotate_size = rotate_size?.map(|size| size as u64);
    settings.rotate_age = rotate_age?;
    settings.max_files = max_files?;
    if let Some(place) = max_files_place
        && settings.rotate_size.is_none()
        && settings.rotate_age.is_none()
    {
        let what = "`max_files` counts files that were put aside, and none ever is without rotate_size or rotate_age";
        reader.diagnostics.warn(&place, what);
    }
    Some(settings)
}

/// A file that the daemon writes for itself, and those beside it.
pub(crate) struct OwnFile<'a> {
    pub(crate) what: &'static str,
    pub(crate) path: &'a Path,
    /// Where its path stands.
    pub(crate) place: &'a Origin,
    /// What the names of the files end in, its own first.
    pub(crate) endings: &'a [&'static str],
}

impl OwnFile<'_> {
    fn has(&self, path: &Path) -> bool {
        self.endings.iter().any(|ending| is_same(&with_ending(self.path, ending), path))
    }
}

/// Notes each file that two write to: a route and another one with other settings, or the daemon itself.
pub(crate) fn find_shared(routes: &[Route], own: &[OwnFile<'_>], diagnostics: &mut Diagnostics) {
    for (position, file) in own.iter().enumerate() {
        let other = own[..position].iter().find(|other| other.has(file.path) || file.has(other.path));
        if let Some(OwnFile { what, place, .. }) = other {
            let what = format!("{} is {what} of {place}, or a file beside it: name another", file.path.display());
            diagnostics.wrong(file.place, what);
        }
    }
    let mut before: Vec<(&Route, &FileSettings)> = Vec::new();
    for route in routes {
        let Target::File(settings) = &route.target else { continue };
        let path = &settings.path;
        let other = before.iter().find(|(_, other)| *other != settings && is_same(&other.path, path));
        if let Some((other, _)) = other {
            let what = format!(
                "{} is the file of the route at {} too, by another name or with another rotation: give both the same \
                 `path` and rotation, or each a file of its own",
                path.display(),
                other.place
            );
            diagnostics.wrong(&route.place, what);
        }
        if let Some(OwnFile { what, place, .. }) = own.iter().find(|own| own.has(path)) {
            let what = format!("{} is {what} of {place}, or a file beside it: events need another", path.display());
            diagnostics.wrong(&route.place, what);
        }
        before.push((route, settings));
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Whether two paths lead to the same file, which need not be there yet.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(_), Err(_)) => resolved(one) == resolved(other),
        _ => false,
    }
}

/// Where a file would be created that is not there.
fn resolved(path: &Path) -> PathBuf {
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (directory.canonicalize(), path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => path,
    }
}
