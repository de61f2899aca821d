//! Signatures of HTTP webhooks.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stream_sqsd::prelude::*;
use stream_sqsd::queue::memory::MemorySettings;
use stream_sqsd::webhook::{SigningKey, WebhookError, verify, verify_and_parse, verify_and_parse_up_to};

/// Checked against Stream's own SDKs.
const BODY: &str = r#"{"type":"message.new","message":{"text":"the quick brown fox"}}"#;
const SECRET: &str = "tsec2";
const SIGNATURE: &str = "a91edf26f024e0efad88b0e2561e4841fa6f8c85f98ecb85dcd12e58563c2218";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Why a webhook whose signature is right is refused.
fn why(parsed: Result<Event, WebhookError>) -> &'static str {
    match parsed {
        Err(WebhookError::Decode(error)) => error.label(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_signature_is_the_one_that_streams_sdks_check() {
    let key = SigningKey::new(SECRET).unwrap();
    assert_eq!(key.sign(BODY.as_bytes()), SIGNATURE);
    assert!(!format!("{key:?}").contains(SECRET));
    assert!(SigningKey::new("").is_none());
}

#[test]
fn streams_own_signature_verifies() {
    assert!(verify(BODY.as_bytes(), SIGNATURE, SECRET));
    assert_eq!(verify_and_parse(BODY.as_bytes(), SIGNATURE, SECRET).unwrap().json(), BODY);
}

#[test]
fn nothing_else_verifies() {
    let body = BODY.as_bytes();
    for at in 0..SIGNATURE.len() {
        let mut wrong = SIGNATURE.as_bytes().to_vec();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        assert!(!verify(body, std::str::from_utf8(&wrong).unwrap(), SECRET));
    }
    for wrong in ["", "a91e", &SIGNATURE.to_uppercase(), &format!("{SIGNATURE}0"), &format!("sha256={SIGNATURE}")] {
        assert!(!verify(body, wrong, SECRET), "{wrong}");
    }
    assert!(!verify(body, SIGNATURE, "tsec3"));
    assert!(!verify(b"{}", SIGNATURE, SECRET));
}

#[test]
fn an_empty_secret_never_verifies() {
    // What HMAC-SHA256 makes of an empty body under an empty key.
    let signature = "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
    assert!(!verify(b"", signature, ""));
}

#[test]
fn a_compressed_body_is_verified_as_it_was_before() {
    let zip = gzip(BODY.as_bytes());
    assert_eq!(verify_and_parse(&zip, SIGNATURE, SECRET).unwrap().json(), BODY);
    assert!(!verify(&zip, SIGNATURE, SECRET));
}

#[test]
fn the_signature_is_looked_at_before_the_content() {
    let error = verify_and_parse(b"no json", SIGNATURE, SECRET).unwrap_err();
    assert_eq!(error, WebhookError::Signature);
    assert_eq!(error.to_string(), "signature mismatch");
}

#[test]
fn a_verified_body_that_is_not_an_event_is_refused() {
    // HMAC-SHA256 of `{}` under tsec2.
    let signature = hmac_of(b"{}");
    assert_eq!(why(verify_and_parse(b"{}", &signature, SECRET)), "invalid_json_payload");
}

#[test]
fn a_bomb_is_refused_before_anybody_vouched_for_it() {
    let bomb = gzip(&vec![b' '; 17 * 1024 * 1024]);
    assert_eq!(why(verify_and_parse(&bomb, SIGNATURE, SECRET)), "too_large");
    let mut short = gzip(BODY.as_bytes());
    short.truncate(20);
    assert_eq!(why(verify_and_parse(&short, SIGNATURE, SECRET)), "gzip_decompression_failed");
}

#[test]
fn what_inflates_to_the_limit_is_read_and_one_byte_more_is_not() {
    let padded = |length: usize| {
        let mut body = BODY.as_bytes().to_vec();
        body.resize(length, b' ');
        body
    };
    let most = padded(stream_sqsd::decode::DEFAULT_LIMIT);
    assert!(verify_and_parse(&gzip(&most), &hmac_of(&most), SECRET).is_ok());
    let more = padded(stream_sqsd::decode::DEFAULT_LIMIT + 1);
    assert_eq!(why(verify_and_parse(&gzip(&more), &hmac_of(&more), SECRET)), "too_large");
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_the_webhook_id_in_an_sns_envelope() {
    let envelope = |message: &str, id: &str| {
        let attributes = serde_json::json!({"webhook_id": {"Type": "String", "Value": id}});
        let topic = "arn:aws:sns:us-east-1:123456789012:chat";
        let envelope = serde_json::json!({
            "Type": "Notification", "TopicArn": topic, "Message": message, "MessageAttributes": attributes,
        });
        envelope.to_string()
    };
    let queue = MemoryQueue::new(MemorySettings::new());
    queue.send(BODY);
    queue.send(envelope(BODY, "w-1"));
    // One that is smaller than its event.
    let packed = STANDARD.encode(gzip(format!("{BODY}{}", " ".repeat(4000)).as_bytes()));
    queue.send(envelope(&packed, "w-2"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let see = move |_: Event, ctx: Context| {
        told.lock().unwrap().push(ctx.webhook_id().map(str::to_owned));
        async { Ok::<(), HandlerError>(()) }
    };
    let settings = Settings::new().with_until_empty(true);
    Consumer::new(queue, Router::new().route("*", see), settings).run(std::future::pending()).await.unwrap();
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, [None, Some("w-1".to_owned()), Some("w-2".to_owned())]);
}

#[test]
fn a_limit_of_ones_own_holds_before_and_after_inflation() {
    let limit = 64 * 1024;
    let up_to = |body: &[u8], signature: &str| verify_and_parse_up_to(body, signature, SECRET, limit);
    assert!(up_to(BODY.as_bytes(), SIGNATURE).is_ok());
    assert!(up_to(&gzip(BODY.as_bytes()), SIGNATURE).is_ok());
    assert_eq!(why(up_to(&gzip(&vec![b' '; limit + 1]), SIGNATURE)), "too_large");
    assert_eq!(why(up_to(&vec![b' '; limit + 1], SIGNATURE)), "too_large");
}

fn hmac_of(body: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
