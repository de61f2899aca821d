//! Letters whole, to a file: a line of JSON each.

use std::future::Future;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::letter::{Letter, rfc_3339};
use super::opened::{DeadLetterError, DeadLetterQueue};
use super::scan::{Found, Scan, ScanEnd};
use crate::queue::{Attributes, Queue, md5_of, read_md5};

/// One line of an export: a letter whole, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exported {
    /// The id that SQS gave to it.
    pub message_id: String,
    /// When it was first sent: RFC 3339 in UTC, to the millisecond.
    pub sent_at: Option<String>,
    /// How often it was received, the export included.
    pub receive_count: u32,
    /// The MessageGroupId.
    pub group: Option<String>,
    /// The type of its event.
    pub r#type: Option<String>,
    /// The route that took it then.
    pub route: Option<String>,
    /// Why it was dead-lettered.
    pub reason: Option<String>,
    /// Its attributes.
    pub attributes: Attributes,
    /// The MD5 sum of its body, as SQS writes it: 32 hexadecimal digits.
    pub md5_of_body: String,
    /// Its body, byte for byte.
    pub body: String,
}

/// What an export did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportSummary {
    /// How many letters were written.
    pub exported: u64,
    /// How many the filter does not mean.
    pub not_matched: u64,
    /// How the look ended.
    pub end: ScanEnd,
}

/// Why an export ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The queue.
    #[error(transparent)]
    Queue(#[from] DeadLetterError),
    /// What it is written to.
    #[error("cannot write the export")]
    Write(#[source] io::Error),
}

impl Exported {
    fn new(found: Found) -> Self {
        let Found { letter, body, attributes } = found;
        Exported {
            message_id: letter.message_id.as_str().to_owned(),
            sent_at: letter.sent_at.and_then(rfc_3339),
            receive_count: letter.receive_count,
            group: letter.group,
            r#type: letter.event_type,
            route: letter.route,
            reason: letter.reason.map(|reason| reason.to_string()),
            attributes,
            md5_of_body: format!("{:032x}", md5_of(&body)),
            body,
        }
    }

    /// Whether its body is the one that was exported, by its MD5 sum.
    pub fn is_whole(&self) -> bool {
        read_md5(&self.md5_of_body) == Some(md5_of(&self.body))
    }
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Writes each letter that matches to `to`, a line of JSON each ([`Exported`]), and deletes nothing. `seen` is told each
    /// message that was looked at. It flushes at the end; to sync a file is the caller's business, who knows that it is one.
    ///
    /// # Errors
    ///
    /// See [`ExportError`]. What was received is returned all the same.
    pub async fn export(
        &self,
        filter: &Filter,
        to: impl Write + Send,
        stop: impl Future<Output = ()> + Send + 'static,
        seen: impl FnMut(&Letter),
    ) -> Result<ExportSummary, ExportError> {
        let mut scan = self.scan(stop);
        let written = write_all(&mut scan, filter, to, seen).await;
        let end = scan.end().await;
        written.map(|(exported, not_matched)| ExportSummary { exported, not_matched, end })
    }
}

/// Writes what a look finds; how many letters were written, and how many do not match.
async fn write_all<Q: Queue>(
    scan: &mut Scan<Q>,
    filter: &Filter,
    mut to: impl Write + Send,
    mut seen: impl FnMut(&Letter),
) -> Result<(u64, u64), ExportError> {
    let (mut exported, mut not_matched) = (0, 0);
    while let Some(found) = scan.next().await? {
        seen(&found.letter);
        if !filter.matches(&found.letter) {
            not_matched += 1;
            continue;
        }
        let mut line = serde_json::to_vec(&Exported::new(found)).map_err(|error| ExportError::Write(error.into()))?;
        line.push(b'\n');
        to.write_all(&line).map_err(ExportError::Write)?;
        exported += 1;
    }
    to.flush().map_err(ExportError::Write)?;
    Ok((exported, not_matched))
}
