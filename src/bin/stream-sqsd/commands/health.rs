//! `stream-sqsd health`: asks the daemon of the same configuration whether it is alive. For health checks where there is
//! neither a shell nor curl.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use stream_sqsd::queue::sqs::QueueAddress;

use crate::config;
use crate::config::listen::Listen;
use crate::config::secret::Missing;
use crate::config::settings::{Flags, OfRun};
use crate::config::source::ConfigArguments;
use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure, say};

const HEALTH_HELP: &str = "\
The exit code is 0 when it is alive, also when it is draining or its target is down, and 1 when it is not, when it \
consumes another queue, or when nobody answers at the address of --admin.";

/// Ask the daemon of the same configuration whether it is alive: for health checks of containers.
#[derive(Debug, Args)]
#[command(after_help = HEALTH_HELP)]
pub(crate) struct HealthArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
}

/// How long connecting, and each part of the answer, may take. The daemon gives up after ten seconds in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that is read of an answer: many times what a status is.
const MOST: u64 = 4 << 20;

pub(crate) fn health(arguments: HealthArguments, signals: Signals) -> Result<Exit, Failure> {
    signals.end_at_once()?;
    let config = config::of_run(arguments.settings, arguments.config.path(), Missing::Warned)?;
    let address = match config.admin {
        Listen::IfFree(address) | Listen::Here(address) if address.port() != 0 => reachable(address),
        listen => return Err(Failure::usage(format!("there is no address to ask: --admin is {listen}"))),
    };
    let verdict = match ask(address) {
        Ok(status) => check(&status, &config.queue.queue),
        Err(error) => Err(format!("no daemon answers at {address}: {error}")),
    };
    match verdict {
        Ok(phase) => {
            say(&format!("healthy: {phase}"));
            Ok(Exit::Done)
        }
        Err(why) => {
            say(&format!("unhealthy: {why}"));
            Ok(Exit::Findings)
        }
    }
}

/// One listens at all addresses and asks at one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr) -> io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Anyone who looks only for this needs no depth of the queue, which would cost a request each time.
    stream.write_all(
        format!("GET /status?depth=no HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.take(MOST).read_to_string(&mut answer)?;
    let no_status = || io::Error::other("what answers is not stream-sqsd");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_status)?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(no_status());
    }
    serde_json::from_str(body).map_err(|_| no_status())
}

/// The phase of a daemon that is alive and consumes this queue; otherwise what is wrong.
fn check(status: &Value, queue: &QueueAddress) -> Result<String, String> {
    let text = |name: &str| status.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let other = text("queue");
    if !queue.is_at(&other) {
        return Err(format!("the daemon that answers consumes another queue: {other}"));
    }
    if status.get("live").and_then(Value::as_bool) != Some(true) {
        return Err("a receive has been open, or the consumer's loop has stood still, for too long".to_owned());
    }
    Ok(text("phase"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use serde_json::json;
    use stream_sqsd::queue::sqs::QueueUrl;

    use super::*;

    const URL: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/chat-events";

    #[test]
    fn a_daemon_is_healthy_when_it_is_alive_and_consumes_this_queue() {
        let by_url = QueueAddress::Url(QueueUrl::parse(URL).unwrap());
        let by_name = |name: &str| QueueAddress::Name { name: name.to_owned(), account: None };
        let status = |live| json!({"queue": URL, "live": live, "phase": "draining"});
        assert_eq!(check(&status(true), &by_url), Ok("draining".to_owned()));
        assert_eq!(check(&status(true), &by_name("chat-events")), Ok("draining".to_owned()));
        assert!(check(&status(true), &by_name("events")).unwrap_err().contains("another queue"));
        assert!(check(&status(false), &by_url).is_err());
        assert!(check(&json!({}), &by_url).is_err());
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_the_loopback() {
        let asked = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(asked("[::]:9464"), "[::1]:9464");
        assert_eq!(asked("10.0.0.7:9464"), "10.0.0.7:9464");
    }
}
