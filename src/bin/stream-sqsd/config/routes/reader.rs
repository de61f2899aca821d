//! How the keys of a route are read, whichever handler they belong to.
//!
//! A key is taken out of its section and becomes a value or a mistake, which is noted with its line; what nobody has
//! taken in the end is unknown. Here nobody knows which keys there are.

use crate::config::diagnostics::{Diagnostics, Origin};
use crate::config::document::{Entry, Item, Section};
use crate::config::secret::{self, Missing, Secret};
use crate::config::settings::Unset;

/// A key of a route in the file.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// How it can look in the file.
    pub(crate) example: &'static str,
    pub(crate) default: Unset,
    pub(crate) help: &'static str,
}

/// The default of a key that has none.
pub(crate) const REQUIRED: Unset = Unset::Words("required");

/// The default of keys of which a route has one at the most.
pub(crate) const INSTEAD_OF_BASIC: Unset = Unset::Words("none; it stands in place of `basic`");

/// Reads one route of the file, or a section of it.
pub(crate) struct Reader<'a> {
    /// What it is, as the begin of a sentence.
    pub(crate) what: String,
    pub(crate) section: Section,
    pub(crate) place: Origin,
    pub(crate) missing: Missing,
    /// The URL of its target as people may see it, once that was read.
    pub(crate) shown_url: Option<String>,
    pub(crate) diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// A key that must be there. None is a mistake, which is noted.
    pub(crate) fn needed(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.section.take(key.name);
        if entry.is_none() {
            self.diagnostics
                .wrong(&self.place, format!("{} needs `{}`: {}", self.what, key.name, lower_first(key.help)));
        }
        entry
    }

    /// A text that must be there, and where it stands.
    pub(crate) fn needed_text(&mut self, key: &Key) -> Option<(Origin, String)> {
        let entry = self.needed(key)?;
        let place = entry.place.clone();
        Some((place, entry.text(key.name, self.diagnostics)?))
    }

    /// The same for a text that may be secret.
    pub(crate) fn needed_secret_or_text(&mut self, key: &Key) -> Option<(Origin, Secret)> {
        let entry = self.needed(key)?;
        let place = entry.place.clone();
        Some((place, secret::read_or_text(key.name, entry, self.missing, self.diagnostics)?))
    }

    /// The same for a secret.
    pub(crate) fn needed_secret(&mut self, key: &Key) -> Option<Secret> {
        let entry = self.needed(key)?;
        secret::read(key.name, entry, self.missing, self.diagnostics)
    }

    /// A list of texts, which may be empty.
    pub(crate) fn texts(&mut self, key: &Key) -> Vec<String> {
        let texts = self.section.take(key.name).and_then(|entry| entry.texts(key.name, self.diagnostics));
        texts.unwrap_or_default().into_iter().map(|(_, text)| text).collect()
    }

    /// A value or its default. The outer None is a mistake, which is noted.
    pub(crate) fn value<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Option<Option<T>> {
        let Some(entry) = self.section.take(key.name) else {
            return match key.default {
                Unset::Value(text) => Some(parse(text).ok()),
                Unset::Words(_) => Some(None),
            };
        };
        let place = entry.place.clone();
        match parse(&entry.text(key.name, self.diagnostics)?) {
            Ok(value) => Some(Some(value)),
            Err(what) => {
                self.diagnostics.wrong(&place, format!("`{}`: {what}", key.name));
                None
            }
        }
    }

    /// A secret, if there is one. The outer None is a mistake, which is noted.
    pub(crate) fn secret(&mut self, key: &Key) -> Option<Option<Secret>> {
        match self.section.take(key.name) {
            Some(entry) => secret::read(key.name, entry, self.missing, self.diagnostics).map(Some),
            None => Some(None),
        }
    }

    /// The same for a text that may be secret.
    pub(crate) fn secret_or_text(&mut self, key: &Key) -> Option<Option<Secret>> {
        match self.section.take(key.name) {
            Some(entry) => secret::read_or_text(key.name, entry, self.missing, self.diagnostics).map(Some),
            None => Some(None),
        }
    }

    /// A section with keys of its own, if there is one. The outer None is a mistake, which is noted.
    pub(crate) fn section<T>(
        &mut self,
        key: &Key,
        keys: &[&Key],
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        let Some(section) = self.take_section(key) else { return Some(None) };
        let section = section?;
        let (what, place) = (format!("`{}`", key.name), section.place.clone());
        let mut reader =
            Reader { what, section, place, missing: self.missing, shown_url: None, diagnostics: self.diagnostics };
        let value = read(&mut reader);
        let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        reader.section.finish(&names, |_| None, reader.diagnostics);
        value.map(Some)
    }

    /// A section, if there is one. The inner None is a mistake, which is noted.
    pub(crate) fn take_section(&mut self, key: &Key) -> Option<Option<Section>> {
        let entry = self.section.take(key.name)?;
        let Item::Section(section) = entry.item else {
            // Never with what stands there: it may be the secret itself.
            self.diagnostics
                .wrong(&entry.place, format!("`{0}` has keys of its own: {0} = {1}", key.name, key.example));
            return Some(None);
        };
        Some(Some(section))
    }

    /// What the handler itself has to say of its settings. Trying it out connects to nothing.
    pub(crate) fn check(&mut self, place: &Origin, error: Option<impl Into<anyhow::Error>>) {
        if let Some(error) = error {
            self.diagnostics.wrong(place, format!("{:#}", error.into()));
        }
    }
}

/// A value of which nothing would be nonsense.
pub(super) fn above_zero<T: PartialEq + Default>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<T, String> {
    move |text| match parse(text)? {
        zero if zero == T::default() => Err("it must be more than zero".to_owned()),
        value => Ok(value),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
