//! What the relay costs: CPU for an event, from the socket to a queue that takes everything, and memory for connections
//! that say nothing. It stands on a thread of its own, whose CPU is counted; who sends is another process.
#![allow(
    clippy::disallowed_methods,
    reason = "the bans are for the engine; a benchmark has the real clock and threads"
)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

use nix::time::{ClockId, clock_gettime};
use stream_sqsd::queue::{EntryResult, Outgoing, QueueError, Sender};
use stream_sqsd::relay::{App, Relay, RelaySettings};
use stream_sqsd::webhook::SigningKey;

use super::payload::{Form, Size, bodies};

const EVENTS: usize = 40_000;
const SENDERS: usize = 16;
const IDLE: usize = 10_000;
const SECRET: &str = "s3cret";

/// A queue that takes everything at once.
struct Sink;

impl Sender for Sink {
    async fn send_batch(&self, batch: &[Outgoing]) -> Result<Vec<EntryResult>, QueueError> {
        Ok(batch.iter().map(|_| Ok(())).collect())
    }

    fn keeps_order(&self) -> bool {
        false
    }

    fn open_new_connections(&self) {}
}

/// Both figures.
pub(crate) fn measure() -> Result<(), Box<dyn Error>> {
    for form in [Form::Plain, Form::Gzip] {
        println!("relay, {} of 6 KB: {:.1} µs of CPU an event", form.name(), cpu(form)?);
    }
    let (silent, spoken) = idle()?;
    println!("relay, {IDLE} idle connections: {silent:.0} MB that never spoke, {spoken:.0} MB after an event each");
    Ok(())
}

/// A relay on a thread of its own, and what tells it to say how much CPU it has taken.
fn start() -> (SocketAddr, mpsc::Receiver<Duration>, tokio_util::sync::CancellationToken) {
    let (tell, told) = mpsc::channel();
    let (at, address) = mpsc::channel();
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let app = App::new("key", SigningKey::new(SECRET));
            let relay = Relay::new(RelaySettings::new([app], SystemTime::now), Sink).expect("a relay");
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            at.send(listener.local_addr().expect("an address")).expect("someone listens");
            relay.serve(listener, stopped.cancelled()).await;
        });
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock");
        tell.send(Duration::from(time)).expect("someone listens");
    });
    (address.recv().expect("an address"), told, stop)
}

/// Microseconds an event.
fn cpu(form: Form) -> Result<f64, Box<dyn Error>> {
    let (address, told, stop) = start();
    let sent = child(&["relay-send", &address.to_string(), form.name()])?.wait()?;
    assert!(sent.success());
    stop.cancel();
    Ok(told.recv()?.as_secs_f64() * 1e6 / EVENTS as f64)
}

fn child(words: &[&str]) -> std::io::Result<std::process::Child> {
    Command::new(env::current_exe()?).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// Megabytes more than before.
fn idle() -> Result<(f64, f64), Box<dyn Error>> {
    let (address, _told, stop) = start();
    let mut memory = Vec::new();
    // What the first kind gives back stays with the allocator, and serves the second one.
    let before = resident();
    for kind in ["silent", "spoken"] {
        let mut child = child(&["relay-idle", &address.to_string(), kind])?;
        let mut ready = [0];
        child.stdout.take().expect("a pipe").read_exact(&mut ready)?;
        thread::sleep(Duration::from_secs(1));
        memory.push((resident() - before) as f64 / 1e6);
        drop(child.stdin.take());
        child.wait()?;
        thread::sleep(Duration::from_secs(2));
    }
    stop.cancel();
    Ok((memory[0], memory[1]))
}

fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0) * 1024
}

/// Events as Stream sends them.
fn requests(form: Form, count: usize) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let key = SigningKey::new(SECRET).expect("a secret");
    let plain = bodies(Form::Plain, Size::Medium, 8);
    let sent = bodies(form, Size::Medium, 8);
    let request = |number: usize| {
        let (json, body) = (&plain[number % 8], &sent[number % 8]);
        let body = match form {
            Form::Gzip => base64::engine::general_purpose::STANDARD.decode(body).expect("base64"),
            _ => body.clone().into_bytes(),
        };
        let head = format!(
            "POST /webhooks/stream HTTP/1.1\r\nHost: relay.example.com\r\nUser-Agent: getstream\r\nContent-Type: \
             application/json\r\nX-Api-Key: key\r\nX-Signature: {}\r\nX-Webhook-Id: id-{number}\r\nX-Webhook-Attempt: \
             1\r\nContent-Length: {}\r\n\r\n",
            key.sign(json.as_bytes()),
            body.len()
        );
        [head.into_bytes(), body].concat()
    };
    (0..count).map(request).collect()
}

/// The other process: sends all events, on a few connections.
pub(crate) fn send(address: &str, form: &str) -> Result<(), Box<dyn Error>> {
    let form = Form::ALL.into_iter().find(|known| known.name() == form).ok_or("no such form")?;
    let requests = requests(form, EVENTS);
    let began = Instant::now();
    thread::scope(|scope| {
        for part in requests.chunks(EVENTS / SENDERS) {
            scope.spawn(move || {
                let mut connection = TcpStream::connect(address).expect("a connection");
                part.iter().for_each(|request| exchange(&mut connection, request));
            });
        }
    });
    eprintln!("{EVENTS} events in {:.1?}", began.elapsed());
    Ok(())
}

fn exchange(connection: &mut TcpStream, request: &[u8]) {
    connection.write_all(request).expect("it is taken");
    let mut answer = [0; 1024];
    let read = connection.read(&mut answer).expect("an answer");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..read]));
}

/// The other process: holds connections until its standard input ends.
pub(crate) fn hold(address: &str, kind: &str) -> Result<(), Box<dyn Error>> {
    let requests = if kind == "spoken" { requests(Form::Plain, IDLE) } else { Vec::new() };
    let mut connections = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        let mut connection = TcpStream::connect(address)?;
        if let Some(request) = requests.get(number) {
            exchange(&mut connection, request);
        }
        connections.push(connection);
    }
    println!("!");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
