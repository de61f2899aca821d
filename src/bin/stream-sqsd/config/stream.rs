//! The section `[stream]`: the app at Stream whose events come through the queue. `run` does not need it.

use stream_sqsd::queue::sqs::TopicArn;
use stream_sqsd::stream::{DEFAULT_BASE_URL, StreamApi, StreamSettings};

use crate::config::diagnostics::Diagnostics;
use crate::config::document::{Entry, Item};
use crate::config::routes::reader::{Key, REQUIRED, Reader};
use crate::config::secret::{Missing, Secret};
use crate::config::settings::Unset;
use crate::config::units;
use crate::terminal::exit::{Exit, Failure};

/// Its name in the file.
pub(crate) const STREAM: &str = "stream";

const API_KEY: Key = Key {
    name: "api_key",
    example: r#"{ env = "STREAM_API_KEY" }"#,
    default: REQUIRED,
    help: "The API key of the app, as text or as a secret",
};

const API_SECRET: Key = Key {
    name: "api_secret",
    example: r#"{ env = "STREAM_API_SECRET" }"#,
    default: REQUIRED,
    help: "The API secret of the app, a secret",
};

const BASE_URL: Key = Key {
    name: "base_url",
    example: r#""https://chat.stream-io-api.com""#,
    default: Unset::Value(DEFAULT_BASE_URL),
    help: "Where Stream's API is",
};

const EVENT_TYPES: Key = Key {
    name: "event_types",
    example: r#"["message.new", "message.updated"]"#,
    default: Unset::Words("all, also those to come"),
    help: "Which of Stream's event types the hook sends",
};

const PRODUCT: Key = Key {
    name: "product",
    example: r#""all""#,
    default: Unset::Value("all"),
    help: "Of which product the hook sends events: all, chat, video, moderation or feeds",
};

const CUSTOM: Key = Key {
    name: "should_send_custom_events",
    example: "true",
    default: Unset::Value("true"),
    help: "Whether the hook sends events of types that the customer made up",
};

const AUTH: Key = Key {
    name: "auth",
    example: r#""resource""#,
    default: Unset::Value("resource"),
    help: "How Stream proves to SQS who it is: `resource` by the policy of the queue, `keys` by an access key that Stream \
           keeps",
};

const SQS_KEY: Key = Key {
    name: "sqs_key",
    example: r#"{ env = "STREAM_SQS_KEY" }"#,
    default: Unset::Words("none"),
    help: "With `auth = \"keys\"` the id of the access key that Stream sends with, as text or as a secret",
};

const SQS_SECRET: Key = Key {
    name: "sqs_secret",
    example: r#"{ env = "STREAM_SQS_SECRET" }"#,
    default: Unset::Words("none"),
    help: "With `auth = \"keys\"` the secret of that access key, a secret",
};

const SNS_TOPIC: Key = Key {
    name: "sns_topic",
    example: r#""arn:aws:sns:us-east-1:123456789012:chat-events""#,
    default: Unset::Words("none: Stream sends to the queue"),
    help: "The SNS topic to which Stream publishes and to which the queue is subscribed, by its ARN",
};

/// All of its keys.
pub(crate) const KEYS: &[&Key] =
    &[&API_KEY, &API_SECRET, &BASE_URL, &EVENT_TYPES, &PRODUCT, &CUSTOM, &AUTH, &SQS_KEY, &SQS_SECRET, &SNS_TOPIC];

/// How Stream proves to SQS who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HookAuth {
    Resource,
    Keys { key: Secret, secret: Secret },
}

/// The section, checked.
#[derive(Clone, Debug)]
pub(crate) struct StreamConfig {
    api_key: Secret,
    api_secret: Secret,
    base_url: String,
    pub(crate) event_types: Vec<String>,
    pub(crate) product: String,
    pub(crate) custom_events: bool,
    pub(crate) auth: HookAuth,
    /// Between Stream and the queue, where there is one.
    pub(crate) topic: Option<TopicArn>,
}

impl StreamConfig {
    /// A client of the app's API.
    ///
    /// # Errors
    ///
    /// Where a secret is not here, or no client can be made.
    pub(crate) fn api(&self) -> Result<StreamApi, Failure> {
        for (key, secret) in [(API_KEY.name, &self.api_key), (API_SECRET.name, &self.api_secret)] {
            if secret.is_missing() {
                return Err(Failure::usage(format!("`{key}` in [{STREAM}] names a secret that is not here")));
            }
        }
        let settings = StreamSettings::new(self.api_key.reveal(), self.api_secret.reveal());
        let settings = settings.with_base_url(self.base_url.as_str());
        StreamApi::new(&settings).map_err(|error| Failure::new(Exit::Usage, error))
    }

    /// The API key of the app and its API secret.
    pub(crate) fn app(&self) -> (&Secret, &Secret) {
        (&self.api_key, &self.api_secret)
    }

    /// The access key that Stream sends with, where it sends with one.
    ///
    /// # Errors
    ///
    /// Where one half of it is not here.
    pub(crate) fn keys(&self) -> Result<Option<(&str, &str)>, Failure> {
        let HookAuth::Keys { key, secret } = &self.auth else { return Ok(None) };
        for (name, secret) in [(SQS_KEY.name, key), (SQS_SECRET.name, secret)] {
            if secret.is_missing() {
                return Err(Failure::usage(format!("`{name}` in [{STREAM}] names a secret that is not here")));
            }
        }
        Ok(Some((key.reveal(), secret.reveal())))
    }
}

/// Reads the section. None is a mistake, which is noted.
pub(super) fn read(entry: Entry, missing: Missing, diagnostics: &mut Diagnostics) -> Option<StreamConfig> {
    let place = entry.place;
    let Item::Section(section) = entry.item else {
        diagnostics.wrong(&place, format!("`{STREAM}` is a section of its own, which begins with [{STREAM}]"));
        return None;
    };
    let mut reader = Reader { what: "[stream]".to_owned(), section, place, missing, shown_url: None, diagnostics };
    let api_key = reader.needed_secret_or_text(&API_KEY);
    let api_secret = reader.needed(&API_SECRET);
    let api_secret =
        api_secret.and_then(|entry| crate::config::secret::read(API_SECRET.name, entry, missing, reader.diagnostics));
    let base_url = reader.value(&BASE_URL, |text| Ok(text.to_owned()));
    let event_types = reader.texts(&EVENT_TYPES);
    let product = reader.value(&PRODUCT, |text| one_of(text, &["all", "chat", "video", "moderation", "feeds"]));
    let custom = reader.value(&CUSTOM, units::truth);
    let at_auth = reader.section.place_of(AUTH.name).unwrap_or_else(|| reader.place.clone());
    let auth = reader.value(&AUTH, |text| one_of(text, &["resource", "keys"]));
    let (key, secret) = (reader.secret_or_text(&SQS_KEY), reader.secret(&SQS_SECRET));
    let topic = reader.value(&SNS_TOPIC, topic);

    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let Reader { section, diagnostics, .. } = reader;
    section.finish(&names, |_| None, diagnostics);
    let auth = match (auth??.as_str(), key?, secret?) {
        ("keys", Some(key), Some(secret)) => HookAuth::Keys { key, secret },
        ("keys", _, _) => {
            diagnostics.wrong(&at_auth, "`auth = \"keys\"` needs `sqs_key` and `sqs_secret`".to_owned());
            return None;
        }
        (_, None, None) => HookAuth::Resource,
        _ => {
            diagnostics.wrong(&at_auth, "`sqs_key` and `sqs_secret` are for `auth = \"keys\"`".to_owned());
            return None;
        }
    };
    Some(StreamConfig {
        api_key: api_key?.1,
        api_secret: api_secret?,
        base_url: base_url??,
        event_types,
        product: product??,
        custom_events: custom??,
        auth,
        topic: topic?,
    })
}

fn topic(text: &str) -> Result<TopicArn, String> {
    match TopicArn::parse(text) {
        Some(topic) if topic.is_fifo() => {
            Err("Stream's hooks send no group id that a FIFO topic needs: name a standard topic".to_owned())
        }
        Some(topic) => Ok(topic),
        None => Err(format!("{text:?} is not the ARN of a topic, such as {}", SNS_TOPIC.example)),
    }
}

fn one_of(text: &str, choices: &[&str]) -> Result<String, String> {
    match choices.iter().find(|choice| choice.eq_ignore_ascii_case(text)) {
        Some(choice) => Ok((*choice).to_owned()),
        None => Err(format!("it is one of {}", choices.join(", "))),
    }
}
