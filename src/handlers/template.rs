//! The URL of an endpoint, with places that each event fills: its type, the type of its channel, its team.
//!
//! What an event says never decides more than the whole of one segment of the path or of one value of the query: not the
//! host, and not where one segment ends.

use hyper::Uri;

use crate::event::Event;
use crate::net::url::{self, BadUrl, encode};

/// What an event can put into a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Type,
    ChannelType,
    Team,
}

const FIELDS: [(&str, Field); 3] = [("type", Field::Type), ("channel_type", Field::ChannelType), ("team", Field::Team)];

/// Why a text is not a URL to post to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadTemplate {
    /// It is not a URL at all, or not one to connect to.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// A brace that begins or ends nothing that we know.
    #[error(
        "the URL holds a brace that is not part of {{type}}, {{channel_type}} or {{team}}; write %7B or %7D for one itself"
    )]
    Brace,
    /// One of them, where it must not stand.
    #[error("{{{0}}} in the URL must be a whole segment of the path or a whole value of the query")]
    Place(&'static str),
}

/// Why an event gives no URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfilled {
    #[error("the event has no {0}, which the URL needs")]
    Missing(&'static str),
    #[error("the {0} of the event cannot stand in the URL")]
    Unsafe(&'static str),
    #[error("the URL of the event is too long")]
    TooLong,
}

/// A URL with places to fill.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// With something harmless in each place: where it leads.
    uri: Uri,
    /// Nothing where there is nothing to fill.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Field(Field),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, BadTemplate> {
        let pieces = pieces(text)?;
        let filled: String =
            pieces.iter().map(|piece| if let Piece::Text(text) = piece { text } else { "x" }).collect();
        let uri = url::parse(&filled)?;
        let fixed = pieces.iter().all(|piece| matches!(piece, Piece::Text(_)));
        Ok(Template { uri, pieces: if fixed { Vec::new() } else { pieces } })
    }

    /// Where it leads: scheme, host and port are the same for every event.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL for an event.
    pub(super) fn fill(&self, event: &Event) -> Result<Uri, Unfilled> {
        if self.pieces.is_empty() {
            return Ok(self.uri.clone());
        }
        let [channel_type, cid, team] = event.texts(["channel_type", "cid", "team"]);
        // An event that names its channel by `cid` alone has the type in front of the colon.
        let channel_type = channel_type.as_deref().or_else(|| Some(cid.as_deref()?.split_once(':')?.0));
        let mut url = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => url.push_str(text),
                Piece::Field(Field::Type) => url.push_str(&value("type", Some(event.kind().name()))?),
                Piece::Field(Field::ChannelType) => url.push_str(&value("channel_type", channel_type)?),
                Piece::Field(Field::Team) => url.push_str(&value("team", team.as_deref())?),
            }
        }
        url.parse().map_err(|_| Unfilled::TooLong)
    }
}

/// A value as it stands in a URL.
fn value(name: &'static str, value: Option<&str>) -> Result<String, Unfilled> {
    let value = value.filter(|value| !value.is_empty()).ok_or(Unfilled::Missing(name))?;
    // Servers resolve `.` and `..`, some of them after they have decoded %2F: `..%2F..%2Fadmin` leads up, too.
    let leads_up = value.split(['/', '\\']).any(|segment| matches!(segment, "." | ".."));
    if leads_up || value.contains(char::is_control) { Err(Unfilled::Unsafe(name)) } else { Ok(encode(value)) }
}

/// Cuts a URL at its places.
fn pieces(text: &str) -> Result<Vec<Piece>, BadTemplate> {
    let path = text.find("://").map_or(0, |scheme| scheme + 3);
    let path = text[path..].find(['/', '?', '#']).map_or(text.len(), |length| path + length);
    let query = text[path..].find('?').map_or(text.len(), |length| path + length);
    let (mut pieces, mut done) = (Vec::new(), 0);
    while let Some(begin) = text[done..].find(['{', '}']).map(|length| done + length) {
        let rest = &text[begin..];
        let named =
            |(name, _): &&(&str, Field)| rest[1..].strip_prefix(*name).is_some_and(|rest| rest.starts_with('}'));
        let found = if rest.starts_with('{') { FIELDS.iter().find(named) } else { None };
        let (name, field) = *found.ok_or(BadTemplate::Brace)?;
        let end = begin + name.len() + 2;
        let (before, behind) = (text[..begin].chars().next_back(), text[end..].chars().next());
        let whole = if text[..begin].contains('#') {
            false
        } else if begin < query {
            begin > path && before == Some('/') && matches!(behind, None | Some('/' | '?'))
        } else {
            // A value that holds `=` is cut behind the first one by most servers, and behind the last by none.
            let pair = text[query + 1..begin].rsplit('&').next().unwrap_or_default();
            pair.len() > 1 && pair.find('=') == Some(pair.len() - 1) && matches!(behind, None | Some('&'))
        };
        if !whole {
            return Err(BadTemplate::Place(name));
        }
        pieces.extend([Piece::Text(text[done..begin].to_owned()), Piece::Field(field)]);
        done = end;
    }
    pieces.push(Piece::Text(text[done..].to_owned()));
    Ok(pieces)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use crate::decode::decode;

    fn filled(template: &str, event: &str) -> Result<String, String> {
        let event = decode(event, 1 << 20).unwrap();
        let template = Template::parse(template).unwrap();
        template.fill(&event).map(|url| url.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_event_fills_segments_and_values_percent_encoded() {
        let event = r#"{"type":"message.new","cid":"messaging:garden","team":"a b/ü?&=%"}"#;
        let encoded = "a%20b%2F%C3%BC%3F%26%3D%25";
        for (template, url) in [
            ("https://h/{type}", "https://h/message.new".to_owned()),
            ("https://h/a/{channel_type}/b?c", "https://h/a/messaging/b?c".to_owned()),
            ("https://h/{team}?t={team}&u={type}", format!("https://h/{encoded}?t={encoded}&u=message.new")),
            ("https://h?t={type}", "https://h/?t=message.new".to_owned()),
            ("https://h/%7Btype%7D", "https://h/%7Btype%7D".to_owned()),
        ] {
            assert_eq!(filled(template, event), Ok(url), "{template}");
        }
    }

    #[test]
    fn a_place_is_a_whole_segment_or_value_and_never_in_the_host() {
        for template in [
            "https://{team}/a",
            "https://{team}.h/a",
            "https://h:{type}/",
            "https://{type}@h/",
            "https://h/a-{type}",
            "https://h/{type}.json",
            "https://h/{type}{team}",
            "https://h/a?{type}=b",
            "https://h/a?{type}",
            "https://h/a?={type}",
            "https://h/a?b=x{type}",
            "https://h/a?b=x={type}",
            "https://h/a?b=/{type}",
            "https://h/a?b={type}#c",
            "https://h/a#{type}",
            "https://h/a#/{type}",
            "https://h/a#?b={type}",
            "https://h/{type}#c",
            "{type}://h/",
        ] {
            assert!(matches!(Template::parse(template), Err(BadTemplate::Place(_))), "{template}");
        }
    }

    #[test]
    fn every_other_brace_is_refused() {
        for template in
            ["https://h/{Type}", "https://h/{cid}", "https://h/{", "https://h/}", "https://h/{{type}}", "https://h/{}"]
        {
            assert!(matches!(Template::parse(template), Err(BadTemplate::Brace)), "{template}");
        }
    }

    #[test]
    fn a_value_that_is_missing_or_leads_elsewhere_gives_no_url() {
        for event in
            [r#"{"type":"a"}"#, r#"{"type":"a","team":""}"#, r#"{"type":"a","team":7}"#, r#"{"type":"a","team":null}"#]
        {
            assert_eq!(filled("https://h/{team}", event).unwrap_err(), "the event has no team, which the URL needs");
        }
        for team in [".", "..", "../admin", "a/../b", r"..\\admin", r"a\u0000b", r"a\r\nb"] {
            let event = format!(r#"{{"type":"a","team":"{team}"}}"#);
            let error = filled("https://h/{team}", &event).unwrap_err();
            assert_eq!(error, "the team of the event cannot stand in the URL", "{team}");
        }
        let long = format!(r#"{{"type":"a","team":"{}"}}"#, "x".repeat(70_000));
        assert_eq!(filled("https://h/{team}", &long).unwrap_err(), "the URL of the event is too long");
    }
}
