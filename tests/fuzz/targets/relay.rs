//! Any bytes on a connection of the relay, and any body in a signed request: no panic, an answer of HTTP or none, and what is
//! answered 200 is exactly what verifies and is an event.
#![no_main]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::relay::{App, Relay, RelaySettings};
use stream_sqsd::webhook::{SigningKey, verify_and_parse_up_to};

const SECRET: &str = "tsec2";

/// A relay that stays for all inputs, and its queue.
fn relay() -> &'static (SocketAddr, MemoryQueue) {
    static RELAY: OnceLock<(SocketAddr, MemoryQueue)> = OnceLock::new();
    RELAY.get_or_init(|| {
        let queue = MemoryQueue::new(MemorySettings::new().with_retention(Duration::from_millis(100)));
        let (tell, address) = std::sync::mpsc::channel();
        let into = queue.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let app = App::new("k", SigningKey::new(SECRET));
                let relay = Relay::new(RelaySettings::new([app], SystemTime::now), into).unwrap();
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                relay.serve(listener, std::future::pending()).await;
            });
        });
        (address.recv().expect("the relay is there"), queue)
    })
}

/// What is answered to these bytes.
fn ask(request: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(relay().0).expect("the relay accepts");
    // It may close before it has read everything.
    let _ = connection.write_all(request);
    let _ = connection.shutdown(std::net::Shutdown::Write);
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    if let Err(error) = connection.read_to_end(&mut answer) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it hangs");
    }
    answer
}

fn code(answer: &[u8]) -> Option<u16> {
    // Who asks by HTTP/1.0 is answered by it.
    let line = answer.strip_prefix(b"HTTP/1.1 ").or(answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    if mode % 2 == 0 {
        // Nobody has signed it.
        let sent = relay().1.counts().sent;
        let answer = ask(rest);
        assert!(answer.is_empty() || code(&answer).is_some(), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(relay().1.counts().sent, sent);
        return;
    }
    let json = match rest.starts_with(&[0x1f, 0x8b]) {
        // What a gzip holds is known when it is inflated; of a damaged one the signature is not looked at.
        true => {
            let mut inflated = Vec::new();
            let reader = flate2::read::MultiGzDecoder::new(rest);
            let _ = reader.take(8 << 20).read_to_end(&mut inflated);
            inflated
        }
        false => rest.to_vec(),
    };
    let signature = SigningKey::new(SECRET).unwrap().sign(&json);
    let head = format!(
        "POST /webhooks/stream HTTP/1.1\r\nHost: h\r\nX-Api-Key: k\r\nX-Signature: {signature}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        rest.len()
    );
    let answer = code(&ask(&[head.as_bytes(), rest].concat()));
    let is_event = verify_and_parse_up_to(rest, &signature, SECRET, 4 << 20).is_ok();
    assert_eq!(answer == Some(200), is_event, "{answer:?}");
});
