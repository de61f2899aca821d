//! A receiver of Stream's webhooks, as a customer has one: it knows nothing of ours, and verifies each signature.
//!
//! The path says how it answers:
//!
//! | path | answer |
//! |---|---|
//! | `/hook` | 200 when `X-Signature` is the body's, 401 when it is not |
//! | `/answer/CODE` | that status; `?retry-after=TEXT` and `?location=URL` add the headers |
//! | `/loop` | a redirect to itself |
//! | `/first/N/CODE` | that status to the first N requests, with `?retry-after=TEXT` as above; then as `/hook` |
//! | `/down/SECONDS/CODE` | that status until so long after the first request, then as `/hook` |
//! | `/late/SECONDS` | as `/hook`, after that time |
//! | `/broken` | none: the connection is closed |
//! | `/large` | 200 and a body of 10 MB |
//! | `/token/SECONDS` | as a token endpoint: 200 and the token `t-N`, where N counts the requests, for so long |
//! | `/token-by-form/SECONDS` | as `/token`, for those who name themselves in the form, and 401 to others |
//! | `/one-token/SECONDS` | as `/token` once, and 500 from then on |
//! | `/one-token-then-late/SECONDS` | as `/token` once, and from then on late by a minute |
//! | `/same-token/SECONDS` | as `/token`, and each time the token `t-1` |
//! | `/bearer/N` | 200 to whom has the token `t-N` or a later one, 401 to others |
//! | `/endless` | 200 and a body that never ends |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, ServerConnection, StreamOwned};

use super::until::PATIENCE;

/// A server on a port of its own.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    /// How many requests were asked for.
    taken: usize,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// Whether the signature is the body's.
    pub(crate) valid: bool,
    /// The number of its connection, from 1.
    pub(crate) connection: usize,
    pub(crate) arrived: Instant,
}

impl Request {
    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

struct Shared {
    secret: String,
    requests: Mutex<Vec<Request>>,
    came: Condvar,
}

impl Receiver {
    /// Verifies signatures with this secret. With a place it speaks TLS, with `certificate.pem` and `key.pem` there, and
    /// only to clients that the authorities in `clients.pem` vouch for where that is there.
    pub(crate) fn start(secret: &str, certificate: Option<&Path>) -> Receiver {
        let tls = certificate.map(|place| Arc::new(tls(place)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { secret: secret.to_owned(), requests: Mutex::default(), came: Condvar::new() });
        let served = shared.clone();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (stream, shared, tls) = (stream.unwrap(), served.clone(), tls.clone());
                // How a connection ends is the client's business.
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let session = ServerConnection::new(tls).unwrap();
                        drop(shared.serve(number + 1, StreamOwned::new(session, stream)));
                    }
                    None => drop(shared.serve(number + 1, stream)),
                });
            }
        });
        Receiver { port, shared, taken: 0 }
    }

    /// The next request that it got.
    pub(crate) fn got(&mut self) -> Request {
        let requests = self.shared.requests.lock().unwrap();
        let too_few = |requests: &mut Vec<Request>| requests.len() <= self.taken;
        let (requests, waited) = self.shared.came.wait_timeout_while(requests, PATIENCE, too_few).unwrap();
        assert!(!waited.timed_out(), "no further request came");
        self.taken += 1;
        requests[self.taken - 1].clone()
    }

    /// All that it got.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

fn tls(place: &Path) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_file(place.join("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(place.join("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let clients = place.join("clients.pem");
    if !clients.exists() {
        return config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(clients).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    config.with_client_cert_verifier(verifier.build().unwrap()).with_single_cert(vec![certificate], key).unwrap()
}

/// An answer: its status, further headers, and a body.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn of(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: b"{}".to_vec() }
    }

    fn with(mut self, name: &'static str, value: Option<&str>) -> Answer {
        self.headers.extend(value.map(|value| (name, value.to_owned())));
        self
    }

    fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} As asked\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        // These have no body, whatever is said of its length.
        if !matches!(self.status, 204 | 304) {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        let body = if matches!(self.status, 204 | 304) { &[][..] } else { &self.body };
        // One write, so that no acknowledgement is waited for in the middle.
        to.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
        to.flush()
    }
}

impl Shared {
    fn serve(&self, connection: usize, stream: impl Read + Write) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(request) = self.read(connection, &mut stream)? {
            let (valid, path) = (request.valid, request.path.clone());
            let authorization = request.header("authorization").map(str::to_owned);
            let earlier = self.note(request);
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let asked = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            let as_signed = || Answer::of(if valid { 200 } else { 401 });
            let seconds = |text: &str| Duration::from_secs_f64(text.parse().unwrap());
            let code = |text: &str| text.parse().unwrap();
            let answer = match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
                ["hook"] => as_signed(),
                ["answer", status] => {
                    let answer = Answer::of(code(status)).with("retry-after", asked("retry-after"));
                    answer.with("location", asked("location"))
                }
                ["loop"] => Answer::of(308).with("location", Some("/loop")),
                ["first", count, status] if earlier.len() < count.parse().unwrap() => {
                    Answer::of(code(status)).with("retry-after", asked("retry-after"))
                }
                ["first", ..] => as_signed(),
                ["down", for_so_long, status] => {
                    match earlier.first().is_none_or(|first| first.elapsed() < seconds(for_so_long)) {
                        true => Answer::of(code(status)),
                        false => as_signed(),
                    }
                }
                ["late", late] => {
                    thread::sleep(seconds(late));
                    as_signed()
                }
                ["token-by-form", _] if authorization.is_some() => Answer {
                    body: br#"{"error":"invalid_client","error_description":"hush"}"#.to_vec(),
                    ..Answer::of(401)
                },
                ["one-token", _] if !earlier.is_empty() => Answer::of(500),
                ["one-token-then-late", _] if !earlier.is_empty() => {
                    thread::sleep(Duration::from_secs(60));
                    Answer::of(500)
                }
                [kind @ ("token" | "token-by-form" | "one-token" | "one-token-then-late" | "same-token"), lasts] => {
                    let token = if kind == "same-token" { 1 } else { earlier.len() + 1 };
                    let token = format!("t-{token}");
                    let body =
                        serde_json::json!({ "access_token": token, "token_type": "Bearer", "expires_in": lasts });
                    Answer { body: body.to_string().into_bytes(), ..Answer::of(200) }
                }
                ["bearer", least] => {
                    let token = authorization.and_then(|text| text.strip_prefix("Bearer t-")?.parse::<u64>().ok());
                    Answer::of(if token.is_some_and(|token| token >= least.parse().unwrap()) { 200 } else { 401 })
                }
                ["broken"] => return Ok(()),
                ["large"] => Answer { body: vec![b'x'; 10_000_000], ..Answer::of(200) },
                ["endless"] => {
                    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
                    stream.get_mut().flush()?;
                    // Until the client has gone.
                    return stream.read_to_end(&mut Vec::new()).map(drop);
                }
                _ => Answer::of(404),
            };
            answer.send(stream.get_mut())?;
        }
        Ok(())
    }

    /// The next request, if there is one.
    fn read(&self, connection: usize, stream: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut first = String::new();
        if stream.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(&body);
        let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let valid = headers.get("x-signature") == Some(&signature);
        let (body, arrived) = (String::from_utf8(body).unwrap(), Instant::now());
        Ok(Some(Request { method, path, headers, body, valid, connection, arrived }))
    }

    /// Remembers a request; when the earlier ones for this path came.
    fn note(&self, request: Request) -> Vec<Instant> {
        let mut requests = self.requests.lock().unwrap();
        let earlier = requests.iter().filter(|other| other.path == request.path).map(|other| other.arrived).collect();
        requests.push(request);
        self.came.notify_all();
        earlier
    }
}
