//! The http handler against servers that others wrote: nginx, and the token endpoint of Authlib. The part `gateway` of
//! `tests/run` brings them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use stream_sqsd::decode::decode;
use stream_sqsd::handler::{Context, FailureKind, Handler};
use stream_sqsd::handlers::http::{Authorization, Http, HttpSettings, OAuth2Settings, TlsFiles};
use tempfile::tempdir;

use crate::support::until::block_until;
use crate::{certify, event};

/// A server of another program, which ends with the test.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, port: u16) -> Server {
        let server = Server(command.stdin(Stdio::null()).spawn().unwrap());
        block_until("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One process, whose user and files are the test's.
fn nginx(place: &Path, port: u16) -> Server {
    let at = place.display();
    fs::write(place.join("users"), "stream:{PLAIN}open sesame\n").unwrap();
    let text = format!(
        r#"
daemon off; master_process off; pid {at}/pid; error_log {at}/errors;
events {{}}
http {{
    log_format events '$request_uri $http_x_webhook_id $http_x_tenant $ssl_client_verify';
    access_log {at}/events events;
    client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {at}/certificate.pem;
        ssl_certificate_key {at}/key.pem;
        ssl_client_certificate {at}/authority.pem;
        ssl_verify_client optional;
        location /basic/ {{ auth_basic stream; auth_basic_user_file {at}/users; proxy_pass http://unix:{at}/taken:/; }}
        location /bearer/ {{ if ($http_authorization != "Bearer t0ken") {{ return 401; }} return 204; }}
        location /certificate/ {{ if ($ssl_client_verify != SUCCESS) {{ return 403; }} return 204; }}
    }}
    server {{
        listen unix:{at}/taken;
        access_log off;
        return 204;
    }}
}}
"#
    );
    fs::write(place.join("nginx.conf"), text).unwrap();
    Server::start(
        Command::new("nginx").arg("-c").arg(place.join("nginx.conf")).arg("-e").arg(place.join("errors")),
        port,
    )
}

async fn outcome(settings: HttpSettings) -> Option<FailureKind> {
    let http = Http::new(settings).unwrap();
    http.handle(event("hello"), Context::for_test("id-1")).await.err().map(|error| error.kind())
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn real_nginx_takes_basic_bearer_and_a_client_certificate() {
    let place = tempdir().unwrap();
    certify(place.path());
    let port = free_port();
    let _nginx = nginx(place.path(), port);
    let path = |name: &str| place.path().join(name);
    let trusted = TlsFiles::new().with_ca(path("authority.pem"));
    let settings = |at: &str| HttpSettings::new(format!("https://localhost:{port}{at}")).with_tls(trusted.clone());
    let basic = |password: &str| Authorization::Basic { user: "stream".into(), password: password.into() };
    let bearer = |token: &str| Authorization::Bearer(token.into());
    let down = Some(FailureKind::TargetDown);
    assert_eq!(outcome(settings("/basic/").with_authorization(basic("open sesame"))).await, None);
    assert_eq!(outcome(settings("/basic/").with_authorization(basic("wrong"))).await, down);
    assert_eq!(outcome(settings("/basic/")).await, down);
    assert_eq!(outcome(settings("/bearer/").with_authorization(bearer("t0ken"))).await, None);
    assert_eq!(outcome(settings("/bearer/").with_authorization(bearer("wrong"))).await, down);
    let with_certificate = trusted.clone().with_client(path("certificate.pem"), path("key.pem"));
    assert_eq!(outcome(settings("/certificate/").with_tls(with_certificate)).await, None);
    assert_eq!(outcome(settings("/certificate/")).await, down);

    let by_team = settings("/bearer/{team}?t={type}").with_authorization(bearer("t0ken"));
    let http = Http::new(by_team.with_headers([("X-Tenant", "garden")])).unwrap();
    let handle = async |team: &str| {
        let event = decode(&format!(r#"{{"type":"message.new","team":"{team}"}}"#), 1000).unwrap();
        http.handle(event, Context::for_test("id-2")).await
    };
    handle("a/b c").await.unwrap();
    assert_eq!(handle("../certificate/x").await.unwrap_err().kind(), FailureKind::Reject);
    block_until("all is in the log", || fs::read_to_string(path("events")).unwrap().lines().count() == 8);
    let events = fs::read_to_string(path("events")).unwrap();
    assert!(events.contains("/certificate/ id-1 - SUCCESS\n"), "{events}");
    assert!(events.ends_with("/bearer/a%2Fb%20c?t=message.new id-2 garden NONE\n"), "{events}");
}

#[tokio::test]
#[ignore = "needs Authlib"]
async fn real_tokens_of_authlib_open_the_endpoint_and_are_renewed() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let port = free_port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/tokens.py");
        let mut command = Command::new("python");
        let _server = Server::start(command.args(["-B", script, &port.to_string()]).env("METHOD", method), port);
        let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
        let with_secret = |secret: &str| {
            let oauth2 = OAuth2Settings::new(url("/token"), "garden", secret).with_scope("hooks");
            HttpSettings::new(url("/hook")).with_authorization(Authorization::OAuth2(oauth2))
        };
        let http = Http::new(with_secret("hush")).unwrap();
        let post = async || http.handle(event("hello"), Context::for_test("id-1")).await;
        post().await.unwrap();
        post().await.unwrap();
        // It forgets the token, so that it refuses it, and takes the next one.
        assert_eq!(outcome(HttpSettings::new(url("/forget"))).await, None);
        post().await.unwrap();
        let error = Http::new(with_secret("wrong")).unwrap().handle(event("hello"), Context::for_test("id-1")).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), FailureKind::TargetDown);
        assert!(error.to_string().ends_with("it answered 401 Unauthorized (invalid_client)"), "{error}");
    }
}
