//! The text format of Prometheus (version 0.0.4): what a metric is, and how a page of them is written.

use std::fmt::{Display, Write};

use super::histogram::Reading;

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// In the order in which their values are given.
    pub(super) labels: &'static [&'static str],
    /// One sentence, for HELP and for the documentation.
    pub(super) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

pub(super) const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

pub(super) const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

pub(super) const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

/// A page of metrics that is being written.
pub(super) struct Page {
    pub(super) text: String,
    /// The metrics that stand on it, in their order: what the documentation is made from.
    pub(super) metrics: Vec<&'static Metric>,
}

impl Page {
    pub(super) fn new() -> Self {
        Page { text: String::with_capacity(16 * 1024), metrics: Vec::new() }
    }

    /// Begins a metric, whose samples are written next.
    pub(super) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        line(&mut self.text, format_args!("# HELP {} {}", metric.name, metric.help));
        line(&mut self.text, format_args!("# TYPE {} {kind}", metric.name));
        debug_assert!(self.metrics.iter().all(|known| known.name != metric.name), "{} is written twice", metric.name);
        self.metrics.push(metric);
        Family { text: &mut self.text, metric }
    }

    /// A metric with one sample.
    pub(super) fn one(&mut self, metric: &'static Metric, values: &[&str], value: impl Display) {
        self.family(metric).sample(values, value);
    }
}

/// One metric that is being written.
pub(super) struct Family<'a> {
    text: &'a mut String,
    metric: &'static Metric,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, values: &[&str], value: impl Display) {
        let labels = labels(self.metric, values, None);
        line(self.text, format_args!("{}{labels} {value}", self.metric.name));
    }

    pub(super) fn sample_if_known(&mut self, values: &[&str], value: Option<impl Display>) {
        if let Some(value) = value {
            self.sample(values, value);
        }
    }

    pub(super) fn histogram(&mut self, values: &[&str], reading: &Reading) {
        let name = self.metric.name;
        for (bound, count) in &reading.steps {
            let labels = labels(self.metric, values, Some(&bound.to_string()));
            line(self.text, format_args!("{name}_bucket{labels} {count}"));
        }
        let all = labels(self.metric, values, Some("+Inf"));
        line(self.text, format_args!("{name}_bucket{all} {}", reading.count));
        let labels = labels(self.metric, values, None);
        line(self.text, format_args!("{name}_sum{labels} {}", reading.sum));
        line(self.text, format_args!("{name}_count{labels} {}", reading.count));
    }
}

pub(super) fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

/// `{route="message.*",le="0.1"}`, or nothing where there are no labels.
fn labels(metric: &Metric, values: &[&str], up_to: Option<&str>) -> String {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let pairs = metric.labels.iter().copied().zip(values.iter().copied()).chain(up_to.map(|bound| ("le", bound)));
    let pairs: Vec<String> = pairs.map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

/// The format knows three escapes in the value of a label. Names of routes come from a configuration and may hold any.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// The tables of metrics in the guides, which are made from the metrics.
#[cfg(test)]
pub(super) mod documented {
    use std::path::Path;

    use super::{Metric, line};

    fn table(metrics: Vec<&'static Metric>) -> String {
        let mut text = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
        for metric in metrics {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            line(&mut text, format_args!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help));
        }
        text
    }

    /// Fails where the table of a guide is stale, or writes it again with `WRITE_DOCUMENTATION=1`.
    pub(crate) fn in_page(page: &str, metrics: Vec<&'static Metric>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs").join(page);
        let written = std::fs::read_to_string(&path).expect("a guide");
        let (before, rest) = written.split_once("<!-- metrics -->\n\n").expect("where the table begins");
        let (old, after) = rest.split_once("\n<!-- /metrics -->").expect("where the table ends");
        let fresh = table(metrics);
        if old == fresh {
            return;
        }
        assert!(
            std::env::var_os("WRITE_DOCUMENTATION").is_some(),
            "the table of metrics in src/docs/{page} is stale: run this test with WRITE_DOCUMENTATION=1"
        );
        let whole = format!("{before}<!-- metrics -->\n\n{fresh}\n<!-- /metrics -->{after}");
        std::fs::write(&path, whole).expect("a guide that can be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Metric = gauge("down", &["route"], "");

    #[test]
    fn the_value_of_a_label_is_escaped() {
        assert_eq!(labels(&DOWN, &["a\"b\\c\nd"], None), r#"{route="a\"b\\c\nd"}"#);
    }
}
