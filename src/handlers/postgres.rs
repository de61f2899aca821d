//! Events as rows of a PostgreSQL table, committed before their messages are deleted.
//!
//! The table is made by [`init`] (the daemon's `init-postgres`), or by the statements of [`schema`]:
//!
//! | column | type | value |
//! |---|---|---|
//! | `message_id` | `text`, primary key | the message id: a message that comes again changes nothing |
//! | `type` | `text` | the type of the event |
//! | `cid` | `text` | `cid` of the event, or `call_cid`; null where there is neither |
//! | `user_id` | `text` | `user.id`, or `user_id`; null where there is neither |
//! | `created_at` | `timestamptz` | `created_at` of the event; null where that is not a time |
//! | `received_at` | `timestamptz` | when the row was written |
//! | `payload` | `json` | the event as Stream sent it, byte for byte |
//! | `webhook_id` | `text` | the id of the webhook that the event came by, where somebody says so: a hint ([`Context::webhook_id`]). May be missing |
//!
//! A table without the column `webhook_id` works; [`init`] adds it, and connections that are opened from then on fill it.
//!
//! `payload` is `json` and not `jsonb`, which refuses legal JSON such as `\u0000`. Where your data allow it, an index on an
//! expression of `payload::jsonb` does what a `jsonb` column would.
//!
//! Messages that arrive together are one statement and one round trip; where the database answers with an error, each is
//! tried in a statement of its own, so that none fails for another. What an error means:
//!
//! | error | outcome |
//! |---|---|
//! | SQLSTATE classes 22, 23 and 54, and what a trigger raises (P0) | this message is bad |
//! | class 40: a serialization failure, a deadlock | retry |
//! | no answer in time, too many connections (53300) | the target is busy |
//! | every other: no connection, no table, no permission, a full disk, a read-only standby | the target is down |
//!
//! A connection that does not answer, or on which nothing succeeds, is replaced with the next message.
//!
//! TLS is used whenever the server is not on this machine, and its certificate is verified as `sslmode=verify-full` does;
//! `sslmode=disable` in the URL switches it off, `sslmode=prefer` leaves it to the server. `SSL_CERT_FILE` names the
//! certificates to trust, where the system's are not the right ones. No prepared statement is used, so PgBouncer may
//! stand between in every mode.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::runtime;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::complaints::Complaints;
use super::table::{Insert, NAME_BYTES, Row, Table, execute};
use crate::event::{Event, escape_controls};
use crate::handler::{Context, Handler, HandlerError};
use crate::net::tls::{self, TlsError, TlsFiles};
use crate::telemetry::shown;

/// How many bytes of payload one statement takes before it is sent, give or take the last row. The protocol ends at
/// 1 GiB; far below it, larger statements are no faster.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;

/// How many bytes of payload are in statements at the same time, on all connections; a larger row goes alone. The client
/// copies a statement twice, so these copies would otherwise be held for each connection.
const BYTES_AT_ONCE: usize = 2 * STATEMENT_BYTES;

/// How many rows one statement takes.
const STATEMENT_ROWS: usize = 1000;

/// How many rows may wait for a connection. The engine's slots bound it too; further handlers wait.
const WAITING: usize = 1024;

/// Which database and table events are written to, and how patiently.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// Where the database is: `postgres://user@host:5432/database`, or libpq's `host=… user=… dbname=…`. Several hosts
    /// are tried in turn; `target_session_attrs=read-write` finds the primary among them.
    pub url: String,
    /// The password, where it does not stand in the URL.
    pub password: Option<String>,
    /// The table, with its schema if need be: `stream_events` unless set. Taken literally, so capitals stay capitals.
    pub table: String,
    /// How many connections there may be at once: 2 unless set. One is enough for some thousand events a second.
    pub connections: usize,
    /// How long one event may take from its turn on, connecting included: 10 s unless set.
    pub timeout: Duration,
}

impl PostgresSettings {
    /// A database, and everything else as it is when nobody says more.
    pub fn new(url: impl Into<String>) -> Self {
        PostgresSettings {
            url: url.into(),
            password: None,
            table: "stream_events".into(),
            connections: 2,
            timeout: Duration::from_secs(10),
        }
    }

    /// Sets [`PostgresSettings::password`].
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sets [`PostgresSettings::table`], with its schema if need be.
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// Sets [`PostgresSettings::connections`], at least 1.
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets [`PostgresSettings::timeout`], more than zero.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the password nor the URL, which may hold one.
        f.debug_struct("PostgresSettings")
            .field("table", &self.table)
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why there is no handler, or no table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The URL is none.
    #[error("the URL of the database cannot be read")]
    Url(#[source] Box<dyn Error + Send + Sync>),
    /// The URL names no host.
    #[error("the URL of the database names no host")]
    NoHost,
    /// A name that PostgreSQL would cut, or an empty one.
    #[error("{table} is not the name of a table: each part of it has 1 to {NAME_BYTES} bytes")]
    Table {
        /// As the settings name it.
        table: String,
    },
    /// A time or a number of nothing.
    #[error("{setting} must not be zero")]
    Zero {
        /// The name of the setting.
        setting: &'static str,
    },
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no thread, or not what its runtime needs.
    #[error("cannot start the thread that speaks to the database")]
    Thread(#[source] io::Error),
    /// The database did not do what it was asked for.
    #[error("the database refused")]
    Database(#[source] DatabaseError),
}

/// What a database, or the way to it, answered.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The database answered with an error that is not about a row.
    #[error("{message} (SQLSTATE {code})")]
    Answer {
        /// The SQLSTATE.
        code: String,
        /// The database's words, without the detail that may repeat rows, cut to 120 bytes.
        message: String,
    },
    /// The database refused a row. Its words are left out, since they may repeat the row.
    #[error("the row was refused (SQLSTATE {code})")]
    Row {
        /// The SQLSTATE.
        code: String,
    },
    /// There is no connection, or there is none any more.
    #[error("the database cannot be reached")]
    Connection(#[source] Arc<dyn Error + Send + Sync>),
    /// The connection was closed in the middle.
    #[error("the database closed the connection")]
    Closed,
    /// The database did not answer in time.
    #[error("no answer of the database within {} ms", .after.as_millis())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The thread that speaks to the database has ended.
    #[error("the thread that speaks to the database has ended")]
    Ended,
}

/// What an error says about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// One row, whichever of the statement it is.
    Row,
    /// Chance: two transactions in each other's way.
    Chance,
    /// The database has too much to do.
    Load,
    /// The database or the way to it; it passes by itself.
    Target,
    /// The database as it was set up: somebody must act.
    Setup,
}

impl DatabaseError {
    fn blame(&self) -> Blame {
        match self {
            DatabaseError::Row { .. } => Blame::Row,
            DatabaseError::Answer { code, .. } => blame(code),
            DatabaseError::TimedOut { .. } => Blame::Load,
            _ => Blame::Target,
        }
    }

    /// Whether the database said so itself, by a connection that is still good for more.
    fn is_answer(&self) -> bool {
        matches!(self, DatabaseError::Answer { .. } | DatabaseError::Row { .. })
    }

    fn into_handler_error(self) -> HandlerError {
        match self.blame() {
            Blame::Row => HandlerError::reject(self),
            Blame::Chance => HandlerError::retry(self),
            Blame::Load => HandlerError::target_busy(self),
            Blame::Target | Blame::Setup => HandlerError::target_down(self),
        }
    }
}

/// By class, the first two characters of a SQLSTATE (PostgreSQL's documentation, appendix A).
fn blame(code: &str) -> Blame {
    if code == SqlState::TOO_MANY_CONNECTIONS.code() {
        return Blame::Load;
    }
    match code.get(..2).unwrap_or_default() {
        // Data exceptions; constraints that somebody added; rows too large for an index, JSON too deep; triggers.
        "22" | "23" | "54" | "P0" => Blame::Row,
        // Serialization failures and deadlocks.
        "40" => Blame::Chance,
        // Authorization, database, schema; syntax, tables, columns and permissions.
        "28" | "3D" | "3F" | "42" => Blame::Setup,
        // Connections, resources, operators, the system, read-only standbys, and what nobody knows.
        _ => Blame::Target,
    }
}

impl DatabaseError {
    /// Not a `From`, which would make the driver a part of what is public here.
    fn of(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(answer) => {
                let code = answer.code().code().to_owned();
                match blame(&code) {
                    Blame::Row => DatabaseError::Row { code },
                    // What a function of somebody's raises may repeat the row.
                    _ if answer.where_().is_some() => {
                        DatabaseError::Answer { code, message: "an error inside the database".into() }
                    }
                    _ => DatabaseError::Answer { code, message: shown(&escape_controls(answer.message())).to_owned() },
                }
            }
            None => DatabaseError::Connection(Arc::new(error)),
        }
    }
}

/// Whether this URL of a database holds a password, which makes the whole of it a secret.
pub fn holds_password(url: &str) -> bool {
    match config(&PostgresSettings::new(url)) {
        Ok(config) => config.get_password().is_some(),
        // What cannot be read may hold one all the same.
        Err(_) => {
            let user = url.split_once("://").and_then(|(_, rest)| Some(rest.rsplit_once('@')?.0));
            user.is_some_and(|user| user.contains(':')) || url.contains("password")
        }
    }
}

/// Inserts each event as a row; done when it is committed.
///
/// A message that comes again meets its own row and changes nothing.
pub struct Postgres {
    rows: mpsc::Sender<Waiting>,
    address: String,
    timeout: Duration,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Postgres {
    /// Checks the settings and gets ready; connects with the first event.
    ///
    /// # Errors
    ///
    /// When a setting is wrong or the system has no certificates to trust and the server needs them: see
    /// [`PostgresError`].
    pub fn new(settings: PostgresSettings) -> Result<Self, PostgresError> {
        let target = Target::new(&settings)?;
        let address = addresses(&target.config);
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(PostgresError::Thread)?;
        let (rows, waiting) = mpsc::channel(WAITING);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            runtime.block_on(async {
                let waiting = Mutex::new(waiting);
                let inserters = (0..settings.connections).map(|_| insert_rows(&target, &waiting));
                tokio::select! {
                    biased;
                    // What is not answered by now was not told as a success, and its handlers are gone.
                    () = stopped.cancelled() => {}
                    _ = join_all(inserters) => {}
                }
            });
            // A name server that does not answer must not hold up the end.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("postgres".into()).spawn(run).map_err(PostgresError::Thread)?;
        Ok(Postgres { rows, address, timeout: settings.timeout, stop, thread: Some(thread) })
    }
}

/// Hosts and ports, with commas between: neither the user nor the database.
fn addresses(config: &Config) -> String {
    const PORT: u16 = 5432;
    let ports = config.get_ports();
    let port = |number: usize| ports.get(number).or(ports.first()).copied().unwrap_or(PORT);
    let hosts = config.get_hosts().iter().enumerate().map(|(number, host)| match host {
        Host::Tcp(name) => format!("{name}:{}", port(number)),
        Host::Unix(path) => path.display().to_string(),
    });
    hosts.collect::<Vec<_>>().join(",")
}

impl Handler<Event> for Postgres {
    type Error = HandlerError;

    fn address(&self) -> Option<String> {
        Some(self.address.clone())
    }

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        let (done, answer) = oneshot::channel();
        let (taken, is_taken) = oneshot::channel();
        let row = Row::new(event, ctx.clone());
        // While others have the connections, no time runs. Where the thread has ended, so has the answer.
        let _ = ctx
            .pause_timeout(async {
                self.rows.send(Waiting { row, taken, done: Some(done) }).await.ok()?;
                is_taken.await.ok()
            })
            .await;
        let answered = async { answer.await.map_err(|_| DatabaseError::Ended)? };
        let late = DatabaseError::TimedOut { after: self.timeout };
        timeout(self.timeout, answered).await.unwrap_or(Err(late)).map_err(DatabaseError::into_handler_error)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic there was answered to those who waited.
            let _ = thread.join();
        }
    }
}

/// Makes the table and its indexes where they are missing; changes nothing that is there.
///
/// # Errors
///
/// When a setting is wrong or the database refuses: see [`PostgresError`].
pub async fn init(settings: &PostgresSettings) -> Result<(), PostgresError> {
    let target = Target::new(settings)?;
    let schema = schema(&settings.table)?;
    let made = async {
        let mut session = Session::open(&target).await?;
        session.drive(|client| async move { client.batch_execute(&schema).await }).await
    };
    made.await.map_err(PostgresError::Database)
}

/// Logs in, and lets the database plan an insertion: that tells of a table, a column or a permission that is missing.
/// Nothing is written, and no trigger fires.
///
/// # Errors
///
/// As those of the handler: what it would be told by the database, or by the way to it.
pub async fn check(settings: &PostgresSettings) -> Result<(), PostgresError> {
    let target = Target::new(settings)?;
    let late = DatabaseError::TimedOut { after: target.timeout };
    let asking = async {
        let mut session = Session::open(&target).await?;
        let explain = session.insert(&target).explained();
        session.drive(|client| execute(client, &explain, &[])).await?;
        // A plan is made on a standby too.
        let question = "SELECT current_setting('transaction_read_only')::bool";
        let read_only = session.drive(|client| client.query_typed(question, &[])).await?;
        match read_only.first().and_then(|row| row.try_get::<_, bool>(0).ok()) {
            Some(true) => Err(DatabaseError::Answer {
                code: SqlState::READ_ONLY_SQL_TRANSACTION.code().to_owned(),
                message: "the database is read-only".to_owned(),
            }),
            _ => Ok(()),
        }
    };
    timeout(target.timeout, asking).await.unwrap_or(Err(late)).map_err(PostgresError::Database)
}

/// The statements that [`init`] runs, for those who make their tables by other means.
///
/// # Errors
///
/// When that is not the name of a table.
pub fn schema(table: &str) -> Result<String, PostgresError> {
    Ok(named(table)?.schema())
}

fn named(table: &str) -> Result<Table<'_>, PostgresError> {
    Table::named(table).ok_or_else(|| PostgresError::Table { table: table.to_owned() })
}

/// Where to connect to and what to say there.
struct Target {
    config: Config,
    tls: MakeRustlsConnect,
    /// For a table without the column `webhook_id`, and for one with it.
    inserts: [Insert; 2],
    /// What a new connection asks for before all else.
    greeting: String,
    timeout: Duration,
    /// Permits for [`BYTES_AT_ONCE`].
    bytes: Semaphore,
    /// The SQLSTATEs that the log was told of as errors.
    complaints: Complaints,
}

impl Target {
    fn new(settings: &PostgresSettings) -> Result<Self, PostgresError> {
        for (setting, zero) in [("timeout", settings.timeout.is_zero()), ("connections", settings.connections == 0)] {
            if zero {
                return Err(PostgresError::Zero { setting });
            }
        }
        let config = config(settings)?;
        let tls = if config.get_ssl_mode() == SslMode::Disable {
            tls::trusting_nobody()
        } else {
            tls::client_config(&TlsFiles::default())
        }?;
        let table = named(&settings.table)?;
        Ok(Target {
            config,
            tls: MakeRustlsConnect::new(tls),
            inserts: [table.insert(false), table.insert(true)],
            greeting: format!("{DURABLE}; {}", table.has_text_column(WEBHOOK_ID)),
            timeout: settings.timeout,
            bytes: Semaphore::new(BYTES_AT_ONCE),
            complaints: Complaints::default(),
        })
    }

    /// Tells the log of what somebody must fix, when that is new.
    fn complain(&self, outcome: Result<(), &DatabaseError>) {
        if let Err(error @ DatabaseError::Answer { code, .. }) = outcome
            && error.blame() == Blame::Setup
            && self.complaints.are_worth_telling(code)
        {
            tracing::error!(%error, "the database refuses every event: somebody must fix its set-up");
        }
    }
}

/// The settings of a connection, with TLS wherever bytes leave this machine.
fn config(settings: &PostgresSettings) -> Result<Config, PostgresError> {
    // The client knows `require` only, and means by it what libpq calls `verify-full`: it verifies all the same.
    let url =
        settings.url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
    let mut config = Config::from_str(&url).map_err(|error| PostgresError::Url(error.into()))?;
    let hosts = config.get_hosts();
    if hosts.is_empty() {
        return Err(PostgresError::NoHost);
    }
    if !url.contains("sslmode=") {
        let here = hosts.iter().all(is_here);
        config.ssl_mode(if here { SslMode::Disable } else { SslMode::Require });
    }
    if let Some(password) = &settings.password {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name("stream-sqsd");
    }
    config
        .connect_timeout(settings.timeout)
        .tcp_user_timeout(settings.timeout)
        .keepalives_idle(Duration::from_secs(30));
    Ok(config)
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// A server may be set up to answer before a commit is on disk, which is not what success means here.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') = 'off'";

/// The column that a table may lack.
const WEBHOOK_ID: &str = "webhook_id";

/// An open connection. Nothing happens on it unless [`Session::drive`] or [`Session::closed`] is being awaited.
struct Session {
    client: Client,
    /// Whether the table had the column when the connection was opened.
    has_webhook_id: bool,
    connection: Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>,
}

impl Session {
    async fn open(target: &Target) -> Result<Self, DatabaseError> {
        let late = DatabaseError::TimedOut { after: target.timeout };
        let opening = async {
            let (client, connection) = target.config.connect(target.tls.clone()).await.map_err(DatabaseError::of)?;
            let mut session = Session { client, has_webhook_id: false, connection: Box::pin(connection) };
            let answers = session.drive(|client| client.simple_query(&target.greeting)).await?;
            session.has_webhook_id = answers.iter().any(|answer| match answer {
                SimpleQueryMessage::Row(row) => row.get(0) == Some(WEBHOOK_ID),
                _ => false,
            });
            Ok(session)
        };
        timeout(target.timeout, opening).await.unwrap_or(Err(late))
    }

    fn insert<'a>(&self, target: &'a Target) -> &'a Insert {
        &target.inserts[usize::from(self.has_webhook_id)]
    }

    async fn drive<'a, T, Work>(&'a mut self, work: impl FnOnce(&'a Client) -> Work) -> Result<T, DatabaseError>
    where
        Work: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        tokio::select! {
            biased;
            result = work(&self.client) => result.map_err(DatabaseError::of),
            ended = &mut self.connection => {
                ended.map_err(DatabaseError::of)?;
                Err(DatabaseError::Closed)
            }
        }
    }

    /// Completes when the connection has ended.
    async fn closed(&mut self) {
        // Why does not matter: the next statement has a new one.
        let _ = (&mut self.connection).await;
    }
}

/// Who waits for an outcome; none when it was told.
type Done = Option<oneshot::Sender<Result<(), DatabaseError>>>;

/// A row that waits for a connection, and who is to be told that it has one.
struct Waiting {
    row: Row,
    taken: oneshot::Sender<()>,
    done: Done,
}

/// One connection's life: takes the rows that wait, inserts them, answers, until nobody can send more.
async fn insert_rows(target: &Target, waiting: &Mutex<mpsc::Receiver<Waiting>>) {
    let mut session: Option<Session> = None;
    loop {
        let rows = match &mut session {
            Some(open) => tokio::select! {
                biased;
                () = open.closed() => {
                    session = None;
                    continue;
                }
                rows = next_rows(waiting) => rows,
            },
            None => next_rows(waiting).await,
        };
        let Some((rows, mut dones)) = rows.map(|rows| rows.into_iter().unzip::<_, _, Vec<Row>, Vec<Done>>()) else {
            return;
        };
        if rows.is_empty() {
            continue;
        }
        let bytes = rows.iter().map(|row| row.event.json().len()).sum::<usize>();
        // Held until the copies are gone. Never closed, and those who hold it give up in time.
        let _permits = target.bytes.acquire_many(bytes.min(BYTES_AT_ONCE) as u32).await;
        let outcomes = match &mut session {
            Some(open) => insert(target, open, &rows, &mut dones).await,
            None => match Session::open(target).await {
                Ok(open) => insert(target, session.insert(open), &rows, &mut dones).await,
                Err(error) => vec![Err(error); rows.len()],
            },
        };
        let worked = outcomes.iter().any(Result::is_ok);
        for outcome in outcomes.iter().filter(|outcome| outcome.is_ok() == worked) {
            target.complain(outcome.as_ref().copied());
        }
        // It may be in the middle of a statement, or lead to a server that is no longer the primary.
        let trusted = |error: &DatabaseError| error.is_answer() && (worked || error.blame() == Blame::Row);
        if !outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).all(trusted) {
            session = None;
        }
        // A connection keeps its buffers, as large as they ever were.
        if bytes > BYTES_AT_ONCE {
            session = None;
        }
        for (done, outcome) in dones.into_iter().zip(outcomes) {
            // It may have stopped waiting in the meantime.
            let _ = done.map(|done| done.send(outcome));
        }
    }
}

/// The rows that wait, as many as one statement takes; None when there can be no more. Dropped while it waits, it has
/// taken none.
async fn next_rows(waiting: &Mutex<mpsc::Receiver<Waiting>>) -> Option<Vec<(Row, Done)>> {
    let mut waiting = waiting.lock().await;
    let mut next = Some(waiting.recv().await?);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(Waiting { row, taken, done }) = next {
        // Who has stopped waiting gets the message again.
        if taken.send(()).is_ok() {
            bytes += row.event.json().len();
            rows.push((row, done));
        }
        let room = rows.len() < STATEMENT_ROWS && bytes < STATEMENT_BYTES;
        next = if room { waiting.try_recv().ok() } else { None };
    }
    // The same order everywhere: two statements with the same messages wait for each other and do not deadlock.
    rows.sort_by(|(one, _), (other, _)| one.ctx.message_id().cmp(other.ctx.message_id()));
    Some(rows)
}

/// Inserts rows in one statement, and where that is answered with an error, each in its own: it may be about one of them.
async fn insert(
    target: &Target,
    session: &mut Session,
    rows: &[Row],
    dones: &mut [Done],
) -> Vec<Result<(), DatabaseError>> {
    let late = DatabaseError::TimedOut { after: target.timeout };
    let statement = session.insert(target);
    let together = session.drive(|client| execute(client, statement, rows));
    match timeout(target.timeout, together).await.unwrap_or(Err(late)) {
        Ok(()) => vec![Ok(()); rows.len()],
        Err(error) if error.is_answer() && rows.len() > 1 => insert_apart(target, session, rows, dones).await,
        Err(error) => vec![Err(error); rows.len()],
    }
}

/// Inserts each row in a statement of its own, all in one round trip, and tells its outcome at once: it counts whatever
/// becomes of the rows behind it.
async fn insert_apart(
    target: &Target,
    session: &mut Session,
    rows: &[Row],
    dones: &mut [Done],
) -> Vec<Result<(), DatabaseError>> {
    let late = DatabaseError::TimedOut { after: target.timeout };
    let mut outcomes: Vec<_> = rows.iter().map(|_| None).collect();
    let statement = session.insert(target);
    let answered = session.drive(|client| {
        let outcomes = &mut outcomes;
        async move {
            let insert = |(number, row)| async move { (number, execute(client, statement, row).await) };
            let mut statements: FuturesUnordered<_> = rows.chunks(1).enumerate().map(insert).collect();
            while let Some((number, outcome)) = statements.next().await {
                let outcome = outcome.map_err(DatabaseError::of);
                outcomes[number] = Some(outcome.clone());
                // It may have stopped waiting in the meantime.
                let _ = dones[number].take().map(|done| done.send(outcome));
            }
            Ok(())
        }
    });
    let unanswered = timeout(target.timeout, answered).await.unwrap_or(Err(late)).err();
    let unanswered = || Err(unanswered.clone().unwrap_or(DatabaseError::Closed));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unanswered)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        config(&PostgresSettings::new(url)).unwrap().get_ssl_mode()
    }

    #[test]
    fn tls_is_used_off_this_machine_unless_the_url_says_otherwise() {
        for here in ["postgres://localhost/db", "postgres://127.0.0.1/db", "host=/run/postgresql dbname=db"] {
            assert_eq!(mode(here), SslMode::Disable, "{here}");
        }
        for there in [
            "postgres://db.example.com/db",
            "postgres://localhost,db.example.com/db",
            "postgres://db.example.com/db?sslmode=verify-full",
            "host=db.example.com sslmode=verify-ca",
            "postgres://localhost/db?sslmode=require",
        ] {
            assert_eq!(mode(there), SslMode::Require, "{there}");
        }
        assert_eq!(mode("postgres://db.example.com/db?sslmode=disable"), SslMode::Disable);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let new = |settings| Postgres::new(settings).err().unwrap();
        let settings = || PostgresSettings::new("postgres://localhost/db");
        assert!(matches!(new(PostgresSettings::new("mysql://localhost/db")), PostgresError::Url(_)));
        assert!(matches!(new(PostgresSettings::new("dbname=db")), PostgresError::NoHost));
        assert!(matches!(new(PostgresSettings { connections: 0, ..settings() }), PostgresError::Zero { .. }));
        assert!(matches!(new(PostgresSettings { timeout: Duration::ZERO, ..settings() }), PostgresError::Zero { .. }));
        for table in ["", ".", "a.b.c", "a.", &"x".repeat(49), "a\0b"] {
            let error = new(PostgresSettings { table: table.into(), ..settings() });
            assert!(matches!(error, PostgresError::Table { .. }), "{table}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_seen_in_each_of_its_forms() {
        for with in [
            "postgres://u:pw@h/db",
            "postgres://u:pw@h/db?sslmode=verify-full",
            "postgres://u@h/db?password=pw",
            "host=h user=u password=pw",
            "postgres://u:pw@h:notaport/db",
            "postgres://u:pw@/db",
        ] {
            assert!(holds_password(with), "{with}");
        }
        for without in ["postgres://u@h:5432/db", "host=h user=u", "postgres://h/db", "postgres://u@h:notaport/db"] {
            assert!(!holds_password(without), "{without}");
        }
    }

    #[test]
    fn an_address_is_hosts_and_ports_without_user_and_database() {
        for (url, address) in [
            ("postgres://user:s3cret@db.example.com/stream", "db.example.com:5432"),
            ("postgres://user@one,two/stream", "one:5432,two:5432"),
            ("postgres://user@one:6432,two:7432/stream", "one:6432,two:7432"),
            ("host=/run/postgresql user=u dbname=db", "/run/postgresql"),
        ] {
            assert_eq!(addresses(&config(&PostgresSettings::new(url)).unwrap()), address);
        }
    }

    #[test]
    fn settings_show_no_password() {
        let mut settings = PostgresSettings::new("postgres://user:s3cret@localhost/db");
        settings.password = Some("s3cret".into());
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn each_sqlstate_is_blamed_on_row_chance_load_setup_or_target() {
        for (code, expected) in [
            (SqlState::UNTRANSLATABLE_CHARACTER, Blame::Row),
            (SqlState::CHECK_VIOLATION, Blame::Row),
            (SqlState::PROGRAM_LIMIT_EXCEEDED, Blame::Row),
            (SqlState::RAISE_EXCEPTION, Blame::Row),
            (SqlState::T_R_DEADLOCK_DETECTED, Blame::Chance),
            (SqlState::UNDEFINED_TABLE, Blame::Setup),
            (SqlState::INVALID_PASSWORD, Blame::Setup),
            (SqlState::TOO_MANY_CONNECTIONS, Blame::Load),
            (SqlState::DISK_FULL, Blame::Target),
            (SqlState::ADMIN_SHUTDOWN, Blame::Target),
            (SqlState::READ_ONLY_SQL_TRANSACTION, Blame::Target),
            (SqlState::CONNECTION_FAILURE, Blame::Target),
        ] {
            assert_eq!(blame(code.code()), expected, "{}", code.code());
        }
    }
}
