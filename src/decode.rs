//! From the body of a message to an event: every form in which Stream's events arrive, told apart by their bytes.
//!
//! Raw JSON, base64 of JSON, base64 of gzip of JSON, and an SNS envelope around any of these. Pure: no clock, no queue, no
//! state. What is inflated is bounded, since a megabyte of base64 can hold a gigabyte. There is nothing here about what
//! the JSON says beyond its `type`; that is [`event`](crate::event).

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Read;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::value::RawValue;

use crate::event::{Event, MAX_TYPE_LENGTH, NotAnEvent, NotAnObject, kind_of, last_values, text_of};
use crate::queue::WebhookId;
use crate::telemetry::Undecodable;

/// How many bytes a body may inflate to when nothing else is said: 16 MiB. What Stream sends stays under 256 KiB.
pub const DEFAULT_LIMIT: usize = 16 * 1024 * 1024;

/// How many SNS envelopes may stand in each other: a topic that delivers to a topic.
const ENVELOPES: usize = 2;

/// Deflate cannot do better than this: 258 bytes for two bits.
const MOST_PER_BYTE: usize = 1032;

/// Why a body is not an event.
///
/// The first three begin with the words of Stream's own SDKs (`InvalidWebhookError`), which are also their
/// [`label`](DecodeError::label)s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It does not begin with `{` and is not base64.
    #[error("invalid base64 encoding")]
    Base64,
    /// It is base64 of something that begins like gzip, and a member of it is damaged or short, or other bytes follow.
    #[error("gzip decompression failed: {0}")]
    Gzip(GzipFault),
    /// What came out is not UTF-8, or not a JSON object with a `type`.
    #[error("invalid JSON payload: {0}")]
    Json(JsonFault),
    /// It is, or inflates to, more than the limit. It may be a good event all the same.
    #[error("too large: more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Its `type` is longer than [`MAX_TYPE_LENGTH`], so it is not an event.
    #[error("type too long: more than {MAX_TYPE_LENGTH} bytes")]
    TypeTooLong,
}

/// What is wrong with the gzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GzipFault {
    /// It ends too soon.
    #[error("it ends too soon")]
    Truncated,
    /// A header, the compressed data, a checksum or a length is wrong.
    #[error("it is damaged")]
    Damaged,
    /// Bytes follow that are neither gzip nor zero.
    #[error("other bytes follow it")]
    Trailing,
}

/// What is wrong with the JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// The bytes are not UTF-8.
    #[error("not valid UTF-8")]
    Utf8,
    /// It does not begin with `{`, and what it is base64 of is not text: most words are base64 of something.
    #[error("neither a JSON object nor base64 of one")]
    Neither,
    /// It is not a JSON object, or has no `type`.
    #[error(transparent)]
    NotAnEvent(#[from] NotAnEvent),
    /// It is what Stream's older Feeds product sends: a list of changes, which are not events.
    #[error("a batch of Stream Feeds v2; this consumer reads Chat, Video, Moderation and Feeds v3 events")]
    FeedsBatch,
    /// There are more than two SNS envelopes around the event.
    #[error("more than {ENVELOPES} SNS envelopes")]
    Envelopes,
}

impl DecodeError {
    /// A stable word for the kind of error: the label of the metric.
    pub fn label(&self) -> &'static str {
        let kind = match self {
            DecodeError::Base64 => Undecodable::Base64,
            DecodeError::Gzip(_) => Undecodable::Gzip,
            DecodeError::Json(_) => Undecodable::Json,
            DecodeError::TooLarge { .. } => Undecodable::TooLarge,
            DecodeError::TypeTooLong => Undecodable::TypeTooLong,
        };
        kind.label()
    }
}

impl From<NotAnEvent> for DecodeError {
    fn from(fault: NotAnEvent) -> Self {
        match fault {
            NotAnEvent::LongType => DecodeError::TypeTooLong,
            fault => DecodeError::Json(fault.into()),
        }
    }
}

/// Body to event. Gives up where a part of it is, or inflates to, more than `limit` bytes.
///
/// It holds at most `limit` bytes beside the body, and what the body's base64 decodes to, which is three quarters of it. A
/// gzip that says less than it is may hold twice the limit for a moment, when what was inflated moves to a larger place,
/// and a body that is packed twice up to three times the limit.
///
/// # Errors
///
/// See [`DecodeError`].
pub fn decode(body: &str, limit: usize) -> Result<Event, DecodeError> {
    decode_within(body, limit, Room::Most)
}

/// How much [`decode_within`] may hold beside the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// The limit alone, which a caller took from [`size_hint`]. What would take more is refused as too large, although it
    /// may be within the limit: a gzip that is longer than it says, or a body that is packed twice.
    Hinted,
    /// [`most_held`].
    Most,
}

/// How many bytes [`decode`] holds beside the body at the most, whatever the body is.
///
/// Of a text that was itself unpacked, its base64 in the second alphabet, the copy in the first one and what it decodes
/// to; or what that decodes to and, while it moves to a larger place, twice what it inflates to.
pub(crate) fn most_held(limit: usize) -> usize {
    limit.saturating_mul(3)
}

/// [`decode`], holding no more than `room` says.
pub(crate) fn decode_within(body: &str, limit: usize, room: Room) -> Result<Event, DecodeError> {
    let mut text = Cow::Borrowed(body);
    let mut unpacked = false;
    for _ in 0..=ENVELOPES {
        let is_packed = !trim(&text).starts_with('{');
        if is_packed && unpacked && room == Room::Hinted {
            return Err(DecodeError::TooLarge { limit });
        }
        unpacked |= is_packed;
        let json = unpack(text, limit, room)?;
        let [kind, envelope, message, topic] =
            last_values(&json, ["type", "Type", "Message", "TopicArn"]).map_err(|fault| refused(&json, fault))?;
        if kind.is_some() {
            let kind = kind_of(kind)?;
            // What was unpacked moves into the event; only a raw body is copied.
            return Ok(Event::new(kind, json.into_owned()));
        }
        let message = message.filter(|_| is_notification(envelope, topic)).ok_or(NotAnEvent::NoType)?;
        let message = place_of(message, &json);
        text = match json {
            Cow::Borrowed(json) => text_of(&json[message]),
            // As large as the event may be, and what stands in it is no longer: it is not held twice.
            Cow::Owned(json) => text_in_place(json, message).map(Cow::Owned),
        }
        .ok_or(NotAnEvent::NoType)?;
    }
    Err(DecodeError::Json(JsonFault::Envelopes))
}

/// Whether a JSON object without a `type` is an SNS envelope, by its `Type` and its `TopicArn`. An event of chat can have fields
/// `message` and `Message` of its own.
fn is_notification(envelope: Option<&str>, topic: Option<&str>) -> bool {
    envelope.and_then(text_of).is_some_and(|kind| kind == "Notification") && topic.is_some()
}

/// The webhook id among the message attributes that an SNS envelope holds: where SNS does not deliver raw, these are not
/// attributes of the SQS message.
pub(crate) fn webhook_id_in_envelope(body: &str) -> Option<WebhookId> {
    let json = trim(body);
    if !json.starts_with('{') {
        return None;
    }
    let names = ["type", "Type", "Message", "TopicArn", "MessageAttributes"];
    let [kind, envelope, message, topic, attributes] = last_values(json, names).ok()?;
    if kind.is_some() || message.is_none() || !is_notification(envelope, topic) {
        return None;
    }
    let [attribute] = last_values(attributes?, [WebhookId::ATTRIBUTE]).ok()?;
    let [data_type, value] = last_values(attribute?, ["Type", "Value"]).ok()?;
    WebhookId::of_type(&text_of(data_type?)?, &text_of(value?)?)
}

/// Where `part` stands in `whole`, of which it must be a part.
fn place_of(part: &str, whole: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// What [`text_of`] makes of the value that stands at `value` in `json`, in the room of `json`.
fn text_in_place(json: String, value: Range<usize>) -> Option<String> {
    let inner = json[value].strip_prefix('"')?.strip_suffix('"')?;
    let Range { start: mut from, end } = place_of(inner, &json);
    let mut bytes = json.into_bytes();
    let mut to = 0;
    while from < end {
        let plain = memchr::memchr(b'\\', &bytes[from..end]).unwrap_or(end - from);
        bytes.copy_within(from..from + plain, to);
        (from, to) = (from + plain, to + plain);
        if from < end {
            let (character, length) = escaped(&bytes[from..end])?;
            to += character.encode_utf8(&mut bytes[to..from + length]).len();
            from += length;
        }
    }
    bytes.truncate(to);
    String::from_utf8(bytes).ok()
}

/// The character that an escape stands for, and how long the escape is. None where it is half of a surrogate pair.
fn escaped(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let character = match text.get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = unit(0)?;
            let pair = [first, unit(6).unwrap_or_default()];
            let character = char::decode_utf16(pair).next()?.ok()?;
            return Some((character, 6 * character.len_utf16()));
        }
        other => char::from(*other),
    };
    Some((character, 2))
}

/// [`decode`] with the [`DEFAULT_LIMIT`], by the name that it has in Stream's SDKs. It is their `parse_sns` too: an SNS
/// envelope is recognised by itself.
///
/// # Errors
///
/// See [`DecodeError`].
#[doc(alias = "parse_sns")]
pub fn parse_sqs(body: &str) -> Result<Event, DecodeError> {
    decode(body, DEFAULT_LIMIT)
}

/// Whether a body that is not an event may be the connection test of Stream's dashboard or of its `check_sqs`: what that sends
/// is documented nowhere, so this is a guess at what such a test looks like. It is short, and either a JSON object without
/// a `type`, which every event has, or text that says so in words.
pub fn may_be_connection_test(body: &str) -> bool {
    const LONGEST: usize = 256;
    const WORDS: [&str; 5] = ["test", "check", "ping", "hello", "getstream"];
    let text = trim(body);
    if text.is_empty() || text.len() > LONGEST {
        return false;
    }
    if matches!(decode(text, LONGEST), Err(DecodeError::Json(JsonFault::NotAnEvent(NotAnEvent::NoType)))) {
        return true;
    }
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    !text.starts_with(['{', '[']) && words.any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// The form of a body, as far as its first bytes tell. A body of each form may be damaged further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Raw JSON.
    Json,
    /// Base64 of gzip.
    Gzip,
    /// Base64 of something else, such as JSON.
    Base64,
    /// An SNS envelope, around a message of any form.
    Envelope,
    /// None of these.
    Other,
}

impl Form {
    /// The form of a body.
    pub fn of(body: &str) -> Form {
        let text = trim(body);
        if text.starts_with('{') {
            return match last_values(text, ["type", "Type", "Message", "TopicArn"]) {
                Ok([None, Some(_), Some(_), Some(_)]) => Form::Envelope,
                _ => Form::Json,
            };
        }
        // Whole groups of four, of one line.
        let line = text.split(['\r', '\n']).next().unwrap_or_default().as_bytes();
        let begin = &line[..line.len().min(64) / 4 * 4];
        match from_base64(begin) {
            Ok(bytes) if bytes.starts_with(&GZIP) => Form::Gzip,
            Ok(bytes) if !bytes.is_empty() => Form::Base64,
            _ => Form::Other,
        }
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Form::Json => "JSON",
            Form::Gzip => "base64 of gzip",
            Form::Base64 => "base64",
            Form::Envelope => "SNS envelope",
            Form::Other => "unknown",
        })
    }
}

/// How many bytes decoding will hold beside the body, as far as the body tells at a glance.
///
/// A hint: gzip says at its end how long its last member was, and a sender can write anything there. Given as the
/// limit to [`decode`], it is enough for every honest body of one member; where it is not, the answer is
/// [`DecodeError::TooLarge`], which says nothing about the body until it was tried with the real limit.
pub fn size_hint(body: &str) -> usize {
    let text = trim(body);
    let base64 = if text.starts_with('{') { wrapped_gzip(text) } else { Some(text) };
    // The base64 of the first byte of gzip and six bits of the second.
    match base64.filter(|base64| base64.starts_with("H4s")) {
        Some(base64) => (gzip_length(base64) + base64.len() / 4 * 3).max(body.len()),
        None => body.len(),
    }
}

/// The base64 of a gzip in an SNS envelope, if this looks like one: SNS writes `Type` first.
fn wrapped_gzip(json: &str) -> Option<&str> {
    let start = &json.as_bytes()[..json.len().min(32)];
    if !start.windows(6).any(|window| window == br#""Type""#) {
        return None;
    }
    let (_, message) = json.split_once(r#""H4s"#)?;
    let end = message.find('"')?;
    let from = json.len() - message.len() - 3;
    json.get(from..from + 3 + end)
}

/// The length that the last four bytes of a gzip claim, no more than its size can hold.
fn gzip_length(base64: &str) -> usize {
    let bytes = base64.as_bytes();
    let bytes = bytes.strip_suffix(b"==").or(bytes.strip_suffix(b"=")).unwrap_or(bytes);
    // Whole groups of four from the beginning, so the last group may be short: eight to eleven characters hold them.
    let tail = bytes.len().saturating_sub(8) / 4 * 4;
    let most = bytes.len().saturating_mul(MOST_PER_BYTE);
    match LENIENT.decode(&bytes[tail..]).ok().and_then(|tail| tail.last_chunk().copied()) {
        Some(length) => usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX).min(most),
        None => 0,
    }
}

/// White space and byte order marks at both ends.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' | '\u{feff}'))
}

fn trim_cow(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(trim(text)),
        Cow::Owned(text) => {
            // In its place, since it may be as large as can be.
            let kept = place_of(trim(&text), &text);
            let mut text = text;
            text.truncate(kept.end);
            text.drain(..kept.start);
            Cow::Owned(text)
        }
    }
}

/// One layer: JSON as it is, or out of base64 and gzip.
fn unpack(text: Cow<'_, str>, limit: usize, room: Room) -> Result<Cow<'_, str>, DecodeError> {
    let text = trim_cow(text);
    let json = if text.starts_with('{') {
        text
    } else {
        let bytes = from_base64(text.as_bytes())?;
        drop(text);
        let text = match gunzip_within(&bytes, limit, room)? {
            Cow::Owned(inflated) => into_text(inflated)?,
            Cow::Borrowed(_) => String::from_utf8(bytes).map_err(|_| DecodeError::Json(JsonFault::Neither))?,
        };
        trim_cow(Cow::Owned(text))
    };
    if json.len() > limit { Err(DecodeError::TooLarge { limit }) } else { Ok(json) }
}

/// UTF-8 is checked here once and for the whole text; serde_json on bytes would only look at the fields that are read.
pub(crate) fn into_text(bytes: Vec<u8>) -> Result<String, DecodeError> {
    String::from_utf8(bytes).map_err(|_| DecodeError::Json(JsonFault::Utf8))
}

/// An event from JSON that is neither packed nor wrapped.
pub(crate) fn from_text(json: String) -> Result<Event, DecodeError> {
    let json = trim_cow(Cow::Owned(json)).into_owned();
    // Looked at before it is known to be needed, since an event takes its text with it.
    let is_feeds_batch = is_feeds_batch(&json);
    Event::from_json(json).map_err(|fault| match fault {
        NotAnEvent::NoObject { .. } if is_feeds_batch => DecodeError::Json(JsonFault::FeedsBatch),
        fault => fault.into(),
    })
}

/// Why this is not an event.
#[cold]
fn refused(json: &str, fault: NotAnObject) -> DecodeError {
    if is_feeds_batch(json) { DecodeError::Json(JsonFault::FeedsBatch) } else { NotAnEvent::from(fault).into() }
}

/// Whether it has the shape of a batch of Stream's older Feeds product: a list, whose first item says what is new in a feed
/// or was deleted from it. Only this item is read.
fn is_feeds_batch(json: &str) -> bool {
    let Some(items) = json.strip_prefix('[') else { return false };
    let Some(Ok(first)) = serde_json::Deserializer::from_str(items).into_iter::<&RawValue>().next() else {
        return false;
    };
    let is_list = |value: Option<&str>| value.is_some_and(|value| value.starts_with('['));
    match last_values(first.get(), ["feed", "new", "deleted"]) {
        Ok([Some(feed), new, deleted]) => feed.starts_with('"') && (is_list(new) || is_list(deleted)),
        _ => false,
    }
}

/// Both alphabets are made one before; padding and the bits behind the last byte do not matter.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn from_base64(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    // Many characters at a time, in what almost everybody writes; and it takes nothing that is refused below.
    if let Ok(bytes) = base64_simd::forgiving_decode_to_vec(text) {
        return Ok(bytes);
    }
    if let Ok(bytes) = LENIENT.decode(text) {
        return Ok(bytes);
    }
    // Line breaks as in MIME, or the alphabet for URLs. Rare, so it may cost a copy.
    let plain: Vec<u8> = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    LENIENT.decode(plain).map_err(|_| DecodeError::Base64)
}

/// Inflates what begins like gzip, and returns everything else.
pub(crate) fn gunzip(bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
    gunzip_within(bytes, limit, Room::Most)
}

fn gunzip_within(bytes: &[u8], limit: usize, room: Room) -> Result<Cow<'_, [u8]>, DecodeError> {
    if !bytes.starts_with(&GZIP) {
        return Ok(Cow::Borrowed(bytes));
    }
    match inflate_at_once(bytes, limit) {
        Some(inflated) => Ok(Cow::Owned(inflated)),
        None => inflate_piece_by_piece(bytes, limit, room).map(Cow::Owned),
    }
}

/// What a gzip begins with, and the number of the only way to compress that there is.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;

thread_local! {
    /// What an inflation needs to work in, 11 KB of tables: nothing of a body is left in it that another one could see.
    static TABLES: RefCell<libdeflater::Decompressor> = RefCell::new(libdeflater::Decompressor::new());
}

/// The fast path, for gzip as almost all senders write it: one member, a header without extras, honest about its length. It is inflated
/// in one go into a buffer of that length.
///
/// `None` for everything else, and for what is damaged: [`inflate_piece_by_piece`] decides. What this accepts, that accepts
/// too, save that libdeflate gives a meaning to the few codes that deflate reserves, which no compressor writes.
fn inflate_at_once(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    let (&[_, _, DEFLATE, 0, ..], rest) = bytes.split_first_chunk::<10>()? else { return None };
    let claimed: &[u8; 4] = rest.last_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*claimed)).ok()?;
    if length > limit || length > rest.len().saturating_mul(MOST_PER_BYTE) {
        return None;
    }
    // libdeflate checks what stands behind the member, its checksum and its length, but does not tell where that is.
    // Where this length stands nowhere before the end, the member ended there, and nothing follows it.
    if memchr::memmem::find(rest, claimed) != rest.len().checked_sub(claimed.len()) {
        return None;
    }
    let mut inflated = vec![0; length];
    let written = TABLES.with_borrow_mut(|tables| tables.gzip_decompress(bytes, &mut inflated));
    (written == Ok(length)).then_some(inflated)
}

/// The slow path, for every gzip: all its members, into a buffer that grows up to the limit.
#[allow(clippy::disallowed_methods, reason = "this is the place that inflates up to a limit")]
fn inflate_piece_by_piece(bytes: &[u8], limit: usize, room: Room) -> Result<Vec<u8>, DecodeError> {
    let claimed = bytes.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let claimed = usize::try_from(claimed).unwrap_or(usize::MAX).min(bytes.len().saturating_mul(MOST_PER_BYTE));
    // One more than is claimed, so that a member which is as long as it says ends before its room does.
    let mut inflated = Vec::with_capacity(claimed.min(limit) + 1);
    let mut rest = bytes;
    loop {
        let mut member = flate2::bufread::GzDecoder::new(rest);
        loop {
            let free = inflated.capacity() - inflated.len();
            let read = member.by_ref().take(free as u64).read_to_end(&mut inflated).map_err(gzip_fault)?;
            if inflated.len() > limit {
                return Err(DecodeError::TooLarge { limit });
            }
            if read < free {
                break;
            }
            if room == Room::Hinted {
                return Err(DecodeError::TooLarge { limit });
            }
            inflated.reserve_exact(growth(inflated.len(), limit));
        }
        rest = member.into_inner();
        if rest.iter().all(|byte| *byte == 0) {
            // Only a move gives memory back for certain, and it takes room of its own for that moment.
            if room == Room::Most && inflated.len() < inflated.capacity() / 2 {
                inflated.shrink_to_fit();
            }
            return Ok(inflated);
        }
        if !rest.starts_with(&GZIP) {
            return Err(DecodeError::Gzip(GzipFault::Trailing));
        }
    }
}

/// How much room is made behind `held` bytes that fill theirs: they are doubled, but never beyond the one byte that shows
/// that the limit is broken.
fn growth(held: usize, limit: usize) -> usize {
    held.max(4096).min((limit - held).saturating_add(1))
}

fn gzip_fault(error: std::io::Error) -> DecodeError {
    DecodeError::Gzip(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => GzipFault::Truncated,
        _ => GzipFault::Damaged,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).expect("a Vec takes everything");
        encoder.finish().expect("a Vec takes everything")
    }

    /// What is inflated at once must be what is inflated piece by piece, wherever it is inflated at once.
    fn agrees(bytes: &[u8], limit: usize) -> bool {
        let at_once = inflate_at_once(bytes, limit);
        if let Some(inflated) = &at_once {
            assert_eq!(inflate_piece_by_piece(bytes, limit, Room::Most).as_ref(), Ok(inflated), "{bytes:02x?}");
        }
        at_once.is_some()
    }

    #[test]
    fn the_webhook_id_of_an_envelope_is_read_and_of_nothing_else() {
        let id = |before: &str, attributes: &str| {
            let body = format!(r#" {{ {before} "Message": "{{}}", "MessageAttributes": {attributes} }}"#);
            webhook_id_in_envelope(&body).map(|id| id.as_str().to_owned())
        };
        let envelope = r#""Type" : "Notification", "TopicArn" : "arn:aws:sns:us-east-1:1:t","#;
        let of = |data_type: &str, value: &str| format!(r#"{{"webhook_id":{{"Type":{data_type},"Value":{value}}}}}"#);
        assert_eq!(id(envelope, &of(r#""String""#, r#""w\u002d1""#)).as_deref(), Some("w-1"));
        for (data_type, value) in [(r#""Binary""#, r#""w-1""#), (r#""String""#, "1"), (r#""String""#, r#""w\n1""#)] {
            assert_eq!(id(envelope, &of(data_type, value)), None, "{data_type} {value}");
        }
        for attributes in ["null", "{}", r#"{"webhook_id":"w-1"}"#] {
            assert_eq!(id(envelope, attributes), None, "{attributes}");
        }
        let good = of(r#""String""#, r#""w-1""#);
        // An event may have fields of these names.
        assert_eq!(id(&format!(r#"{envelope} "type": "message.new","#), &good), None);
        assert_eq!(id(r#""Type": "Notification","#, &good), None);
        assert_eq!(webhook_id_in_envelope("H4sI"), None);
    }

    #[test]
    fn gzip_of_one_member_and_of_two_alike_members_is_read() {
        let one = gzip(b"twice the same");
        assert_eq!(inflate_at_once(&one, 100).as_deref(), Some(&b"twice the same"[..]));
        // Length and checksum at the end are those of the first as well.
        let two = one.repeat(2);
        assert_eq!(gunzip(&two, 100).expect("two members"), &b"twice the sametwice the same"[..]);
    }

    #[test]
    fn the_limit_holds_to_the_byte_whichever_way_is_taken() {
        let zip = gzip(b"twice the same");
        assert!(inflate_at_once(&zip, 14).is_some());
        // Before anything is inflated.
        assert_eq!(inflate_at_once(&zip, 13), None);
        assert!(inflate_piece_by_piece(&zip, 14, Room::Most).is_ok());
        assert_eq!(inflate_piece_by_piece(&zip, 13, Room::Most), Err(DecodeError::TooLarge { limit: 13 }));
    }

    #[test]
    fn inflation_never_allocates_beyond_the_limit_and_one_byte() {
        for limit in [0, 1, 4095, 4096, 10_000, 100_000] {
            let mut held = 0;
            while held <= limit {
                let more = growth(held, limit);
                assert!(more > 0 && held + more <= limit + 1, "{more} behind {held} of {limit}");
                // Few steps, so that copying what is held costs no more than inflating it.
                assert!(held + more > limit || more >= held.max(4096), "{more} behind {held} of {limit}");
                held += more;
            }
        }
        // A limit that is none.
        assert_eq!(growth(5000, usize::MAX), 5000);
        let two = [gzip(&[7; 5000]), gzip(b"")].concat();
        assert_eq!(inflate_piece_by_piece(&two, usize::MAX, Room::Most).expect("two members").len(), 5000);
    }

    #[test]
    fn bytes_behind_a_gzip_are_refused_even_if_they_end_alike() {
        let zip = gzip(b"twice the same");
        let end = &zip[zip.len() - 8..];
        for (garbage, fault) in [
            (&b""[..], GzipFault::Trailing),
            (b"x", GzipFault::Trailing),
            (b"\0\0\0\0", GzipFault::Trailing),
            // It begins like gzip, and is none.
            (&GZIP, GzipFault::Damaged),
        ] {
            let behind = [&zip, garbage, end].concat();
            assert_eq!(gunzip(&behind, 100), Err(DecodeError::Gzip(fault)), "{garbage:?}");
            // Between the data and its checksum there is no room for anything.
            let between = [&zip[..zip.len() - 8], garbage, end].concat();
            let expected = if garbage.is_empty() { Ok(()) } else { Err(DecodeError::Gzip(GzipFault::Damaged)) };
            assert_eq!(gunzip(&between, 100).map(drop), expected, "{garbage:?}");
        }
        // A checksum that is wrong where it belongs is not made good by a right one at the end.
        let mut damaged = zip.clone();
        damaged[zip.len() - 8] ^= 1;
        damaged.extend(end);
        assert_eq!(gunzip(&damaged, 100), Err(DecodeError::Gzip(GzipFault::Damaged)));
    }

    #[test]
    fn an_unpacked_envelope_gives_its_room_to_its_message() {
        let json = r#"{"Message":"a\n\ud83d\ude00 \u00e9\/\"","Type":"Notification"}"#.to_owned();
        let (room, value) = (json.as_ptr(), 11..json.len() - 23);
        let text = text_in_place(json, value).expect("a text");
        assert_eq!((text.as_ptr(), text.as_str()), (room, "a\n\u{1f600} \u{e9}/\""));
    }

    #[test]
    fn what_takes_more_room_than_the_hint_says_waits_for_it() {
        let limit = 1_000;
        let event = r#"{"type":"message.new","text":"some words"}"#;
        let packed = |text: &str| LENIENT.encode(gzip(text.as_bytes()));
        let envelope = |text: &str| format!(r#"{{"Type":"Notification","TopicArn":"t","Message":{text:?}}}"#);
        let once = [packed(event), envelope(&packed(event)), packed(&envelope(event))];
        let twice = [packed(&envelope(&packed(event))), LENIENT.encode([gzip(event.as_bytes()), gzip(b" ")].concat())];
        for body in once {
            assert!(decode_within(&body, size_hint(&body), Room::Hinted).is_ok(), "{body}");
        }
        for body in twice {
            let hinted = decode_within(&body, size_hint(&body), Room::Hinted);
            assert!(matches!(hinted, Err(DecodeError::TooLarge { .. })), "{body}: {hinted:?}");
            assert_eq!(decode(&body, limit).map(|event| event.json().len()), Ok(event.len()), "{body}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_in_its_place_as_in_a_new_one(
            pieces in proptest::collection::vec(prop_oneof![
                ".{0,9}".prop_map(|text| {
                    let text = serde_json::to_string(&text).expect("a text");
                    text[1..text.len() - 1].to_owned()
                }),
                "\\\\[bfnrt/\"\\\\]",
                "\\\\u[0-9a-fA-F]{4}",
                "\\\\ud[89ab][0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}",
            ], 0..9),
        ) {
            let value = format!("\"{}\"", pieces.concat());
            let json = format!(r#"{{"é":{value}}}"#);
            let at = 6..json.len() - 1;
            prop_assert_eq!(text_in_place(json, at), text_of(&value).map(Cow::into_owned), "{}", value);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn inflating_at_once_and_piece_by_piece_gives_the_same(
            members in proptest::collection::vec(("[a-c]{0,40}", 0u32..3), 1..3),
            tail in proptest::collection::vec(prop_oneof![
                any::<u8>().prop_map(|byte| vec![byte]),
                Just(vec![0; 4]),
                Just(GZIP.to_vec()),
                // So many of the last bytes once more: the length, or checksum and length.
                prop_oneof![Just(4), Just(8)].prop_map(|last| vec![last; 9]),
            ], 0..4),
            cut in prop_oneof![Just(0), 0usize..30],
            change in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
            limit in prop_oneof![Just(1000), 0usize..100],
        ) {
            let mut bytes = Vec::new();
            for (text, level) in &members {
                let mut encoder = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::new(*level));
                encoder.write_all(text.as_bytes()).expect("a Vec takes everything");
                encoder.finish().expect("a Vec takes everything");
            }
            agrees(&bytes, limit);
            for piece in &tail {
                match piece.as_slice() {
                    &[last, _, _, _, _, _, _, _, _] => bytes.extend_from_within(bytes.len() - usize::from(last)..),
                    piece => bytes.extend(piece),
                }
                agrees(&bytes, limit);
            }
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                agrees(&bytes, limit);
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            agrees(&bytes, limit);
        }
    }
}
