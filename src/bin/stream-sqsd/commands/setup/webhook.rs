//! `stream-sqsd setup --webhook URL`: the event hook by which Stream calls an endpoint, such as `stream-sqsd relay`. It asks
//! Stream alone, and touches nothing of AWS.

use stream_sqsd::stream::StreamError;
use tokio_util::sync::CancellationToken;

use super::apply::{carry_out, hooks, masked};
use super::arguments::{SetupPlace, SetupPlan};
use super::ground::{Ground, refused};
use super::{view, wanted};
use crate::config::address;
use crate::terminal::exit::{Exit, Failure, print, say};
use crate::terminal::question::Consent;

pub(super) async fn apply(
    place: SetupPlace,
    url: &str,
    how: &SetupPlan,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    check(url).map_err(Failure::usage)?;
    let ground = Ground::read(place, stop)?;
    let consent = if how.dry_run { None } else { Some(Consent::of(how.yes, &ground.screen)?) };
    let app = ground.app().await?;
    if app.has_hook_list == Some(false) {
        let message = "its one webhook is set in Stream's dashboard".to_owned();
        return Err(refused(StreamError::OldHooks { message }));
    }
    let change = wanted::change(app.hooks.clone(), wanted::webhook(&ground.stream, url), how.update)?;

    print(&(view::head(&app, None, "") + &hooks(&app, &change, how.update)))?;
    if change.count > 1 {
        say(
            "two event hooks call this URL: every event comes twice (`stream-sqsd setup remove --webhook URL --id ID` takes \
             one away)",
        );
    }
    let queue = &ground.config.queue.queue;
    if app.hooks.iter().any(|hook| hook.hook_type() == "sqs" && hook.is_enabled() && queue.is_at(&hook.target())) {
        say("an event hook sends to the queue itself: with a relay that fills the same queue every event comes twice \
             (`stream-sqsd setup remove` takes that hook away)");
    }
    if url.starts_with("http://") {
        say("this URL is not encrypted: anyone on the way can read the events");
    }
    change.plan.check().map_err(masked)?;
    let Some(consent) = consent else { return Ok(Exit::Done) };
    if change.plan.is_empty() {
        say("there is nothing to do");
        return Ok(Exit::Done);
    }
    if !consent.ask("This is what will be done.", &ground.stop).await? {
        return Ok(Exit::Done);
    }
    let written = carry_out(&ground, &app, &change.plan).await?;
    if written == Exit::Done {
        say("  Stream has no test for webhooks: send a message in the app and see that it arrives");
    }
    Ok(written)
}

/// Whether Stream can call this URL, as far as the URL tells.
fn check(url: &str) -> Result<(), String> {
    // Whatever is wrong with it, it may hold a password.
    let wrong = |why: &str| Err(format!("`--webhook` needs the URL of an endpoint: {why}"));
    if let Some(meant) = address::with_scheme(url, "https") {
        return wrong(&format!("did you mean {}?", address::shown(&meant)));
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
    match () {
        () if rest.is_none() => wrong("it begins with https:// (or http://, which is not encrypted)"),
        () if authority.is_empty() || authority.starts_with(':') => wrong("it names no host"),
        () if authority.contains('@') => wrong("it must not hold a user name or password"),
        () if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') => {
            wrong("it must not hold white space or a #")
        }
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stream_can_call_is_taken() {
        for good in
            ["https://relay.example.com/webhooks/stream", "http://relay.example.com:8080", "https://h/p?token=t"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("relay.example.com/webhooks", "did you mean https://relay.example.com/webhooks?"),
            ("ftp://relay.example.com", "begins with https://"),
            ("https:///path", "no host"),
            ("https://:80/", "no host"),
            ("https://user:pw@relay.example.com/", "password"),
            ("https://relay.example.com/a b", "white space"),
            ("https://relay.example.com/#top", "#"),
        ] {
            let error = check(bad).expect_err(bad);
            assert!(error.contains(why) && !error.contains("pw@"), "{error}");
        }
    }
}
