//! The promises of the http handler, to a receiver that knows nothing of ours.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use stream_sqsd::consumer::Settings;
use stream_sqsd::decode::decode;
use stream_sqsd::handler::{Context, FailureKind, Handler, HandlerError};
use stream_sqsd::handlers::http::{BadTemplate, BadUrl, Http, HttpError, HttpSettings};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream, copy_bidirectional};
use tokio::net::TcpStream;

use crate::engine::Engine;
use crate::support::receiver::Receiver;
use crate::{CHILD, Log, certify, child, event, said, say};

const SECRET: &str = "tsec2";

fn receiver() -> Receiver {
    Receiver::start(SECRET, None)
}

fn settings(receiver: &Receiver, path: &str) -> HttpSettings {
    HttpSettings::new(format!("http://127.0.0.1:{}{path}", receiver.port)).with_api_key("key1").with_api_secret(SECRET)
}

fn http(receiver: &Receiver, path: &str) -> Http {
    Http::new(settings(receiver, path)).unwrap()
}

async fn post(http: &Http, id: &str) -> Result<(), HandlerError> {
    http.handle(event("hello"), Context::for_test(id)).await
}

async fn failure(http: &Http) -> HandlerError {
    post(http, "id-1").await.expect_err("an error")
}

#[tokio::test]
async fn an_event_arrives_as_a_webhook_of_stream_with_its_signature() {
    let mut receiver = receiver();
    let http = http(&receiver, "/hook?tenant=7");
    let body = "{\n \"type\":\"message.new\",\"text\":\"\\u00e9 ü\"}";
    http.handle(decode(body, 1000).unwrap(), Context::for_test("id-1")).await.unwrap();
    let got = receiver.got();
    assert_eq!((got.body.as_str(), got.valid), (body, true));
    assert_eq!((got.method.as_str(), got.path.as_str()), ("POST", "/hook?tenant=7"));
    for (name, value) in [
        ("x-webhook-id", "id-1"),
        ("x-webhook-attempt", "1"),
        ("x-api-key", "key1"),
        ("content-type", "application/json"),
        ("user-agent", concat!("stream-sqsd/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    assert_eq!(got.header("content-encoding"), None);
}

#[tokio::test]
async fn every_2xx_is_done() {
    let receiver = receiver();
    for code in [200, 201, 202, 204, 299] {
        post(&http(&receiver, &format!("/answer/{code}")), "1").await.unwrap_or_else(|error| panic!("{code}: {error}"));
    }
}

#[tokio::test]
async fn answers_about_the_load_are_a_target_that_is_busy() {
    let receiver = receiver();
    for code in [408, 429, 503] {
        let error = failure(&http(&receiver, &format!("/answer/{code}"))).await;
        assert_eq!((error.kind(), error.delay()), (FailureKind::TargetBusy, None), "{code}: {error}");
        assert!(error.to_string().contains(&code.to_string()), "{error}");
    }
}

#[tokio::test]
async fn other_answers_about_the_target_are_a_target_that_is_down() {
    let receiver = receiver();
    for code in [500, 502, 504, 599, 401, 403, 404, 407, 300, 301, 302, 303, 304, 307, 308] {
        let error = failure(&http(&receiver, &format!("/answer/{code}?location=/hook"))).await;
        assert_eq!((error.kind(), error.delay()), (FailureKind::TargetDown, None), "{code}: {error}");
        assert!(error.to_string().contains(&code.to_string()), "{error}");
    }
}

#[tokio::test]
async fn the_other_4xx_are_a_bad_message() {
    let receiver = receiver();
    for code in [400, 402, 405, 406, 409, 410, 413, 415, 418, 422, 431, 451, 499] {
        let error = failure(&http(&receiver, &format!("/answer/{code}?retry-after=3"))).await;
        assert_eq!((error.kind(), error.delay()), (FailureKind::Reject, None), "{code}: {error}");
    }
}

#[tokio::test]
async fn a_target_that_refuses_all_is_logged_once_without_its_path() {
    let receiver = receiver();
    let log = Log::of_this_thread();
    for code in [401, 403, 404, 407, 301, 302, 303, 307, 308] {
        let http = http(&receiver, &format!("/first/2/{code}"));
        failure(&http).await;
        failure(&http).await;
        post(&http, "id-1").await.unwrap();
        let said = log.take();
        assert_eq!(said.matches("ERROR").count(), 1, "{said}");
        let line = format!("target_origin=http://127.0.0.1:{} status={code}", receiver.port);
        assert!(said.contains(&line), "{said}");
        assert!(!said.contains("first"), "{said}");
    }
    for code in [400, 408, 429, 500, 503] {
        failure(&http(&receiver, &format!("/answer/{code}"))).await;
        let said = log.take();
        assert!(!said.contains("ERROR"), "{code} is not a reason to wake somebody: {said}");
    }
}

#[tokio::test]
async fn a_wrong_signature_is_blamed_on_the_target() {
    let receiver = receiver();
    let settings = settings(&receiver, "/hook").with_api_secret("another");
    let error = failure(&Http::new(settings).unwrap()).await;
    assert_eq!(error.kind(), FailureKind::TargetDown);
    assert!(error.to_string().contains("401"), "{error}");
}

#[tokio::test]
async fn the_delay_that_a_busy_or_broken_target_names_is_kept() {
    let receiver = receiver();
    for code in [408, 429, 500, 503] {
        let error = failure(&http(&receiver, &format!("/answer/{code}?retry-after=7"))).await;
        assert_eq!(error.delay(), Some(Duration::from_secs(7)), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_does_not_call_again_before_retry_after() {
    let mut receiver = receiver();
    let engine = Engine::start(Arc::new(http(&receiver, "/first/1/503?retry-after=3")), 64);
    engine.send(1);
    engine.until_deleted(1).await;
    engine.end().await;
    let (first, second) = (receiver.got().arrived, receiver.got().arrived);
    assert!(second - first >= Duration::from_secs(3), "called again after {:?}", second - first);
}

#[tokio::test]
async fn a_target_that_comes_back_takes_the_event() {
    let receiver = receiver();
    let http = http(&receiver, "/first/3/503");
    for _ in 0..3 {
        assert_eq!(failure(&http).await.kind(), FailureKind::TargetBusy);
    }
    post(&http, "id-1").await.unwrap();
}

#[tokio::test]
async fn broken_connections_and_unknown_hosts_are_a_target_down() {
    let receiver = receiver();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for http in [
        http(&receiver, "/broken"),
        Http::new(HttpSettings::new(format!("http://127.0.0.1:{free}/"))).unwrap(),
        Http::new(HttpSettings::new("http://no-such-host.invalid/")).unwrap(),
    ] {
        let error = failure(&http).await;
        assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    }
}

#[tokio::test]
async fn no_answer_in_time_is_a_target_that_is_busy() {
    let receiver = receiver();
    let settings = settings(&receiver, "/late/20").with_timeout(Duration::from_millis(200));
    let error = failure(&Http::new(settings).unwrap()).await;
    assert_eq!((error.kind(), error.to_string().as_str()), (FailureKind::TargetBusy, "no answer within 200 ms"));
}

#[tokio::test]
async fn large_and_endless_answers_are_done_by_their_status() {
    let receiver = receiver();
    let done = async {
        post(&http(&receiver, "/large"), "1").await.unwrap();
        post(&http(&receiver, "/endless"), "2").await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(25), done).await.expect("neither is read to its end");
}

#[tokio::test]
async fn connections_are_kept_and_never_more_than_configured() {
    let mut receiver = receiver();
    let http = Http::new(settings(&receiver, "/late/0.02").with_connections(3)).unwrap();
    join_all((0..30).map(|number| {
        let (http, id) = (&http, number.to_string());
        async move { post(http, &id).await.unwrap() }
    }))
    .await;
    let last = (0..30).map(|_| receiver.got().connection).max();
    assert_eq!(last, Some(3));
}

/// The calls take turns at one connection: most wait for longer than all the time that a call has.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_connection_of_our_own_counts_for_nothing() {
    let receiver = receiver();
    let settings = settings(&receiver, "/late/0.1").with_connections(1).with_timeout(Duration::from_millis(500));
    let handler_timeout = settings.longest();
    let http = Arc::new(Http::new(settings).unwrap());
    let engine = Engine::with(http, Settings::new().with_handler_timeout(handler_timeout));
    engine.send(60);
    engine.until_deleted(60).await;
    assert!(engine.most_at_work() as u32 * Duration::from_millis(100) > 2 * handler_timeout, "few had to wait");
    assert_eq!(engine.refusals(), [], "neither busy nor down");
    let summary = engine.stop().await;
    assert_eq!((summary.counts.timeouts, summary.counts.received), (0, 60), "{summary}");
}

#[tokio::test]
async fn allowed_redirects_repeat_the_post_and_loops_end() {
    let mut receiver = receiver();
    let allowed = |path: &str| Http::new(settings(&receiver, path).with_redirects(true)).expect("good settings");
    let (once, forever) = (allowed("/answer/307?location=/hook"), allowed("/loop"));
    let lost = allowed("/answer/302?location=/hook");
    post(&once, "id-1").await.unwrap();
    receiver.got();
    let second = receiver.got();
    assert_eq!((second.path.as_str(), second.valid), ("/hook", true));
    assert_eq!(second.header("x-webhook-id"), Some("id-1"));

    assert_eq!(failure(&lost).await.kind(), FailureKind::TargetDown);
    assert_eq!(receiver.got().path, "/answer/302?location=/hook");
    let error = failure(&forever).await;
    assert_eq!(error.kind(), FailureKind::TargetDown);
    assert!(error.to_string().contains("more than 5 redirects"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_another_origin_has_neither_key_nor_signature() {
    let (mut receiver, mut other) = (receiver(), receiver());
    let to = format!("/answer/307?location=http://127.0.0.1:{}/hook", other.port);
    let http = Http::new(settings(&receiver, &to).with_redirects(true)).unwrap();
    // What the other one answers does not matter: without a signature it may well refuse.
    let _ = post(&http, "id-1").await;
    let first = receiver.got();
    assert_eq!((first.header("x-api-key"), first.valid), (Some("key1"), true));
    let second = other.got();
    assert_eq!((second.path.as_str(), second.header("x-webhook-id")), ("/hook", Some("id-1")));
    assert_eq!((second.header("x-api-key"), second.header("x-signature")), (None, None));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let new = |settings| Http::new(settings).err().expect("an error");
    let url = "https://example.com/hook";
    assert!(matches!(new(HttpSettings::new("not a url")), HttpError::Url(_)));
    for url in ["example.com/hook", "ftp://example.com/", "/hook", "http:///hook"] {
        let error = new(HttpSettings::new(url));
        assert!(
            matches!(error, HttpError::Url(BadTemplate::Url(BadUrl::Scheme | BadUrl::Unreadable(_)))),
            "{url}: {error}"
        );
    }
    assert!(matches!(
        new(HttpSettings::new("https://user:pw@example.com/")),
        HttpError::Url(BadTemplate::Url(BadUrl::UserInfo))
    ));
    let settings = || HttpSettings::new(url);
    assert!(matches!(new(settings().with_api_key("a\nb")), HttpError::ApiKey));
    assert!(matches!(new(settings().with_api_secret("")), HttpError::EmptySecret));
    assert!(matches!(new(settings().with_connections(0)), HttpError::Zero { .. }));
    assert!(matches!(new(settings().with_timeout(Duration::ZERO)), HttpError::Zero { .. }));
}

/// Posts one event to the URL that it is given, with the environment's certificates and proxies, and says how it went.
#[tokio::test]
async fn child_that_posts() {
    let Ok(url) = std::env::var(CHILD) else { return };
    match Http::new(HttpSettings::new(url).with_api_secret(SECRET)) {
        Err(error) => say(&error.to_string()),
        Ok(http) => match post(&http, "id-1").await {
            Err(error) => say(&error.to_string()),
            Ok(()) => say("done"),
        },
    }
}

fn child_posts(url: &str, environment: &[(&str, &str)]) -> String {
    let mut child = child("http::child_that_posts", url);
    child.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY"] {
        child.env_remove(name);
    }
    child.env_remove("no_proxy").envs(environment.iter().copied());
    let mut child = child.spawn().unwrap();
    let answer = said(&mut child).last().unwrap();
    child.wait().unwrap();
    answer
}

#[test]
fn tls_trusts_the_companies_certificates_and_no_others() {
    let place = tempfile::tempdir().unwrap();
    certify(place.path());
    let mut receiver = Receiver::start(SECRET, Some(place.path()));
    let trusted = place.path().join("authority.pem");
    let trusted = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
    let url = |host: &str| format!("https://{host}:{}/hook", receiver.port);
    let wrong_name = child_posts(&url("127.0.0.1"), &trusted);
    assert!(wrong_name.contains("not valid for name"), "{wrong_name}");
    let unknown = child_posts(&url("localhost"), &[]);
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    assert_eq!(child_posts(&url("localhost"), &trusted), "done");
    assert!(receiver.got().valid);
}

/// A proxy that opens a tunnel to this port of the loopback, whatever it is asked for; and what it was asked for.
async fn proxy(listener: tokio::net::TcpListener, port: u16) -> Vec<String> {
    let mut client = BufStream::new(listener.accept().await.unwrap().0);
    let mut request = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        request.push(line.trim().to_lowercase());
    }
    let mut target = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    client.flush().await.unwrap();
    // How the connection ends is nothing to us.
    let _ = copy_bidirectional(&mut client, &mut target).await;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_gives_a_tunnel_and_is_not_used_for_the_loopback() {
    let place = tempfile::tempdir().unwrap();
    certify(place.path());
    let mut receiver = Receiver::start(SECRET, Some(place.path()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://user:pw@{}", listener.local_addr().unwrap());
    let trusted = place.path().join("authority.pem").to_str().unwrap().to_owned();
    let (port, proxied) = (receiver.port, tokio::spawn(proxy(listener, receiver.port)));

    let posted = tokio::task::spawn_blocking(move || {
        let environment = [("SSL_CERT_FILE", trusted.as_str()), ("HTTPS_PROXY", &address)];
        (
            child_posts(&format!("https://localhost:{port}/hook"), &environment),
            child_posts("https://webhooks.test/hook", &environment),
        )
    });
    assert_eq!(posted.await.unwrap(), ("done".to_owned(), "done".to_owned()));
    assert!(receiver.got().valid && receiver.got().valid);
    let asked = proxied.await.unwrap();
    assert_eq!(asked[0], "connect webhooks.test:443 http/1.1");
    assert!(asked.contains(&"proxy-authorization: basic dxnlcjpwdw==".to_owned()), "{asked:?}");
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_rather_than_passed_by() {
    for proxy in ["socks5://127.0.0.1:1", "https://127.0.0.1:1"] {
        let answer = child_posts("https://webhooks.test/hook", &[("HTTPS_PROXY", proxy)]);
        assert!(answer.contains(&format!("the proxy {proxy} is not supported")), "{answer}");
    }
}
