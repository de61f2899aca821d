//! What the benchmarks measure with: events of the type `message.new` in three sizes, in every form that Stream sends,
//! made from a seed, so that they are the same on every machine.
//!
//! What stands in them is made up; which fields there are, how often they repeat and how much of it is text that
//! compresses is as in an app with channels of a few dozen members.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;

/// How large the JSON of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// 1.5 KB: message and user.
    Small,
    /// 6 KB: with the channel, a link and a few members.
    Medium,
    /// 30 KB: with dozens of members and a quoted message.
    Large,
}

impl Size {
    pub(crate) const ALL: [Size; 3] = [Size::Small, Size::Medium, Size::Large];

    /// As it is named in tables and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Size::Small => "1.5 KB",
            Size::Medium => "6 KB",
            Size::Large => "30 KB",
        }
    }

    /// The bytes of the JSON, to a few words of text.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Size::Small => 1_500,
            Size::Medium => 6_000,
            Size::Large => 30_000,
        }
    }
}

/// How the event is packed into a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The JSON as it is.
    Plain,
    /// Base64 of the JSON.
    Base64,
    /// Base64 of gzip of the JSON, as Stream sends it to most apps.
    Gzip,
    /// The same in the envelope of SNS.
    SnsGzip,
}

impl Form {
    #[allow(dead_code, reason = "each benchmark takes of this file what it needs")]
    pub(crate) const ALL: [Form; 4] = [Form::Plain, Form::Base64, Form::Gzip, Form::SnsGzip];

    /// As it is named in tables and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::Plain => "plain",
            Form::Base64 => "base64",
            Form::Gzip => "gzip",
            Form::SnsGzip => "sns gzip",
        }
    }
}

/// `count` different bodies, the same ones each time.
pub(crate) fn bodies(form: Form, size: Size, count: u64) -> Vec<String> {
    (0..count).map(|seed| pack(&message_new(seed, size), form)).collect()
}

/// An event as a body.
fn pack(json: &str, form: Form) -> String {
    match form {
        Form::Plain => json.to_owned(),
        Form::Base64 => STANDARD.encode(json),
        Form::Gzip => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(json.as_bytes()).expect("writing to memory does not fail");
            STANDARD.encode(gzip.finish().expect("writing to memory does not fail"))
        }
        Form::SnsGzip => format!(
            r#"{{"Type":"Notification","MessageId":"6e2f3a51-7a39-5d9b-8b6c-3c1f5f0e9a11","TopicArn":"arn:aws:sns:us-east-1:123456789012:chat-events","Message":"{}","Timestamp":"2026-03-04T05:06:07.890Z","SignatureVersion":"1","Signature":"bm9uZQ==","SigningCertURL":"https://example.com/certificate.pem","UnsubscribeURL":"https://example.com/unsubscribe"}}"#,
            pack(json, Form::Gzip)
        ),
    }
}

/// One event. The same seed and size give the same bytes.
pub(crate) fn message_new(seed: u64, size: Size) -> String {
    let mut writer = Writer { json: String::with_capacity(size.bytes() + 1024), rng: Rng::with_seed(seed) };
    writer.event(size);
    writer.json
}

struct Writer {
    json: String,
    rng: Rng,
}

impl Writer {
    fn event(&mut self, size: Size) {
        let channel = self.uuid();
        let author = self.person();
        let at = self.time();
        let _ = write!(
            self.json,
            r#"{{"type":"message.new","cid":"messaging:{channel}","channel_id":"{channel}","channel_type":"messaging","created_at":"{at}","watcher_count":{}"#,
            self.rng.u32(0..40)
        );
        self.json.push_str(r#","user":"#);
        self.user(&author);
        if size != Size::Small {
            self.channel(&channel);
        }
        if size == Size::Large {
            self.json.push_str(r#","thread_participants":["#);
            self.list(3, |writer| {
                let person = writer.person();
                writer.user(&person);
            });
            self.json.push(']');
        }
        let _ = write!(self.json, r#","channel_member_count":{}"#, self.rng.u32(2..60));
        self.json.push_str(
            r#","request_info":{"type":"client","ip":"203.0.113.7","user_agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)","sdk":"stream-chat-react-13.2.1","ext":"device=desktop"}"#,
        );
        self.json.push_str(r#","message":"#);
        self.message(&channel, &author, size);
        // The members take what is left but for a little, and the text the rest.
        if size != Size::Small {
            self.json.push_str(r#","members":["#);
            let mut first = true;
            while self.json.len() + 800 < size.bytes() {
                if !std::mem::take(&mut first) {
                    self.json.push(',');
                }
                self.member();
            }
            self.json.push(']');
        }
        self.json.push_str(r#","channel_custom":{"topic":""#);
        let rest = size.bytes().saturating_sub(self.json.len() + 3).max(8);
        self.text(rest);
        self.json.push_str(r#""}}"#);
    }

    fn message(&mut self, channel: &str, author: &Person, size: Size) {
        let (id, at) = (self.uuid(), self.time());
        let _ = write!(self.json, r#"{{"id":"{}-{id}","text":""#, author.id);
        let begin = self.json.len();
        self.text(if size == Size::Small { 80 } else { 260 });
        let text = self.json[begin..].to_owned();
        let _ = write!(
            self.json,
            r#"","html":"<p>{text}</p>\n","type":"regular","cid":"messaging:{channel}","created_at":"{at}","updated_at":"{at}","deleted_reply_count":0,"reply_count":0,"pinned":false,"pinned_at":null,"pinned_by":null,"pin_expires":null,"shadowed":false,"silent":false,"mentioned_users":["#,
        );
        if size != Size::Small {
            let person = self.person();
            self.user(&person);
        }
        self.json.push_str(
            r#"],"own_reactions":[],"latest_reactions":[],"reaction_counts":{},"reaction_scores":{},"restricted_visibility":[],"attachments":["#,
        );
        if size != Size::Small {
            let picture = self.uuid();
            self.json.push_str(
                r#"{"type":"image","author_name":"Example","title_link":"https://example.com/articles/","title":""#,
            );
            self.text(48);
            self.json.push_str(r#"","text":""#);
            self.text(160);
            let _ = write!(
                self.json,
                r#"","image_url":"https://cdn.example.com/images/{picture}.jpg","thumb_url":"https://cdn.example.com/thumbnails/{picture}.jpg","og_scrape_url":"https://example.com/articles/{picture}","original_width":1280,"original_height":720}}"#,
            );
        }
        self.json.push_str(r#"],"user":"#);
        self.user(author);
        if size == Size::Large {
            let quoted = self.person();
            self.json.push_str(r#","quoted_message":"#);
            self.message(channel, &quoted, Size::Medium);
        }
        self.json.push('}');
    }

    fn channel(&mut self, id: &str) {
        let (at, creator) = (self.time(), self.person());
        let _ = write!(
            self.json,
            r#","channel":{{"id":"{id}","type":"messaging","cid":"messaging:{id}","created_at":"{at}","updated_at":"{at}","last_message_at":"{at}","frozen":false,"disabled":false,"member_count":{},"created_by":"#,
            self.rng.u32(2..60)
        );
        self.user(&creator);
        let _ = write!(
            self.json,
            r#","config":{{"name":"messaging","created_at":"2024-01-17T10:22:31.052Z","updated_at":"2025-11-02T08:41:09.881Z","typing_events":true,"read_events":true,"connect_events":true,"delivery_events":true,"search":true,"reactions":true,"replies":true,"quotes":true,"mutes":true,"uploads":true,"url_enrichment":true,"custom_events":true,"push_notifications":true,"reminders":false,"mark_messages_pending":false,"polls":true,"user_message_reminders":false,"shared_locations":false,"count_messages":false,"message_retention":"infinite","max_message_length":5000,"automod":"disabled","automod_behavior":"flag","skip_last_msg_update_for_system_msgs":false,"commands":[{{"name":"giphy","description":"Post a random gif to the channel","args":"[text]","set":"fun_set"}},{{"name":"mute","description":"Mute a user","args":"[@username]","set":"moderation_set"}}]}},"name":""#
        );
        self.text(24);
        self.json.push_str(r#"","image":"https://cdn.example.com/channels/default.png","project":"#);
        let _ = write!(self.json, "{}}}", self.rng.u32(..));
    }

    fn member(&mut self) {
        let (person, at) = (self.person(), self.time());
        let _ = write!(
            self.json,
            r#"{{"user_id":"{}","role":"member","channel_role":"channel_member","created_at":"{at}","updated_at":"{at}","banned":false,"shadow_banned":false,"notifications_muted":{},"status":"member","user":"#,
            person.id,
            self.rng.bool()
        );
        self.user(&person);
        self.json.push('}');
    }

    fn user(&mut self, person: &Person) {
        let Person { id, name, at } = person;
        let _ = write!(
            self.json,
            r#"{{"id":"{id}","role":"user","name":"{name}","image":"https://cdn.example.com/avatars/{id}.png","language":"en","created_at":"2025-02-11T09:14:55.284413Z","updated_at":"{at}","last_active":"{at}","banned":false,"online":{},"teams":[],"plan":"{}"}}"#,
            self.rng.bool(),
            ["free", "team", "business"][self.rng.usize(..3)]
        );
    }

    fn person(&mut self) -> Person {
        let name = format!("{} {}", FIRST[self.rng.usize(..FIRST.len())], LAST[self.rng.usize(..LAST.len())]);
        Person { id: self.uuid(), name, at: self.time() }
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.rng.u64(..), self.rng.u64(..));
        format!(
            "{:08x}-{:04x}-4{:03x}-9{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }

    fn time(&mut self) -> String {
        let (day, hour, minute) = (self.rng.u32(1..29), self.rng.u32(..24), self.rng.u32(..60));
        format!("2026-03-{day:02}T{hour:02}:{minute:02}:{:02}.{:06}Z", self.rng.u32(..60), self.rng.u32(..1_000_000))
    }

    /// About n bytes of text, with the escapes that text has.
    fn text(&mut self, bytes: usize) {
        let end = self.json.len() + bytes;
        let mut words = 0;
        while self.json.len() < end {
            let word = WORDS[self.rng.usize(..WORDS.len())];
            if words > 0 {
                self.json.push_str(if words % 23 == 0 { r"\n" } else { " " });
            }
            let left = end.saturating_sub(self.json.len());
            self.json.push_str(word.get(..left.min(word.len())).unwrap_or("é"));
            words += 1;
        }
    }

    fn list(&mut self, count: usize, mut item: impl FnMut(&mut Self)) {
        for index in 0..count {
            if index > 0 {
                self.json.push(',');
            }
            item(self);
        }
    }
}

struct Person {
    id: String,
    name: String,
    at: String,
}

const FIRST: [&str; 16] = [
    "Ada", "Bruno", "Chidi", "Daria", "Emeka", "Farah", "Goran", "Hana", "Ines", "Jonas", "Karin", "Luca", "Mira",
    "Noor", "Otto", "Zoë",
];

const LAST: [&str; 16] = [
    "Abel",
    "Berg",
    "Costa",
    "Diaz",
    "Egger",
    "Fuchs",
    "Gruber",
    "Horvat",
    "Ito",
    "Jansen",
    "Kovacs",
    "Lindqvist",
    "Moreau",
    "Novak",
    "Okafor",
    "Petrov",
];

const WORDS: [&str; 64] = [
    "the",
    "and",
    "to",
    "we",
    "of",
    "in",
    "it",
    "is",
    "for",
    "that",
    "on",
    "with",
    "have",
    "this",
    "you",
    "not",
    "are",
    "from",
    "at",
    "be",
    "or",
    "will",
    "can",
    "all",
    "there",
    "when",
    "what",
    "should",
    "tomorrow",
    "meeting",
    "release",
    "branch",
    "deploy",
    "customer",
    "morning",
    "please",
    "thanks",
    "review",
    "schedule",
    "document",
    "question",
    "answer",
    "yesterday",
    "coffee",
    "window",
    "garden",
    "kettle",
    "station",
    "train",
    "weather",
    "number",
    "picture",
    "message",
    "channel",
    "another",
    "because",
    "before",
    "after",
    "something",
    "nothing",
    "überhaupt",
    "naïve",
    "🙂",
    "👍🏽",
];
