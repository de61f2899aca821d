//! Kinds of events, and patterns for routes.

use std::collections::HashMap;

use stream_sqsd::event::{EventKind, EventType, KNOWN, Pattern, PatternCheck, PatternError, Product};

#[test]
fn a_kind_is_known_new_or_custom() {
    let known = EventKind::new("message.new");
    assert_eq!(known.products(), [Product::Chat]);
    assert_eq!((known.is_custom(), known.is_new()), (false, false));
    assert_eq!(known.known().unwrap().struct_name(), "MessageNew");
    let new = EventKind::new("message.teleported");
    assert_eq!((new.is_custom(), new.is_new(), new.products().len()), (false, true, 0));
    let custom = EventKind::new("order-paid");
    assert_eq!((custom.is_custom(), custom.is_new()), (true, false));
    // Has no dot and is Stream's all the same.
    let video = EventKind::new("custom");
    assert_eq!((video.is_custom(), video.is_new(), video.products()), (false, false, &[Product::Video][..]));
}

#[test]
fn a_kind_is_its_name_in_maps_and_in_order() {
    let mut kinds: Vec<EventKind> = ["user.banned", "b", "call.ring", "message.new"].map(EventKind::new).to_vec();
    kinds.sort();
    assert_eq!(kinds.iter().map(EventKind::name).collect::<Vec<_>>(), ["b", "call.ring", "message.new", "user.banned"]);
    let counts: HashMap<EventKind, u32> = [(EventKind::new("message.new"), 1), (EventKind::new("x"), 2)].into();
    assert_eq!((counts["message.new"], counts["x"]), (1, 2));
}

#[test]
fn a_name_in_a_log_has_no_control_characters() {
    let kind = EventKind::new("a\u{1b}[31m\nb");
    assert_eq!(kind.to_string(), r"a\u{1b}[31m\nb");
    assert_eq!(kind.name(), "a\u{1b}[31m\nb");
    assert_eq!(format!("{:>8}", EventKind::new("b")), "       b");
}

#[test]
fn the_catalogue_has_every_type_once_under_the_obvious_name() {
    for known in KNOWN {
        assert!(std::ptr::eq(EventType::find(known.name()).unwrap(), known));
        let guessed: String =
            known.name().split(['.', '_']).map(|part| part[..1].to_uppercase() + &part[1..]).collect();
        assert_eq!(known.struct_name(), guessed);
        assert!(!known.products().is_empty());
        let mut names: Vec<_> = known.fields().iter().map(|field| field.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), known.fields().len(), "{}", known.name());
    }
}

#[test]
fn each_product_sends_at_least_what_stream_documented() {
    let count = |product| KNOWN.iter().filter(|known| known.products().contains(&product)).count();
    // As of version 236.0.4 of Stream's API: 171 types, some of them of several products. Types are added and never removed.
    // One of chat's 77 is the shape of custom events.
    let products = [(Product::Chat, 76), (Product::Video, 67), (Product::Feeds, 62), (Product::Moderation, 19)];
    assert!(KNOWN.len() >= 171, "{}", KNOWN.len());
    for (product, documented) in products {
        assert!(count(product) >= documented, "{product:?}: {}", count(product));
    }
}

#[test]
fn a_pattern_takes_one_type_or_what_is_below_a_dot_or_all() {
    let takes = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
    assert!(takes("message.new", "message.new"));
    assert!(!takes("message.new", "message.newer"));
    assert!(takes("message.*", "message.new") && takes("message.*", "message.a.b"));
    assert!(!takes("message.*", "message") && !takes("message.*", "messages.new"));
    assert!(takes("feeds.activity.*", "feeds.activity.reaction.added"));
    assert!(takes("*", "message.new") && takes("*", "x"));
}

#[test]
fn other_forms_are_not_patterns() {
    assert_eq!(Pattern::new(""), Err(PatternError::Empty));
    for text in ["message.new ", "a b", "a\n", "\u{7}"] {
        assert_eq!(Pattern::new(text), Err(PatternError::WhiteSpace(text.to_owned())));
    }
    for text in ["mess*", "*.new", "message.*.x", "**", ".*", "message.**", "*.*"] {
        assert_eq!(Pattern::new(text), Err(PatternError::Star(text.to_owned())));
    }
}

#[test]
fn a_pattern_that_matches_nothing_known_names_what_was_meant() {
    let check = |pattern: &str| Pattern::new(pattern).unwrap().check();
    let unknown = |nearest: &str, distance| PatternCheck::Unknown { nearest: nearest.to_owned(), distance };
    for known in ["message.new", "call.*", "*", "feeds.activity.reaction.*", "custom"] {
        assert_eq!(check(known), PatternCheck::Known, "{known}");
    }
    assert_eq!(check("order-paid"), PatternCheck::Custom { nearest: None });
    assert_eq!(check("messages.new"), unknown("message.new", 1));
    assert_eq!(check("mesage.*"), unknown("message.*", 1));
    assert_eq!(check("feeds.activities.*"), unknown("feeds.activity.*", 3));
    assert_eq!(check("mesasge.new"), unknown("message.new", 1));
    assert!(check("mesasge.new").is_typo() && !check("feeds.activities.*").is_typo());
    assert!(!check("message.teleported").is_typo() && !check("*").is_typo() && !check("order").is_typo());
}

#[test]
fn a_type_in_other_words_or_another_spelling_is_named() {
    let check = |pattern: &str| Pattern::new(pattern).unwrap().check();
    let unknown = |nearest: &str| PatternCheck::Unknown { nearest: nearest.to_owned(), distance: 1 };
    for (written, meant) in [
        ("message.created", "message.new"),
        ("message.sent", "message.new"),
        ("message.edited", "message.updated"),
        ("message.removed", "message.deleted"),
        ("reaction.added", "reaction.new"),
        ("channel.new", "channel.created"),
        ("member.created", "member.added"),
        ("feeds.comment.new", "feeds.comment.added"),
        ("MESSAGE.NEW", "message.new"),
        ("Message.*", "message.*"),
        ("call.session.started", "call.session_started"),
    ] {
        assert_eq!(check(written), unknown(meant), "{written}");
    }
    let custom = |nearest: &str| PatternCheck::Custom { nearest: Some(nearest.to_owned()) };
    for (written, meant) in [
        ("channel_created", "channel.created"),
        ("MESSAGE_NEW", "message.new"),
        ("messageNew", "message.new"),
        ("message-created", "message.new"),
        ("call_session_started", "call.session_started"),
    ] {
        assert_eq!(check(written), custom(meant), "{written}");
    }
    for own in ["order_created", "plant_watered", "new", "order-paid", "user_created", "friendship_ended"] {
        assert_eq!(check(own), PatternCheck::Custom { nearest: None }, "{own}");
    }
    // A custom event may have any name, so nobody is refused for it.
    assert!(check("message.created").is_typo() && !check("channel_created").is_typo());
    let pattern = Pattern::new("channel_created").unwrap();
    let warning = "`channel_created` has no dot, so only a custom event of yours can be of this type; did you mean \
                   `channel.created`?";
    assert_eq!(pattern.check().warning(&pattern).as_deref(), Some(warning));
}

#[test]
fn the_warning_is_a_sentence_and_silent_where_all_is_well() {
    let warning = |text: &str| {
        let pattern = Pattern::new(text).unwrap();
        pattern.check().warning(&pattern)
    };
    assert_eq!(
        warning("messages.new").as_deref(),
        Some("the pattern `messages.new` matches no event type that this version knows; the nearest is `message.new`")
    );
    assert_eq!((warning("message.new"), warning("order-paid")), (None, None));
}
