//! The promises of the http handler to what stands before an endpoint: headers, passwords, tokens, certificates, and URLs that
//! the event fills. And that files which hold them may change.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use stream_sqsd::consumer::{RetryDelay, Settings};
use stream_sqsd::decode::decode;
use stream_sqsd::handler::{Context, FailureKind, Handler, HandlerError};
use stream_sqsd::handlers::http::{
    Authorization, BadTemplate, Http, HttpError, HttpSettings, OAuth2Settings, Secret, ServerErrors, TlsFiles,
};
use tempfile::{TempDir, tempdir};

use crate::engine::Engine;
use crate::support::receiver::Receiver;
use crate::support::until::{PATIENCE, until};
use crate::{Log, certify, event};

const SECRET: &str = "tsec2";

fn receiver() -> Receiver {
    Receiver::start(SECRET, None)
}

fn settings(receiver: &Receiver, path: &str) -> HttpSettings {
    HttpSettings::new(format!("http://127.0.0.1:{}{path}", receiver.port)).with_api_secret(SECRET)
}

async fn post(http: &Http) -> Result<(), HandlerError> {
    http.handle(event("hello"), Context::for_test("id-1")).await
}

fn refused(settings: HttpSettings) -> HttpError {
    Http::new(settings).err().expect("an error")
}

fn basic(user: &str, password: &str) -> Authorization {
    Authorization::Basic { user: user.into(), password: password.into() }
}

fn oauth2(endpoint: &Receiver, path: &str) -> OAuth2Settings {
    OAuth2Settings::new(format!("http://127.0.0.1:{}{path}", endpoint.port), "garden", "hush")
}

fn with_tokens(receiver: &Receiver, path: &str, oauth2: OAuth2Settings) -> Http {
    Http::new(settings(receiver, path).with_authorization(Authorization::OAuth2(oauth2))).unwrap()
}

#[tokio::test]
async fn further_headers_arrive_beside_those_of_a_webhook() {
    let mut receiver = receiver();
    let settings = settings(&receiver, "/hook").with_headers([("X-Tenant", "garden"), ("x-token", "a b=c")]);
    post(&Http::new(settings).unwrap()).await.unwrap();
    let got = receiver.got();
    assert_eq!((got.header("x-tenant"), got.header("x-token"), got.valid), (Some("garden"), Some("a b=c"), true));
    assert_eq!(got.header("authorization"), None);
}

#[test]
fn headers_that_we_set_or_that_cannot_be_are_refused_by_name() {
    let with = |name: &str, value: &str| HttpSettings::new("https://h/").with_headers([(name, value)]);
    for name in
        ["Content-Type", "x-api-key", "X-SIGNATURE", "X-Webhook-Id", "User-Agent", "Host", "Content-Length", "TE"]
    {
        let error = refused(with(name, "x")).to_string();
        assert_eq!(error, format!("the header {name} is set by the daemon itself"));
    }
    for value in ["", "a\nb", "a\rb", "a\tb", "a\0b", "ü"] {
        assert_eq!(refused(with("X-A", value)).to_string(), "the header X-A has a value that no header can hold");
    }
    for name in ["", "a b", "hush:"] {
        let error = refused(with(name, "x")).to_string();
        assert!(error.ends_with("is not the name of a header") && !error.contains("hush"), "{error}");
    }
    let twice = HttpSettings::new("https://h/").with_headers([("X-A", "1"), ("x-a", "2")]);
    assert_eq!(refused(twice).to_string(), "the header x-a stands there twice");
}

#[tokio::test]
async fn basic_and_bearer_stand_in_authorization() {
    let mut receiver = receiver();
    for (authorization, header) in [
        (basic("Aladdin", "open sesame:ü"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZTrDvA=="),
        (Authorization::Bearer("t0ken+/=".into()), "Bearer t0ken+/="),
    ] {
        let settings = settings(&receiver, "/hook").with_authorization(authorization);
        post(&Http::new(settings).unwrap()).await.unwrap();
        assert_eq!(receiver.got().header("authorization"), Some(header));
    }
}

#[test]
fn credentials_that_no_header_can_hold_are_refused() {
    let with = |authorization| HttpSettings::new("https://h/").with_authorization(authorization);
    for (user, password) in [("", "x"), ("a:b", "x"), ("a\n", "x"), ("a", "x\0")] {
        assert!(matches!(refused(with(basic(user, password))), HttpError::Basic), "{user:?}");
    }
    for token in ["", "a b", "a\n", "ü"] {
        assert!(matches!(refused(with(Authorization::Bearer(token.into()))), HttpError::Bearer), "{token:?}");
    }
    let client = |id: &str, secret: &str| with(Authorization::OAuth2(OAuth2Settings::new("https://i/", id, secret)));
    assert!(matches!(refused(client("", "x")), HttpError::EmptyClient));
    assert!(matches!(refused(client("x", "")), HttpError::EmptyClient));
    let token_url = |url: &str| with(Authorization::OAuth2(OAuth2Settings::new(url, "x", "x")));
    assert!(matches!(refused(token_url("ftp://i/")), HttpError::TokenUrl(_)));
    for authorization in [basic("a", "b"), Authorization::Bearer("t".into())] {
        let settings = with(authorization).with_headers([("authorization", "Digest x")]);
        assert!(matches!(refused(settings), HttpError::Authorizations));
    }
    assert!(Http::new(HttpSettings::new("https://h/").with_headers([("Authorization", "Digest x")])).is_ok());
}

#[tokio::test]
async fn a_redirect_elsewhere_has_no_credentials_and_no_headers() {
    let (mut receiver, mut other, mut tokens) = (receiver(), receiver(), receiver());
    let to = format!("/answer/307?location=http://127.0.0.1:{}/hook", other.port);
    for authorization in [basic("a", "b"), Authorization::OAuth2(oauth2(&tokens, "/token/3600"))] {
        let settings = settings(&receiver, &to).with_headers([("X-Token", "t")]).with_redirects(true);
        let _ = post(&Http::new(settings.with_authorization(authorization)).unwrap()).await;
        let (first, second) = (receiver.got(), other.got());
        assert!(first.header("authorization").is_some() && first.header("x-token").is_some());
        assert_eq!((second.header("authorization"), second.header("x-token")), (None, None));
        assert_eq!(second.header("x-webhook-id"), Some("id-1"));
    }
    tokens.got();
}

#[tokio::test]
async fn an_event_fills_the_path_and_one_that_cannot_is_rejected() {
    let mut receiver = receiver();
    let http = Http::new(settings(&receiver, "/answer/200/{channel_type}?retry-after={type}&t={team}")).unwrap();
    let handle = async |json: &str| http.handle(decode(json, 1000).unwrap(), Context::for_test("id-1")).await;
    handle(r#"{"type":"message.new","cid":"messaging:1","team":"a/b c"}"#).await.unwrap_err();
    assert_eq!(receiver.got().path, "/answer/200/messaging?retry-after=message.new&t=a%2Fb%20c");
    for wrong in
        [r#"{"type":"a","cid":"b:1"}"#, r#"{"type":"a","cid":"b:1","team":".."}"#, r#"{"type":"a","team":"b"}"#]
    {
        assert_eq!(handle(wrong).await.unwrap_err().kind(), FailureKind::Reject, "{wrong}");
    }
    assert_eq!(receiver.requests().len(), 1, "nothing was posted for the others");
    let brace = refused(HttpSettings::new("https://h/{cid}"));
    assert!(matches!(brace, HttpError::Url(BadTemplate::Brace)), "{brace}");
}

#[tokio::test]
async fn server_errors_may_be_a_retry_and_load_never_is() {
    let receiver = receiver();
    let http = |path: &str| Http::new(settings(&receiver, path).with_server_errors(ServerErrors::Retry)).unwrap();
    for (code, kind) in [
        (500, FailureKind::Retry),
        (502, FailureKind::Retry),
        (599, FailureKind::Retry),
        (503, FailureKind::TargetBusy),
        (429, FailureKind::TargetBusy),
        (404, FailureKind::TargetDown),
        (400, FailureKind::Reject),
    ] {
        assert_eq!(post(&http(&format!("/answer/{code}"))).await.unwrap_err().kind(), kind, "{code}");
    }
    let error = post(&http("/answer/500?retry-after=7")).await.unwrap_err();
    assert_eq!(error.delay(), Some(Duration::from_secs(7)));
    assert_eq!(post(&http("/broken")).await.unwrap_err().kind(), FailureKind::TargetDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_retry_an_event_that_gets_500_spends_receives() {
    let receiver = receiver();
    let settings = settings(&receiver, "/answer/500").with_server_errors(ServerErrors::Retry);
    let retry = RetryDelay::new(Duration::ZERO, Duration::ZERO);
    let engine = Engine::with(Arc::new(Http::new(settings).unwrap()), Settings::new().with_retry(retry));
    engine.send(1);
    engine.until_dead_lettered(1).await;
    engine.stop().await;
    assert_eq!(receiver.requests().len(), 3);
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_who_need_it() {
    let (receiver, mut endpoint) = (receiver(), receiver());
    let oauth2 = oauth2(&endpoint, "/token/3600").with_scope("hooks more").with_audience("https://a/?b");
    let http = with_tokens(&receiver, "/bearer/1", oauth2);
    join_all((0..20).map(|_| async { post(&http).await.unwrap() })).await;
    let got = endpoint.got();
    assert_eq!(got.header("authorization"), Some("Basic Z2FyZGVuOmh1c2g="));
    assert_eq!(got.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(got.body, "grant_type=client_credentials&scope=hooks%20more&audience=https%3A%2F%2Fa%2F%3Fb");
    assert_eq!((endpoint.requests().len(), receiver.requests().len()), (1, 20));
    assert!(receiver.requests().iter().all(|request| request.valid), "signed, too");
}

#[tokio::test]
async fn an_endpoint_that_wants_the_form_gets_the_secret_there() {
    let (receiver, endpoint) = (receiver(), receiver());
    // The first token is refused.
    let http = with_tokens(&receiver, "/bearer/3", oauth2(&endpoint, "/token-by-form/3600"));
    post(&http).await.unwrap();
    let bodies: Vec<_> = endpoint.requests().into_iter().map(|request| request.body).collect();
    let form = "grant_type=client_credentials&client_id=garden&client_secret=hush";
    assert_eq!(bodies, ["grant_type=client_credentials", form, form], "tried once, and remembered");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_not_sooner() {
    let (receiver, endpoint) = (receiver(), receiver());
    for (lasts, fetches) in [("3600", 1), ("2", 2)] {
        let http = with_tokens(&receiver, "/bearer/1", oauth2(&endpoint, &format!("/token/{lasts}")));
        let before = endpoint.requests().len();
        post(&http).await.unwrap();
        // At three quarters of its two seconds.
        tokio::time::sleep(Duration::from_millis(1600)).await;
        post(&http).await.unwrap();
        assert_eq!(endpoint.requests().len() - before, fetches, "{lasts}");
    }
}

#[tokio::test]
async fn a_token_that_ends_soon_serves_while_no_other_can_be_had() {
    let (receiver, endpoint) = (receiver(), receiver());
    let http = with_tokens(&receiver, "/bearer/1", oauth2(&endpoint, "/one-token/4"));
    post(&http).await.unwrap();
    // At three quarters of its four seconds the next one is asked for, and then not at once again.
    tokio::time::sleep(Duration::from_millis(3100)).await;
    join_all((0..3).map(|_| async { post(&http).await.unwrap() })).await;
    assert_eq!(endpoint.requests().len(), 2);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(post(&http).await.unwrap_err().kind(), FailureKind::TargetDown, "it has ended");
}

#[tokio::test]
async fn a_renewal_that_hangs_costs_no_event_while_the_token_holds() {
    let (receiver, endpoint) = (receiver(), receiver());
    let settings = settings(&receiver, "/bearer/1").with_timeout(Duration::from_secs(1));
    let oauth2 = oauth2(&endpoint, "/one-token-then-late/8");
    let http = Http::new(settings.with_authorization(Authorization::OAuth2(oauth2))).unwrap();
    post(&http).await.unwrap();
    tokio::time::sleep(Duration::from_millis(6100)).await;
    join_all((0..3).map(|_| async { post(&http).await.unwrap() })).await;
    assert_eq!(endpoint.requests().len(), 2, "one asked for the next token");
}

#[tokio::test]
async fn a_token_that_says_no_good_time_serves_until_it_is_refused() {
    let (receiver, endpoint) = (receiver(), receiver());
    for lasts in ["0", "-5", "soon", "NaN", "1e300", "inf"] {
        let before = endpoint.requests().len();
        let http = with_tokens(&receiver, "/bearer/1", oauth2(&endpoint, &format!("/token/{lasts}")));
        join_all((0..3).map(|_| async { post(&http).await.unwrap() })).await;
        post(&http).await.unwrap();
        assert_eq!(endpoint.requests().len() - before, 1, "{lasts}");
    }
}

#[tokio::test]
async fn after_a_401_a_new_token_is_tried_once() {
    let (receiver, endpoint) = (receiver(), receiver());
    post(&with_tokens(&receiver, "/bearer/2", oauth2(&endpoint, "/token/3600"))).await.unwrap();
    assert_eq!((endpoint.requests().len(), receiver.requests().len()), (2, 2));
    let never = with_tokens(&receiver, "/bearer/9", oauth2(&endpoint, "/token/3601"));
    assert_eq!(post(&never).await.unwrap_err().kind(), FailureKind::TargetDown);
    assert_eq!((endpoint.requests().len(), receiver.requests().len()), (4, 4));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all_who_had_it() {
    let (receiver, endpoint) = (receiver(), receiver());
    // An endpoint that keeps its tokens gives the same one again.
    let never = with_tokens(&receiver, "/bearer/9", oauth2(&endpoint, "/same-token/3600"));
    join_all((0..20).map(|_| async { assert_eq!(post(&never).await.unwrap_err().kind(), FailureKind::TargetDown) }))
        .await;
    assert_eq!((endpoint.requests().len(), receiver.requests().len()), (2, 40));
}

#[tokio::test]
async fn without_a_token_the_target_is_down_and_nothing_is_posted() {
    let (receiver, endpoint) = (receiver(), receiver());
    let log = Log::of_this_thread();
    for (path, told, is_error) in [
        ("/answer/500", "500", false),
        ("/answer/429", "429", false),
        ("/answer/400", "400", true),
        ("/answer/200", "holds no token", true),
        ("/answer/307?location=/token/60", "307", true),
        ("/token-by-form/60/x", "404", true),
        ("/broken", "no token from", false),
        ("/large", "too long", false),
        ("/late/20", "no answer in time", false),
    ] {
        let settings = settings(&receiver, "/bearer/1").with_timeout(Duration::from_millis(500));
        let settings = settings.with_authorization(Authorization::OAuth2(oauth2(&endpoint, path)));
        let http = Http::new(settings).unwrap();
        let errors = join_all((0..3).map(|_| post(&http))).await;
        for error in errors {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), FailureKind::TargetDown, "{path}: {error}");
            assert!(error.to_string().contains(told) && !error.to_string().contains("hush"), "{path}: {error}");
        }
        let said = log.take();
        assert_eq!(said.matches("ERROR").count(), usize::from(is_error), "{path}: {said}");
        assert!(!said.contains("hush"), "{said}");
    }
    assert_eq!(receiver.requests().len(), 0);
    let asked = |path: &str| endpoint.requests().iter().filter(|request| request.path.starts_with(path)).count();
    assert_eq!((asked("/late"), asked("/answer/500")), (1, 1), "they share one fetch and its end");
}

/// What must have happened by the third second, since files are looked at once in each.
async fn until_posted(http: &Http, receiver: &mut Receiver, good: impl Fn(&crate::support::receiver::Request) -> bool) {
    let receiver = std::cell::RefCell::new(receiver);
    let ask = async || {
        post(http).await.unwrap();
        good(&receiver.borrow_mut().got())
    };
    until("the change is noticed", PATIENCE, ask, |good| *good).await;
}

#[tokio::test]
async fn secrets_in_files_are_read_again_and_a_gap_is_told_once() {
    let mut receiver = receiver();
    let place = tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for (name, text) in [("password", "one\n"), ("header", "one"), ("secret", SECRET), ("key", "one")] {
        fs::write(path(name), text).unwrap();
    }
    let mut settings = settings(&receiver, "/answer/200").with_headers([("X-Token", Secret::file(path("header")))]);
    settings.authorization = Some(Authorization::Basic { user: "a".into(), password: Secret::file(path("password")) });
    settings.api_secret = Some(Secret::file(path("secret")));
    settings.api_key = Some(Secret::file(path("key")));
    let http = Http::new(settings).unwrap();
    post(&http).await.unwrap();
    let got = receiver.got();
    assert_eq!((got.header("authorization"), got.header("x-token")), (Some("Basic YTpvbmU="), Some("one")));
    assert!(got.valid);

    let log = Log::of_this_thread();
    fs::remove_file(path("header")).unwrap();
    for (name, text) in [("password", "two2"), ("secret", "another"), ("key", "")] {
        fs::write(path(name), text).unwrap();
    }
    let end = tokio::time::Instant::now() + Duration::from_millis(2300);
    while tokio::time::Instant::now() < end {
        post(&http).await.unwrap();
        let got = receiver.got();
        assert_eq!((got.header("x-token"), got.header("x-api-key"), got.valid), (Some("one"), Some("one"), true));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = log.take();
    assert_eq!(said.matches("WARN").count(), 1, "{said}");
    assert!(!said.contains("another") && !said.contains("two2"), "{said}");
    fs::write(path("header"), "three").unwrap();
    fs::write(path("key"), "three").unwrap();
    until_posted(&http, &mut receiver, |got| {
        let headers = (got.header("authorization"), got.header("x-token"), got.header("x-api-key"));
        headers == (Some("Basic YTp0d28y"), Some("three"), Some("three")) && !got.valid
    })
    .await;
}

#[tokio::test]
async fn a_url_in_a_file_may_change_but_not_lead_elsewhere() {
    let mut receiver = receiver();
    let place = tempdir().unwrap();
    let path = place.path().join("url");
    let url = |host: &str, path: &str| format!("http://{host}:{}{path}", receiver.port);
    let (one, two, elsewhere) =
        (url("127.0.0.1", "/answer/200"), url("127.0.0.1", "/answer/204"), url("[::1]", "/answer/204"));
    fs::write(&path, one).unwrap();
    let http = Http::new(HttpSettings::new(Secret::file(&path))).unwrap();
    assert_eq!(http.address(), Some(format!("http://127.0.0.1:{}", receiver.port)));
    fs::write(&path, two).unwrap();
    until_posted(&http, &mut receiver, |got| got.path == "/answer/204").await;
    let log = Log::of_this_thread();
    fs::write(&path, elsewhere).unwrap();
    let ask = async || {
        post(&http).await.unwrap();
        log.lines()
    };
    let told = until("it is told", PATIENCE, ask, |lines| !lines.is_empty()).await;
    assert!(told[0].contains("leads to another host than at the start"), "{told:?}");
}

/// A server that speaks only to clients that its authority vouches for, and files for such a client.
fn guarded() -> (TempDir, Receiver) {
    let place = tempdir().unwrap();
    certify(place.path());
    fs::copy(place.path().join("authority.pem"), place.path().join("clients.pem")).unwrap();
    let receiver = Receiver::start(SECRET, Some(place.path()));
    (place, receiver)
}

fn guarded_settings(receiver: &Receiver, place: &Path) -> HttpSettings {
    let path = |name: &str| place.join(name);
    let settings = HttpSettings::new(format!("https://localhost:{}/hook", receiver.port)).with_api_secret(SECRET);
    settings
        .with_tls(TlsFiles::new().with_ca(path("authority.pem")).with_client(path("certificate.pem"), path("key.pem")))
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate_open_the_door() {
    let (place, mut receiver) = guarded();
    let settings = guarded_settings(&receiver, place.path());
    post(&Http::new(settings.clone()).unwrap()).await.unwrap();
    assert!(receiver.got().valid);
    let mut without = settings.clone();
    without.tls = TlsFiles::new().with_ca(place.path().join("authority.pem"));
    let error = post(&Http::new(without).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    let mut untrusting = settings;
    untrusting.tls.ca = None;
    let error = post(&Http::new(untrusting).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let (place, mut receiver) = guarded();
    let own = tempdir().unwrap();
    certify(own.path());
    fs::copy(place.path().join("authority.pem"), own.path().join("authority.pem")).unwrap();
    let http = Http::new(guarded_settings(&receiver, own.path())).unwrap();
    let error = post(&http).await.expect_err("another authority vouches for it");
    assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    fs::copy(place.path().join("certificate.pem"), own.path().join("certificate.pem")).unwrap();
    fs::copy(place.path().join("key.pem"), own.path().join("key.pem")).unwrap();
    until("the certificate is taken", PATIENCE, async || post(&http).await.is_ok(), |good| *good).await;
    assert!(receiver.got().valid);
}

#[tokio::test]
async fn our_certificate_is_not_shown_where_a_redirect_leads() {
    let (place, mut receiver) = guarded();
    let (other_place, other) = guarded();
    fs::copy(place.path().join("authority.pem"), other_place.path().join("clients.pem")).unwrap();
    let mut settings = guarded_settings(&receiver, place.path()).with_redirects(true);
    let to = format!("/answer/307?location=https://localhost:{}/hook", other.port);
    settings.url = format!("https://localhost:{}{to}", receiver.port).into();
    let error = post(&Http::new(settings).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("307"), "{error}");
    receiver.got();
}

#[test]
fn tls_files_for_a_plain_url_are_refused() {
    let settings = HttpSettings::new("http://127.0.0.1/").with_tls(TlsFiles::new().with_ca("/x"));
    assert!(matches!(refused(settings), HttpError::NoTls));
}

#[test]
fn settings_show_no_secret_of_any_kind() {
    let settings = HttpSettings::new("https://h/hush?hush").with_api_key("hush").with_api_secret("hush");
    let settings = settings.with_headers([("X-A", "hush")]);
    for authorization in [
        basic("hush", "hush"),
        Authorization::Bearer("hush".into()),
        Authorization::OAuth2(OAuth2Settings::new("https://i/", "hush", "hush")),
    ] {
        let shown = format!("{:?}", settings.clone().with_authorization(authorization));
        assert!(!shown.contains("hush") && shown.contains("https://h"), "{shown}");
    }
}
