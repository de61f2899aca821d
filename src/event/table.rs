//! The macro that the structs of the table are written in, and `objects!`, its form for what events are made of.
//!
//! A row is `names: Type;`, several names of one type on one line. The type is what the field holds when it is there; the
//! macro makes each an `Option`. Names are those of the wire, `r#type` where Rust has the word for itself, and
//! `name = "Wire"` where the wire has a name that no Rust field should have.

use super::field::FieldInfo;

/// The structs of `objects!` and of the catalogue, with everything that they can do.
macro_rules! structs {
    ($(
        $(#[$attribute:meta])*
        $name:ident $(= $tag:literal)? {
            $( $($field:ident $(= $wire:literal)?),+ : $type:ty; )*
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Default)]
        #[non_exhaustive]
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
                cursor: &mut Cursor<'de>,
            ) -> Result<Option<&'de str>, Box<Fault>> {
                read_struct(place, cursor)
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
            if same_name(field.name.as_bytes(), key.as_bytes()) {
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

/// Whether two names are the same. Most have up to sixteen bytes, and comparing their two ends costs less than the call of a
/// function.
#[inline]
fn same_name(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(name: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        name.first_chunk().zip(name.last_chunk())
    }
    one.len() == other.len()
        && match one.len() {
            4..8 => ends::<4>(one) == ends::<4>(other),
            8..=16 => ends::<8>(one) == ends::<8>(other),
            _ => one == other,
        }
}

/// What the expansion of the macros names.
pub(crate) mod parts {
    pub(crate) use serde_json::Number;

    pub(crate) use crate::event::extra::Extra;
    pub(crate) use crate::event::field::{
        Described, FieldInfo, IdOr, Item, List, Map, ObjectInfo, Shape, Shaped, read_struct, view,
    };
    pub(crate) use crate::event::json::{Cursor, Fault};
    pub(crate) use crate::event::read::deserialize;
    pub(crate) use crate::event::table::{Lookup, wire_name};
    pub(crate) use crate::event::timestamp::Timestamp;
    pub(crate) use crate::event::view::{Object, Slot, View, same};
}

pub(crate) use {objects, structs};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_whole_whatever_their_length() {
        let name = *b"a_name_that_is_longer_than_two_words";
        for length in 0..=name.len() {
            let (one, again) = (&name[..length], name[..length].to_vec());
            assert!(same_name(one, &again), "{length}");
            assert!(!same_name(one, &name[..length.abs_diff(1)]), "{length}");
            for at in 0..length {
                let mut other = one.to_vec();
                other[at] = b'-';
                assert!(!same_name(one, &other), "{length}, {at}");
            }
        }
    }
}
