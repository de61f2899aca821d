//! A route of the configuration, checked: which events it takes, and where they go.

use std::fmt;

use stream_sqsd::event::{Event, Pattern};

use super::shipped::Target;
use crate::config::diagnostics::Origin;

/// A route, checked.
#[derive(Clone, Debug)]
pub(crate) struct RouteConfig {
    /// Where the file says so.
    pub(crate) place: Origin,
    pub(super) patterns: Vec<Pattern>,
    /// What the file calls it, if it does.
    pub(super) own_name: Option<String>,
    /// None of them: all.
    pub(super) channel_types: Vec<String>,
    /// None of them: all.
    pub(super) teams: Vec<String>,
    /// Where it says that its events go on to the next route that takes them, if they do.
    pub(crate) continues: Option<Origin>,
    pub(crate) target: Target,
    /// What tells its target from another one: see [`Router::with_target`](stream_sqsd::router::Router::with_target).
    pub(super) told_apart: String,
    /// Whether all that it names is on this machine.
    pub(crate) is_complete: bool,
    /// Where its `timeout` stands, if it has one.
    pub(crate) timeout_place: Option<Origin>,
}

impl fmt::Display for RouteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.own_name {
            write!(f, "{name}, ")?;
        }
        let patterns: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        write!(f, "{}", patterns.join(" "))?;
        if !self.channel_types.is_empty() {
            write!(f, " of channel type {}", self.channel_types.join(" or "))?;
        }
        if !self.teams.is_empty() {
            write!(f, " of team {}", self.teams.join(" or "))?;
        }
        write!(f, " to {}", self.target)?;
        if self.continues.is_some() {
            f.write_str(", and on to the next route that takes them")?;
        }
        Ok(())
    }
}

impl RouteConfig {
    /// Which types it takes.
    pub(crate) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether this route takes every event that `pattern` and the conditions of `other` let through.
    pub(super) fn takes_all(&self, pattern: &Pattern, other: &RouteConfig) -> bool {
        let covers = |own: &Pattern| match own.as_str().strip_suffix('*') {
            Some(prefix) => pattern.as_str().starts_with(prefix),
            None => own == pattern,
        };
        let wider = |own: &[String], others: &[String]| {
            own.is_empty() || !others.is_empty() && others.iter().all(|other| own.contains(other))
        };
        self.patterns.iter().any(covers)
            && wider(&self.channel_types, &other.channel_types)
            && wider(&self.teams, &other.teams)
    }

    /// Whether there can be an event that both take.
    pub(super) fn meets(&self, other: &RouteConfig) -> bool {
        let covers = |one: &Pattern, other: &Pattern| match one.as_str().strip_suffix('*') {
            Some(prefix) => other.as_str().starts_with(prefix),
            None => one == other,
        };
        let meet = |one: &[String], other: &[String]| {
            one.is_empty() || other.is_empty() || one.iter().any(|one| other.contains(one))
        };
        let pattern_meets = |one: &Pattern| other.patterns.iter().any(|other| covers(one, other) || covers(other, one));
        self.patterns.iter().any(pattern_meets)
            && meet(&self.channel_types, &other.channel_types)
            && meet(&self.teams, &other.teams)
    }

    pub(crate) fn takes(&self, event: &Event) -> bool {
        if !self.patterns.iter().any(|pattern| pattern.matches(event.kind().name())) {
            return false;
        }
        if self.channel_types.is_empty() && self.teams.is_empty() {
            return true;
        }
        let [channel_type, cid, team] = event.texts(["channel_type", "cid", "team"]);
        // An event that names its channel by `cid` alone has the type in front of the colon.
        let channel_type = channel_type.as_deref().or_else(|| Some(cid.as_deref()?.split_once(':')?.0));
        let among = |wanted: &[String], found: Option<&str>| {
            wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|wanted| wanted == found))
        };
        among(&self.channel_types, channel_type) && among(&self.teams, team.as_deref())
    }

    /// What logs, metrics, records and filters call it. No two routes have the same.
    pub(crate) fn name(&self) -> String {
        if let Some(name) = &self.own_name {
            return name.clone();
        }
        let patterns: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        patterns.join(",")
    }
}
