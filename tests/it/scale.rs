//! deploy/SCALE.md says what follows from what was measured.

use std::path::Path;

#[path = "../bench/cost/fleet.rs"]
mod fleet;

use fleet::Measured;

/// What stands before, between and behind the two marks of this name.
fn parts<'a>(document: &'a str, name: &str) -> [&'a str; 3] {
    let (before, rest) = document.split_once(&format!("<!-- {name} -->\n")).expect("where the tables begin");
    let (between, after) = rest.split_once(&format!("<!-- /{name} -->")).expect("where the tables end");
    [before, between, after]
}

#[test]
fn the_fleets_are_those_that_follow_from_what_was_measured() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/SCALE.md");
    let document = std::fs::read_to_string(&path).expect("a SCALE.md");
    let measured = Measured::read(parts(&document, "measured")[1]).expect("all that is measured");
    let mut fresh = document.clone();
    for (name, tables) in [("fleet", measured.fleet()), ("targets", measured.targets())] {
        let [before, _, after] = parts(&fresh, name);
        fresh = format!("{before}<!-- {name} -->\n\n{tables}\n<!-- /{name} -->{after}");
    }
    if fresh == document {
        return;
    }
    if std::env::var_os("WRITE_DOCUMENTATION").is_some() {
        std::fs::write(&path, fresh).expect("a SCALE.md that can be written");
    } else {
        panic!("the tables of deploy/SCALE.md are stale: run this test with WRITE_DOCUMENTATION=1");
    }
}

#[test]
fn the_limits_of_the_model_are_those_of_the_engine() {
    let defaults = stream_sqsd::consumer::Settings::default();
    assert_eq!(defaults.max_in_flight_bytes as f64, fleet::BUDGET);
    assert_eq!(defaults.concurrency as f64, fleet::SLOTS);
    // These two are nobody's to set, so they are not public.
    let settle = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/consumer/settle.rs");
    let settle = std::fs::read_to_string(settle).expect("settle.rs");
    assert!(settle.contains(&format!("const CALLS: usize = {};", fleet::DELETE_CALLS)));
    let linger = fleet::LINGER * 1000.0;
    assert!(settle.contains(&format!("const LINGER: Duration = Duration::from_millis({linger});")));
}

#[test]
fn a_task_is_what_the_template_makes_of_its_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ecs/template.yaml");
    let template = std::fs::read_to_string(path).expect("a template");
    let default = |parameter: &str| -> f64 {
        let (_, rest) = template.split_once(&format!("\n  {parameter}:\n")).expect("the parameter");
        let (_, value) = rest.split_once("Default:").expect("a default");
        let value = value.lines().next().expect("a value").trim().trim_matches('"');
        value.parse().expect("a number")
    };
    assert_eq!(default("BacklogPerTask"), fleet::BACKLOG_PER_TASK);
    assert_eq!(default("Cpu") / 1024.0, fleet::TEMPLATE_CORES);
}
