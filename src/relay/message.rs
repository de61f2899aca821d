//! From a webhook to the message that stands for it in the queue, in the form in which Stream itself sends to SQS.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::request::{Head, Webhook};
use crate::event::{Event, last_values, text_of};
use crate::queue::{MAX_MESSAGE_SIZE, Outgoing, message_group};
use crate::telemetry::RelayOutcome;

/// What came plain is queued plain up to here, in bytes.
const PLAIN_LIMIT: usize = 256 * 1024;

/// The level of compression: what is compressed is rare and large.
const LEVEL: i32 = 6;

/// What a webhook is the same by: its id, or else the SHA-256 of its body.
pub(super) fn identity(head: &Head<'_>, webhook: &Webhook) -> String {
    match &head.webhook_id {
        Some(id) => id.clone(),
        None => {
            let digest = Sha256::digest(webhook.event.json());
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

/// The message of a webhook. `identity` is what it is the same by, and `fifo` whether the queue keeps order.
///
/// # Errors
///
/// How the request is answered: SQS carries 1 MiB.
pub(super) fn message(head: &Head<'_>, webhook: Webhook, identity: &str, fifo: bool) -> Result<Outgoing, RelayOutcome> {
    let mut attributes = vec![("api_key".to_owned(), head.app.api_key.clone())];
    attributes.extend(head.webhook_id.iter().map(|id| ("webhook_id".to_owned(), id.clone())));
    attributes.extend(head.attempt.map(|attempt| ("webhook_attempt".to_owned(), attempt.to_string())));
    let group = fifo.then(|| message_group(&group(&webhook.event)));
    let mut message = body(webhook, &attributes).ok_or(RelayOutcome::TooLarge)?;
    message.attributes.extend(attributes);
    message.group = group;
    message.deduplication_id = fifo.then(|| identity.to_owned());
    Ok(message)
}

/// The body in the form that is nearest to how it came, of those that SQS carries.
fn body(webhook: Webhook, attributes: &[(String, String)]) -> Option<Outgoing> {
    let fits = |message: &Outgoing| {
        let more: usize = attributes.iter().map(|(name, value)| name.len() + value.len() + "String".len()).sum();
        message.size() + more <= MAX_MESSAGE_SIZE
    };
    let Webhook { event, gzip } = webhook;
    if let Some(gzip) = gzip {
        let as_it_came = Outgoing::compressed(STANDARD.encode(&gzip));
        if fits(&as_it_came) {
            return Some(as_it_came);
        }
    } else if event.json().len() <= PLAIN_LIMIT && is_allowed(event.json()) {
        return Some(Outgoing::plain(event.json().to_owned())).filter(fits);
    }
    let compressed = Outgoing::compressed(STANDARD.encode(compress(event.json().as_bytes())));
    if fits(&compressed) {
        return Some(compressed);
    }
    Some(event.json()).filter(|json| is_allowed(json)).map(|json| Outgoing::plain(json.to_owned())).filter(fits)
}

/// Whether SQS takes this text as it is. JSON holds no other control characters than these outside of escapes.
///
/// Source: `MessageBody` of `SendMessage`: #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD, #x10000 to #x10FFFF.
fn is_allowed(json: &str) -> bool {
    // U+FFFE and U+FFFF begin with this byte, as few others do.
    !json.as_bytes().contains(&0xef) || !json.contains(['\u{fffe}', '\u{ffff}'])
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let level = libdeflater::CompressionLvl::new(LEVEL).unwrap_or_default();
    let mut compressor = libdeflater::Compressor::new(level);
    let mut packed = vec![0; compressor.gzip_compress_bound(bytes.len())];
    // The bound is enough for whatever the bytes are.
    let length = compressor.gzip_compress(bytes, &mut packed).unwrap_or_default();
    packed.truncate(length);
    packed
}

/// Within what order is kept: the channel, else the user, else the type.
fn group(event: &Event) -> String {
    let json = event.json();
    let [cid, user] = last_values(json, ["cid", "user"]).unwrap_or_default();
    let text = |value: Option<&str>| value.and_then(text_of).filter(|text| !text.is_empty()).map(String::from);
    let id_of_user = || last_values(user?, ["id"]).ok().and_then(|[id]| text(id));
    text(cid).or_else(id_of_user).unwrap_or_else(|| event.kind().name().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::super::settings::App;
    use super::*;
    use crate::decode;

    fn webhook(json: &str, gzip: bool) -> Webhook {
        let event = decode::decode(json, usize::MAX).unwrap();
        Webhook { event, gzip: gzip.then(|| compress(json.as_bytes())) }
    }

    fn queued(json: &str, gzip: bool) -> Option<Outgoing> {
        body(webhook(json, gzip), &[])
    }

    /// Text that cannot be compressed by much, of so many bytes.
    fn noise(bytes: usize) -> String {
        let mut random = fastrand::Rng::with_seed(1);
        (0..bytes).map(|_| random.alphanumeric()).collect()
    }

    #[test]
    fn the_form_in_the_queue_is_the_one_in_which_it_came() {
        let json = r#"{"type":"message.new","cid":"messaging:general"}"#;
        assert_eq!(queued(json, false), Some(Outgoing::plain(json.to_owned())));
        let gzip = compress(json.as_bytes());
        assert_eq!(queued(json, true), Some(Outgoing::compressed(STANDARD.encode(gzip))));
    }

    #[test]
    fn only_above_256_kib_plain_is_compressed() {
        let of_length = |length: usize| format!(r#"{{"type":"t","x":"{}"}}"#, "a".repeat(length - 19));
        let at = of_length(PLAIN_LIMIT);
        assert_eq!(at.len(), PLAIN_LIMIT);
        assert!(queued(&at, false).unwrap().body == at);
        let above = of_length(PLAIN_LIMIT + 1);
        let message = queued(&above, false).unwrap();
        assert!(message.body.starts_with("H4sI") && message.attributes.len() == 3);
        assert!(decode::decode(&message.body, usize::MAX).unwrap().json() == above);
    }

    #[test]
    fn what_sqs_cannot_carry_finds_a_form_or_is_too_large() {
        // Gzip that base64 would make larger than SQS carries, and that is smaller plain.
        let json = format!(r#"{{"type":"t","x":"{}"}}"#, noise(1_040_000));
        let stored = |json: &str| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
            std::io::Write::write_all(&mut gzip, json.as_bytes()).unwrap();
            Webhook { event: decode::decode(json, usize::MAX).unwrap(), gzip: Some(gzip.finish().unwrap()) }
        };
        let message = body(stored(&json), &[]).unwrap();
        assert!(decode::decode(&message.body, usize::MAX).unwrap().json() == json);
        assert!(message.size() <= MAX_MESSAGE_SIZE);
        let json = format!(r#"{{"type":"t","x":"{}"}}"#, noise(1_400_000));
        assert_eq!(body(stored(&json), &[]), None);
        assert_eq!(queued(&json, false), None);
        // Two characters that JSON may hold and SQS refuses.
        for character in ['\u{fffe}', '\u{ffff}'] {
            let json = format!(r#"{{"type":"t","x":"{character}"}}"#);
            assert!(queued(&json, false).unwrap().body.starts_with("H4sI"));
        }
        assert!(queued(r#"{"type":"t","x":"ｘ😀"}"#, false).unwrap().body.starts_with('{'));
    }

    #[test]
    fn the_group_is_the_channel_else_the_user_else_the_type() {
        let group = |json: &str| group(&decode::decode(json, usize::MAX).unwrap());
        assert_eq!(group(r#"{"type":"message.new","cid":"messaging:a","user":{"id":"ada"}}"#), "messaging:a");
        assert_eq!(group(r#"{"type":"user.updated","cid":null,"user":{"name":"Ada","id":"ada"}}"#), "ada");
        assert_eq!(group(r#"{"type":"custom","cid":"","user":"ada"}"#), "custom");
    }

    #[test]
    fn a_fifo_message_has_group_and_deduplication_id() {
        let app = App::new("key", []);
        let head = |id: Option<&str>| Head::for_test(&app, id);
        let json = r#"{"type":"message.new","cid":"messaging:ä b"}"#;
        let by_id = identity(&head(Some("id-1")), &webhook(json, false));
        let message = message(&head(Some("id-1")), webhook(json, false), &by_id, true).unwrap();
        assert_eq!(message.group.as_deref(), Some("messaging:__b"));
        assert_eq!(message.deduplication_id.as_deref(), Some("id-1"));
        let attributes = [("api_key", "key"), ("webhook_id", "id-1"), ("webhook_attempt", "2")];
        assert_eq!(message.attributes, attributes.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let by_body = identity(&head(None), &webhook(r#"{"type":"a"}"#, false));
        assert_eq!(by_body.len(), 64);
        assert_eq!(by_body, identity(&head(None), &webhook(r#"{"type":"a"}"#, true)));
    }
}
