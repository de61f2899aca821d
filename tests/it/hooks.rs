//! The hooks that wait for an answer: their types, and the example that serves them.

use std::io::Write as _;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use stream_sqsd::decode::DecodeError;
use stream_sqsd::event::object::{Attachment, MessageResponse};
use stream_sqsd::event::{Event, EventType, PayloadError};
use stream_sqsd::hooks::{
    self, Answer, BeforeMessageSend, CustomCommand, HookError, HookRequest, PendingMessage, button, limits,
};
use stream_sqsd::webhook::{SigningKey, WebhookError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use crate::event::lossless::difference;
use example::{App, Verdict};

#[path = "../example/hooks.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program of its own")]
mod example;

const SECRET: &str = "tsec2";

/// As Stream documents the first request, with custom fields and fields that this version does not know.
const BEFORE: &str = r#"{
  "message": {"id": "", "text": "my card is 1234", "html": "", "type": "regular", "attachments": [], "latest_reactions": [],
    "own_reactions": [], "reaction_counts": null, "reaction_scores": null, "reply_count": 0, "mentioned_users": [],
    "silent": false, "priority": 1e400, "labels": {"a": ["\ud800", 1.50]}},
  "user": {"id": "ann", "role": "user", "banned": false, "online": false, "plan": "gold"},
  "channel": {"cid": "messaging:fun", "id": "fun", "type": "messaging", "last_message_at": "2020-06-18T14:10:30.823058Z",
    "created_at": "2020-06-18T14:10:29.457799Z", "frozen": false, "color": "red",
    "config": {"name": "messaging", "message_retention": "infinite", "max_message_length": 5000, "commands": []}},
  "request_info": {"type": "client", "ip": "86.84.2.2", "user_agent": "Mozilla/5.0", "sdk": "stream-chat-react-10.11.0",
    "ext": "device-id=123", "country": "NL"},
  "not_known_yet": [1, {"two": null}]
}"#;

const COMMAND: &str = r#"{
  "message": {"id": "xyz", "text": "/ticket transaction 1234", "command": "ticket", "args": "transaction 1234", "html": "",
    "channel": {"cid": "messaging:fun"}},
  "user": {"id": "ann", "Custom": {"plan": "gold"}, "role": "user", "banned": false, "online": false},
  "form_data": {"action": "create", "count": 12345678901234567890123}
}"#;

const PENDING: &str = r#"{
  "message": {"id": "ann-1", "text": "hello", "mine": true},
  "metadata": {"my": "metadata", "deep": {"er": [1.0]}},
  "request_info": {"type": "server"}
}"#;

fn sign(body: &str) -> String {
    SigningKey::new(SECRET).unwrap().sign(body.as_bytes())
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn parse<T: HookRequest>(body: &str) -> Result<T, HookError> {
    hooks::verify_and_parse(body.as_bytes(), &sign(body), SECRET)
}

/// What a value is as JSON, with numbers and texts that no Rust type can hold left as they came.
fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// With what no Rust type can hold replaced by what it can.
fn comparable(json: &str) -> Value {
    serde_json::from_str(&json.replace("1e400", "\"1e400\"").replace("\\ud800", "lone")).unwrap()
}

fn round_trip<T: HookRequest + Serialize>(body: &str) -> T {
    let request: T = parse(body).unwrap();
    assert_eq!(difference(&comparable(body), &comparable(&written(&request)), ""), None);
    request
}

#[test]
fn the_requests_keep_everything_and_read_what_is_known() {
    let before: BeforeMessageSend = round_trip(BEFORE);
    let (message, user) = (before.message.unwrap(), before.user.unwrap());
    assert_eq!((message.text.as_deref(), user.id.as_deref()), (Some("my card is 1234"), Some("ann")));
    assert_eq!(user.extra.get::<String>("plan").as_deref(), Some("gold"));
    assert_eq!(before.channel.unwrap().config.unwrap().max_message_length, Some(5000));
    assert_eq!(before.request_info.unwrap().ext.as_deref(), Some("device-id=123"));

    let command: CustomCommand = round_trip(COMMAND);
    assert_eq!((command.command(), command.args().as_deref()), (Some("ticket"), Some("transaction 1234")));
    assert_eq!(command.form_value("action").as_deref(), Some("create"));
    assert_eq!(command.form_value("other"), None);

    let pending: PendingMessage = round_trip(PENDING);
    assert_eq!(pending.metadata.unwrap().get::<String>("my").as_deref(), Some("metadata"));
}

#[test]
fn every_field_of_a_request_may_be_missing() {
    for empty in ["{}", r#"{"message":null,"user":null,"channel":null,"form_data":null,"metadata":null}"#] {
        parse::<BeforeMessageSend>(empty).unwrap();
        parse::<PendingMessage>(empty).unwrap();
        let command: CustomCommand = parse(empty).unwrap();
        assert_eq!((command.command(), command.args(), command.form_value("action")), (None, None, None));
    }
}

#[test]
fn a_request_can_carry_every_field_of_an_event() {
    let sample = stream_sqsd::event::sample::maximal(EventType::find("message.new").unwrap());
    let event: Value = serde_json::from_str(&sample).unwrap();
    let body = json!({"message": event["message"], "user": event["user"], "channel": event["channel"]}).to_string();
    round_trip::<BeforeMessageSend>(&body);
    round_trip::<CustomCommand>(&body);
    round_trip::<PendingMessage>(&body);
}

#[test]
fn a_request_is_refused_for_a_wrong_signature_before_all_else() {
    for (body, signature) in [(BEFORE, sign(COMMAND)), ("no json", sign("{}")), (BEFORE, String::new())] {
        let error = hooks::verify_and_parse::<BeforeMessageSend>(body.as_bytes(), &signature, SECRET).unwrap_err();
        assert!(matches!(error, HookError::Refused(WebhookError::Signature)), "{error:?}");
        assert_eq!(error.to_string(), "signature mismatch");
    }
    assert!(hooks::verify_and_parse::<PendingMessage>(b"{}", &sign("{}"), "").is_err(), "an empty secret");
}

#[test]
fn a_signed_body_that_is_not_a_request_says_why() {
    for (body, why) in [
        ("[1]", "invalid JSON payload: not a JSON object"),
        (r#"{"message":{"#, "invalid JSON payload: not a JSON object"),
        (r#"{"message":{"text":7}}"#, "message.text at line 1 column 20: expected a text, found a number"),
    ] {
        let error = parse::<BeforeMessageSend>(body).unwrap_err();
        assert!(error.to_string().starts_with(why), "{error}");
    }
    let wrong = parse::<CustomCommand>(r#"{"form_data":[]}"#).unwrap_err();
    assert!(matches!(wrong, HookError::Mismatch(PayloadError::Mismatch { .. })), "{wrong:?}");
}

#[test]
fn a_bomb_among_requests_is_refused_at_the_limit() {
    let bomb = gzip(&vec![b' '; 100_001]);
    for body in [&bomb[..], &[b' '; 100_001]] {
        let error = hooks::verify_and_parse_up_to::<PendingMessage>(body, "", SECRET, 100_000).unwrap_err();
        let expected = WebhookError::Decode(DecodeError::TooLarge { limit: 100_000 });
        assert!(matches!(&error, HookError::Refused(refused) if *refused == expected), "{error:?}");
    }
}

#[test]
fn answers_are_what_stream_expects() {
    assert_eq!(written(&Answer::accept()), "{}");
    let refused: Value = serde_json::from_str(&written(&Answer::refuse("no"))).unwrap();
    assert_eq!(refused, json!({"message": {"type": "error", "text": "no"}}));

    let mut form = Attachment::default();
    form.title = Some("Create?".to_owned());
    form.actions = Some(vec![button("action", "Create", "create")].into());
    let answer = Answer::rewrite(MessageResponse::default()).with_attachment(form);
    let action = json!({"name": "action", "text": "Create", "type": "button", "value": "create"});
    let expected = json!({"message": {"attachments": [{"title": "Create?", "actions": [action]}]}});
    assert_eq!(serde_json::from_str::<Value>(&written(&answer)).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Answer>(expected).unwrap(), answer);
}

#[test]
fn a_rewritten_message_keeps_what_nobody_changed() {
    let mut message = parse::<BeforeMessageSend>(BEFORE).unwrap().message.unwrap();
    message.text = Some("my card is ****".to_owned());
    let answer = comparable(&written(&Answer::rewrite(message)));
    let mut expected = comparable(BEFORE)["message"].take();
    expected["text"] = "my card is ****".into();
    assert_eq!(difference(&json!({"message": expected}), &answer, ""), None);
}

/// What the example answers: status, and the body where it has one.
async fn call(path: &str, body: impl Into<Vec<u8>>, signature: &str) -> (StatusCode, Value) {
    let (sender, mut receiver) = mpsc::channel(1);
    let judge: example::Judge = |text| {
        Box::pin(async move {
            match &*text {
                "bad" => Verdict::Bad,
                "darn" => Verdict::Better("****".to_owned()),
                "slow" => {
                    sleep(Duration::from_secs(60)).await;
                    Verdict::Good
                }
                _ => Verdict::Good,
            }
        })
    };
    let app = example::router(App { api_secret: SECRET.into(), judge, pending: sender });
    let request = Request::post(path).header("X-Signature", signature).body(Body::from(body.into())).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let status = response.status();
    let taken = receiver.try_recv().ok().and_then(|pending: PendingMessage| pending.message?.id);
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (status, taken.map_or(body, |id| json!({"taken": id})))
}

async fn signed(path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let plain = call(path, body.as_bytes(), &sign(&body)).await;
    assert_eq!(plain.0, StatusCode::OK);
    assert_eq!(call(path, gzip(body.as_bytes()), &sign(&body)).await, plain, "compressed it means the same");
    plain.1
}

const PATHS: [&str; 4] =
    ["/before-message-send", "/commands/ticket", "/pending/PassOnPendingMessage", "/pending/DeletedPendingMessage"];

#[tokio::test]
async fn the_example_accepts_refuses_and_rewrites_messages() {
    let path = PATHS[0];
    assert_eq!(signed(path, &json!({"message": {"text": "good"}})).await, json!({}));
    assert_eq!(signed(path, &json!({"message": {}})).await, json!({}));
    assert_eq!(signed(path, &json!({"message": {"text": "bad"}})).await["message"]["type"], "error");
    let rewritten = signed(path, &json!({"message": {"text": "darn", "mine": [1]}})).await;
    assert_eq!(rewritten, json!({"message": {"text": "****", "mine": [1]}}));
}

#[tokio::test(start_paused = true)]
async fn the_example_answers_before_stream_stops_waiting() {
    let start = Instant::now();
    let answer = signed(PATHS[0], &json!({"message": {"text": "slow"}})).await;
    // It was asked twice: plain and compressed.
    assert!(start.elapsed() / 2 < limits::BEFORE_MESSAGE_SEND, "{:?}", start.elapsed());
    assert_eq!(answer["message"]["type"], "error", "late is not let through");
}

#[tokio::test]
async fn the_example_asks_with_buttons_and_takes_their_answer() {
    let ask = |form: Value| {
        let message = json!({"text": "/ticket no light", "command": "ticket", "args": "no light", "attachments": [{}]});
        async move { signed(PATHS[1], &json!({"message": message, "form_data": form})).await }
    };
    let asked = ask(Value::Null).await;
    let actions = asked["message"]["attachments"][1]["actions"].as_array().unwrap();
    assert_eq!((&actions[0]["value"], &actions[1]["value"]), (&json!("create"), &json!("cancel")));
    let created = ask(json!({"action": "create"})).await;
    assert_eq!(created["message"]["text"], "A ticket was created: no light");
    assert_eq!(created["message"]["attachments"], json!([]));
    assert_eq!(ask(json!({"action": "cancel"})).await["message"]["type"], "error");
    let other = json!({"message": {"command": "other"}});
    assert_eq!(signed("/commands/other", &other).await["message"]["type"], "error");
}

#[tokio::test]
async fn the_example_takes_pending_messages_in() {
    let message = json!({"message": {"id": "ann-1", "text": "hello"}, "metadata": {}});
    assert_eq!(signed(PATHS[2], &message).await, json!({"taken": "ann-1"}));
    assert_eq!(signed(PATHS[3], &message).await, Value::Null);
}

#[tokio::test]
async fn the_example_lets_nothing_in_that_is_not_signed() {
    for path in PATHS {
        assert_eq!(call(path, "{}", &sign("{} ")).await, (StatusCode::UNAUTHORIZED, Value::Null), "{path}");
        assert_eq!(call(path, "[]", &sign("[]")).await.0, StatusCode::BAD_REQUEST, "{path}");
        let large = " ".repeat(2 << 20);
        assert_eq!(call(path, large, "").await.0, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
    assert!(Event::from_json(BEFORE).is_err(), "a request of a hook is not an event");
}
