//! A short run over the corpus of the fuzzers, so that what they once found stays found.

use std::path::Path;

use stream_sqsd::decode::{DEFAULT_LIMIT, decode, size_hint};
use stream_sqsd::event::Event;

fn corpus(target: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let seeds: Vec<_> = folder.read_dir().unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect();
    assert!(seeds.len() > 10, "the corpus of {target} is missing");
    // The targets take text, so libFuzzer skips what is none.
    seeds.into_iter().filter_map(|seed| String::from_utf8(seed).ok()).collect()
}

/// The text, and with every single character left out.
fn variations(seed: &str) -> impl Iterator<Item = String> {
    let cuts = seed.char_indices().map(|(at, c)| format!("{}{}", &seed[..at], &seed[at + c.len_utf8()..]));
    std::iter::once(seed.to_owned()).chain(cuts)
}

#[test]
fn decoding_the_corpus_never_panics_and_round_trips() {
    let mut events = 0;
    for body in corpus("decode").iter().flat_map(|seed| variations(seed)) {
        let _ = decode(&body, size_hint(&body));
        if let Ok(event) = decode(&body, DEFAULT_LIMIT) {
            assert_eq!(decode(event.json(), DEFAULT_LIMIT).unwrap(), event);
            events += 1;
        }
    }
    assert!(events > 10, "{events}");
}

#[test]
fn typed_parsing_of_the_corpus_never_panics_and_round_trips() {
    let mut payloads = 0;
    for json in corpus("typed").iter().flat_map(|seed| variations(seed)) {
        let Ok(payload) = Event::from_json(json).map_err(drop).and_then(|event| event.payload().map_err(drop)) else {
            continue;
        };
        let written = serde_json::to_string(&payload).unwrap();
        assert_eq!(Event::from_json(written).unwrap().payload().unwrap(), payload);
        payloads += 1;
    }
    assert!(payloads > 10, "{payloads}");
}
