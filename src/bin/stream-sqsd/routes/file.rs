//! The keys of the handler `file`.

use std::path::Path;

use stream_sqsd::handlers::file::FileSettings;

use super::reader::{Key, MUST_BE_SET, Reader, above_zero};
use crate::quantity;
use crate::settings::Unset;

pub(super) const ABOUT: &str =
    "Each event is a JSON line in a file, on disk before its message is deleted. SIGHUP opens the file anew";

pub(super) const KEYS: &[&Key] = &[&PATH, &ROTATE_SIZE, &ROTATE_AGE];

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
    help: "A file is put aside under a name with its date before it would grow larger",
};

const ROTATE_AGE: Key = Key {
    name: "rotate_age",
    example: r#""1d""#,
    default: Unset::Words("never"),
    help: "A file is put aside at each whole multiple of this time in UTC: `1d` gives one file for each day",
};

pub(super) fn read(reader: &mut Reader<'_>) -> Option<FileSettings> {
    let path = reader.needed_text(&PATH);
    let rotate_size = reader.value(&ROTATE_SIZE, above_zero(quantity::size));
    let rotate_age = reader.value(&ROTATE_AGE, above_zero(quantity::duration));
    let (place, path) = path?;
    let directory = Path::new(&path).parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        reader.mistakes.warn(&place, format!("there is no directory {}", directory.display()));
    }
    let mut settings = FileSettings::new(path);
    settings.rotate_size = rotate_size?.map(|size| size as u64);
    settings.rotate_age = rotate_age?;
    Some(settings)
}
