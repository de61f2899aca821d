//! The macro that the [catalogue](super::catalogue) is written in: what follows from a row of it.

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

        /// Every wire type that this version knows, in alphabetical order: what [`EventKind::new`](crate::event::EventKind::new) looks up.
        pub static KNOWN: &[EventType] = &[$($(
            EventType {
                name: $wire,
                products: &[$(Product::$product),*],
                object: &<$family::$name as Described>::INFO,
            },
        )*)*];

        /// How an event of each type of [`KNOWN`] is parsed, in the same order.
        pub(super) static PARSERS: &[fn(&Event) -> Result<AnyPayload, PayloadError>] = &[$($(
            |event| Ok(AnyPayload::$name(Box::new(read_payload(event)?))),
        )*)*];

        // For the binary search.
        const _: () = assert!(in_order(&[$($($wire),*),*]), "the wire types of the catalogue stand in alphabetical order");
    };
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

pub(super) use catalogue;
