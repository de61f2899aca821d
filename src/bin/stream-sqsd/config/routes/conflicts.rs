//! Routes that cannot be meant beside each other: one that is never reached, and two that write one file.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::route::RouteConfig;
use crate::config::diagnostics::{Diagnostics, Origin};

/// Notes each route behind others that take all it would take: its author means something else by it.
pub(super) fn find_unreachable(routes: &[RouteConfig], diagnostics: &mut Diagnostics) {
    for (position, route) in routes.iter().enumerate() {
        let mut reached = false;
        let mut taken = Vec::new();
        for pattern in &route.patterns {
            let ends_here = |before: &&RouteConfig| before.continues.is_none() && before.takes_all(pattern, route);
            match routes[..position].iter().find(ends_here) {
                Some(before) => taken.push((pattern, before)),
                None => reached = true,
            }
        }
        if reached {
            for (pattern, before) in taken {
                diagnostics.warn(
                    &route.place,
                    format!("`{pattern}` can never be reached here: the route at {} takes these events", before.place),
                );
            }
        } else if let Some((_, before)) = taken.first() {
            diagnostics.wrong(
                &route.place,
                format!("this route can never be reached: the one at {} takes its events before it", before.place),
            );
        }
    }
}

/// Notes each route whose events are to go on, and behind which nothing takes them.
pub(super) fn find_dead_ends(routes: &[RouteConfig], diagnostics: &mut Diagnostics) {
    for (position, route) in routes.iter().enumerate() {
        let Some(place) = &route.continues else { continue };
        let behind = routes.get(position + 1..).unwrap_or_default();
        if behind.is_empty() {
            let what = "`continue` has nowhere to go: this is the last route, and events go on to those below it";
            diagnostics.wrong(place, what);
        } else if !behind.iter().any(|other| route.meets(other)) {
            diagnostics.wrong(place, "`continue` has nowhere to go: no route below this one takes any of its events");
        }
    }
}

/// Notes each route that is called what another one is called.
pub(super) fn find_equal_names(routes: &[RouteConfig], diagnostics: &mut Diagnostics) {
    for (position, route) in routes.iter().enumerate() {
        let name = route.name();
        let Some(before) = routes[..position].iter().find(|before| before.name() == name) else { continue };
        let what = match (&route.own_name, &before.own_name) {
            (None, None) => format!(
                "the route at {} has the same patterns: give this one or that one a `name`, by which logs, metrics and \
                 `dlq --route` can tell them apart",
                before.place
            ),
            _ => format!("the route at {} is called `{name}` too: each needs a `name` of its own", before.place),
        };
        diagnostics.wrong(&route.place, what);
    }
}

/// A file that the daemon writes for itself, and those beside it.
pub(crate) struct OwnFile<'a> {
    pub(crate) what: &'static str,
    pub(crate) path: &'a Path,
    /// Where its path stands.
    pub(crate) place: &'a Origin,
    /// What the names of the files end in, its own first.
    pub(crate) endings: &'a [&'static str],
}

impl OwnFile<'_> {
    fn has(&self, path: &Path) -> bool {
        self.endings.iter().any(|ending| is_same(&with_ending(self.path, ending), path))
    }
}

/// Notes each file that two write to: a route and another one with other settings, or the daemon itself.
pub(crate) fn find_shared_files(routes: &[RouteConfig], own: &[OwnFile<'_>], diagnostics: &mut Diagnostics) {
    for (position, file) in own.iter().enumerate() {
        let other = own[..position].iter().find(|other| other.has(file.path) || file.has(other.path));
        if let Some(OwnFile { what, place, .. }) = other {
            let what = format!("{} is {what} of {place}, or a file beside it: name another", file.path.display());
            diagnostics.wrong(file.place, what);
        }
    }
    let mut before: Vec<(&RouteConfig, &Path)> = Vec::new();
    for route in routes {
        let Some(path) = route.target.file() else { continue };
        let other = before.iter().find(|(other, file)| other.target != route.target && is_same(file, path));
        if let Some((other, _)) = other {
            let what = format!(
                "{} is the file of the route at {} too, by another name or with another rotation: give both the same \
                 `path` and rotation, or each a file of its own",
                path.display(),
                other.place
            );
            diagnostics.wrong(&route.place, what);
        }
        if let Some(OwnFile { what, place, .. }) = own.iter().find(|own| own.has(path)) {
            let what = format!("{} is {what} of {place}, or a file beside it: events need another", path.display());
            diagnostics.wrong(&route.place, what);
        }
        before.push((route, path));
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Whether two paths lead to the same file, which need not be there yet.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(_), Err(_)) => resolved(one) == resolved(other),
        _ => false,
    }
}

/// Where a file would be created that is not there.
fn resolved(path: &Path) -> PathBuf {
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (directory.canonicalize(), path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => path,
    }
}
