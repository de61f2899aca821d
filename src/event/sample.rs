//! Sample events, made from the catalogue: for tests, demonstrations and benchmarks of your own handlers.
//!
//! They show which fields there can be, not what Stream puts into them: the texts are made up.

use std::fmt::Write as _;

use super::field::{FieldInfo, ObjectInfo, Shape};
use super::kind::EventType;

/// The least that an event of this type can be: `{"type":"message.new"}`.
pub fn minimal(event: &EventType) -> String {
    format!(r#"{{"type":"{}"}}"#, event.name())
}

/// An event of this type with every field of the catalogue, down to the objects in objects in the event; what is
/// further down is left out, since many objects contain their own kind.
///
/// Times alternate between the two forms that Stream writes.
pub fn maximal(event: &EventType) -> String {
    let mut sample = Sample { json: String::new(), count: 0 };
    sample.json.push('{');
    let _ = write!(sample.json, r#""type":"{}""#, event.name());
    sample.fields(event.fields(), 3, false);
    sample.json.push('}');
    sample.json
}

struct Sample {
    json: String,
    count: u32,
}

impl Sample {
    fn fields(&mut self, fields: &[FieldInfo], depth: u32, mut first: bool) {
        for field in fields {
            let shape = field.shape();
            if depth == 0 && nested(shape) {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.json.push(',');
            }
            let _ = write!(self.json, r#""{}":"#, field.name);
            self.value(field.name, shape, depth);
        }
    }

    fn value(&mut self, name: &str, shape: Shape, depth: u32) {
        self.count += 1;
        let count = self.count;
        let even = count.is_multiple_of(2);
        match shape {
            Shape::Bool => self.json.push_str(if even { "true" } else { "false" }),
            Shape::Integer => self.push(count),
            Shape::Number => self.push(f64::from(count) + 0.5),
            Shape::Text => self.push(format_args!(r#""{name} {count}""#)),
            Shape::Time if even => self.push(format_args!(r#""2026-03-04T05:06:{:02}.{count:06}Z""#, count % 60)),
            Shape::Time => self.push(1_772_600_766_000_000_000_i64 + i64::from(count)),
            Shape::Any => self.push(format_args!(r#"{{"key":"value {count}","nested":{{"list":[1,2.5,null]}}}}"#)),
            Shape::Object(object) => self.object(object, depth - 1),
            Shape::IdOr(inner) => self.value(name, inner(), depth),
            Shape::List(inner) => {
                self.json.push('[');
                self.value(name, inner(), depth);
                self.json.push(']');
            }
            Shape::Map(inner) => {
                self.json.push_str(r#"{"key":"#);
                self.value(name, inner(), depth);
                self.json.push('}');
            }
        }
    }

    fn object(&mut self, object: &ObjectInfo, depth: u32) {
        self.json.push('{');
        self.fields(object.fields, depth, true);
        self.json.push('}');
    }

    fn push(&mut self, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.json, "{value}");
    }
}

/// Whether there is an object of the table in it.
fn nested(shape: Shape) -> bool {
    match shape {
        Shape::Object(_) => true,
        Shape::IdOr(inner) | Shape::List(inner) | Shape::Map(inner) => nested(inner()),
        _ => false,
    }
}
