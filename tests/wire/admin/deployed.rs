//! What watches the metrics where the daemon is deployed, the alert rules and the Grafana dashboard, held to the metrics
//! that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;
use stream_sqsd::queue::memory::MemoryQueue;
use stream_sqsd::relay::{Relay, RelaySettings, SpoolSettings};
use stream_sqsd::telemetry::Phase;

use super::*;

/// What Prometheus itself adds to every series.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// The texts of a JSON document in which somebody may name a metric.
fn texts(json: &Value) -> Vec<&str> {
    match json {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The dashboard that is deployed.
pub(crate) fn dashboard() -> Value {
    serde_json::from_str(&deployed("grafana/dashboard.json")).unwrap()
}

/// The metrics of a relay with a spool.
fn of_relay() -> String {
    let directory = tempfile::tempdir().unwrap();
    let settings = RelaySettings::new([], SystemTime::now).with_spool(SpoolSettings::new(directory.path()));
    Relay::new(settings, MemoryQueue::new(MemorySettings::new())).unwrap().monitor().metrics()
}

/// A file of `deploy`.
fn deployed(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap()
}

fn watchers() -> String {
    let dashboard = dashboard();
    format!("{}\n{}\n{}", deployed("prometheus/alerts.yml"), deployed("RUNBOOK.md"), texts(&dashboard).join("\n"))
}

/// What follows each occurrence of `mark`.
fn after<'a>(text: &'a str, mark: &str) -> impl Iterator<Item = &'a str> {
    text.match_indices(mark).map(move |(at, mark)| &text[at + mark.len()..])
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// The metrics of a page, by the names of their series.
fn series(metrics: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in after(metrics, "# TYPE ") {
        let name = word(line);
        let histogram = line[name.len()..].starts_with(" histogram");
        let parts: &[&str] = if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        names.extend(parts.iter().map(|part| format!("{name}{part}")));
    }
    names
}

/// The condition `label="a|b"` on a metric, in whichever of its forms; none where it is on a variable of the dashboard.
fn conditions(selector: &str) -> Vec<(&str, Vec<&str>)> {
    let Some((inside, _)) = selector.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { return Vec::new() };
    let parts = inside.split(',').filter(|part| !part.contains('$'));
    parts
        .map(|part| {
            let (_, values) = part.split_once('"').unwrap();
            (word(part), values.trim_end_matches('"').split('|').collect())
        })
        .collect()
}

#[tokio::test]
async fn alerts_and_dashboard_ask_only_for_what_the_daemon_tells() {
    watched(&["message.new"], async |watched| {
        watched.monitor.reached(Phase::Receiving).await;
        let metrics = loop {
            let metrics = get(watched.address, "/metrics").await.body;
            // Its depth is read once somebody has asked.
            if metrics.contains("stream_sqsd_queue_messages{") {
                break metrics;
            }
            tokio::task::yield_now().await;
        };
        let metrics = metrics + &of_relay();
        let known = series(&metrics);
        let watchers = watchers();
        let mut asked = 0;
        let of = |prefix| after(&watchers, prefix).map(move |rest| (format!("{prefix}{}", word(rest)), rest));
        for (name, rest) in of("stream_sqsd_").chain(of("process_")) {
            let behind = &rest[word(rest).len()..];
            // Advice names a histogram as a whole, which no expression can.
            let as_a_whole = !behind.starts_with(['{', '[']) && known.contains(&format!("{name}_bucket"));
            assert!(known.contains(&name) || as_a_whole, "there is no metric {name}");
            asked += 1;
            for (label, values) in conditions(behind) {
                for value in values {
                    let pair = format!("{label}=\"{value}\"");
                    let there = metrics.lines().any(|line| word(line) == name && line.contains(&pair));
                    assert!(there, "{name} never has {pair}");
                }
            }
        }
        assert!(asked > 40, "the watchers were not read: {asked}");

        for labels in after(&watchers, "by (").chain(after(&watchers, "on (")) {
            for label in labels.split(')').next().unwrap().split(", ") {
                let told = metrics.contains(&format!("{{{label}=")) || metrics.contains(&format!(",{label}="));
                assert!(told || OF_PROMETHEUS.contains(&label), "nothing has a label {label:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_metric_is_in_a_panel_of_the_dashboard() {
    watched(&[], async |watched| {
        let dashboard = dashboard();
        let panels = dashboard["panels"].as_array().unwrap();
        let asked: Vec<&str> = panels.iter().flat_map(|panel| texts(&panel["targets"])).collect();
        let is_asked = |name: &str| asked.iter().any(|text| after(text, name).any(|rest| word(rest).is_empty()));
        let metrics = get(watched.address, "/metrics").await.body + &of_relay();
        let mut seen = 0;
        for name in after(&metrics, "# TYPE ").map(word) {
            assert!(is_asked(name) || is_asked(&format!("{name}_bucket")), "no panel shows {name}");
            seen += 1;
        }
        assert!(seen > 40, "the metrics were not read: {seen}");
    })
    .await;
}

/// The alerts, each with its rule from its name on.
fn alerts() -> Vec<(String, String)> {
    let rules = deployed("prometheus/alerts.yml");
    let alerts: Vec<_> = after(&rules, "- alert: ")
        .map(|rest| (word(rest).to_owned(), rest.split("- alert: ").next().unwrap().to_owned()))
        .collect();
    assert!(alerts.len() > 10, "the rules were not read: {alerts:?}");
    alerts
}

#[test]
fn every_alert_names_its_section_of_the_runbook() {
    let runbook = deployed("RUNBOOK.md");
    let sections: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let names: Vec<&str> = alerts.iter().map(|(name, _)| &**name).collect();
    assert_eq!(sections, names, "the runbook has a section for each alert, in their order, and no other");
    for (name, rule) in &alerts {
        let url = format!("runbook_url: https://stream-sqsd.invalid/deploy/RUNBOOK.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&url), "{name} has no {url}");
        let section = runbook.split(&format!("## {name}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        for part in ["**What it means.**", "**Find out.**", "**Do.**"] {
            assert!(section.contains(part), "{name} has no {part}");
        }
    }
}

#[test]
fn every_alert_is_in_the_table_of_the_documentation() {
    let documentation = deployed("README.md");
    let table: Vec<&str> = documentation.lines().filter_map(|line| line.strip_prefix("| StreamSqsd")).collect();
    let alerts = alerts();
    assert_eq!(table.len(), alerts.len());
    for (name, rule) in alerts {
        let (_, severity) = rule.split_once("severity: ").unwrap();
        let row = format!("| {name} | {} | ", word(severity));
        assert!(documentation.contains(&row), "there is no row {row}");
    }
}
