//! Reading JSON text: which keys stand at the top level, a cursor through the values, and values kept as raw text.
//!
//! This is generic, and knows nothing of Stream, of events or of the table of structs.

mod cursor;
mod scan;
mod raw;

pub(crate) use cursor::{Cursor, Fault, Step};
pub(crate) use raw::{raw_value, text_of};
pub(crate) use scan::{NotAnObject, last_values};
