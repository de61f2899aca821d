//! The metrics before the judge of Prometheus.

use std::process::{Command, Stdio};

use stream_sqsd::telemetry::Phase;

use super::*;

#[tokio::test]
#[ignore = "needs promtool: localstack/test --all"]
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
