//! Stub: replaced by the whole catalogue.
use std::sync::Arc;

/// The event as it came.
#[derive(Clone, Debug)]
pub struct Event {
    kind: EventKind,
    json: Arc<String>,
}

/// The type of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKind(Arc<str>);

impl EventKind {
    /// The wire type.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Event {
    pub(crate) fn new(kind: &str, json: String) -> Self {
        Event { kind: EventKind(kind.into()), json: Arc::new(json) }
    }
    /// The type.
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }
    /// The exact JSON.
    pub fn json(&self) -> &str {
        &self.json
    }
    /// Parses exactly the struct of `E`.
    ///
    /// # Errors
    /// When the JSON does not fit.
    pub fn parse<E: Payload>(&self) -> Result<E, crate::decode::DecodeError> {
        E::parse(self)
    }
}

/// A type that events of one wire type parse into.
pub trait Payload: Sized + Send + 'static {
    /// The wire type.
    const TYPE: &'static str;
    /// Parses.
    ///
    /// # Errors
    /// When it does not fit.
    fn parse(event: &Event) -> Result<Self, crate::decode::DecodeError>;
}

/// Which events a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Exact, `message.*`, or `*`.
    ///
    /// # Errors
    /// Text for now.
    pub fn new(text: &str) -> Result<Self, String> {
        Ok(Pattern(text.into()))
    }
    /// Stub.
    pub fn exact<E: Payload>() -> Self {
        Pattern(E::TYPE.into())
    }
    /// Stub.
    pub fn any() -> Self {
        Pattern("*".into())
    }
    /// Whether it takes events of this type.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.0,
        }
    }
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The `message.*` family.
pub mod message {
    /// Stub.
    #[derive(Debug)]
    pub struct MessageNew {
        /// The channel.
        pub cid: Option<String>,
    }
    impl super::Payload for MessageNew {
        const TYPE: &'static str = "message.new";
        fn parse(event: &super::Event) -> Result<Self, crate::decode::DecodeError> {
            let v: serde_json::Value =
                serde_json::from_str(event.json()).map_err(|_| crate::decode::DecodeError::Json)?;
            Ok(MessageNew { cid: v["cid"].as_str().map(Into::into) })
        }
    }
}
