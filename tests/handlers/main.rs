//! The handlers that ship, against real files, pipes, processes and sockets.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "the bans are for the engine; a test watches it from outside")]

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use stream_sqsd::decode::decode;
use stream_sqsd::event::Event;
use support::log::Log;

#[path = "../support/mod.rs"]
mod support;
mod engine;
mod stdout;
mod file;
mod http;
mod gateway;
mod servers;
mod exec;
mod persistent;
#[cfg(feature = "test-postgres")]
mod postgres;

/// An event of type `message.new` that can be told from others.
fn event(text: &str) -> Event {
    decode(&format!(r#"{{"type":"message.new","message":{{"text":"{text}"}}}}"#), 1 << 20).expect("a good event")
}

/// Tells a test that it is the process to be killed, and where to work.
const CHILD: &str = "HANDLERS_TEST_CHILD";

/// This very test binary, running one test alone as a process that can be killed.
///
/// That test returns at once where [`CHILD`] is not set, which is when it is run among the others.
fn child(test: &str, place: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, place).stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

/// What a child says with [`say`], as it comes.
fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| Some(line.split_once("said ")?.1.to_owned()))
}

/// Says a line to the parent, in one write that no kill can tear.
fn say(text: &str) {
    io::Write::write_all(&mut io::stdout().lock(), format!("\nsaid {text}\n").as_bytes()).unwrap();
}

/// Makes a certificate for `localhost` and `webhooks.test`, its key, and the authority that signed it:
/// `certificate.pem`, `key.pem` and `authority.pem`. The paths of the first two.
fn certify(place: &Path) -> (PathBuf, PathBuf) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new([]).unwrap();
    // Of another name than the certificate's: OpenSSL takes that for signed by itself otherwise.
    authority.distinguished_name.push(rcgen::DnType::CommonName, "A company");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "webhooks.test".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(place.join("authority.pem"), issuer.pem()).unwrap();
    let paths = (place.join("certificate.pem"), place.join("key.pem"));
    fs::write(&paths.0, certificate.pem()).unwrap();
    fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}
