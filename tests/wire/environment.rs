//! What the environment says: proxies, certificates, credentials, regions, endpoints.
//!
//! A process has one environment, so each test runs [`a_receive_in_an_environment_of_its_own`] in a process of its own,
//! with nothing of this one's environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stream_sqsd::queue::Queue;
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsOptions, SqsQueue};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto, pki_types};

use super::server::{Answer, Script, Server, message, read_request};

const AWS_URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/chat-events";

/// Not a test of its own: what the others run. It receives once and prints what came of it.
#[tokio::test]
#[ignore = "the other tests run it, each with an environment"]
async fn a_receive_in_an_environment_of_its_own() {
    let Ok(url) = std::env::var("WIRE_QUEUE_URL") else { return };
    let mut options = SqsOptions::new(QueueAddress::Url(QueueUrl::parse(&url).unwrap()));
    options.profile = std::env::var("WIRE_PROFILE").ok();
    options.client = super::CLIENT;
    let outcome = match SqsQueue::connect(options).await {
        Err(error) => format!("{error}"),
        Ok(queue) => match queue.receive(10, Duration::from_secs(1), None).await {
            Ok(deliveries) => format!("{} from {}", deliveries.len(), queue.region()),
            Err(error) => format!("{}: {error}", error.label()),
        },
    };
    println!("\nOUTCOME {outcome}");
}

/// A folder of the test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("stream-sqsd-wire-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Receives once with this environment and says what came of it.
async fn receive_with(url: &str, environment: &[(&str, &str)]) -> String {
    let mut all = BTreeMap::from([
        ("WIRE_QUEUE_URL", url),
        ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
        ("AWS_SECRET_ACCESS_KEY", "a secret of no use"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
        ("HOME", "/nonexistent"),
        // Where no test asks for more, nothing is trusted but the system.
        ("PATH", ""),
    ]);
    all.extend(environment.iter().copied());
    all.retain(|_, value| *value != "unset");
    // Without the name of the crate, as the test binary knows its tests.
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::a_receive_in_an_environment_of_its_own");
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--ignored", "--nocapture"])
        .env_clear()
        .envs(all)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), child).await.expect("a receive ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcome = text.lines().find_map(|line| line.strip_prefix("OUTCOME "));
    outcome.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

/// A proxy that leads every tunnel to one place, and every plain request to a script.
struct Proxy {
    url: String,
    script: Arc<Script>,
    asked: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(tunnels_to: Option<std::net::SocketAddr>, answers: Vec<Answer>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (script, asked) = (Script::new(answers), Arc::default());
        let proxy = Proxy { url, script: script.clone(), asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (script, asked) = (script.clone(), asked.clone());
                tokio::spawn(async move {
                    let Some(to) = tunnels_to else {
                        script.serve(stream).await;
                        return;
                    };
                    let request = read_request(&mut stream).await.unwrap();
                    asked.lock().unwrap().push(request.line);
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
                });
            }
        });
        proxy
    }

    fn tunnels(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn plain_requests(&self) -> Vec<String> {
        self.script.seen().into_iter().map(|request| request.line).collect()
    }
}

/// A server of `sqs.eu-west-1.amazonaws.com` with a certificate of a company's own authority, whose PEM comes with it.
async fn company_server(answers: Vec<Answer>) -> (std::net::SocketAddr, Arc<Script>, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let authority = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let name = rcgen::CertificateParams::new(["sqs.eu-west-1.amazonaws.com".to_owned()]).unwrap();
    let certificate = name.signed_by(&key, &authority).unwrap();

    let key = pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = Script::new(answers);
    let served = script.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, script) = (acceptor.clone(), served.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    script.serve(stream).await;
                }
            });
        }
    });
    (address, script, pem)
}

#[tokio::test]
async fn a_proxy_of_a_private_authority_works_with_the_urls_region() {
    let folder = Folder::new("authority");
    let (address, script, pem) = company_server(vec![Answer::messages(vec![message("m-1", "{}")])]).await;
    let proxy = Proxy::start(Some(address), vec![Answer::Reset]).await;
    let authority = folder.file("authority.pem", &pem);
    let environment = [
        ("HTTPS_PROXY", proxy.url.as_str()),
        ("SSL_CERT_FILE", &authority),
        // The URL's region is another one, and counts.
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ];
    assert_eq!(receive_with(AWS_URL, &environment).await, "1 from eu-west-1");
    assert_eq!(proxy.tunnels(), ["CONNECT sqs.eu-west-1.amazonaws.com:443 HTTP/1.1"]);
    let seen = script.seen();
    assert_eq!(seen[0].signed_region(), "eu-west-1");
    assert_eq!(seen[0].header("host"), "sqs.eu-west-1.amazonaws.com");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_talked_to() {
    let folder = Folder::new("stranger");
    let (address, script, _) = company_server(vec![Answer::messages(vec![])]).await;
    let (_, _, another) = company_server(vec![Answer::messages(vec![])]).await;
    let proxy = Proxy::start(Some(address), vec![Answer::Reset]).await;
    let another = folder.file("authority.pem", &another);
    let environment = [("HTTPS_PROXY", proxy.url.as_str()), ("SSL_CERT_FILE", &another)];
    let outcome = receive_with(AWS_URL, &environment).await;
    assert!(outcome.starts_with("unreachable: ") && outcome.contains("certificate"), "{outcome}");
    assert!(script.seen().is_empty());
}

#[tokio::test]
async fn plain_http_uses_its_proxy_unless_no_proxy_names_the_host() {
    let proxy = Proxy::start(None, vec![Answer::ok(json!({}))]).await;
    // A name that no resolver knows: only a proxy can lead to it.
    let url = "http://emulator.invalid:4566/000000000000/chat-events";
    let outcome = receive_with(url, &[("HTTP_PROXY", &proxy.url)]).await;
    assert_eq!(outcome, "0 from us-east-1");
    assert_eq!(proxy.plain_requests(), ["POST http://emulator.invalid:4566/ HTTP/1.1"]);

    let outcome = receive_with(url, &[("HTTP_PROXY", &proxy.url), ("NO_PROXY", "other.example,.invalid")]).await;
    assert!(outcome.starts_with("unreachable: "), "{outcome}");
    assert_eq!(proxy.plain_requests().len(), 1);
}

#[tokio::test]
async fn link_local_hosts_and_credentials_use_no_proxy() {
    let proxy = Proxy::start(None, vec![Answer::error(403, "AccessDenied", "from the proxy")]).await;
    let credentials = json!({
        "AccessKeyId": "AKIDOFTASK", "SecretAccessKey": "none", "Token": "none", "Expiration": "2099-01-01T00:00:00Z",
    });
    let task = Server::start(vec![Answer::ok(credentials)]).await;
    let server = Server::start(vec![Answer::ok(json!({}))]).await;
    let task_url = format!("http://{}/credentials", task.address);
    let environment = [
        ("HTTP_PROXY", proxy.url.as_str()),
        ("HTTPS_PROXY", &proxy.url),
        ("ALL_PROXY", &proxy.url),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &task_url),
        ("AWS_ACCESS_KEY_ID", "unset"),
        ("AWS_SECRET_ACCESS_KEY", "unset"),
    ];
    assert_eq!(receive_with(&server.url("chat-events"), &environment).await, "0 from us-east-1");
    assert_eq!(proxy.plain_requests(), [""; 0]);
    assert!(server.seen()[0].header("authorization").contains("AKIDOFTASK"));
}

#[tokio::test]
async fn every_name_of_this_machine_is_next_door() {
    let proxy = Proxy::start(None, vec![Answer::error(403, "AccessDenied", "from the proxy")]).await;
    let hosts = ["127.0.0.2", "[::1]", "localhost", "sqs.localhost", "sqs.us-east-1.localhost.localstack.cloud"];
    for host in hosts {
        // Nobody listens there.
        let url = format!("http://{host}:1/000000000000/chat-events");
        let outcome = receive_with(&url, &[("ALL_PROXY", &proxy.url)]).await;
        assert!(outcome.starts_with("unreachable: "), "{outcome}");
    }
    let outcome = receive_with("http://notlocalhost:1/000000000000/chat-events", &[("ALL_PROXY", &proxy.url)]).await;
    assert!(outcome.starts_with("access_denied: "), "{outcome}");
    assert_eq!(proxy.plain_requests().len(), 1);
}

#[tokio::test]
async fn missing_credentials_are_not_an_unreachable_queue() {
    let server = Server::start(vec![Answer::ok(json!({}))]).await;
    let none = [("AWS_ACCESS_KEY_ID", "unset"), ("AWS_SECRET_ACCESS_KEY", "unset")];
    let outcome = receive_with(&server.url("chat-events"), &none).await;
    assert!(
        outcome.starts_with("credentials: no good credentials: environment, profiles and roles gave none: "),
        "{outcome}"
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn credentials_that_never_come_are_missing_credentials_too() {
    let task = Server::start(vec![Answer::Silence]).await;
    let task_url = format!("http://{}/credentials", task.address);
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", task_url.as_str()),
        ("AWS_ACCESS_KEY_ID", "unset"),
        ("AWS_SECRET_ACCESS_KEY", "unset"),
    ];
    let server = Server::start(vec![Answer::ok(json!({}))]).await;
    let outcome = receive_with(&server.url("chat-events"), &environment).await;
    let expected =
        "credentials: no good credentials: environment, profiles and roles gave none: identity resolver timed out";
    assert!(outcome.starts_with(expected), "{outcome}");
}

#[tokio::test]
async fn off_aws_the_region_is_configured_or_us_east_1() {
    let folder = Folder::new("profile");
    let profile = folder.file("config", "[default]\nregion = sa-east-1\n[profile other]\nregion = ap-south-1\n");
    let server = Server::start(vec![Answer::ok(json!({}))]).await;
    let url = server.url("chat-events");
    assert_eq!(receive_with(&url, &[]).await, "0 from us-east-1");
    assert_eq!(receive_with(&url, &[("AWS_REGION", "eu-north-1")]).await, "0 from eu-north-1");
    assert_eq!(receive_with(&url, &[("AWS_CONFIG_FILE", &profile)]).await, "0 from sa-east-1");
    let other = [("AWS_CONFIG_FILE", profile.as_str()), ("WIRE_PROFILE", "other")];
    assert_eq!(receive_with(&url, &other).await, "0 from ap-south-1");
}

#[tokio::test]
async fn a_configured_endpoint_beats_the_host_of_the_url() {
    let folder = Folder::new("endpoint");
    let server = Server::start(vec![Answer::ok(json!({}))]).await;
    let endpoint = format!("http://{}", server.address);
    let profile = "[default]\nservices = local\n[services local]\nsqs =\n  endpoint_url = ";
    let profile = folder.file("config", &format!("{profile}{endpoint}\n"));
    // The host of each URL leads nowhere.
    let emulator = "http://emulator.invalid:4566/000000000000/chat-events";
    let fips = "https://sqs-fips.us-east-2.amazonaws.com/123456789012/chat-events";
    let nowhere = "http://127.0.0.1:1";
    for (url, region) in [(emulator, "us-east-1"), (AWS_URL, "eu-west-1"), (fips, "us-east-2")] {
        let expected = format!("0 from {region}");
        assert_eq!(receive_with(url, &[("AWS_ENDPOINT_URL", &endpoint)]).await, expected);
        let both = [("AWS_ENDPOINT_URL_SQS", endpoint.as_str()), ("AWS_ENDPOINT_URL", nowhere)];
        assert_eq!(receive_with(url, &both).await, expected);
        assert_eq!(receive_with(url, &[("AWS_CONFIG_FILE", &profile)]).await, expected);
    }
    assert_eq!(server.seen().len(), 9);
}

#[tokio::test]
async fn a_fips_or_dual_stack_url_leads_to_the_endpoint_of_its_kind() {
    for (host, expected) in [
        ("sqs-fips.us-east-2.amazonaws.com", "sqs-fips.us-east-2.amazonaws.com"),
        ("sqs.us-east-2.api.aws", "sqs.us-east-2.api.aws"),
        ("sqs-fips.us-east-2.api.aws", "sqs-fips.us-east-2.api.aws"),
        ("us-east-2.queue.amazonaws.com", "sqs.us-east-2.amazonaws.com"),
        ("vpce-0a1b.sqs.us-east-2.vpce.amazonaws.com", "vpce-0a1b.sqs.us-east-2.vpce.amazonaws.com"),
    ] {
        // The tunnel leads nowhere: where it was to lead is all that is asked here.
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let proxy = Proxy::start(Some(nowhere), vec![Answer::Reset]).await;
        let url = format!("https://{host}/123456789012/chat-events");
        let outcome = receive_with(&url, &[("HTTPS_PROXY", &proxy.url)]).await;
        assert!(outcome.starts_with("unreachable: "), "{outcome}");
        assert_eq!(proxy.tunnels(), [format!("CONNECT {expected}:443 HTTP/1.1")]);
    }
}
