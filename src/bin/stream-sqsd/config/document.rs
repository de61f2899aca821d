//! The configuration file as a tree in which every part knows its line.
//!
//! Here is only the form of the file. What its keys mean, and which there are, is [`config`](crate::config)'s and
//! [`routes`](crate::config::routes)'.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::config::diagnostics::{Diagnostics, Origin, is_plain_word, nearest};

/// The part of a file between two headers: keys with their values.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) place: Origin,
    entries: BTreeMap<String, Entry>,
}

/// A value and where its key stands.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Origin,
    pub(crate) item: Item,
}

/// A value. Numbers, truths and dates are kept as the text that stands in the file: what they mean is read where it is
/// known what they are for.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Text(String),
    List(Vec<Entry>),
    Section(Section),
}

impl Section {
    /// Reads a file. What is not TOML at all is one mistake: behind it everything else is guesswork.
    pub(crate) fn parse(text: &str, file: &Arc<Path>, diagnostics: &mut Diagnostics) -> Option<Section> {
        let source = Source { text, file };
        match DeTable::parse(text) {
            Ok(root) => Some(source.section(root.get_ref(), 0)),
            Err(error) => {
                // Of the error only message and place: its whole text quotes the line, which may hold a secret.
                let place = source.place(error.span().map_or(0, |span| span.start));
                diagnostics.wrong(&place, format!("this is not valid TOML: {}", error.message().replace('\n', ", ")));
                None
            }
        }
    }

    /// Takes a value out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Entry> {
        self.entries.remove(key)
    }

    /// Takes all that is left, by its keys.
    pub(crate) fn take_all(self) -> impl Iterator<Item = (String, Entry)> {
        self.entries.into_iter()
    }

    /// Where a key stands, if it is there.
    pub(crate) fn place_of(&self, key: &str) -> Option<Origin> {
        self.entries.get(key).map(|entry| entry.place.clone())
    }

    /// What was not taken out is unknown: a mistake for each, with the key that was probably meant. `elsewhere` may know
    /// better.
    pub(crate) fn finish(
        self,
        known: &[&str],
        elsewhere: impl Fn(&str) -> Option<String>,
        diagnostics: &mut Diagnostics,
    ) {
        for (key, entry) in self.entries {
            let meant = elsewhere(&key)
                .or_else(|| nearest(&key, known.iter().copied()).map(|nearest| format!("did you mean `{nearest}`?")));
            // A key that is like no other may be a secret that went astray.
            let shown = if meant.is_some() || is_plain_word(&key) { &*key } else { "…" };
            let meant = meant.unwrap_or_else(|| format!("there can be {}", known.join(", ")));
            diagnostics.wrong(&entry.place, format!("unknown key `{}`; {meant}", shown.escape_debug()));
        }
    }
}

impl Section {
    /// A text that is the same for the same values, whatever their order, their places and the comments between them.
    pub(crate) fn canonical(&self) -> String {
        let entries = self.entries.iter().map(|(key, entry)| format!("{key:?}={}", entry.canonical()));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }

    /// Shows each text below here with the nearest key above it, and where it stands.
    pub(crate) fn each_text(&self, see: &mut impl FnMut(&str, &Origin, &str)) {
        for (key, entry) in &self.entries {
            entry.each_text(key, see);
        }
    }
}

impl Entry {
    fn canonical(&self) -> String {
        match &self.item {
            Item::Text(text) => format!("{text:?}"),
            Item::List(list) => format!("[{}]", list.iter().map(Entry::canonical).collect::<Vec<_>>().join(",")),
            Item::Section(section) => section.canonical(),
        }
    }

    fn each_text(&self, key: &str, see: &mut impl FnMut(&str, &Origin, &str)) {
        match &self.item {
            Item::Text(text) => see(key, &self.place, text),
            Item::List(list) => list.iter().for_each(|entry| entry.each_text(key, see)),
            Item::Section(section) => section.each_text(see),
        }
    }

    /// The text of a single value.
    pub(crate) fn text(self, key: &str, diagnostics: &mut Diagnostics) -> Option<String> {
        match self.item {
            Item::Text(text) => Some(text),
            Item::List(_) => {
                diagnostics.wrong(&self.place, format!("`{key}` is one value, not a list"));
                None
            }
            Item::Section(_) => {
                diagnostics.wrong(&self.place, format!("`{key}` is a value, not a section"));
                None
            }
        }
    }

    /// The texts of a list, or of the single value that stands for a list of one.
    pub(crate) fn texts(self, key: &str, diagnostics: &mut Diagnostics) -> Option<Vec<(Origin, String)>> {
        let entries = match self.item {
            Item::List(entries) => entries,
            item => vec![Entry { place: self.place, item }],
        };
        let mut texts = Vec::with_capacity(entries.len());
        for entry in entries {
            let place = entry.place.clone();
            texts.push((place, entry.text(key, diagnostics)?));
        }
        Some(texts)
    }
}

/// The text of the file, for turning offsets into lines.
struct Source<'a> {
    text: &'a str,
    file: &'a Arc<Path>,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Origin::File { file: self.file.clone(), line }
    }

    fn section(&self, table: &DeTable<'_>, offset: usize) -> Section {
        let entries = table.iter().map(|(key, value)| {
            let entry =
                Entry { place: self.place(key.span().start), item: self.item(value.get_ref(), value.span().start) };
            (key.get_ref().to_string(), entry)
        });
        Section { place: self.place(offset), entries: entries.collect() }
    }

    fn item(&self, value: &DeValue<'_>, offset: usize) -> Item {
        match value {
            DeValue::String(text) => Item::Text(text.to_string()),
            DeValue::Integer(number) => Item::Text(number.to_string()),
            DeValue::Float(number) => Item::Text(number.to_string()),
            DeValue::Boolean(truth) => Item::Text(truth.to_string()),
            DeValue::Datetime(time) => Item::Text(time.to_string()),
            DeValue::Array(list) => {
                let entry = |value: &toml::Spanned<DeValue<'_>>| {
                    let offset = value.span().start;
                    Entry { place: self.place(offset), item: self.item(value.get_ref(), offset) }
                };
                Item::List(list.iter().map(entry).collect())
            }
            DeValue::Table(table) => Item::Section(self.section(table, offset)),
        }
    }
}
