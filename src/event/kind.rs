//! The type of an event, and what is known of it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::field::{FieldInfo, ObjectInfo};
use super::text::escape_controls;

/// The type of an event, such as `message.new`. Cheap to clone; equal, ordered and hashed as its name.
#[derive(Clone)]
pub struct EventKind(Repr);

#[derive(Clone)]
enum Repr {
    Known(&'static EventType),
    Other(Arc<str>),
}

impl EventKind {
    /// `known` is the row of the catalogue with this name, where it has one.
    pub(super) fn from_row(name: &str, known: Option<&'static EventType>) -> Self {
        EventKind(match known {
            Some(known) => Repr::Known(known),
            None => Repr::Other(name.into()),
        })
    }

    /// The wire type.
    pub fn name(&self) -> &str {
        match &self.0 {
            Repr::Known(known) => known.name,
            Repr::Other(name) => name,
        }
    }

    /// What the catalogue says of it, where it has it.
    pub fn known(&self) -> Option<&'static EventType> {
        match &self.0 {
            Repr::Known(known) => Some(known),
            Repr::Other(_) => None,
        }
    }

    /// The products that send it; none where the catalogue does not have it.
    pub fn products(&self) -> &'static [Product] {
        self.known().map_or(&[], |known| known.products)
    }

    /// Whether it is an event that you or your users defined: the catalogue does not have it, and it has no dot.
    pub fn is_custom(&self) -> bool {
        matches!(&self.0, Repr::Other(name) if !name.contains('.'))
    }

    /// Whether it is an event of Stream's that is newer than this version of the library: the catalogue does not have
    /// it, and it has a dot.
    pub fn is_new(&self) -> bool {
        matches!(&self.0, Repr::Other(name) if name.contains('.'))
    }
}

/// The name, fit for a log: a foreign name may hold control characters, which are escaped. [`EventKind::name`] is the
/// name as it is.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escape_controls(self.name()))
    }
}

impl fmt::Debug for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

impl PartialEq for EventKind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for EventKind {}

impl PartialOrd for EventKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EventKind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl Hash for EventKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// So that a map with these keys can be asked with a name.
impl Borrow<str> for EventKind {
    fn borrow(&self) -> &str {
        self.name()
    }
}

/// A row of the catalogue: a wire type that this version knows.
#[derive(Debug)]
pub struct EventType {
    pub(super) name: &'static str,
    pub(super) products: &'static [Product],
    pub(super) object: &'static ObjectInfo,
}

impl EventType {
    /// The wire type, such as `message.new`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The products that send it.
    pub fn products(&self) -> &'static [Product] {
        self.products
    }

    /// The name of the struct that it parses into, such as `MessageNew`; its module is the wire type up to the first dot.
    pub fn struct_name(&self) -> &'static str {
        self.object.name
    }

    /// What it carries, beside `type`. Any of it may be absent or null.
    pub fn fields(&self) -> &'static [FieldInfo] {
        self.object.fields
    }
}

/// A product of Stream's. One hook can carry the events of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Product {
    /// Chat.
    Chat,
    /// Video and audio calls.
    Video,
    /// Activity feeds.
    Feeds,
    /// Moderation.
    Moderation,
}

impl Product {
    /// Its name in lower case, as Stream's API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Product::Chat => "chat",
            Product::Video => "video",
            Product::Feeds => "feeds",
            Product::Moderation => "moderation",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
