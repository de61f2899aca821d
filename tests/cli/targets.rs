//! What `check --online` says of the targets.

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use crate::daemon::{daemon, file, run};
use crate::queue::Sqs;
use crate::support::receiver::Receiver;

/// A queue of which nothing is said that matters here, and a file with these routes.
struct Checked {
    sqs: Sqs,
    place: tempfile::TempDir,
}

impl Checked {
    fn new() -> Checked {
        Checked { sqs: Sqs::with_dead_letter_queue(), place: tempfile::tempdir().unwrap() }
    }

    fn command(&self, routes: &str) -> std::process::Command {
        let path = file(self.place.path(), "c.toml", routes);
        daemon(&["check", "--online", "--json", "--config", &path, "--queue-url", &self.sqs.url()])
    }

    /// What is said of targets, with what it means and how to fix it.
    fn found(&self, routes: &str) -> Vec<Value> {
        of_targets(self.command(routes))
    }
}

fn of_targets(command: std::process::Command) -> Vec<Value> {
    let ended = run(command);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let findings = told["findings"].as_array().unwrap().clone();
    let about = |found: &Value| {
        ["route ", "journal: ", "reasons: "].iter().any(|name| found["what"].as_str().unwrap().starts_with(name))
    };
    let findings: Vec<Value> = findings.into_iter().filter(about).collect();
    if !findings.is_empty() {
        assert_eq!(ended.code, Some(1), "{findings:#?}");
    }
    findings
}

#[track_caller]
fn one(found: &[Value], what: &[&str], fix: &str) {
    assert_eq!(found.len(), 1, "{found:#?}");
    let text = |name: &str| found[0][name].as_str().unwrap();
    assert!(what.iter().all(|words| text("what").contains(words)), "{found:#?}");
    assert!(text("fix").contains(fix) && !text("why").is_empty() && found[0]["grade"] == "harm", "{found:#?}");
}

fn route(handler: &str) -> String {
    format!("[[route]]\nevents = [\"*\"]\nhandler = {handler}\n")
}

#[test]
fn a_url_is_connected_to_and_sent_nothing() {
    let checked = Checked::new();
    let receiver = Receiver::start("s3cret", None);
    let http = |port: u16| route(&format!("\"http\"\nurl = \"http://127.0.0.1:{port}/hook/t0ken\""));
    assert_eq!(checked.found(&http(receiver.port)), Vec::<Value>::new());
    assert!(receiver.requests().is_empty());

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let found = checked.found(&http(nobody));
    let origin = format!("http://127.0.0.1:{nobody}");
    one(&found, &["route 1: ", &origin, "there is no connection", "refused"], "start the target");
    assert!(!found[0].to_string().contains("t0ken"), "{found:#?}");
    // What is not here has one finding, and is not looked for.
    let elsewhere = route("\"http\"\nurl = { env = \"NOT_HERE\" }");
    assert_eq!(checked.found(&elsewhere), Vec::<Value>::new());
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_found() {
    let checked = Checked::new();
    let certify = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        file(checked.place.path(), &format!("{name}.pem"), made.cert.pem());
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let (certificate, key) = certify("authority");
    file(checked.place.path(), "certificate.pem", certificate);
    file(checked.place.path(), "key.pem", key);
    certify("another");
    let receiver = Receiver::start("s3cret", Some(checked.place.path()));
    let found = |authority: &str| {
        let route = route(&format!("\"http\"\nurl = \"https://localhost:{}/hook\"", receiver.port));
        let mut command = checked.command(&route);
        command.env("SSL_CERT_FILE", checked.place.path().join(authority));
        of_targets(command)
    };
    assert_eq!(found("authority.pem"), Vec::<Value>::new());
    let untrusted = found("another.pem");
    one(&untrusted, &["the TLS handshake failed", "invalid peer certificate"], "certificate that is trusted");
    assert!(untrusted[0]["why"].as_str().unwrap().contains("tls = { ca"), "{untrusted:#?}");
}

#[test]
fn a_file_is_looked_at_and_neither_made_nor_locked() {
    let checked = Checked::new();
    let path = checked.place.path().join("events.jsonl");
    let at = |path: &std::path::Path| route(&format!("\"file\"\npath = {path:?}"));
    assert_eq!(checked.found(&at(&path)), Vec::<Value>::new());
    assert!(!path.exists());
    fs::write(&path, "").unwrap();
    let locked = fs::File::open(&path).unwrap();
    locked.lock().unwrap();
    assert_eq!(checked.found(&at(&path)), Vec::<Value>::new(), "the daemon may be running");
    one(&checked.found(&at(checked.place.path())), &["is not a regular file"], "another path");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_or_directory_of_another_user_is_found_with_its_chown() {
    use std::os::unix::fs::PermissionsExt;

    let checked = Checked::new();
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), PermissionsExt::from_mode(0o777)).unwrap();
    fs::set_permissions(checked.place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let closed = checked.place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let path = closed.join("events.jsonl");
    fs::write(&path, "").unwrap();
    let found = |routes: &str| of_targets(crate::private::without_rights(&checked.command(routes), home.path()));
    let at = |path: &std::path::Path| route(&format!("\"file\"\npath = {path:?}"));
    let close = |mode| {
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        fs::set_permissions(&closed, PermissionsExt::from_mode(0o555)).unwrap();
    };
    close(0o444);
    one(&found(&at(&path)), &["cannot write to", "events.jsonl", "denied"], "sudo chown ");
    close(0o666);
    assert_eq!(found(&at(&path)), Vec::<Value>::new(), "it is there already");
    one(&found(&format!("{}rotate_size = \"1MiB\"\n", at(&path))), &["cannot make files in", "closed"], "sudo chown ");
    one(&found(&at(&closed.join("new"))), &["cannot make files in"], "sudo chown ");
    one(
        &found(&format!("journal = {:?}\n", closed.join("journal"))),
        &["journal: cannot make files in"],
        "sudo chown ",
    );
    let reasons = format!("[dead_letters]\nreasons = {:?}\n", closed.join("reasons"));
    one(&found(&reasons), &["reasons: cannot make files in"], "sudo chown ");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_database_that_is_not_there_is_found() {
    let checked = Checked::new();
    let postgres = "\"postgres\"\nurl = \"postgres://ada@127.0.0.1:1/stream\"";
    let words = ["the table stream_events cannot be written to", "cannot be reached"];
    one(&checked.found(&route(postgres)), &words, "start the database");
}

#[cfg(all(target_os = "linux", feature = "test-postgres"))]
mod postgres {
    use super::*;
    use crate::memory::postgres::Cluster;

    #[test]
    fn a_missing_table_names_init_postgres_which_makes_it() {
        let (checked, cluster) = (Checked::new(), Cluster::start());
        let routes = route(&format!("\"postgres\"\nurl = \"{}\"", cluster.url()));
        let found = checked.found(&routes);
        let path = checked.place.path().join("c.toml").display().to_string();
        one(&found, &["stream_events", "does not exist"], &format!("stream-sqsd init-postgres {path}"));
        run(daemon(&["init-postgres", &path, "--queue-url", &checked.sqs.url()])).with(0);
        assert_eq!(checked.found(&routes), Vec::<Value>::new());
    }
}
