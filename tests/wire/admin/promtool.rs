//! The metrics before the judge of Prometheus.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stream_sqsd::telemetry::Phase;

use super::*;

#[tokio::test]
#[ignore = "needs promtool: tests/run --all"]
async fn promtool_finds_nothing_to_say_about_the_metrics() {
    watched(&["message.new", "<img src=x onerror=alert(1)>.x"], async |watched| {
        watched.monitor.reached(Phase::Receiving).await;
        let metrics = get(watched.address, "/metrics").await.body;
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut promtool = promtool.spawn().expect("promtool, of the Debian package prometheus");
        std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), metrics.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    })
    .await;
}

#[test]
#[ignore = "needs promtool: tests/run --all"]
fn promtool_can_read_every_expression_of_the_dashboard() {
    let dashboard = deployed::dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    // It reads expressions in rules, and Grafana's variables only where a value stands.
    let rules = targets.enumerate().map(|(number, target)| {
        let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
        json!({"record": format!("dashboard:{number}"), "expr": expression})
    });
    let rules: Vec<Value> = rules.collect();
    assert!(rules.len() > 20, "the dashboard was not read");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    let output = Command::new("promtool").args(["check", "rules"]).arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}
