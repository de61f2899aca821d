//! `stream-sqsd events`: the event types that this version knows.

use clap::Args;
use stream_sqsd::event::{EventType, KNOWN, ObjectInfo, Pattern, Shape};

use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure, print, say};

const EVENTS_HELP: &str = "\
A pattern is one type (message.new), all below a dot (message.*), or * for all.

Example:
  stream-sqsd events 'reaction.*'";

/// List the event types that this version knows, with their products and fields.
#[derive(Debug, Args)]
#[command(after_help = EVENTS_HELP)]
pub(crate) struct EventsArguments {
    /// Which types; a single one is listed with its fields and theirs.
    #[arg(default_value = "*", hide_default_value = true)]
    pub(crate) pattern: String,
}

pub(crate) fn events(arguments: EventsArguments, signals: Signals) -> Result<Exit, Failure> {
    signals.end_at_once()?;
    let pattern = Pattern::new(&arguments.pattern).map_err(|error| Failure::new(Exit::Usage, error))?;
    let found: Vec<&EventType> = pattern.known().collect();
    let text = match found.as_slice() {
        [] => {
            let warning = pattern.check().warning(&pattern);
            let custom =
                || format!("`{pattern}` has no dot, so it can only be a custom event of yours: nothing is known of it");
            return Err(Failure::usage(warning.unwrap_or_else(custom)));
        }
        [one] => in_full(one),
        many => list(many),
    };
    print(&text)?;
    if found.len() == KNOWN.len() {
        say(&format!(
            "{} types. Every field may be missing, and unknown ones are kept. A type that is not here is newer than this \
             version where it has a dot, and a custom event of yours where it has none.",
            found.len()
        ));
    }
    Ok(Exit::Done)
}

/// One line for each type: its name, its products, its fields.
fn list(types: &[&EventType]) -> String {
    let width = types.iter().map(|known| known.name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for known in types {
        let fields: Vec<&str> = known.fields().iter().map(|field| field.name).collect();
        text.push_str(&format!("{:width$}  {:16}  {}\n", known.name(), products(known), fields.join(" ")));
    }
    text
}

/// One type with its fields, and the objects that they hold, one level down.
fn in_full(known: &EventType) -> String {
    let mut text = format!("{}  ({}, struct {})\n", known.name(), products(known), known.struct_name());
    let mut objects: Vec<&ObjectInfo> = Vec::new();
    let width = known.fields().iter().map(|field| field.name.len()).max().unwrap_or(0);
    for field in known.fields() {
        let shape = field.shape();
        text.push_str(&format!("  {:width$}  {shape}\n", field.name));
        if let Some(object) = object_in(shape)
            && !objects.iter().any(|other| other.name == object.name)
        {
            objects.push(object);
        }
    }
    for object in objects {
        text.push_str(&format!("\n{}\n", object.name));
        let width = object.fields.iter().map(|field| field.name.len()).max().unwrap_or(0);
        for field in object.fields {
            text.push_str(&format!("  {:width$}  {}\n", field.name, field.shape()));
        }
    }
    text
}

fn object_in(shape: Shape) -> Option<&'static ObjectInfo> {
    match shape {
        Shape::Object(object) => Some(object),
        Shape::IdOr(inner) | Shape::List(inner) | Shape::Map(inner) => object_in(inner()),
        _ => None,
    }
}

fn products(known: &EventType) -> String {
    let names: Vec<&str> = known.products().iter().map(|product| product.name()).collect();
    names.join(",")
}
