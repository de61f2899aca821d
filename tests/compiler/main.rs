//! What the compiler says of the mistakes that people make with handlers: each message names the remedy.
//!
//! The messages are pinned beside the programs. After a change that is meant, or with a new compiler, write them again by
//! `TRYBUILD=overwrite cargo nextest run --no-default-features --test compiler`, and read them as a stranger would.

/// With the default features other handlers are listed in some messages, and the AWS SDK would be built once more.
#[test]
#[cfg(not(any(feature = "sqs", feature = "anyhow")))]
fn wrong_handlers_are_told_the_remedy() {
    trybuild::TestCases::new().compile_fail("tests/compiler/wrong/*.rs");
}

/// A message that was overwritten without being read is found here.
#[test]
fn every_message_shows_how_a_handler_is_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compiler/wrong");
    let files = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path());
    let messages: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "stderr")).collect();
    assert_eq!(messages.len(), 11);
    for path in messages {
        let message = std::fs::read_to_string(&path).expect("it is text");
        assert!(message.contains("async fn(event"), "{}: {message}", path.display());
    }
}
