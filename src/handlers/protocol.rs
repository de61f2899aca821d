//! What is said to a program that stays, and what it answers: JSON, a line each.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::friendly::SpanParser;
use serde::Deserialize;

use super::json::{push_event, push_string};
use crate::event::Event;
use crate::handler::{Context, HandlerError};

/// The longest line that a program may answer, in bytes.
pub(super) const ANSWER_BYTES: usize = 64 * 1024;

/// Appends the line of an event: `{"message_id":…,"type":…,"receive_count":…,"attempt":…,"sent_at":…,"group":…,"event":{…}}`,
/// without the group where there is none. `sent_at` is null where it is not known.
pub(super) fn push_line(event: &Event, ctx: &Context, line: &mut Vec<u8>) {
    line.extend_from_slice(br#"{"message_id":"#);
    push_string(ctx.message_id().as_str(), line);
    line.extend_from_slice(br#","type":"#);
    push_string(event.kind().name(), line);
    let (receive_count, attempt) = (ctx.receive_count(), ctx.attempt());
    line.extend_from_slice(format!(r#","receive_count":{receive_count},"attempt":{attempt},"sent_at":"#).as_bytes());
    match ctx.sent_at().and_then(|time| Timestamp::try_from(time).ok()) {
        Some(time) => line.extend_from_slice(format!(r#""{time:.3}""#).as_bytes()),
        None => line.extend_from_slice(b"null"),
    }
    if let Some(group) = ctx.group() {
        line.extend_from_slice(br#","group":"#);
        push_string(group, line);
    }
    line.extend_from_slice(br#","event":"#);
    push_event(event, line);
    line.extend_from_slice(b"}\n");
}

/// Appends the line that asks a program to stop its work on a message.
pub(super) fn push_cancel(ctx: &Context, line: &mut Vec<u8>) {
    line.extend_from_slice(br#"{"message_id":"#);
    push_string(ctx.message_id().as_str(), line);
    line.extend_from_slice(b",\"cancel\":true}\n");
}

/// A line that a program wrote. Further keys are passed over.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) message_id: Cow<'a, str>,
    outcome: Outcome,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Done,
    Retry,
    Reject,
    TargetDown,
}

impl<'a> Answer<'a> {
    /// None where the line is not an answer.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let answer: Answer<'a> = serde_json::from_slice(line).ok()?;
        // A time that cannot be read makes the whole answer one.
        answer.delay().is_ok().then_some(answer)
    }

    fn delay(&self) -> Result<Option<Duration>, jiff::Error> {
        let Some(after) = &self.after else { return Ok(None) };
        SpanParser::new().parse_duration(&**after)?.try_into().map(Some)
    }

    pub(super) fn outcome(self) -> Result<(), HandlerError> {
        let why = |default: &str| self.error.as_deref().unwrap_or(default).to_owned();
        let error = match self.outcome {
            Outcome::Done => return Ok(()),
            Outcome::Retry => HandlerError::retry(why("the program asks for a retry")),
            Outcome::Reject => HandlerError::reject(why("the program rejects the event")),
            Outcome::TargetDown => HandlerError::target_down(why("the program says that its target is down")),
        };
        Err(match self.delay() {
            Ok(Some(delay)) => error.after(delay),
            _ => error,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::decode::decode;
    use crate::handler::FailureKind;
    use crate::queue::Trace;

    #[test]
    fn an_event_is_one_line_with_the_facts_of_its_delivery() {
        let event = decode("{\n \"type\":\"a.b\",\r\n \"text\":\"\\n\\u00e9 ü\"}", 1000).unwrap();
        let sent_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_007);
        let ctx = Context::new("id-\"1".into(), 7, Some(sent_at), Some("g\n".into()), Trace::default());
        let mut line = Vec::new();
        push_line(&event, &ctx, &mut line);
        let expected = concat!(
            r#"{"message_id":"id-\"1","type":"a.b","receive_count":7,"attempt":0,"sent_at":"2026-01-01T00:00:00.007Z","#,
            r#""group":"g\n","event":{  "type":"a.b",   "text":"\n\u00e9 ü"}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(line.clone()).unwrap(), expected);
        line.clear();
        push_line(&event, &Context::new("id".into(), 1, None, None, Trace::default()), &mut line);
        assert!(
            String::from_utf8(line).unwrap().starts_with(
                r#"{"message_id":"id","type":"a.b","receive_count":1,"attempt":0,"sent_at":null,"event":{"#
            )
        );
    }

    #[test]
    fn an_answer_is_an_outcome_with_a_delay_and_a_reason() {
        let outcome = |line: &str| Answer::read(line.as_bytes()).unwrap().outcome();
        assert!(outcome(r#"{"message_id":"1","outcome":"done","more":[1]}"#).is_ok());
        for (line, kind, delay, told) in [
            (r#""outcome":"retry""#, FailureKind::Retry, None, "the program asks for a retry"),
            (r#""outcome":"retry","after":"5s","error":"é\n""#, FailureKind::Retry, Some(5000), r"é\n"),
            (r#""outcome":"retry","after":"500ms""#, FailureKind::Retry, Some(500), "the program asks for a retry"),
            (r#""outcome":"reject","after":null,"error":"bad""#, FailureKind::Reject, None, "bad"),
            (r#""outcome":"target_down","after":"2m""#, FailureKind::TargetDown, Some(120_000), "its target is down"),
        ] {
            let error = outcome(&format!(r#"{{"message_id":"1",{line}}}"#)).unwrap_err();
            assert_eq!((error.kind(), error.delay()), (kind, delay.map(Duration::from_millis)), "{line}");
            assert!(error.to_string().ends_with(told), "{error}");
        }
    }

    #[test]
    fn what_is_not_an_answer_is_nonsense() {
        for line in [
            "",
            "done",
            "[]",
            r#"{"message_id":"1"}"#,
            r#"{"outcome":"done"}"#,
            r#"{"message_id":1,"outcome":"done"}"#,
            r#"{"message_id":"1","outcome":"ok"}"#,
            r#"{"message_id":"1","outcome":"retry","after":5}"#,
            r#"{"message_id":"1","outcome":"retry","after":"soon"}"#,
            r#"{"message_id":"1","outcome":"retry","after":"-5s"}"#,
            "{\"message_id\":\"\u{fffd}\",",
        ] {
            assert!(Answer::read(line.as_bytes()).is_none(), "{line}");
        }
    }
}
