//! Single messages by their ids.

use stream_sqsd::dead_letters::{Filter, Found};

use crate::commands::dlq::place::{Opened, Place};
use crate::terminal::exit::Failure;

/// Looks for messages by their ids or by how these begin, and shows each that is found. It ends when each id was found, and
/// returns those that were not.
///
/// # Errors
///
/// An id that is too short, and what goes wrong with the queue.
pub(super) async fn find(
    place: &Place,
    opened: &Opened,
    ids: &[String],
    mut shown: impl FnMut(&Found),
) -> Result<Vec<String>, Failure> {
    let mut wanted = Vec::with_capacity(ids.len());
    for id in ids {
        wanted.push((id, Filter::all().with_id(id).map_err(|error| Failure::usage(error.to_string()))?));
    }
    let progress = place.screen.progress(opened.approximately(), "{bar:30} {msg} of about {len} seen {elapsed}");
    let mut scan = opened.dead.scan(place.stopped());
    let mut seen = 0;
    let ended = loop {
        match scan.next().await {
            Ok(Some(found)) => {
                seen += 1;
                progress.at(seen);
                progress.message(seen.to_string());
                let before = wanted.len();
                wanted.retain(|(_, filter)| !filter.matches(&found.letter));
                if wanted.len() < before {
                    place.screen.beside_progress(|| shown(&found));
                }
                if wanted.is_empty() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(opened.failure(error)),
        }
    };
    let _ = scan.end().await;
    ended.map(|()| wanted.into_iter().map(|(id, _)| id.clone()).collect())
}
