//! The keys of the handler `file`.

use std::path::{Path, PathBuf};

use stream_sqsd::handlers::file::{File, FileError, FileSettings};

use super::reader::{Key, REQUIRED, Reader, above_zero};
use super::shipped::{CallTime, Shipped, Started};
use crate::config::settings::Unset;
use crate::config::units;
use crate::terminal::exit::{Exit, Failure};

const PATH: Key = Key {
    name: "path",
    example: r#""/var/lib/stream-sqsd/events.jsonl""#,
    default: REQUIRED,
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

impl Shipped for FileSettings {
    const NAME: &'static str = "file";
    const ALSO: &'static [&'static str] = &["jsonl", "disk", "path"];
    const ABOUT: &'static str =
        "Each event is a JSON line in a file, on disk before its message is deleted. SIGHUP opens the file again";
    const KEYS: &'static [&'static Key] = &[&PATH, &ROTATE_SIZE, &ROTATE_AGE, &MAX_FILES];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let path = reader.needed_text(&PATH);
        let rotate_size = reader.value(&ROTATE_SIZE, above_zero(units::size));
        let rotate_age = reader.value(&ROTATE_AGE, above_zero(units::duration));
        let max_files_place = reader.section.place_of(MAX_FILES.name);
        let max_files = reader.value(&MAX_FILES, above_zero(units::count));
        let (place, path) = path?;
        reader.diagnostics.check_directory(&place, Path::new(&path));
        let mut settings = FileSettings::new(path);
        settings.rotate_size = rotate_size?.map(|size| size as u64);
        settings.rotate_age = rotate_age?;
        settings.max_files = max_files?;
        if let Some(place) = max_files_place
            && settings.rotate_size.is_none()
            && settings.rotate_age.is_none()
        {
            let what =
                "`max_files` counts files that were put aside, and none ever is without rotate_size or rotate_age";
            reader.diagnostics.warn(&place, what);
        }
        Some(settings)
    }

    fn destination(&self, _: Option<&str>) -> String {
        format!("the file {}", self.path.display())
    }

    fn call_time(&self) -> CallTime {
        CallTime::Moments
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn start(&self, aside: Option<&str>) -> Result<Started, Failure> {
        let (file, beside) = match (File::open(self.clone()), aside) {
            (Err(FileError::Locked { path }), Some(ending)) => {
                let mut name = path.into_os_string();
                name.push(ending);
                let path = PathBuf::from(name);
                // Nothing rotates it: it is one file of one command.
                (File::open(FileSettings::new(&path)), Some(path))
            }
            (opened, _) => (opened, None),
        };
        let file = file.map_err(|error| {
            let exit = match error {
                FileError::Zero { .. } | FileError::NoName { .. } | FileError::NotAFile { .. } => Exit::Usage,
                _ => Exit::Unavailable,
            };
            Failure::new(exit, error)
        })?;
        let reopener = file.reopener();
        let started = Started::new(file).reopened_by(reopener);
        Ok(match beside {
            Some(path) => started.writing_aside(path),
            None => started,
        })
    }
}
