//! A Stream in this process: as much of its REST API as the hooks of an app need, with everything unpleasant that is known
//! of it, each to be switched on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

pub(crate) const KEY: &str = "k3y";
pub(crate) const SECRET: &str = "s3cret-of-the-app";

/// What a list means that leaves hooks out: the sources disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It replaces the list, unless the flag is set, with which hooks that were left out are kept.
    FlagKeeps,
    /// With the flag it replaces the list, and without it hooks that were left out are kept.
    FlagReplaces,
}

/// What the next call of a kind meets instead of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// This answer, and nothing is done.
    Answer(u16, Value),
    /// Too many calls until so many seconds from now.
    Limit(u64),
    /// The call is carried out, and the connection breaks before the answer.
    LostAnswer,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) app: Value,
    pub(crate) reading: Reading,
    /// Secrets are shown as stars.
    pub(crate) masks: bool,
    /// How long an answer to a read shows the list as it was before the last write.
    pub(crate) lag: Duration,
    /// A hook that somebody adds after so many more reads.
    pub(crate) added_after: Option<(usize, Value)>,
    /// What a write does to the list besides, in a version that is broken.
    pub(crate) mangle: Option<fn(&mut Vec<Value>)>,
    /// Hosts of webhooks that do not resolve.
    pub(crate) unknown_hosts: Vec<&'static str>,
    pub(crate) troubles: VecDeque<(&'static str, Trouble)>,
    /// What the next checks say; the last one stays.
    pub(crate) checks: VecDeque<Value>,
    /// The ids of the messages that wait to be committed, as they stand in a path.
    pub(crate) pending: Vec<&'static str>,
    /// Each call: method and path, and its body.
    pub(crate) calls: Vec<(String, Value)>,
    before: Option<(Instant, Value)>,
    ids: u32,
}

/// The server. It is gone when this is dropped.
pub(crate) struct Stream {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Dropped, it ends the server.
    _stop: oneshot::Sender<()>,
}

impl Stream {
    pub(crate) fn start(hooks: Value) -> Stream {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            app: json!({"id": 1257545, "name": "garden", "use_hook_v2": true, "suspended": false, "event_hooks": hooks}),
            reading: Reading::FlagKeeps,
            masks: false,
            lag: Duration::ZERO,
            added_after: None,
            mangle: None,
            unknown_hosts: Vec::new(),
            troubles: VecDeque::new(),
            checks: [json!({"status": "ok"})].into(),
            pending: Vec::new(),
            calls: Vec::new(),
            before: None,
            ids: 0,
        }));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = state.clone();
        // A thread of its own, since tests that use it have a runtime or none.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let serving = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(stream, served.clone()));
                    }
                };
                tokio::select! {
                    _ = stopped => {}
                    () = serving => {}
                }
            });
        });
        Stream { address, state, _stop: stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what it does from now on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// The hooks as they are, whatever a read shows.
    pub(crate) fn hooks(&self) -> Vec<Value> {
        self.state.lock().unwrap().app["event_hooks"].as_array().cloned().unwrap_or_default()
    }

    /// The bodies of the calls so far of this method and path.
    pub(crate) fn calls(&self, call: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state.calls.iter().filter(|(name, _)| name == call).map(|(_, body)| body.clone()).collect()
    }
}

struct Asked {
    method: String,
    path: String,
    query: String,
    token: String,
    auth_type: String,
    body: Value,
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (mut length, mut token, mut auth_type) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => token = value.trim().to_owned(),
            "stream-auth-type" => auth_type = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Asked { method, path: path.to_owned(), query: query.to_owned(), token, auth_type, body })
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await {
        let Some((status, mut body, reset)) = state.lock().unwrap().answer(&asked) else { return };
        body["duration"] = "0.50ms".into();
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             x-ratelimit-limit: 60\r\nx-ratelimit-remaining: 59\r\nx-ratelimit-reset: {reset}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn error(status: u16, code: i64, message: &str) -> (u16, Value) {
    (status, json!({"code": code, "message": message, "StatusCode": status, "more_info": "", "details": []}))
}

impl State {
    /// None where the connection is to break.
    fn answer(&mut self, asked: &Asked) -> Option<(u16, Value, u64)> {
        let path = asked.path.strip_prefix("/api/v2").unwrap_or(&asked.path).to_owned();
        let call = format!("{} {path}", asked.method);
        self.calls.push((call.clone(), asked.body.clone()));
        if let Some(refusal) = refused(asked) {
            return Some((refusal.0, refusal.1, now() + 60));
        }
        let due = self.troubles.iter().position(|(name, _)| *name == call);
        match due.and_then(|place| self.troubles.remove(place)).map(|(_, trouble)| trouble) {
            Some(Trouble::Answer(status, body)) => return Some((status, body, now() + 60)),
            Some(Trouble::Limit(seconds)) => {
                let (status, body) = error(429, 9, "Too many requests");
                return Some((status, body, now() + seconds));
            }
            Some(Trouble::LostAnswer) => {
                self.carry_out(&call, &asked.body);
                return None;
            }
            None => {}
        }
        let (status, mut body) = self.carry_out(&call, &asked.body);
        if path != asked.path {
            let hooks = body.pointer_mut("/app/event_hooks").and_then(Value::as_array_mut);
            hooks.into_iter().flatten().for_each(with_times_in_nanoseconds);
        }
        Some((status, body, now() + 60))
    }

    fn carry_out(&mut self, call: &str, body: &Value) -> (u16, Value) {
        match call {
            "GET /app" => (200, json!({"app": self.shown()})),
            "PATCH /app" => self.update(body),
            "POST /check_sqs" | "POST /check_sns" => {
                let check = if self.checks.len() > 1 { self.checks.pop_front() } else { self.checks.front().cloned() };
                (201, check.unwrap())
            }
            _ => match call.strip_prefix("POST /messages/").and_then(|rest| rest.strip_suffix("/commit")) {
                Some(id) => self.commit(id),
                None => error(404, 16, "not found"),
            },
        }
    }

    /// The first commit counts.
    fn commit(&mut self, id: &str) -> (u16, Value) {
        match self.pending.iter().position(|pending| *pending == id) {
            Some(place) => (201, json!({"message": {"id": self.pending.remove(place)}})),
            None => error(400, 4, "CommitMessage failed with error: \"the message is not pending\""),
        }
    }

    fn shown(&mut self) -> Value {
        if let Some((reads, hook)) = self.added_after.take() {
            match reads {
                0 => self.app["event_hooks"].as_array_mut().unwrap().push(hook),
                more => self.added_after = Some((more - 1, hook)),
            }
        }
        let mut app = match &self.before {
            Some((written, before)) if written.elapsed() < self.lag => before.clone(),
            _ => self.app.clone(),
        };
        if self.masks {
            for hook in app["event_hooks"].as_array_mut().into_iter().flatten() {
                for (name, value) in hook.as_object_mut().into_iter().flatten() {
                    if name.ends_with("_secret") && value.as_str().is_some_and(|secret| !secret.is_empty()) {
                        *value = "****".into();
                    }
                }
            }
        }
        app
    }

    fn update(&mut self, body: &Value) -> (u16, Value) {
        let before = self.app.clone();
        for (name, value) in body.as_object().into_iter().flatten() {
            match name.as_str() {
                "event_hooks" => {
                    let flag = body["explicit_event_hooks_deletion"] == true;
                    if let Err(refusal) = self.put(value, flag) {
                        return refusal;
                    }
                }
                "explicit_event_hooks_deletion" => {}
                _ => self.app[name] = value.clone(),
            }
        }
        self.before = Some((Instant::now(), before));
        (200, json!({}))
    }

    fn put(&mut self, value: &Value, flag: bool) -> Result<(), (u16, Value)> {
        let refuse = |message: &str| Err(error(400, 4, &format!("UpdateApp failed with error: \"{message}\"")));
        if self.app["use_hook_v2"] == false {
            return refuse("cannot set event hooks in hook v1 system");
        }
        let Some(list) = value.as_array() else { return refuse("event_hooks must be a list") };
        let mut hooks = Vec::new();
        for hook in list {
            for time in ["created_at", "updated_at"] {
                if hook.get(time).is_some_and(|time| !time.is_string()) {
                    return refuse("Time.UnmarshalJSON: input is not a JSON string");
                }
            }
            let id = hook["id"].as_str().unwrap_or_default();
            if hook.get("id").is_some() && !is_uuid(id) {
                return refuse("id must be a UUID");
            }
            let host = hook["webhook_url"].as_str().and_then(|url| url.split('/').nth(2)).unwrap_or_default();
            if self.unknown_hosts.contains(&host) {
                return refuse(&format!("lookup {host}: no such host"));
            }
            if hook["delete"] == true {
                continue;
            }
            let mut hook = hook.clone();
            if id.is_empty() {
                self.ids += 1;
                hook["id"] = format!("00000000-0000-4000-8000-{:012}", self.ids).into();
                hook["created_at"] = "2026-11-21T14:20:00.123456Z".into();
                // What Stream adds to a new hook.
                for (name, default) in [("product", json!("all")), ("should_send_custom_events", json!(false))] {
                    if hook.get(name).is_none() {
                        hook[name] = default;
                    }
                }
            }
            hook["updated_at"] = "2026-11-21T14:20:00.123456Z".into();
            hooks.push(hook);
        }
        let keeps = flag == (self.reading == Reading::FlagKeeps);
        let told = |old: &Value| list.iter().any(|hook| hook["id"] == old["id"]);
        if keeps {
            hooks.extend(self.app["event_hooks"].as_array().into_iter().flatten().filter(|old| !told(old)).cloned());
        }
        if let Some(mangle) = self.mangle {
            mangle(&mut hooks);
        }
        self.app["event_hooks"] = hooks.into();
        Ok(())
    }
}

/// As the second version of the API has them, which takes only the text of the first one.
fn with_times_in_nanoseconds(hook: &mut Value) {
    for name in ["created_at", "updated_at"] {
        let time = hook.get(name).and_then(|time| time.as_str()?.parse::<jiff::Timestamp>().ok());
        if let Some(time) = time {
            hook[name] = i64::try_from(time.as_nanosecond()).unwrap().into();
        }
    }
}

fn is_uuid(id: &str) -> bool {
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn refused(asked: &Asked) -> Option<(u16, Value)> {
    if asked.query.split('&').all(|pair| pair != format!("api_key={KEY}")) {
        return Some(error(401, 2, "api_key not found"));
    }
    if asked.token.is_empty() || asked.auth_type != "jwt" {
        return Some(error(401, 5, "auth failed"));
    }
    let (signed, signature) = asked.token.rsplit_once('.').unwrap_or_default();
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    if URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| mac.verify_slice(&signature).is_ok()) {
        let claims = signed.split_once('.').and_then(|(_, claims)| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims: Value = serde_json::from_slice(&claims.unwrap_or_default()).unwrap_or_default();
        let user = claims.get("user_id").is_some();
        return user.then(|| error(403, 17, "this endpoint is not allowed for a user's token"));
    }
    // As Stream does, it repeats what it was given.
    Some(error(401, 43, &format!("signature is invalid: {}", asked.token)))
}
