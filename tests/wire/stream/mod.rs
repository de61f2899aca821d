//! The client of Stream's REST API against a Stream in this process.

mod fake;
mod sdks;

use std::path::PathBuf;
use std::time::Duration;

use fake::{KEY, Reading, SECRET, Stream, Trouble};
use serde_json::{Value, json};
use stream_sqsd::stream::{Hook, HookPlan, Stage, StreamApi, StreamError, StreamSettings, WriteError, write};

const WEBHOOK: &str = "7a1c0000-0000-4000-8000-000000000001";
const PENDING: &str = "7a1c0000-0000-4000-8000-000000000002";

/// Two hooks of somebody else's, with fields that this version does not know.
fn others() -> Value {
    json!([
        {"id": WEBHOOK, "hook_type": "webhook", "enabled": true, "event_types": ["message.new"],
         "webhook_url": "https://example.com/messages", "created_at": "2025-01-01T00:00:00Z", "shape_of_things": {"to": ["come", 1.50]}},
        {"id": PENDING, "hook_type": "pending_message", "enabled": true, "event_types": null, "timeout_ms": 1000,
         "webhook_url": "https://example.com/pending", "callback": {"mode": "CALLBACK_MODE_REST"}},
    ])
}

fn api(stream: &Stream) -> StreamApi {
    StreamApi::new(&StreamSettings::new(KEY, SECRET).with_base_url(stream.url())).unwrap()
}

fn sqs() -> Hook {
    Hook::new("sqs").with("sqs_queue_url", "https://sqs.us-east-1.amazonaws.com/123456789012/chat-events")
}

async fn hooks(api: &StreamApi) -> Vec<Hook> {
    api.app().await.unwrap().hooks
}

/// The list without what Stream stamps on it.
fn plain(hooks: &[Value]) -> Vec<Value> {
    let strip = |hook: &Value| {
        let mut hook = hook.clone();
        hook.as_object_mut().unwrap().retain(|name, _| name != "created_at" && name != "updated_at");
        hook
    };
    hooks.iter().map(strip).collect()
}

/// Carries out a plan; what was saved is told by its number of hooks.
async fn carry_out(api: &StreamApi, plan: &HookPlan) -> (Result<Vec<Hook>, WriteError>, Vec<Stage>) {
    let mut stages = Vec::new();
    let save = |hooks: &[Hook]| Ok(PathBuf::from(format!("{} hooks", hooks.len())));
    let outcome = write(api, plan, save, |stage| stages.push(stage)).await;
    (outcome, stages)
}

#[tokio::test]
async fn an_added_hook_leaves_all_others_as_they_were() {
    for reading in [Reading::FlagKeeps, Reading::FlagReplaces] {
        let stream = Stream::start(others());
        stream.set(|state| {
            state.reading = reading;
            state.lag = Duration::from_millis(700);
        });
        let api = api(&stream);
        let plan = HookPlan::add(hooks(&api).await, sqs());
        let (outcome, stages) = carry_out(&api, &plan).await;
        assert_eq!(outcome.unwrap().len(), 3);
        let saved = PathBuf::from("2 hooks");
        let expected =
            [Stage::Reading, Stage::Saved(saved.clone()), Stage::Writing(saved.clone()), Stage::ReadingBack(saved)];
        assert_eq!(stages, expected);
        assert_eq!(plain(&stream.hooks())[..2], plain(others().as_array().unwrap()), "{reading:?}");
        let sent = stream.calls("PATCH /app");
        assert_eq!(sent.len(), 1);
        let keys: Vec<&String> = sent[0].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["event_hooks", "explicit_event_hooks_deletion"], "nothing else of the app is sent");
        let again = HookPlan::keep(hooks(&api).await);
        assert!(again.is_empty());
    }
}

#[tokio::test]
async fn a_removed_hook_is_gone_under_both_readings() {
    for (reading, writes) in [(Reading::FlagKeeps, 1), (Reading::FlagReplaces, 2)] {
        let stream = Stream::start(others());
        stream.set(|state| state.reading = reading);
        let api = api(&stream);
        let plan = HookPlan::remove(hooks(&api).await, 0).unwrap();
        assert_eq!(carry_out(&api, &plan).await.0.unwrap().len(), 1);
        assert_eq!(plain(&stream.hooks()), plain(&others().as_array().unwrap()[1..]), "{reading:?}");
        assert_eq!(stream.calls("PATCH /app").len(), writes, "{reading:?}");
    }
}

#[tokio::test]
async fn a_saved_list_is_put_back_under_both_readings() {
    for reading in [Reading::FlagKeeps, Reading::FlagReplaces] {
        let stream = Stream::start(json!([]));
        stream.set(|state| state.reading = reading);
        let api = api(&stream);
        let saved: Vec<Hook> =
            others().as_array().unwrap().iter().map(|hook| Hook::from_json(&hook.to_string()).unwrap()).collect();
        let plan = HookPlan::restore(hooks(&api).await, saved);
        assert_eq!(carry_out(&api, &plan).await.0.unwrap().len(), 2, "{reading:?}");
        assert_eq!(plain(&stream.hooks()), plain(others().as_array().unwrap()));
    }
}

#[tokio::test]
async fn a_change_since_the_plan_ends_it_with_nothing_written() {
    let stream = Stream::start(others());
    let api = api(&stream);
    let plan = HookPlan::add(hooks(&api).await, sqs());
    stream
        .set(|state| state.added_after = Some((0, json!({"id": "new", "hook_type": "sns", "sns_topic_arn": "arn:x"}))));
    let (outcome, stages) = carry_out(&api, &plan).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, WriteError::Plan(_)), "{error:?}");
    assert!(format!("{}", std::error::Error::source(&error).unwrap()).contains("sns arn:x (new) is new"), "{error:?}");
    assert_eq!((stages, stream.calls("PATCH /app").len()), (vec![Stage::Reading], 0));
}

#[tokio::test]
async fn a_list_with_a_masked_secret_is_never_written() {
    let mut list = others();
    list.as_array_mut()
        .unwrap()
        .push(json!({"hook_type": "sqs", "sqs_auth_type": "keys", "sqs_key": "AKIA", "sqs_secret": "x"}));
    let stream = Stream::start(list);
    stream.set(|state| state.masks = true);
    let api = api(&stream);
    let plan = HookPlan::add(hooks(&api).await, sqs());
    let (outcome, stages) = carry_out(&api, &plan).await;
    assert!(matches!(outcome, Err(WriteError::Plan(_))), "{outcome:?}");
    assert_eq!((stages, stream.calls("PATCH /app").len()), (vec![Stage::Reading], 0));
}

#[tokio::test]
async fn nothing_is_written_where_the_old_list_cannot_be_saved() {
    let stream = Stream::start(others());
    let api = api(&stream);
    let plan = HookPlan::add(hooks(&api).await, sqs());
    let full = |_: &[Hook]| Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
    assert!(matches!(write(&api, &plan, full, |_| ()).await, Err(WriteError::Save(_))));
    assert_eq!(stream.calls("PATCH /app").len(), 0);
}

#[tokio::test]
async fn a_list_that_came_out_wrong_is_told_and_not_written_again() {
    let stream = Stream::start(others());
    stream.set(|state| state.mangle = Some(|hooks| drop(hooks.remove(0))));
    let api = api(&stream);
    let plan = HookPlan::add(hooks(&api).await, sqs());
    let Err(WriteError::Different { differences, saved, uncertain }) = carry_out(&api, &plan).await.0 else { panic!() };
    assert_eq!((differences.len(), saved, uncertain.is_none()), (1, PathBuf::from("2 hooks"), true));
    assert!(differences[0].to_string().contains(WEBHOOK), "{differences:?}");
    assert_eq!(stream.calls("PATCH /app").len(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_judged_by_reading_back() {
    let stream = Stream::start(others());
    stream.set(|state| state.troubles.push_back(("PATCH /app", Trouble::LostAnswer)));
    let api = api(&stream);
    let plan = HookPlan::add(hooks(&api).await, sqs());
    assert_eq!(carry_out(&api, &plan).await.0.unwrap().len(), 3);
    assert_eq!(stream.calls("PATCH /app").len(), 1, "it is not repeated blindly");
}

#[tokio::test]
async fn refusals_say_what_they_are_and_the_old_list_stands() {
    let stream = Stream::start(others());
    stream.set(|state| state.unknown_hosts.push("example.com"));
    let api = api(&stream);
    let plan = HookPlan::add(hooks(&api).await, sqs());
    let (outcome, _) = carry_out(&api, &plan).await;
    let Err(WriteError::Refused(StreamError::Refused { status: 400, code: Some(4), message })) = outcome else {
        panic!()
    };
    assert!(message.contains("example.com: no such host"), "{message}");

    stream.set(|state| state.app["use_hook_v2"] = false.into());
    let (outcome, _) = carry_out(&api, &plan).await;
    assert!(matches!(outcome, Err(WriteError::Refused(StreamError::OldHooks { .. }))), "{outcome:?}");
    assert_eq!(stream.hooks().len(), 2);
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_and_a_write_is_done_once() {
    let stream = Stream::start(others());
    stream.set(|state| {
        state.troubles.push_back(("GET /app", Trouble::Limit(1)));
        state.troubles.push_back(("PATCH /app", Trouble::Limit(1)));
    });
    let api = api(&stream);
    let plan = HookPlan::add(hooks(&api).await, sqs());
    assert_eq!(carry_out(&api, &plan).await.0.unwrap().len(), 3);
    assert_eq!(stream.calls("PATCH /app").len(), 2, "the first was refused");
}

#[tokio::test]
async fn a_question_is_asked_again_after_a_server_error() {
    let stream = Stream::start(others());
    let error = json!({"code": -1, "message": "internal error", "StatusCode": 500});
    stream.set(|state| state.troubles.push_back(("GET /app", Trouble::Answer(500, error))));
    assert_eq!(hooks(&api(&stream)).await.len(), 2);
}

#[tokio::test]
async fn a_check_says_whether_stream_can_send_and_why_not() {
    let stream = Stream::start(json!([]));
    let api = api(&stream);
    assert!(api.check_sqs(None).await.unwrap().is_ok());
    stream.set(|state| state.checks = [json!({"status": "error", "error": "AccessDenied: not authorized"})].into());
    let check = api.check_sqs(None).await.unwrap();
    assert!(!check.is_ok());
    assert_eq!(check.error.as_deref(), Some("AccessDenied: not authorized"));
    assert_eq!(stream.calls("POST /check_sqs"), [json!({}), json!({})]);
}

#[tokio::test]
async fn wrong_credentials_are_told_and_no_text_holds_a_secret() {
    let stream = Stream::start(json!([]));
    let wrong = StreamSettings::new(KEY, "0ld-secret").with_base_url(stream.url());
    let error = StreamApi::new(&wrong).unwrap().app().await.unwrap_err();
    assert!(matches!(error, StreamError::Credentials { code: 43, .. }), "{error:?}");
    // The fake repeats the token, which would be good for ever.
    assert!(error.to_string().contains("signature is invalid: …"), "{error}");
    let text = format!("{error:?} {wrong:?} {:?}", StreamApi::new(&wrong).unwrap());
    assert!(!text.contains("0ld-secret") && !text.contains("eyJ"), "{text}");

    let unknown = StreamSettings::new("other", SECRET).with_base_url(stream.url());
    let error = StreamApi::new(&unknown).unwrap().app().await.unwrap_err();
    assert!(matches!(error, StreamError::Credentials { code: 2, .. }), "{error:?}");
    for (key, secret) in [("", SECRET), ("a b", SECRET), ("a&b=c", SECRET), (KEY, ""), (KEY, "line\nend")] {
        assert!(StreamApi::new(&StreamSettings::new(key, secret)).is_err(), "{key} {secret}");
    }
}

#[tokio::test]
async fn an_answer_of_another_server_is_told_as_such() {
    let stream = Stream::start(json!([]));
    for body in [json!({"hello": "world"}), json!({"app": {"event_hooks": "none"}}), json!([])] {
        // A list has no place for a duration, so it is wrapped.
        let body = if body.is_array() { json!({"app": body}) } else { body };
        stream.set(|state| state.troubles.push_back(("GET /app", Trouble::Answer(200, body))));
        let error = api(&stream).app().await.unwrap_err();
        assert!(matches!(error, StreamError::Answer(_)), "{error:?}");
    }
    let nobody = StreamSettings::new(KEY, SECRET).with_base_url("http://127.0.0.1:1");
    let error = StreamApi::new(&nobody).unwrap().app().await.unwrap_err();
    assert!(matches!(error, StreamError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_pending_message_is_committed_once() {
    let stream = Stream::start(json!([]));
    stream.set(|state| {
        state.pending = vec!["ann-1"];
        state.troubles.push_back(("POST /messages/ann-1/commit", Trouble::Limit(1)));
    });
    let api = api(&stream);
    api.commit_message("ann-1").await.unwrap();
    let sent = stream.calls("POST /messages/ann-1/commit");
    assert_eq!(sent, [Value::Null, Value::Null], "without a body, and again only since the first was refused");
    let second = api.commit_message("ann-1").await.unwrap_err();
    assert!(matches!(second, StreamError::Refused { status: 400, .. }), "{second:?}");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_repeated() {
    let stream = Stream::start(json!([]));
    stream.set(|state| {
        state.pending = vec!["ann-1"];
        state.troubles.push_back(("POST /messages/ann-1/commit", Trouble::LostAnswer));
    });
    let lost = api(&stream).commit_message("ann-1").await.unwrap_err();
    assert!(lost.is_uncertain(), "{lost:?}");
    assert_eq!(stream.calls("POST /messages/ann-1/commit").len(), 1);
}

#[tokio::test]
async fn the_id_of_a_message_is_one_segment_of_the_path() {
    let stream = Stream::start(json!([]));
    stream.set(|state| state.pending = vec!["a%2F..%2Fb%3Fc%23%C3%A9~-_."]);
    let api = api(&stream);
    api.commit_message("a/../b?c#é~-_.").await.unwrap();
    for none in ["", ".", ".."] {
        let error = api.commit_message(none).await.unwrap_err();
        assert!(matches!(error, StreamError::MessageId), "{error:?}");
    }
    assert_eq!(stream.calls("POST /messages/a%2F..%2Fb%3Fc%23%C3%A9~-_./commit").len(), 1);
}
