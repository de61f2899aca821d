//! The table that events are rows of: its name, the statements that make it and fill it, and what a row of it is.
//!
//! Which connection a statement goes to, and what becomes of its outcome, stands in [`postgres`](super::postgres).

use std::time::SystemTime;

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::columns::Columns;
use crate::event::Event;
use crate::handler::Context;

/// The longest part of a table's name, in bytes: PostgreSQL cuts names at 63, and the names of the indexes are longer.
pub(super) const NAME_BYTES: usize = 48;

/// The name of a table, with its schema if need be.
pub(super) struct Table<'a>(Vec<&'a str>);

impl<'a> Table<'a> {
    /// None when that is not the name of a table.
    pub(super) fn named(table: &'a str) -> Option<Self> {
        let parts: Vec<&str> = table.split('.').collect();
        let good = |part: &&str| (1..=NAME_BYTES).contains(&part.len()) && !part.contains('\0');
        (parts.len() <= 2 && parts.iter().all(good)).then_some(Table(parts))
    }

    /// The statements that make the table and its indexes where they are missing.
    pub(super) fn schema(&self) -> String {
        let (table, name) = (quoted(&self.0), self.0.last().copied().unwrap_or_default());
        let mut schema = format!(
            "CREATE TABLE IF NOT EXISTS {table} (\n    \
                 message_id text PRIMARY KEY,\n    \
                 type text NOT NULL,\n    \
                 cid text,\n    \
                 user_id text,\n    \
                 created_at timestamptz,\n    \
                 received_at timestamptz NOT NULL DEFAULT now(),\n    \
                 payload json NOT NULL,\n    \
                 webhook_id text\n\
             );\n\
             ALTER TABLE {table} ADD COLUMN IF NOT EXISTS webhook_id text;\n"
        );
        for (suffix, columns) in [
            ("type", "type, created_at"),
            ("cid", "cid, created_at"),
            ("user_id", "user_id, created_at"),
            ("received_at", "received_at"),
        ] {
            let index = quoted(&[&format!("{name}_{suffix}")]);
            schema.push_str(&format!("CREATE INDEX IF NOT EXISTS {index} ON {table} ({columns});\n"));
        }
        schema
    }

    /// The statement that inserts rows; see [`execute`]. A message that comes again changes nothing.
    pub(super) fn insert(&self, with_webhook_id: bool) -> Insert {
        let (column, parameter) = if with_webhook_id { (", webhook_id", ", $7") } else { ("", "") };
        let statement = format!(
            "INSERT INTO {} (message_id, type, cid, user_id, created_at, payload{column}) \
             SELECT message_id, type, cid, user_id, created_at, payload::json{column} \
             FROM unnest($1, $2, $3, $4, $5, $6{parameter}) \
             AS row (message_id, type, cid, user_id, created_at, payload{column}) \
             ON CONFLICT (message_id) DO NOTHING",
            quoted(&self.0)
        );
        Insert { statement, with_webhook_id }
    }

    /// The question whether the table has a column of text of this name that may be filled: its answer is a row with the
    /// name, or none. A table that is not there has none, and one of somebody's own may have a column of this name for
    /// something else.
    pub(super) fn has_text_column(&self, column: &str) -> String {
        let (table, column) = (literal(&quoted(&self.0)), literal(column));
        format!(
            "SELECT attname FROM pg_catalog.pg_attribute \
             WHERE attrelid = to_regclass({table}) AND attname = {column} AND NOT attisdropped \
             AND atttypid = 'pg_catalog.text'::regtype AND has_column_privilege(attrelid, attnum, 'INSERT')"
        )
    }
}

/// How rows are inserted.
pub(super) struct Insert {
    statement: String,
    /// A table that is older than this column works without it.
    with_webhook_id: bool,
}

impl Insert {
    /// The same, planned and not carried out.
    pub(super) fn explained(&self) -> Insert {
        Insert { statement: format!("EXPLAIN {}", self.statement), with_webhook_id: self.with_webhook_id }
    }
}

fn literal(text: &str) -> String {
    // Whatever `standard_conforming_strings` says.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn quoted(parts: &[&str]) -> String {
    let quote = |part: &&str| format!("\"{}\"", part.replace('"', "\"\""));
    parts.iter().map(quote).collect::<Vec<_>>().join(".")
}

/// One row.
pub(super) struct Row {
    pub(super) event: Event,
    pub(super) ctx: Context,
    columns: Columns,
}

impl Row {
    pub(super) fn new(event: Event, ctx: Context) -> Self {
        let columns = Columns::of(&event);
        Row { event, ctx, columns }
    }
}

/// Inserts rows by one statement, which is [`Table::insert`].
pub(super) async fn execute(client: &Client, insert: &Insert, rows: &[Row]) -> Result<(), tokio_postgres::Error> {
    let message_ids: Vec<&str> = rows.iter().map(|row| row.ctx.message_id().as_str()).collect();
    let types: Vec<&str> = rows.iter().map(|row| row.event.kind().name()).collect();
    let cids: Vec<Option<&str>> = rows.iter().map(|row| row.columns.cid.as_deref()).collect();
    let user_ids: Vec<Option<&str>> = rows.iter().map(|row| row.columns.user_id.as_deref()).collect();
    let created: Vec<Option<SystemTime>> = rows.iter().map(|row| row.columns.created_at).collect();
    let payloads: Vec<&str> = rows.iter().map(|row| row.event.json()).collect();
    let webhook_ids: Vec<Option<&str>> = rows.iter().map(|row| row.ctx.webhook_id()).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
        (&message_ids, Type::TEXT_ARRAY),
        (&types, Type::TEXT_ARRAY),
        (&cids, Type::TEXT_ARRAY),
        (&user_ids, Type::TEXT_ARRAY),
        (&created, Type::TIMESTAMPTZ_ARRAY),
        (&payloads, Type::TEXT_ARRAY),
        (&webhook_ids, Type::TEXT_ARRAY),
    ];
    let count = if insert.with_webhook_id { 7 } else { 6 };
    client.execute_typed(&insert.statement, &parameters[..count]).await?;
    Ok(())
}
