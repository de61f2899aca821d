//! What is not the cost of a message: the daemon when it is idle, when a backlog appears, and when it starts.
//!
//! All of it is asked of the daemon's own binary.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto, pki_types};

use crate::Outcome;
use crate::process::{Process, wait_until};
use crate::server::{ENDLESS, Load, Seen, Server};
use crate::side::{Bench, Side};

/// The daemon on an empty queue: receives an hour, and the share of a core that it uses.
pub(crate) fn idle(bench: Bench<'_>, load: Load, watched: Duration, core: usize) -> Outcome<(f64, f64)> {
    let server = Server::start(Load { backlog: 0, ..load }, bench.server_core, None)?;
    server.watch();
    let process = Process::start(&mut bench.programs.command(Side::Daemon, &server.url(), 8)?, &[core])?;
    // The first one is short, to know a wrong queue at once.
    wait_until("the second receive", Duration::from_secs(60), || Ok(server.counts().receives >= 2))?;
    let (cpu, begun) = (process.cpu()?, Instant::now());
    thread::sleep(watched);
    let share = (process.cpu()? - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    let receives: Vec<Instant> = server.seen().iter().filter_map(Seen::receive).skip(1).collect();
    match receives[..] {
        [first, .., last] => {
            Ok(((receives.len() - 1) as f64 * 3600.0 / last.duration_since(first).as_secs_f64(), share))
        }
        _ => Err("too few receives to tell how many they are in an hour".into()),
    }
}

/// How long it takes from a backlog's appearance to nine tenths of the full rate, and that rate in messages a second.
///
/// The full rate is that of the last half of the time that is watched. The first quarter of a tenth of a second in which
/// deletes came at nine tenths of it is found, and its end is what counts.
pub(crate) fn wake_up(bench: Bench<'_>, load: Load, pollers: usize, core: usize) -> Outcome<(Duration, f64)> {
    const WINDOW: Duration = Duration::from_millis(25);
    let server = Server::start(Load { backlog: 0, ..load }, bench.server_core, None)?;
    let _process = Process::start(&mut bench.programs.command(Side::Daemon, &server.url(), pollers)?, &[core])?;
    wait_until("the second receive", Duration::from_secs(60), || Ok(server.counts().receives >= 2))?;
    thread::sleep(Duration::from_millis(300));
    server.watch();
    let begun = Instant::now();
    server.fill(ENDLESS);
    let watched = bench.window * 2;
    thread::sleep(watched);
    let deletes: Vec<(Duration, u64)> = server
        .seen()
        .iter()
        .filter_map(|seen| match seen {
            Seen::Deleted(at, count) => Some((at.duration_since(begun), *count)),
            Seen::Receive(_) => None,
        })
        .collect();
    let between = |from: Duration, to: Duration| -> f64 {
        let inside = deletes.iter().filter(|(at, _)| (from..to).contains(at));
        inside.map(|(_, count)| *count).sum::<u64>() as f64 / (to - from).as_secs_f64()
    };
    let full = between(watched / 2, watched);
    let mut from = Duration::ZERO;
    while between(from, from + WINDOW) < full * 0.9 {
        from += Duration::from_millis(1);
        if from > watched {
            return Err("the full rate was never reached".into());
        }
    }
    Ok((from + WINDOW, full))
}

/// How long it takes from the start of the process to its first line, over TLS: the CPU that it uses for that, and the
/// time on the clock, with what the server and the machine add.
pub(crate) fn start(bench: Bench<'_>, load: Load, core: usize) -> Outcome<(Duration, Duration)> {
    let (acceptor, bundle) = certificates()?;
    let server = Server::start(load, bench.server_core, Some(acceptor))?;
    let url = format!("https://localhost:{}/000000000000/chat-events", server.address.port());
    let mut command = bench.programs.command(Side::Daemon, &url, 8)?;
    // A directory that the machine names would be read as well.
    command.env("SSL_CERT_FILE", bundle).env_remove("SSL_CERT_DIR").stdout(Stdio::piped());
    let begun = Instant::now();
    let mut process = Process::start(&mut command, &[core])?;
    let mut line = String::new();
    BufReader::new(process.stdout()?).read_line(&mut line)?;
    let (cpu, clock) = (process.cpu()?, begun.elapsed());
    if line.is_empty() { Err("no first line".into()) } else { Ok((cpu, clock)) }
}

/// A server of `localhost`, and a file of certificates with its authority among those of the system: reading them all is
/// a part of a start.
fn certificates() -> Outcome<(TlsAcceptor, std::path::PathBuf)> {
    let mut authority = rcgen::CertificateParams::new([])?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::CertifiedIssuer::self_signed(authority, rcgen::KeyPair::generate()?)?;
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &issuer)?;

    let bundle = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cost-certificates.pem");
    let system = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    fs::write(&bundle, system + &issuer.pem())?;

    let key = pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), bundle))
}
