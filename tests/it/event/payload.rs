//! From an event to a struct: what is read, and what an error says.

use stream_sqsd::event::message::{MessageNew, MessageUpdated};
use stream_sqsd::event::{
    AnyPayload, CustomEvent, Event, EventKind, IdOr, Payload, PayloadError, call, channel, object,
};

fn event(json: &str) -> Event {
    Event::from_json(json).unwrap()
}

#[test]
fn fields_are_read_at_every_level_and_the_rest_is_kept() {
    let json = r#"{"type":"message.new","cid":"messaging:general","watcher_count":3,
        "message":{"id":"m","text":"hi \"you\" \ud83d\ude00","reaction_counts":{"like":2,"none":null},
            "attachments":[{"title":"a","width":7},{"title":"b"}],"mood":"good"},
        "user":{"id":"ann","teams":["red"],"plan":"gold","age":41},
        "request_info":{"ip":"1.2.3.4"},"members":[{"user_id":"ann"},"bob"],"priority":[1, 2]}"#;
    let payload: MessageNew = event(json).parse().unwrap();
    assert_eq!(payload.cid.as_deref(), Some("messaging:general"));
    assert_eq!(payload.watcher_count, Some(3));
    let message = payload.message.unwrap();
    assert_eq!(message.text.as_deref(), Some("hi \"you\" 😀"));
    assert_eq!(message.reaction_counts.unwrap().iter().collect::<Vec<_>>(), [(&"like".to_owned(), &2)]);
    let attachments = message.attachments.unwrap();
    assert_eq!(attachments.len(), 2);
    assert_eq!(attachments[0].extra.get::<u32>("width"), Some(7));
    assert_eq!(message.extra.get::<String>("mood").as_deref(), Some("good"));
    let user = payload.user.unwrap();
    assert_eq!(user.teams.unwrap()[0], "red");
    assert_eq!(user.extra.get::<String>("plan").as_deref(), Some("gold"));
    assert_eq!(user.extra.get::<String>("age"), None, "it is not a text");
    assert_eq!(payload.request_info.unwrap().ip.as_deref(), Some("1.2.3.4"));
    let members = payload.members.unwrap();
    assert_eq!(members[0].object().unwrap().user_id.as_deref(), Some("ann"));
    assert_eq!(members[1], IdOr::Id("bob".to_owned()));
    assert_eq!(payload.extra.raw("priority").unwrap().get(), "[1, 2]");
}

#[test]
fn custom_fields_can_be_read_whole_into_a_type_of_yours() {
    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Plan {
        plan: String,
        seats: u32,
    }
    let json = r#"{"type":"message.new","user":{"id":"ann","plan":"gold","seats":7}}"#;
    let user = event(json).parse::<MessageNew>().unwrap().user.unwrap();
    assert_eq!(user.extra.to::<Plan>().unwrap(), Plan { plan: "gold".to_owned(), seats: 7 });
}

#[test]
fn an_object_of_whatever_values_is_read_whole_and_takes_more() {
    let custom = |json: &str| {
        let event = event(&format!(r#"{{"type":"message.new","message":{{"custom":{json}}}}}"#));
        event.parse::<MessageNew>().unwrap().message.unwrap().custom.unwrap()
    };
    let mut some = custom(r#"{ "plan" : "gold" }"#);
    some.push("seats", serde_json::from_str("7").unwrap());
    assert_eq!((some.len(), some.get("plan"), some.get("seats")), (2, Some("gold".to_owned()), Some(7)));
    assert_eq!(some.to::<serde_json::Value>().unwrap(), serde_json::json!({ "plan": "gold", "seats": 7 }));
    assert!(custom("{ }").is_empty());
}

#[test]
fn the_enum_has_each_type_and_keeps_the_unknown_whole() {
    let AnyPayload::MessageNew(message) = event(r#"{"type":"message.new","cid":"c"}"#).payload().unwrap() else {
        panic!("another type");
    };
    assert_eq!(message.cid.as_deref(), Some("c"));
    let AnyPayload::CustomEvent(custom) = event(r#"{"type":"order-paid","order":7}"#).payload().unwrap() else {
        panic!("another type");
    };
    assert_eq!((custom.r#type.as_deref(), custom.extra.get("order")), (Some("order-paid"), Some(7)));
    let new = event(r#"{ "type":"message.teleported" }"#);
    let payload = new.payload().unwrap();
    assert_eq!(payload, AnyPayload::Unknown(new.clone()));
    assert_eq!(serde_json::to_string(&payload).unwrap(), new.json());
}

#[test]
fn a_type_is_parsed_from_its_own_events_only() {
    let new = event(r#"{"type":"message.new"}"#);
    let error = new.parse::<MessageUpdated>().unwrap_err();
    assert_eq!(error.to_string(), "expected an event of the type message.updated, found message.new");
    assert!(new.parse::<CustomEvent>().is_err());
    assert!(event(r#"{"type":"x"}"#).parse::<CustomEvent>().is_ok());
    assert!(CustomEvent::takes(&EventKind::new("x")) && !CustomEvent::takes(&EventKind::new("x.y")));
    assert!(!CustomEvent::takes(&EventKind::new("custom")), "video has a type of this name");
}

#[test]
fn fields_of_several_forms_are_read_in_each() {
    let warning: call::CallModerationWarning =
        event(r#"{"type":"call.moderation_warning","message":"be nice"}"#).parse().unwrap();
    assert_eq!(warning.message.as_deref(), Some("be nice"));
    let json = r#"{"type":"channel.created","channel":{"config":{"commands":["giphy",{"name":"ban"},null]}}}"#;
    let created: channel::ChannelCreated = event(json).parse().unwrap();
    let commands = created.channel.unwrap().config.unwrap().commands.unwrap();
    assert_eq!(commands[0], IdOr::Id("giphy".to_owned()));
    assert_eq!(commands[1].object().unwrap().name.as_deref(), Some("ban"));
    for members in [r#"["ann"]"#, r#"[{"user_id":"ann"}]"#] {
        let json = format!(r#"{{"type":"call.member_removed","members":{members}}}"#);
        let removed: call::CallMemberRemoved = event(&json).parse().unwrap();
        let id = match &removed.members.unwrap()[0] {
            IdOr::Id(id) => id.clone(),
            IdOr::Object(member) => member.user_id.clone().unwrap(),
        };
        assert_eq!(id, "ann");
    }
    let json = r#"{"type":"flag.updated","CreatedBy":{"id":"a"},"Message":{"id":"m"},"User":{"id":"u"}}"#;
    let AnyPayload::FlagUpdated(flag) = event(json).payload().unwrap() else { panic!("another type") };
    assert_eq!((flag.created_by.unwrap().id, flag.user.unwrap().id), (Some("a".to_owned()), Some("u".to_owned())));
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    let json = r#"{"type":"message.new","cid":"a","user":{"id":"x","name":"n"},"watcher_count":1.0,"plan":1,
        "message":{"reaction_counts":{"a":1.0,"a":2,"b":1,"b":null}},
        "cid":"b","user":{"id":"y"},"watcher_count":2,"plan":2,"request_info":{"ip":"i"},"request_info":null}"#;
    let payload: MessageNew = event(json).parse().unwrap();
    assert_eq!(payload.cid.as_deref(), Some("b"));
    let user = payload.user.as_deref().unwrap();
    assert_eq!((user.id.as_deref(), user.name.as_deref()), (Some("y"), None), "nothing of the first is left");
    assert_eq!((payload.watcher_count, &payload.request_info), (Some(2), &None));
    assert_eq!(payload.extra.get::<u32>("plan"), Some(2));
    let written = serde_json::to_value(&payload).unwrap();
    assert_eq!((&written["watcher_count"], &written["cid"], &written["plan"]), (&2.into(), &"b".into(), &2.into()));
    assert_eq!(written["message"]["reaction_counts"], serde_json::json!({"a": 2}));
}

#[test]
fn a_number_that_a_field_cannot_hold_is_kept_as_it_came() {
    for (json, value) in [
        ("7", Some(7)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("1.0", Some(1)),
        ("1e2", Some(100)),
        ("-0", Some(0)),
        ("1.5", None),
        ("9223372036854775808", None),
        ("123456789012345678901234567890", None),
        ("1e400", None),
    ] {
        let json_event = format!(r#"{{"type":"message.new","watcher_count":{json}}}"#);
        let payload: MessageNew = event(&json_event).parse().unwrap();
        assert_eq!(payload.watcher_count, value, "{json}");
        assert_eq!(serde_json::to_string(&payload).unwrap(), json_event);
    }
    // In a number field, and in a map.
    for json in ["1.5", "123456789012345678901234567890", "1e400", "0.1"] {
        let activity = format!(r#"{{"score":{json},"metrics":{{"a":{json}}}}}"#);
        let event = event(&format!(r#"{{"type":"feeds.activity.added","activity":{activity}}}"#));
        let written = serde_json::to_string(&event.payload().unwrap()).unwrap();
        assert!(written.contains(&format!(r#""score":{json}"#)), "{written}");
        assert!(written.contains(&format!(r#""metrics":{{"a":{json}}}"#)), "{written}");
    }
}

#[test]
fn a_null_in_a_list_keeps_its_place() {
    let json = r#"{"type":"message.new","thread_participants":[null,{"id":"a"},null,null,{"id":"b"},null]}"#;
    let payload: MessageNew = event(json).parse().unwrap();
    assert_eq!(payload.thread_participants.as_ref().unwrap().len(), 2);
    assert_eq!(serde_json::to_string(&payload).unwrap(), json);
}

#[track_caller]
fn mismatch(json: &str, text: &str) {
    let error = event(json).payload().unwrap_err();
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_value_of_another_kind_is_an_error_with_its_place_alone() {
    mismatch(
        "{\"type\":\"message.new\",\n \"message\": {\"user\": {\n  \"name\": [\"private\"]}}}",
        "message.user.name at line 3 column 11: expected a text, found a list",
    );
    mismatch(
        r#"{"type":"message.new","cid":{"private":"x"}}"#,
        "cid at line 1 column 29: expected a text, found an object",
    );
    mismatch(
        r#"{"type":"message.new","message":"private"}"#,
        "message at line 1 column 33: expected an object, found a text",
    );
    mismatch(
        r#"{"type":"message.new","message":[1]}"#,
        "message at line 1 column 33: expected an object, found a list",
    );
    mismatch(
        r#"{"type":"message.new","watcher_count":"12345"}"#,
        "watcher_count at line 1 column 39: expected an integer, found a text",
    );
    mismatch(
        r#"{"type":"message.deleted","hard_delete":7}"#,
        "hard_delete at line 1 column 41: expected a boolean, found a number",
    );
    mismatch(
        r#"{"type":"message.new","message":{"attachments":[{},null,{"title":true}]}}"#,
        "message.attachments[2].title at line 1 column 66: expected a text, found a boolean",
    );
    mismatch(
        r#"{"type":"message.new","message":{"attachments":{"a":"private"}}}"#,
        "message.attachments at line 1 column 48: expected a list, found an object",
    );
    mismatch(
        r#"{"type":"message.new","message":{"i18n":{"de\n":5}}}"#,
        r"message.i18n.de\n at line 1 column 49: expected a text, found a number",
    );
    mismatch(
        r#"{"type":"message.new","message":{"reaction_counts":[]}}"#,
        "message.reaction_counts at line 1 column 52: expected an object, found a list",
    );
    mismatch(
        r#"{"type":"message.new","a":{},"cid":"x","cid":5}"#,
        "cid at line 1 column 46: expected a text, found a number",
    );
}

#[test]
fn a_lone_surrogate_is_an_error_only_where_it_is_read() {
    mismatch(
        r#"{"type":"message.new","cid":"\ud800"}"#,
        "cid at line 1 column 29: expected a text, found a text with a lone surrogate",
    );
    let json = r#"{"type":"message.new","mine":["\ud800",1e400],"custom":{"a":"\ud800"}}"#;
    assert_eq!(serde_json::to_string(&event(json).payload().unwrap()).unwrap(), reordered(json));
    let error = event(r#"{"type":"message.new","message":{"\ud800":1}}"#).payload().unwrap_err();
    assert_eq!(error.to_string(), "message at line 1 column 33: expected an object, found a key with a lone surrogate");
}

/// `custom` is a field, and fields are written first.
fn reordered(json: &str) -> String {
    let custom = r#","custom":{"a":"\ud800"}"#;
    json.replace(custom, "").replace(r#","mine""#, &format!(r#"{custom},"mine""#))
}

fn nested(levels: usize) -> String {
    let open = r#"{"quoted_message":"#.repeat(levels - 1);
    let close = "}".repeat(levels - 1);
    format!(r#"{{"type":"message.new","message":{open}{{"id":"deep"}}{close}}}"#)
}

#[test]
fn objects_are_read_to_a_depth_of_100_on_a_workers_stack() {
    let worker = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let read = worker.spawn(|| {
        let payload = event(&nested(99)).payload().unwrap();
        let written = serde_json::to_string(&payload).unwrap();
        assert_eq!(written, nested(99));
        assert_eq!(payload.clone(), payload);
        let error = event(&nested(100)).payload().unwrap_err().to_string();
        assert!(error.starts_with("message.quoted_message.quoted_message."), "{error}");
        assert!(
            error.ends_with("expected no more than 100 objects and lists in each other, found one more"),
            "{error}"
        );
        let lists = format!(r#"{{"type":"message.new","a":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(event(&lists).payload().is_ok(), "what is kept as it came has no depth");
    });
    read.unwrap().join().unwrap();
}

#[test]
fn a_users_type_is_a_payload_and_its_error_hides_the_value() {
    #[derive(serde::Deserialize, Debug)]
    struct OrderPaid {
        order: u64,
    }
    impl Payload for OrderPaid {
        const TYPE: &'static str = "order-paid";
        fn from_event(event: &Event) -> Result<Self, PayloadError> {
            Ok(serde_json::from_str(event.json())?)
        }
    }
    assert_eq!(event(r#"{"type":"order-paid","order":7}"#).parse::<OrderPaid>().unwrap().order, 7);
    let error = event(r#"{"type":"order-paid","order":"private"}"#).parse::<OrderPaid>().unwrap_err();
    assert_eq!(error.to_string(), "line 1 column 38: the value does not fit");
}

#[test]
fn an_object_alone_reads_and_writes_itself() {
    let user: object::UserResponse = serde_json::from_str(r#"{"id":"ann","plan":"gold"}"#).unwrap();
    assert_eq!(user.id.as_deref(), Some("ann"));
    assert_eq!(serde_json::to_string(&user).unwrap(), r#"{"id":"ann","plan":"gold"}"#);
    let error = serde_json::from_str::<object::UserResponse>(r#"{"name":["private"]}"#).unwrap_err();
    assert!(error.to_string().starts_with("expected a text at name"), "{error}");
}

#[test]
fn debug_shows_the_fields_but_no_text_of_an_event() {
    let event = event(r#"{"type":"message.new","cid":"c","plan":[1]}"#);
    assert_eq!(format!("{event:?}"), "Event(message.new, 43 bytes)");
    let payload: MessageNew = event.parse().unwrap();
    assert_eq!(format!("{payload:?}"), r#"MessageNew {"type": "message.new", "cid": "c", "plan": [1]}"#);
}

#[test]
fn only_an_object_with_a_type_is_an_event() {
    assert_eq!(Event::from_json("\n {\"type\":\"a.b\"}\r\n").unwrap().json(), r#"{"type":"a.b"}"#);
    for json in ["", "{}", "[]", r#"{"type":""}"#, r#"{"type":1}"#, r#"{"type":"a"}x"#] {
        assert!(Event::from_json(json).is_err(), "{json}");
    }
}

#[test]
fn single_texts_are_read_from_the_top_level_only() {
    let event = event(r#"{"type":"a","nested":{"cid":"no"},"cid":"x","ci\u0064":"messaging:1","team":null,"n":1e400}"#);
    let [kind, cid, team, n] = event.texts(["type", "cid", "team", "n"]);
    assert_eq!((kind.as_deref(), cid.as_deref(), team, n), (Some("a"), Some("messaging:1"), None, None));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let odd =
        Event::from_json(format!(r#"{{"type":"a","\ud800":1,"deep":{deep},"lone":"\udfff","cid":"c:1"}}"#)).unwrap();
    assert_eq!(odd.texts(["cid", "lone"]), [Some("c:1".into()), None]);
}
