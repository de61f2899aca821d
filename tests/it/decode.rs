//! Bodies to events: a test for each sentence that tells the forms apart.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;
use stream_sqsd::decode::{DEFAULT_LIMIT, DecodeError, GzipFault, decode, parse_sqs, size_hint};
use stream_sqsd::event::{self, Event, NotAnEvent};
use stream_sqsd::webhook;

const EVENT: &str = r#"{"type":"message.new","cid":"messaging:general","message":{"text":"grüße ÿ>?"}}"#;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn packed(json: &str) -> String {
    STANDARD.encode(gzip(json.as_bytes()))
}

/// As SNS writes it.
fn sns(message: &str) -> String {
    format!(
        r#"{{
  "Type" : "Notification",
  "MessageId" : "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
  "TopicArn" : "arn:aws:sns:eu-west-1:123456789012:stream",
  "Message" : {},
  "Timestamp" : "2026-01-01T00:00:00.000Z",
  "SignatureVersion" : "1"
}}"#,
        serde_json::Value::from(message)
    )
}

#[track_caller]
fn reads(body: &str, json: &str) {
    let event = parse_sqs(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(event.json(), json);
    assert_eq!(event.kind().name(), "message.new");
}

#[track_caller]
fn refused(body: &str, text: &str) -> DecodeError {
    let error = parse_sqs(body).expect_err(body);
    assert_eq!(error.label(), text.to_lowercase().replace(' ', "_"), "{error}");
    assert!(error.to_string().starts_with(text), "{error}");
    error
}

const BASE64: &str = "invalid base64 encoding";
const GZIP: &str = "gzip decompression failed";
const JSON: &str = "invalid JSON payload";

#[test]
fn raw_json_is_taken_as_it_stands() {
    reads(EVENT, EVENT);
    let spaced = "{ \"type\" :\n \"message.new\" , \"a\" : 1 }";
    reads(spaced, spaced);
}

#[test]
fn white_space_and_byte_order_mark_around_a_body_are_trimmed() {
    reads(&format!("\u{feff} \r\n\t{EVENT}\n "), EVENT);
    reads(&format!(" \u{feff}{}\r\n", packed(EVENT)), EVENT);
    reads(&packed(&format!("\u{feff}\n{EVENT} \n")), EVENT);
}

#[test]
fn base64_of_json_and_of_gzip_are_unpacked() {
    reads(&STANDARD.encode(EVENT), EVENT);
    reads(&packed(EVENT), EVENT);
}

#[test]
fn base64_may_be_broken_into_lines() {
    for line_end in ["\r\n", "\n", " ", "\t"] {
        let lines: Vec<String> =
            packed(EVENT).as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
        reads(&lines.join(line_end), EVENT);
    }
}

#[test]
fn padding_may_be_missing() {
    for end in ["", " ", "  "] {
        let json = format!("{EVENT}{end}");
        reads(&STANDARD_NO_PAD.encode(&json), EVENT);
        reads(&STANDARD_NO_PAD.encode(gzip(json.as_bytes())), EVENT);
    }
    // One of two.
    let two = (0..3).map(|n| STANDARD.encode(format!("{EVENT}{}", " ".repeat(n)))).find(|text| text.ends_with("=="));
    reads(two.unwrap().strip_suffix('=').unwrap(), EVENT);
}

#[test]
fn both_alphabets_are_read() {
    let url_safe = URL_SAFE.encode(EVENT);
    assert!(url_safe.contains(['-', '_']), "the event must need the characters in which the alphabets differ");
    reads(&url_safe, EVENT);
    reads(&URL_SAFE_NO_PAD.encode(gzip(EVENT.as_bytes())), EVENT);
}

#[test]
fn bits_behind_the_last_byte_are_ignored() {
    let text = (0..3).map(|n| STANDARD_NO_PAD.encode(format!("{EVENT}{}", " ".repeat(n)))).find(|t| t.len() % 4 == 2);
    let mut text = text.unwrap();
    let last = text.pop().unwrap();
    // The last character carries two bits of the last byte and four that mean nothing.
    text.push(char::from_u32(u32::from(last) + 1).unwrap());
    assert!(STANDARD_NO_PAD.decode(&text).is_err(), "a strict decoder takes offence");
    reads(&text, EVENT);
}

#[test]
fn what_is_neither_json_nor_base64_is_invalid_base64() {
    for body in ["hello, world", "[1,2]", "\"text\"", "abc$", "=", "a", "abc=def=", "<xml/>", "YWJj====="] {
        refused(body, BASE64);
    }
}

#[test]
fn words_that_are_base64_by_chance_are_not_bad_utf_8() {
    let told = |body: &str| parse_sqs(body).unwrap_err().to_string();
    for body in ["not json at all", "null", "abcd", "YWJj/w=="] {
        assert_eq!(told(body), "invalid JSON payload: neither a JSON object nor base64 of one", "{body}");
    }
    // What was compressed on purpose is.
    assert_eq!(told(&STANDARD.encode(gzip(b"{\"type\":\"\xff\"}"))), "invalid JSON payload: not valid UTF-8");
}

#[test]
fn a_connection_test_is_short_and_says_so_or_has_no_type() {
    let may_be = stream_sqsd::decode::may_be_connection_test;
    for body in ["{}", r#"{"message":"hello"}"#, "e30=", "This is a test message", " PING\n", "Hello, world!"] {
        assert!(may_be(body), "{body}");
    }
    let long = format!("{} test", "x".repeat(300));
    for body in [EVENT, "%%%", "", r#"{"type":"test"#, r#"["test"]"#, "H4sIAAAA", "contest", &long, &packed(EVENT)] {
        assert!(!may_be(body), "{body}");
    }
}

#[test]
fn what_is_base64_by_chance_is_not_json() {
    for body in ["null", "true", "1234", "", "  ", "abcd"] {
        refused(body, JSON);
    }
}

#[test]
fn all_members_of_a_gzip_are_read() {
    let (head, tail) = EVENT.split_at(20);
    let mut members = gzip(head.as_bytes());
    members.extend(gzip(b""));
    members.extend(gzip(tail.as_bytes()));
    reads(&STANDARD.encode(&members), EVENT);
}

#[test]
fn zeros_behind_a_gzip_are_padding_and_other_bytes_are_not() {
    let mut zip = gzip(EVENT.as_bytes());
    zip.extend([0; 100]);
    reads(&STANDARD.encode(&zip), EVENT);
    for garbage in [&b"\0\0x"[..], b"x", b"\x1f", b"{}"] {
        let mut zip = gzip(EVENT.as_bytes());
        zip.extend(garbage);
        let error = refused(&STANDARD.encode(&zip), GZIP);
        assert_eq!(error, DecodeError::Gzip(GzipFault::Trailing));
    }
    let mut zip = gzip(EVENT.as_bytes());
    zip.extend(b"\x1f\x8bno");
    refused(&STANDARD.encode(&zip), GZIP);
}

#[test]
fn a_wrong_checksum_or_length_is_refused() {
    let zip = gzip(EVENT.as_bytes());
    for at in zip.len() - 8..zip.len() {
        for bit in 0..8 {
            let mut zip = zip.clone();
            zip[at] ^= 1 << bit;
            refused(&STANDARD.encode(&zip), GZIP);
        }
    }
}

/// The queue's own checksum is not looked at for a body in gzip: this one has to do.
#[test]
fn no_bit_of_a_gzip_can_fall_over_and_make_another_event() {
    let whole = gzip(EVENT.as_bytes());
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Time and system in its header are nobody's business.
        if let Ok(event) = parse_sqs(&STANDARD.encode(damaged)) {
            assert_eq!(event.json(), EVENT, "bit {bit}");
        }
    }
}

#[test]
fn a_gzip_cut_short_anywhere_is_refused() {
    let zip = gzip(EVENT.as_bytes());
    for length in 2..zip.len() {
        let error = refused(&STANDARD.encode(&zip[..length]), GZIP);
        assert_eq!(error, DecodeError::Gzip(GzipFault::Truncated), "at {length}");
    }
    refused(&STANDARD.encode(&zip[..1]), JSON);
}

#[test]
fn bytes_that_are_not_utf8_are_refused_wherever_they_are() {
    let mut json = EVENT.as_bytes().to_vec();
    let at = EVENT.find("ÿ").unwrap();
    json[at] = 0xff;
    refused(&STANDARD.encode(&json), JSON);
    refused(&STANDARD.encode(gzip(&json)), JSON);
}

#[test]
fn an_event_is_an_object_with_a_type_that_is_a_text() {
    let bodies = [
        "{}",
        r#"{"type":""}"#,
        r#"{"type":null}"#,
        r#"{"type":7}"#,
        r#"{"type":["message.new"]}"#,
        r#"{"Type":"message.new"}"#,
        r#"{"a":{"type":"message.new"}}"#,
        r#"{"type":"\ud800"}"#,
    ];
    for body in bodies {
        refused(body, JSON);
        refused(&STANDARD.encode(body), JSON);
    }
    for json in ["[]", "[{\"type\":\"message.new\"}]", "7", "null", "\"type\""] {
        refused(&STANDARD.encode(json), JSON);
    }
}

#[test]
fn what_is_not_json_is_refused_wherever_the_fault_is() {
    for body in [
        "{",
        r#"{"type":"message.new"} x"#,
        r#"{"type":"message.new"}{}"#,
        r#"{"type":"message.new",}"#,
        r#"{"type":"message.new","a":01}"#,
        r#"{"type":"message.new","a":"\x"}"#,
        "{\"type\":\"message.new\",\"a\":\"\u{1}\"}",
        // Found by fuzzing.
        "{\"type\":\"message.new\",\"a\u{1}b\":1}",
        r#"{"type":"message.new","a":[1,2}"#,
        r#"{"type":"message.new","a":nul}"#,
        r#"{"type":"message.new","a":+1}"#,
        r#"{'type':'message.new'}"#,
    ] {
        refused(body, JSON);
    }
}

#[test]
fn of_a_key_that_stands_twice_the_last_counts() {
    let body = r#"{"type":"user.updated","a":1,"type":"message.new","a":2}"#;
    reads(body, body);
    refused(r#"{"type":"message.new","type":""}"#, JSON);
    let escaped = r#"{"type":"user.updated","\u0074ype":"message.n\u0065w"}"#;
    reads(escaped, escaped);
}

#[test]
fn deep_json_surrogates_and_huge_numbers_are_kept_as_they_are() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
    for value in [&*deep, &*deep_objects, r#""\ud800""#, "1e400", "-0.0e-400", "123456789012345678901234567890", "1.50"]
    {
        let body = format!(r#"{{"a":{value},"type":"message.new","b":[{value}]}}"#);
        reads(&body, &body);
        reads(&packed(&body), &body);
        reads(&sns(&body), &body);
    }
    let key = r#"{"\udfff":1,"type":"message.new"}"#;
    reads(key, key);
}

#[test]
fn an_sns_envelope_is_unwrapped_whatever_is_in_it() {
    for inner in [EVENT.to_owned(), STANDARD.encode(EVENT), packed(EVENT), format!(" {EVENT}\n")] {
        reads(&sns(&inner), EVENT);
        reads(&sns(&sns(&inner)), EVENT);
        reads(&packed(&sns(&inner)), EVENT);
        assert_eq!(parse_sqs(&sns(&inner)), parse_sqs(&inner));
    }
}

#[test]
fn a_third_envelope_is_refused() {
    refused(&sns(&sns(&sns(EVENT))), JSON);
    refused(&packed(&sns(&packed(&sns(&packed(&sns(EVENT)))))), JSON);
}

#[test]
fn an_event_that_only_looks_like_an_envelope_is_an_event() {
    for json in [
        r#"{"type":"message.new","Type":"Notification","Message":"{\"type\":\"user.banned\"}","TopicArn":"arn"}"#,
        r#"{"type":"message.new","message":"{\"type\":\"user.banned\"}"}"#,
        r#"{"Message":"x","type":"message.new"}"#,
    ] {
        reads(json, json);
    }
}

#[test]
fn an_envelope_needs_its_type_its_topic_and_a_text() {
    for body in [
        r#"{"Type":"Notification","Message":"{\"type\":\"message.new\"}"}"#,
        r#"{"Type":"SubscriptionConfirmation","TopicArn":"arn","Message":"{\"type\":\"message.new\"}"}"#,
        r#"{"TopicArn":"arn","Message":"{\"type\":\"message.new\"}"}"#,
        r#"{"Type":"Notification","TopicArn":"arn","Message":{"type":"message.new"}}"#,
        r#"{"Type":"Notification","TopicArn":"arn"}"#,
        r#"{"Type":"Notification","TopicArn":"arn","Message":"\ud800"}"#,
    ] {
        refused(body, JSON);
    }
}

#[test]
fn error_texts_are_those_of_the_sdks_and_hold_no_content() {
    for (body, text) in [
        ("$ecret", "invalid base64 encoding"),
        (&*STANDARD.encode(b"\x1f\x8bsecret"), "gzip decompression failed: it ends too soon"),
        (r#"{"secret":"#, "invalid JSON payload: not a JSON object (line 1 column 10)"),
        (r#"{"type":5,"a":"secret"}"#, "invalid JSON payload: no `type`"),
    ] {
        assert_eq!(parse_sqs(body).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_batch_of_the_older_feeds_is_told_by_its_shape() {
    let batch = r#"[ {"feed":"user:1","deleted":[],"deleted_foreign_ids":[],"new":[{"id":"a","actor":"secret"}],"published_at":"2026-01-01T00:00:00Z"}, {"feed":"user:2"}]"#;
    let told = "invalid JSON payload: a batch of Stream Feeds v2; this consumer reads Chat, Video, Moderation and Feeds v3 \
                events";
    for body in [STANDARD.encode(batch), packed(batch), sns(&STANDARD.encode(batch))] {
        assert_eq!(refused(&body, JSON).to_string(), told);
    }
    let secret = "tsec2";
    let signature = webhook::SigningKey::new(secret).unwrap().sign(batch.as_bytes());
    assert_eq!(webhook::verify_and_parse(batch.as_bytes(), &signature, secret).unwrap_err().to_string(), told);
    for other in ["[]", "[1]", r#"[{"feed":"user:1"}]"#, r#"[{"feed":7,"new":[]}]"#, r#"[{"feed":"a","new":"#, "7"] {
        let error = refused(&STANDARD.encode(other), JSON).to_string();
        assert!(!error.contains("Feeds"), "{other}: {error}");
    }
}

#[test]
fn a_type_of_more_than_256_bytes_is_an_error_of_its_own() {
    let with = |kind: &str| format!(r#"{{"type":"{kind}","a":1}}"#);
    for body in [with(&"x".repeat(256)), with(&r"\u0078".repeat(256))] {
        for body in [sns(&body), packed(&body), body] {
            assert_eq!(parse_sqs(&body).unwrap().kind().name().len(), 256);
        }
    }
    for kind in ["x".repeat(257), r"\u0078".repeat(257), "ü".repeat(129), "x".repeat(1 << 20), r"\n".repeat(1 << 20)] {
        let body = with(&kind);
        assert_eq!(Event::from_json(&*body).unwrap_err(), NotAnEvent::LongType);
        for body in [sns(&body), packed(&body), body] {
            let error = parse_sqs(&body).unwrap_err();
            assert_eq!((&error, error.label()), (&DecodeError::TypeTooLong, "type_too_long"));
            assert_eq!(error.to_string(), "type too long: more than 256 bytes");
        }
    }
    let longest = event::KNOWN.iter().map(|known| known.name().len()).max();
    assert!(longest.unwrap() * 4 < 256, "Stream's own are far from the limit");
}

#[test]
fn inflation_stops_at_the_limit() {
    let json = format!(r#"{{"type":"message.new","a":"{}"}}"#, "x".repeat(10_000));
    let body = packed(&json);
    assert!(decode(&body, json.len()).is_ok());
    let error = decode(&body, json.len() - 1).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { limit: json.len() - 1 });
    assert_eq!(error.label(), "too_large");
    assert!(decode(&json, json.len()).is_ok());
    assert_eq!(decode(&json, 100).unwrap_err().label(), "too_large");
    // Each member alone would fit.
    let two = [gzip(&json.as_bytes()[..5000]), gzip(&json.as_bytes()[5000..])].concat();
    assert_eq!(decode(&STANDARD.encode(two), 9000).unwrap_err().label(), "too_large");
}

#[test]
fn the_hint_is_enough_for_every_honest_body() {
    for json in [EVENT.to_owned(), format!(r#"{{"type":"message.new","a":"{}"}}"#, "zip me ".repeat(3000))] {
        let zip = gzip(json.as_bytes());
        let forms = [
            json.clone(),
            STANDARD.encode(&json),
            STANDARD.encode(&zip),
            STANDARD_NO_PAD.encode(&zip),
            URL_SAFE_NO_PAD.encode(&zip),
        ];
        for body in forms.iter().flat_map(|form| [form.clone(), sns(form)]) {
            let hint = size_hint(&body);
            assert_eq!(decode(&body, hint).unwrap().json(), json, "{hint} for {body}");
            assert!(hint < json.len() + 2 * body.len() + 100, "{hint} is far too much for {}", json.len());
        }
        // Both are held at the same time: what was inflated, and what it was inflated from.
        assert!(size_hint(&forms[2]) >= json.len() + zip.len());
    }
}

#[test]
fn an_event_that_quotes_a_gzip_is_held_as_it_stands() {
    let zip = STANDARD.encode(gzip("zip me ".repeat(3000).as_bytes()));
    let event = format!(r#"{{"type":"message.new","kept in some field":"{zip}"}}"#);
    assert_eq!(size_hint(&event), event.len());
}

#[test]
fn a_hint_that_lies_is_bounded_and_does_no_harm() {
    let json = format!(r#"{{"type":"message.new","a":"{}"}}"#, "zip me ".repeat(3000));
    let mut zip = gzip(json.as_bytes());
    let end = zip.len();
    zip[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    let body = STANDARD.encode(&zip);
    assert!(size_hint(&body) <= body.len() * 1033);
    // Two members: the last says only its own length.
    let two = STANDARD.encode([gzip(json.as_bytes()), gzip(b" ")].concat());
    assert_eq!(decode(&two, size_hint(&two)).unwrap_err().label(), "too_large");
    assert!(decode(&two, DEFAULT_LIMIT).is_ok());
    // The padding is read as a length of zero.
    zip.extend([0; 16]);
    assert!(size_hint(&STANDARD.encode(&zip)) >= zip.len());
}

proptest! {
    #[test]
    fn nothing_makes_the_decoder_panic(body in ".{0,200}", limit in 0usize..300) {
        let _ = (size_hint(&body), decode(&body, limit));
    }

    #[test]
    fn no_damage_to_a_body_makes_the_decoder_panic(at in 0usize..400, byte in any::<u8>(), limit in 0usize..300) {
        for mut bytes in [gzip(EVENT.as_bytes()), EVENT.as_bytes().to_vec()] {
            let at = at % bytes.len();
            bytes[at] = byte;
            let body = STANDARD.encode(&bytes);
            let _ = (size_hint(&body), decode(&body, limit), decode(&body, DEFAULT_LIMIT));
            let _ = decode(&sns(&body), DEFAULT_LIMIT);
        }
    }

    #[test]
    fn every_form_gives_the_same_bytes(text in any::<String>(), key in "[a-zA-Z_]{1,9}", level in 0u32..10) {
        let json = json!({ "type": "message.new", key: text }).to_string();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(json.as_bytes()).unwrap();
        let zip = STANDARD.encode(encoder.finish().unwrap());
        for body in [json.clone(), STANDARD.encode(&json), sns(&json), sns(&zip), zip] {
            let event = decode(&body, size_hint(&body)).unwrap();
            prop_assert_eq!(event.json(), &json);
        }
    }
}

/// The peak of this process's memory in bytes, as Linux counts it.
#[cfg(target_os = "linux")]
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Memory is that of a process, so each bomb goes off in one of its own: this test, started again with a variable set.
#[test]
#[cfg(target_os = "linux")]
fn a_bomb_of_a_gigabyte_costs_less_than_twice_the_limit() {
    const CHILD: &str = "STREAM_SQSD_TEST_BOMB";
    let Ok(bomb) = std::env::var(CHILD) else {
        for bomb in ["boastful", "modest"] {
            let name = "decode::a_bomb_of_a_gigabyte_costs_less_than_twice_the_limit";
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, bomb).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && text.contains("1 passed"), "{bomb}: {text}");
        }
        return;
    };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    (0..8 * 1024).for_each(|_| encoder.write_all(&[b' '; 1024]).unwrap());
    let megabytes = encoder.finish().unwrap();
    let members = 120;
    let body = STANDARD.encode(megabytes.repeat(members));
    assert!(body.len() <= 1_400_000 && members * 8 > 900, "{} bytes", body.len());
    let mut lie = megabytes.clone();
    let end = lie.len();
    lie[end - 4..].fill(0xff);
    let bodies = if bomb == "modest" {
        // The last member is short, and says so: room has to be made while all the others are inflated.
        vec![STANDARD.encode([megabytes.repeat(members), gzip(b" ")].concat())]
    } else {
        vec![body, STANDARD.encode(megabytes.repeat(3)), STANDARD.encode(lie.repeat(3))]
    };
    let before = peak_memory();
    for limit in [DEFAULT_LIMIT, DEFAULT_LIMIT - 1, 5_000_000] {
        for body in &bodies {
            assert!(decode(body, limit).is_err());
        }
    }
    let cost = peak_memory() - before;
    assert!(cost < 2 * DEFAULT_LIMIT, "it cost {cost} bytes");
    println!("a gigabyte cost {cost} bytes");
}
