//! The two macros that the tables are written in: `objects!` for what events are made of, and `catalogue!` for the events.
//!
//! A row of either is `names: Type;`, several names of one type on one line. The type is what the field holds when it is
//! there; the macros make each an `Option`. Names are those of the wire, `r#type` where Rust has the word for itself, and
//! `name = "Wire"` where the wire has a name that no Rust field should have.

use super::field::FieldInfo;

/// The structs of `objects!` and `catalogue!`, with everything that they can do.
macro_rules! structs {
    ($(
        $(#[$attribute:meta])*
        $name:ident $(= $tag:literal)? {
            $( $($field:ident $(= $wire:literal)?),+ : $type:ty; )*
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Default)]
        pub struct $name {
            $($(
                #[doc = concat!("`", stringify!($field), "`")]
                pub $field: Option<$type>,
            )+)*
            /// What the table does not know, as it came.
            pub extra: Extra,
        }

        impl Object for $name {
            fn tag(&self) -> Option<&'static str> {
                // Read by reference, so that the same code does for structs with a tag and without.
                const TAGS: &[&str] = &[$($tag)?];
                TAGS.first().copied()
            }

            fn slot(&mut self, key: &str) -> Option<&mut dyn Slot> {
                #[allow(non_camel_case_types)]
                #[derive(Clone, Copy)]
                enum Name { $($($field),+),* }
                const NAMES: &[Name] = &[$($(Name::$field),+),*];
                static LOOKUP: Lookup = Lookup::new($name::INFO.fields);
                match NAMES[LOOKUP.find($name::INFO.fields, key)?] {
                    $($( Name::$field => Some(&mut self.$field) ),+),*
                }
            }

            fn fields(&self) -> Vec<(&'static str, View<'_>)> {
                vec![$($( (const { wire_name(stringify!($field), &[$($wire)?]) }, view(&self.$field)) ),+),*]
            }

            fn extra(&self) -> &Extra {
                &self.extra
            }

            fn extra_mut(&mut self) -> &mut Extra {
                &mut self.extra
            }
        }

        impl Described for $name {
            const INFO: ObjectInfo = ObjectInfo {
                name: stringify!($name),
                fields: &[$($(
                    FieldInfo::new(wire_name(stringify!($field), &[$($wire)?]), <Option<$type> as Shaped>::shape)
                ),+),*],
            };
        }

        impl Item for $name {
            fn read<'de>(
                place: &mut Option<Self>,
                reader: &mut Reader<'de>,
            ) -> Result<Option<&'de str>, Box<Fault>> {
                read_object(place, reader)
            }
            fn view(&self) -> View<'_> {
                View::Object(self)
            }
            fn shape() -> Shape {
                Shape::Object(&Self::INFO)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), " "))?;
                std::fmt::Debug::fmt(&View::Object(self), f)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                same(self, other)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&View::Object(self), serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer)
            }
        }
    )*};
}

/// The objects that events are made of: `Name { names: Type; … }`.
macro_rules! objects {
    ($($(#[$attribute:meta])* $name:ident { $($body:tt)* })*) => {
        use $crate::event::table::parts::*;

        $crate::event::table::structs! {
            $(
                $(#[$attribute])*
                #[doc = concat!("Stream's `", stringify!($name), "`.")]
                $name { $($body)* }
            )*
        }
    };
}

/// The events: for each family a module, in it for each wire type `"wire.type" Name [products] { names: Type; … }`.
///
/// The fields that all events share stand here and nowhere else.
macro_rules! catalogue {
    ($(
        $(#[$family_doc:meta])*
        $family:ident {
            $( $wire:literal $name:ident [$($product:ident)*] { $($body:tt)* } )*
        }
    )*) => {
        $(
            $(#[$family_doc])*
            pub mod $family {
                #[allow(unused_imports)]
                use $crate::event::object::{self, *};
                use $crate::event::table::parts::*;

                $crate::event::table::structs! {
                    $(
                        #[doc = concat!("`", $wire, "`")]
                        $name = $wire {
                            $($body)*
                            created_at, received_at: Timestamp;
                            custom: Extra;
                            request_info: Box<RequestInfo>;
                        }
                    )*
                }
            }
        )*

        /// Any event, parsed: for those who like to `match`.
        ///
        /// A handler of one type is cheaper to write; see [`Payload`].
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum AnyPayload {
            $($(
                #[doc = concat!("`", $wire, "`")]
                $name(Box<$family::$name>),
            )*)*
            /// An event that you or your users defined: its type has no dot.
            CustomEvent(Box<CustomEvent>),
            /// An event of a type with a dot that is newer than this version of the library, as it came.
            Unknown(Event),
        }

        impl serde::Serialize for AnyPayload {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let view = match self {
                    $($( AnyPayload::$name(payload) => View::Object(&**payload), )*)*
                    AnyPayload::CustomEvent(payload) => View::Object(&**payload),
                    AnyPayload::Unknown(event) => return event.serialize(serializer),
                };
                view.serialize(serializer)
            }
        }

        $($(
            impl Payload for $family::$name {
                const TYPE: &'static str = $wire;

                fn from_event(event: &Event) -> Result<Self, PayloadError> {
                    read_payload(event)
                }
            }
        )*)*

        /// Every wire type that this version knows, in alphabetical order: what [`EventKind`](crate::event::EventKind) looks up.
        pub static KNOWN: &[EventType] = &[$($(
            EventType {
                name: $wire,
                products: &[$(Product::$product),*],
                object: &<$family::$name as Described>::INFO,
                parse: |event| Ok(AnyPayload::$name(Box::new(read_payload(event)?))),
            },
        )*)*];

        // Looked up by halves.
        const _: () = assert!(in_order(&[$($($wire),*),*]), "the wire types of the catalogue stand in alphabetical order");
    };
}

/// The name on the wire: the one that the table gives, or the field's own.
pub(crate) const fn wire_name(field: &'static str, given: &[&'static str]) -> &'static str {
    if let Some(name) = given.first() {
        return name;
    }
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Where a field stands among those of its object, by its name: a small hash table made at compile time.
///
/// An object of chat has sixty fields; asking one name after the other was the greater part of reading it.
pub(crate) struct Lookup([u8; Lookup::SIZE]);

impl Lookup {
    /// A power of two, and twice the fields of the largest object at the least.
    const SIZE: usize = 256;
    const EMPTY: u8 = u8::MAX;

    pub(crate) const fn new(fields: &[FieldInfo]) -> Self {
        assert!(fields.len() <= Self::SIZE / 2, "an object with so many fields needs a larger table");
        let mut places = [Self::EMPTY; Self::SIZE];
        let mut index = 0;
        while index < fields.len() {
            let mut place = Self::hash(fields[index].name.as_bytes());
            while places[place] != Self::EMPTY {
                place = (place + 1) % Self::SIZE;
            }
            // There are no more than half of SIZE.
            places[place] = index as u8;
            index += 1;
        }
        Lookup(places)
    }

    /// The index in `fields`, which must be those that the table was made from.
    pub(crate) fn find(&self, fields: &[FieldInfo], key: &str) -> Option<usize> {
        let mut place = Self::hash(key.as_bytes());
        loop {
            let index = usize::from(self.0[place]);
            let field = fields.get(index)?;
            if field.name == key {
                return Some(index);
            }
            place = (place + 1) % Self::SIZE;
        }
    }

    /// Length, both ends and the middle tell almost all names of an object apart.
    const fn hash(name: &[u8]) -> usize {
        let Some(last) = name.len().checked_sub(1) else { return 0 };
        let (first, middle, end) = (name[0] as usize, name[last / 2] as usize, name[last] as usize);
        (name.len().wrapping_mul(37) ^ first.wrapping_mul(11) ^ middle.wrapping_mul(23) ^ end.wrapping_mul(53))
            % Self::SIZE
    }
}

/// Whether each name stands behind the one before it, byte by byte.
pub(super) const fn in_order(names: &[&str]) -> bool {
    let mut next = 1;
    while next < names.len() {
        let (a, b) = (names[next - 1].as_bytes(), names[next].as_bytes());
        let mut i = 0;
        while i < a.len() && i < b.len() && a[i] == b[i] {
            i += 1;
        }
        if i == b.len() || (i < a.len() && a[i] > b[i]) {
            return false;
        }
        next += 1;
    }
    true
}

/// What the expansion of the macros names.
pub(crate) mod parts {
    pub(crate) use serde_json::Number;

    pub(crate) use super::super::extra::Extra;
    pub(crate) use super::super::field::{
        Described, FieldInfo, IdOr, Item, List, Map, ObjectInfo, Shape, Shaped, read_object, view,
    };
    pub(crate) use super::super::read::{Fault, Object, Reader, Slot, deserialize};
    pub(crate) use super::super::timestamp::Timestamp;
    pub(crate) use super::super::write::{View, same};
    pub(crate) use super::{Lookup, wire_name};
}

pub(crate) use {catalogue, objects, structs};
