//! The promises of the postgres handler, to a PostgreSQL of Debian's package `postgresql` that each test starts itself.
//!
//! PostgreSQL refuses to run as root, so root's tests start it as the user `postgres` of that package.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use stream_sqsd::consumer::Settings;
use stream_sqsd::decode::decode;
use stream_sqsd::handler::{Context, FailureKind, Handler, HandlerError};
use stream_sqsd::handlers::postgres::{DatabaseError, Postgres, PostgresError, PostgresSettings, check, init, schema};
use stream_sqsd::queue::WebhookId;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::support::until::block_until;
use crate::{CHILD, child, event, said, say};

/// A PostgreSQL of its own, listening on a socket in a directory, and on a port where a test asks for TLS.
struct Cluster {
    place: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let place = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let data = place.path().join("data");
        fs::create_dir(&data).unwrap();
        if is_root() {
            let (user, group) = (id("-u"), id("-g"));
            chown(place.path(), Some(user), Some(group)).unwrap();
            chown(&data, Some(user), Some(group)).unwrap();
        }
        let cluster = Cluster { place };
        cluster.run(
            "initdb",
            &["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"],
        );
        let socket = cluster.place.path().display();
        let more = format!("unix_socket_directories = '{socket}'\nlisten_addresses = ''\n");
        fs::write(data.join("postgresql.auto.conf"), more).unwrap();
        cluster.up();
        cluster
    }

    /// Starts the server and returns when it answers.
    fn up(&self) {
        self.run("pg_ctl", &["start", "--wait", "--silent", "--log=/dev/null", "-D"]);
    }

    fn down(&self) {
        self.run("pg_ctl", &["stop", "--wait", "--silent", "--mode=fast", "-D"]);
    }

    /// Kills the server as a crash would, and returns when all its processes are gone.
    fn kill(&self) {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap();
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
        // Its children notice and go; the server does not start again before they have.
        let mut start = self.command("pg_ctl", &["start", "--wait", "--silent", "--log=/dev/null", "-D"]);
        start.stderr(Stdio::null());
        block_until("it has started", || start.status().unwrap().success());
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program, arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A program of PostgreSQL's about this cluster.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let program = programs().join(program);
        let mut command = match is_root() {
            true => Command::new("runuser"),
            false => Command::new(&program),
        };
        if is_root() {
            command.args(["-u", "postgres", "--"]).arg(&program);
        }
        command.args(arguments).arg(self.data()).current_dir("/");
        // The server inherits these, and anyone who reads them to their end would wait for it.
        command.stdout(Stdio::null());
        command
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn url(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.place.path().display())
    }

    fn settings(&self) -> PostgresSettings {
        PostgresSettings::new(self.url())
    }

    /// A handler with its table.
    async fn handler(&self) -> Postgres {
        init(&self.settings()).await.unwrap();
        Postgres::new(self.settings()).unwrap()
    }

    /// What psql answers, a line for each row and `|` between columns.
    fn ask(&self, question: &str) -> Vec<String> {
        let output = Command::new(programs().join("psql"))
            .args(["-h", self.place.path().to_str().unwrap(), "-U", "postgres", "-X", "-q", "-A", "-t", "-v"])
            .args(["ON_ERROR_STOP=1", "-c", question, "postgres"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // One that a test has stopped is stopped.
        let _ = self.command("pg_ctl", &["stop", "--wait", "--silent", "--mode=immediate", "-D"]).output();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|facts| std::os::unix::fs::MetadataExt::uid(&facts) == 0)
}

/// The number of the user or group that runs PostgreSQL.
fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("the package postgresql is installed")
}

/// Where Debian has PostgreSQL's programs: the newest version's.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("the package postgresql is installed");
    let newest = versions
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or_default());
    newest.unwrap().join("bin")
}

async fn insert(postgres: &Postgres, id: &str) -> Result<(), HandlerError> {
    postgres.handle(event("hello"), Context::for_test(id)).await
}

#[tokio::test]
async fn an_event_is_a_row_with_its_columns_and_its_payload_as_sent() {
    let cluster = Cluster::start();
    let postgres = cluster.handler().await;
    let body = "{\n  \"type\":\"message.new\",\"cid\":\"messaging:1\",\"n\":1e2, \"n\":\"\\u0000é\",\
                \"user\":{\"id\":\"u1\"},\"created_at\":\"2026-01-01T01:00:00.123456789+01:00\"}";
    postgres.handle(decode(body, 1000).unwrap(), Context::for_test("id-1")).await.unwrap();
    let columns = "message_id, type, cid, user_id, created_at at time zone 'UTC'";
    let row = cluster.ask(&format!("SELECT {columns}, now() - received_at < '1 min' FROM stream_events"));
    assert_eq!(row, ["id-1|message.new|messaging:1|u1|2026-01-01 00:00:00.123456|t"]);
    assert_eq!(cluster.ask("SELECT payload FROM stream_events").join("\n"), body);
}

async fn insert_of_webhook(postgres: &Postgres, id: &str) -> Result<(), HandlerError> {
    let ctx = Context::for_test(id).with_webhook_id(WebhookId::new(&format!("w-{id}")));
    postgres.handle(event("hello"), ctx).await
}

const WEBHOOK_IDS: &str = "SELECT message_id, webhook_id FROM stream_events ORDER BY 1";

#[tokio::test]
async fn a_row_has_the_webhook_id_where_there_is_one() {
    let cluster = Cluster::start();
    let postgres = cluster.handler().await;
    let both = tokio::join!(insert_of_webhook(&postgres, "id-1"), insert(&postgres, "id-2"));
    assert!(both.0.is_ok() && both.1.is_ok());
    assert_eq!(cluster.ask(WEBHOOK_IDS), ["id-1|w-id-1", "id-2|"]);
}

#[tokio::test]
async fn a_table_without_webhook_ids_works_until_init_adds_them() {
    let cluster = Cluster::start();
    let settings = cluster.settings().with_connections(1).with_table("O'Neill \\x.stream \"events\"");
    cluster.ask(r#"CREATE SCHEMA "O'Neill \x""#);
    let table = r#""O'Neill \x"."stream ""events""""#;
    init(&settings).await.unwrap();
    cluster.ask(&format!("ALTER TABLE {table} DROP COLUMN webhook_id"));
    let old = Postgres::new(settings.clone()).unwrap();
    insert_of_webhook(&old, "id-1").await.unwrap();
    init(&settings).await.unwrap();
    insert_of_webhook(&old, "id-2").await.expect("a connection that is open goes on as it was");
    insert_of_webhook(&Postgres::new(settings).unwrap(), "id-3").await.unwrap();
    let ids = cluster.ask(&format!("SELECT message_id, webhook_id FROM {table} ORDER BY 1"));
    assert_eq!(ids, ["id-1|", "id-2|", "id-3|w-id-3"]);
}

#[tokio::test]
async fn a_column_that_is_gone_or_not_ours_is_left_alone() {
    let cluster = Cluster::start();
    init(&cluster.settings()).await.unwrap();
    let postgres = Postgres::new(cluster.settings().with_connections(1)).unwrap();
    insert_of_webhook(&postgres, "id-1").await.unwrap();
    cluster.ask("ALTER TABLE stream_events DROP COLUMN webhook_id");
    assert_eq!(insert_of_webhook(&postgres, "id-2").await.unwrap_err().kind(), FailureKind::TargetDown);
    insert_of_webhook(&postgres, "id-2").await.expect("a new connection has looked again");
    cluster.ask("ALTER TABLE stream_events ADD COLUMN webhook_id uuid");
    let other = Postgres::new(cluster.settings()).unwrap();
    insert_of_webhook(&other, "id-3").await.expect("a column of another type is somebody's own");
    assert_eq!(cluster.ask(WEBHOOK_IDS), ["id-1|", "id-2|", "id-3|"]);

    cluster.ask("ALTER TABLE stream_events ALTER COLUMN webhook_id TYPE text");
    cluster.ask("CREATE ROLE clerk LOGIN");
    cluster.ask("GRANT SELECT ON stream_events TO clerk");
    cluster.ask("GRANT INSERT (message_id, type, cid, user_id, created_at, payload) ON stream_events TO clerk");
    let clerk = PostgresSettings::new(cluster.url().replace("user=postgres", "user=clerk"));
    insert_of_webhook(&Postgres::new(clerk).unwrap(), "id-4").await.expect("a column that may not be filled");
}

#[tokio::test]
async fn a_message_that_comes_again_changes_nothing() {
    let cluster = Cluster::start();
    let postgres = cluster.handler().await;
    insert(&postgres, "id-1").await.unwrap();
    let another = decode(r#"{"type":"another"}"#, 1000).unwrap();
    postgres.handle(another, Context::for_test("id-1")).await.unwrap();
    // In one statement too.
    for result in join_all((0..50).map(|_| insert(&postgres, "id-2"))).await {
        result.unwrap();
    }
    assert_eq!(
        cluster.ask("SELECT message_id, type FROM stream_events ORDER BY 1"),
        ["id-1|message.new", "id-2|message.new"]
    );
}

#[tokio::test]
async fn a_refused_row_is_a_bad_message_and_the_others_are_inserted() {
    let cluster = Cluster::start();
    let postgres = &cluster.handler().await;
    // A column cannot hold either.
    let random: String = (0..100).map(|_| fastrand::alphanumeric()).collect();
    let bad = [r#"{"type":"a\u0000b"}"#.to_owned(), format!(r#"{{"type":"{random}\u0000"}}"#)];
    let results = join_all((0..60).map(|number| {
        let good = r#"{"type":"good"}"#.to_owned();
        let body = if number % 10 == 7 { &bad[number / 10 % 2] } else { &good };
        let event = decode(body, 1 << 20).unwrap();
        async move { postgres.handle(event, Context::for_test(&number.to_string())).await }
    }))
    .await;
    for (number, result) in results.into_iter().enumerate() {
        match result {
            Ok(()) => assert_ne!(number % 10, 7),
            Err(error) => {
                assert_eq!((number % 10, error.kind()), (7, FailureKind::Reject), "{error}");
                assert!(!error.to_string().contains(&random[..20]), "the error repeats the event: {error}");
            }
        }
    }
    assert_eq!(cluster.ask("SELECT count(*), count(DISTINCT type) FROM stream_events"), ["54|1"]);
}

#[tokio::test]
async fn a_database_that_is_down_is_a_target_down_until_it_is_back() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    // With a second connection the next event would not meet the one that was closed.
    let postgres = Postgres::new(cluster.settings().with_connections(1)).unwrap();
    insert(&postgres, "1").await.unwrap();
    cluster.down();
    for _ in 0..2 {
        let error = insert(&postgres, "2").await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    }
    cluster.up();
    insert(&postgres, "2").await.unwrap();
    // A restart between two events costs no event: the closed connection is noticed before.
    cluster.down();
    cluster.up();
    insert(&postgres, "3").await.unwrap();
    assert_eq!(cluster.ask("SELECT count(*) FROM stream_events"), ["3"]);
}

/// A connection that leads to a server which has become a standby never leads to the primary again.
#[tokio::test]
async fn a_connection_that_takes_no_writes_is_replaced() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    // What is set for a role holds on the connections that are made from then on.
    cluster.ask("CREATE ROLE clerk LOGIN SUPERUSER");
    cluster.ask("ALTER ROLE clerk SET default_transaction_read_only = on");
    let url = cluster.url().replace("user=postgres", "user=clerk");
    let postgres = Postgres::new(PostgresSettings::new(url).with_connections(1)).unwrap();
    let error = insert(&postgres, "1").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TargetDown, "{error}");
    assert!(error.to_string().contains("read-only transaction (SQLSTATE 25006)"), "{error}");
    cluster.ask("ALTER ROLE clerk RESET default_transaction_read_only");
    insert(&postgres, "1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_a_crash_of_the_database_dead_letter_nothing() {
    let cluster = Cluster::start();
    let postgres = Arc::new(cluster.handler().await);
    let engine = Engine::start(postgres, 64);
    let rows = |count: usize| {
        let count = [count.to_string()];
        block_until("so many rows are there", || cluster.ask("SELECT count(*) FROM stream_events") == count);
    };
    engine.send(200);
    rows(200);
    cluster.down();
    engine.meet_an_outage().await;
    engine.send(197);
    cluster.up();
    rows(400);
    engine.send(5_000);
    cluster.kill();
    rows(5_400);
    engine.until_deleted(5_400).await;
    engine.end().await;
}

/// What somebody else does in a transaction that is not over until this is dropped.
struct Holder(std::process::Child);

impl Holder {
    /// Locks the table.
    fn of_the_table(cluster: &Cluster) -> Self {
        let mut child = Command::new(programs().join("psql"))
            .args(["-h", cluster.place.path().to_str().unwrap(), "-U", "postgres", "-X", "-q", "postgres"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let locked = "BEGIN; LOCK TABLE stream_events;\n";
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), locked.as_bytes()).unwrap();
        let held =
            "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation::regclass::text = 'stream_events'";
        block_until("the row is held", || !cluster.ask(held).is_empty());
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_fills_the_slots_and_the_rest_stays_queued() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    let settings = cluster.settings().with_timeout(Duration::from_secs(60));
    let holder = Holder::of_the_table(&cluster);
    let engine = Engine::with(
        Arc::new(Postgres::new(settings).unwrap()),
        Settings::new().with_concurrency(4).with_handler_timeout(Duration::from_secs(70)),
    );
    engine.send(40);
    engine.until_full(4).await;
    drop(holder);
    engine.until_deleted(40).await;
    assert_eq!(engine.most_at_work(), 4);
    engine.end().await;
    assert_eq!(cluster.ask("SELECT count(*) FROM stream_events"), ["40"]);
}

#[tokio::test]
async fn a_missing_table_or_permission_is_down_until_it_is_fixed() {
    let cluster = Cluster::start();
    let postgres = Postgres::new(cluster.settings()).unwrap();
    let error = insert(&postgres, "1").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TargetDown);
    assert!(error.to_string().contains("\"stream_events\" does not exist (SQLSTATE 42P01)"), "{error}");
    // To make it twice is not an error.
    for _ in 0..2 {
        init(&cluster.settings()).await.unwrap();
    }
    insert(&postgres, "1").await.unwrap();

    cluster.ask("CREATE ROLE clerk LOGIN");
    let clerk = PostgresSettings::new(cluster.url().replace("user=postgres", "user=clerk"));
    let error = insert(&Postgres::new(clerk).unwrap(), "2").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TargetDown);
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_target_that_is_busy_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://postgres@{}/postgres", silent.local_addr().unwrap());
    let settings = PostgresSettings::new(url).with_timeout(Duration::from_millis(300));
    let error = insert(&Postgres::new(settings).unwrap(), "1").await.unwrap_err();
    let said = error.to_string();
    assert_eq!((error.kind(), said.as_str()), (FailureKind::TargetBusy, "no answer of the database within 300 ms"));
}

#[tokio::test]
async fn a_row_locked_by_a_transaction_is_a_busy_target() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    let settings = cluster.settings().with_timeout(Duration::from_millis(500));
    let postgres = Postgres::new(settings).unwrap();
    let holder = Holder::of_the_table(&cluster);
    let error = insert(&postgres, "1").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TargetBusy, "{error}");
    drop(holder);
    // Whatever became of the first statement, the message is there once.
    let again = async { while insert(&postgres, "1").await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), again).await.unwrap();
    assert_eq!(cluster.ask("SELECT count(*) FROM stream_events"), ["1"]);
}

#[tokio::test]
async fn a_connection_that_never_answers_is_replaced() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    let settings = cluster.settings().with_connections(1).with_timeout(Duration::from_secs(2));
    let postgres = Postgres::new(settings).unwrap();
    insert(&postgres, "1").await.unwrap();
    let pid = cluster.ask("SELECT pid FROM pg_stat_activity WHERE application_name = 'stream-sqsd'").remove(0);
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    let error = insert(&postgres, "2").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TargetBusy, "{error}");
    let again = async { while insert(&postgres, "2").await.is_err() {} };
    let inserted = tokio::time::timeout(Duration::from_secs(30), again).await;
    signal("-CONT");
    inserted.expect("by a connection that answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_of_a_queued_row_begins_with_its_statement() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    let time = Duration::from_secs(3);
    let settings = cluster.settings().with_connections(1).with_timeout(time);
    let postgres = Arc::new(Postgres::new(settings).unwrap());
    let holder = Holder::of_the_table(&cluster);
    let first = postgres.clone();
    let first = tokio::spawn(async move { insert(&first, "1").await });
    block_until("the database shows it", || {
        !cluster.ask("SELECT 1 FROM pg_stat_activity WHERE query ~ '^INSERT' AND wait_event_type = 'Lock'").is_empty()
    });
    let ctx = Context::for_test("2");
    let (deadline, second) = (ctx.deadline(), ctx.clone());
    let second = tokio::spawn(async move { postgres.handle(event("hello"), second).await });
    assert_eq!(first.await.unwrap().unwrap_err().kind(), FailureKind::TargetBusy);
    // Had it begun before, it would be over now.
    tokio::time::sleep(time / 3).await;
    drop(holder);
    second.await.unwrap().unwrap();
    assert!(ctx.deadline() > deadline + time / 2, "the engine's limit too");
}

/// What a trigger may answer of one row, in any class of SQLSTATE, does not affect those that came with it.
#[tokio::test]
async fn rows_that_fail_in_whatever_class_take_no_others_along() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    cluster.ask(
        "CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.type <> 'good' THEN RAISE EXCEPTION 'secret %', NEW.payload USING ERRCODE = NEW.type; END IF; \
         RETURN NEW; END $$",
    );
    cluster.ask("CREATE TRIGGER judge BEFORE INSERT ON stream_events FOR EACH ROW EXECUTE FUNCTION refuse_some()");
    let postgres = &Postgres::new(cluster.settings().with_connections(1)).unwrap();
    let good = decode(r#"{"type":"good"}"#, 1000).unwrap();
    postgres.handle(good, Context::for_test("first")).await.unwrap();
    let connection = "SELECT pid FROM pg_stat_activity WHERE application_name = 'stream-sqsd'";
    let before = cluster.ask(connection);
    let cases = [
        ("38000", FailureKind::TargetDown),
        ("55P03", FailureKind::TargetDown),
        ("57014", FailureKind::TargetDown),
        ("XX000", FailureKind::TargetDown),
        ("0A000", FailureKind::TargetDown),
        ("42703", FailureKind::TargetDown),
        ("53300", FailureKind::TargetBusy),
        ("40001", FailureKind::Retry),
        ("22000", FailureKind::Reject),
    ];
    let results = join_all((0..270).map(|number| {
        let case = if number % 10 == 7 { cases.get(number / 10 % cases.len()) } else { None };
        let code = case.map_or("good", |(code, _)| code);
        let event = decode(&format!(r#"{{"type":"{code}","n":{number}}}"#), 1000).unwrap();
        async move { (case, postgres.handle(event, Context::for_test(&number.to_string())).await) }
    }))
    .await;
    for (case, result) in results {
        let failure = result.as_ref().err().map(HandlerError::kind);
        assert_eq!(failure, case.map(|(_, failure)| *failure), "{case:?}: {result:?}");
        assert!(!format!("{result:?}").contains("secret"), "{result:?}");
    }
    assert_eq!(cluster.ask("SELECT count(*), count(DISTINCT type) FROM stream_events"), ["244|1"]);
    assert_eq!(cluster.ask(connection), before, "the connection on which others succeeded is kept");
}

#[tokio::test]
async fn an_inserted_row_counts_though_the_next_is_not_answered() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    cluster.ask(
        "CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.type = 'bad' THEN RAISE EXCEPTION 'no'; END IF; \
         IF NEW.type = 'slow' THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$",
    );
    cluster.ask("CREATE TRIGGER judge BEFORE INSERT ON stream_events FOR EACH ROW EXECUTE FUNCTION refuse_some()");
    let settings = cluster.settings().with_connections(1).with_timeout(Duration::from_secs(2));
    let postgres = &Postgres::new(settings).unwrap();
    // In the order of their ids: the first makes the statement fail, and alone the last keeps the others waiting.
    let handle = |id: &'static str, kind: &'static str| async move {
        let event = decode(&format!(r#"{{"type":"{kind}"}}"#), 1000).unwrap();
        postgres.handle(event, Context::for_test(id)).await.map_err(|error| error.kind())
    };
    let results = tokio::join!(handle("1", "bad"), handle("2", "good"), handle("3", "slow"), handle("4", "good"));
    let busy = Err(FailureKind::TargetBusy);
    assert_eq!(results, (Err(FailureKind::Reject), Ok(()), busy, busy));
}

#[tokio::test]
async fn a_date_out_of_range_is_null() {
    let cluster = Cluster::start();
    let postgres = cluster.handler().await;
    for (id, date) in
        [("1", "-004713-11-24T00:00:00Z"), ("2", "-004713-11-23T23:59:59Z"), ("3", "-009998-01-01T00:00:00Z")]
    {
        let event = decode(&format!(r#"{{"type":"a.b","created_at":"{date}"}}"#), 1000).unwrap();
        postgres.handle(event, Context::for_test(id)).await.unwrap();
    }
    let found = cluster.ask("SELECT message_id FROM stream_events WHERE created_at IS NULL ORDER BY 1");
    assert_eq!(found, ["2", "3"]);
}

#[tokio::test]
async fn events_share_round_trips_and_connections_are_bounded() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    let settings = cluster.settings().with_connections(3).with_timeout(Duration::from_secs(60));
    let postgres = Arc::new(Postgres::new(settings).unwrap());
    let holder = Holder::of_the_table(&cluster);
    let handed_over = Arc::new(AtomicUsize::new(0));
    let mut inserters = JoinSet::new();
    for number in 0..1000 {
        let (postgres, handed_over) = (postgres.clone(), handed_over.clone());
        inserters.spawn(async move {
            // On one thread nothing comes between this and the handing over that follows.
            handed_over.fetch_add(1, Ordering::SeqCst);
            insert(&postgres, &number.to_string()).await.unwrap();
        });
    }
    while handed_over.load(Ordering::SeqCst) < 1000 {
        tokio::task::yield_now().await;
    }
    drop(holder);
    inserters.join_all().await;
    // What each connection had begun with, and all that came to wait meanwhile.
    let found = cluster.ask("SELECT count(*), count(DISTINCT xmin::text) <= 3 + 1 FROM stream_events");
    assert_eq!(found, ["1000|t"]);
    let connections = cluster.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stream-sqsd'");
    assert!(connections[0].parse::<u32>().unwrap() <= 3, "{connections:?}");
    drop(postgres);
    block_until("no connection is left", || {
        cluster.ask("SELECT 1 FROM pg_stat_activity WHERE application_name = 'stream-sqsd'").is_empty()
    });
}

#[tokio::test]
async fn the_documented_index_refuses_what_jsonb_cannot_hold() {
    let cluster = Cluster::start();
    let postgres = cluster.handler().await;
    let tutorial = include_str!("../../src/docs/tutorial.md");
    let index = "CREATE INDEX ON stream_events USING gin ((payload::jsonb) jsonb_path_ops)";
    let condition = r#"WHERE payload::jsonb @> '{"user": {"id": "ada"}}'"#;
    assert!(tutorial.contains(&format!("`{index}`")) && tutorial.contains(&format!("`{condition}`")));
    cluster.ask(index);
    let insert = async |id: &str, body: &str| postgres.handle(decode(body, 1000).unwrap(), Context::for_test(id)).await;
    insert("1", r#"{"type":"a.b","user":{"name":"x","id":"ada"}}"#).await.unwrap();
    insert("2", r#"{"type":"a.b","user":{"id":"bo"}}"#).await.unwrap();
    assert_eq!(cluster.ask(&format!("SELECT message_id FROM stream_events {condition}")), ["1"]);
    let plan = format!("SET enable_seqscan = off; EXPLAIN SELECT message_id FROM stream_events {condition}");
    assert!(cluster.ask(&plan).concat().contains("Index Scan on stream_events_payload_idx"), "{plan}");
    let error = insert("3", r#"{"type":"a.b","text":"\u0000"}"#).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Reject, "{error}");
}

#[tokio::test]
async fn a_table_may_have_any_name_and_stand_in_any_schema() {
    let cluster = Cluster::start();
    cluster.ask(r#"CREATE SCHEMA "Chat""#);
    for table in [r#"Chat.Events "of" Ours; DROP TABLE x"#, "order", &"x".repeat(48)] {
        let settings = cluster.settings().with_table(table);
        init(&settings).await.unwrap();
        insert(&Postgres::new(settings).unwrap(), "1").await.unwrap();
    }
    assert_eq!(cluster.ask(r#"SELECT count(*) FROM "Chat"."Events ""of"" Ours; DROP TABLE x""#), ["1"]);
    let indexes = cluster.ask("SELECT count(*) FROM pg_indexes WHERE schemaname IN ('public', 'Chat')");
    assert_eq!(indexes, ["15"], "five for each table");
    assert!(schema("stream_events").unwrap().contains(r#"CREATE TABLE IF NOT EXISTS "stream_events" ("#));
}

#[tokio::test]
async fn a_server_that_commits_before_the_disk_has_it_is_told_to_wait() {
    let cluster = Cluster::start();
    cluster.ask("ALTER SYSTEM SET synchronous_commit = off");
    cluster.ask("SELECT pg_reload_conf()");
    cluster.ask("CREATE TABLE seen (setting text)");
    let postgres = cluster.handler().await;
    cluster.ask(
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$",
    );
    cluster.ask("CREATE TRIGGER look BEFORE INSERT ON stream_events FOR EACH ROW EXECUTE FUNCTION look()");
    insert(&postgres, "1").await.unwrap();
    assert_eq!(cluster.ask("SELECT setting FROM seen"), ["on"]);
}

/// Inserts events side by side for as long as it lives, and says each that it was told success of.
#[tokio::test]
async fn child_that_inserts_without_end() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let postgres = Arc::new(Postgres::new(PostgresSettings::new(url)).unwrap());
    let mut inserters = JoinSet::new();
    for inserter in 0..32 {
        let postgres = postgres.clone();
        inserters.spawn(async move {
            for number in 0.. {
                let id = format!("{}-{inserter}-{number}", std::process::id());
                // Whatever the error: it was not told as a success.
                if postgres.handle(event(&"x".repeat(2000)), Context::for_test(&id)).await.is_ok() {
                    say(&id);
                }
            }
        });
    }
    inserters.join_all().await;
}

fn lost(cluster: &Cluster, told: &HashSet<String>) -> Vec<String> {
    let there: HashSet<String> = cluster.ask("SELECT message_id FROM stream_events").into_iter().collect();
    told.difference(&there).cloned().collect()
}

#[tokio::test]
async fn what_was_told_as_success_is_in_the_table_after_kill_9() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    let mut told = HashSet::new();
    for round in 0..5 {
        let mut child = child("postgres::child_that_inserts_without_end", &cluster.url()).spawn().unwrap();
        let mut lines = said(&mut child);
        told.extend(lines.by_ref().take(100 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(lines);
        assert_eq!(lost(&cluster, &told), [""; 0], "told as inserted and not there");
    }
}

#[tokio::test]
async fn every_success_is_in_the_table_after_kill_9_of_the_database() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    let mut child = child("postgres::child_that_inserts_without_end", &cluster.url()).spawn().unwrap();
    let mut lines = said(&mut child);
    let mut told = HashSet::new();
    for _ in 0..3 {
        told.extend(lines.by_ref().take(500));
        cluster.kill();
        // It goes on with a new connection.
        told.extend(lines.by_ref().take(500));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    told.extend(lines);
    assert_eq!(lost(&cluster, &told), [""; 0], "told as inserted and not there");
}

/// Inserts one event with the environment's certificates, and says how it went.
#[tokio::test]
async fn child_that_inserts_one() {
    let Ok(url) = std::env::var(CHILD) else { return };
    match Postgres::new(PostgresSettings::new(url)) {
        Err(error) => say(&error.to_string()),
        Ok(postgres) => match insert(&postgres, "id-1").await {
            Err(error) => say(&error.to_string()),
            Ok(()) => say("done"),
        },
    }
}

#[tokio::test]
async fn tls_verifies_the_server_and_is_never_downgraded() {
    let cluster = Cluster::start();
    drop(cluster.handler().await);
    let data = cluster.data();
    let (certificate, key) = crate::certify(cluster.place.path());
    fs::copy(certificate, data.join("server.crt")).unwrap();
    fs::copy(key, data.join("server.key")).unwrap();
    fs::set_permissions(data.join("server.key"), PermissionsExt::from_mode(0o600)).unwrap();
    if is_root() {
        chown(data.join("server.key"), Some(id("-u")), Some(id("-g"))).unwrap();
        chown(data.join("server.crt"), Some(id("-u")), Some(id("-g"))).unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listening = format!("listen_addresses = '127.0.0.1'\nport = {port}\n");
    let own = fs::read_to_string(data.join("postgresql.auto.conf")).unwrap();
    let own = own.replace("listen_addresses = ''\n", "");
    let restart = |ssl: &str| {
        cluster.down();
        fs::write(data.join("postgresql.auto.conf"), format!("{own}{listening}ssl = {ssl}\n")).unwrap();
        cluster.up();
    };
    let authority = cluster.place.path().join("authority.pem");
    let insert_one = |query: &str, trusting: bool| {
        let mut child =
            child("postgres::child_that_inserts_one", &format!("postgres://postgres@localhost:{port}/postgres{query}"));
        child.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        if trusting {
            child.env("SSL_CERT_FILE", &authority);
        }
        let mut child = child.spawn().unwrap();
        let answer = said(&mut child).last().unwrap();
        child.wait().unwrap();
        answer
    };
    restart("on");
    assert_eq!(insert_one("?sslmode=verify-full", true), "done");
    let unknown = insert_one("?sslmode=require", false);
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    restart("off");
    let none = insert_one("?sslmode=require", true);
    assert!(none.contains("does not support TLS"), "{none}");
    assert_eq!(insert_one("", false), "done", "the loopback needs none");
}

#[tokio::test]
async fn init_says_what_the_database_refused() {
    let cluster = Cluster::start();
    let settings = cluster.settings().with_table("no_such_schema.events");
    let PostgresError::Database(error) = init(&settings).await.unwrap_err() else { panic!("another error") };
    assert!(error.to_string().contains(r#"schema "no_such_schema" does not exist"#), "{error}");
}

/// The SQLSTATE with which a check fails; none where it finds nothing.
async fn found(settings: &PostgresSettings) -> Option<String> {
    match check(settings).await {
        Ok(()) => None,
        Err(PostgresError::Database(DatabaseError::Answer { code, .. })) => Some(code),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_check_finds_what_would_refuse_every_row_and_writes_none() {
    let cluster = Cluster::start();
    let settings = cluster.settings();
    assert_eq!(found(&settings).await.as_deref(), Some("42P01"), "no table");
    assert_eq!(found(&cluster.settings().with_table("no.events")).await.as_deref(), Some("42P01"), "no schema");
    init(&settings).await.unwrap();
    cluster.ask(
        "CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it fires'; END $$;
         CREATE TRIGGER fires BEFORE INSERT ON stream_events EXECUTE FUNCTION fires()",
    );
    assert_eq!(found(&settings).await, None, "and no trigger fires");

    cluster.ask("CREATE ROLE ada LOGIN");
    let ada = PostgresSettings::new(cluster.url().replace("user=postgres", "user=ada"));
    assert_eq!(found(&ada).await.as_deref(), Some("42501"), "no permission");
    cluster.ask("GRANT INSERT ON stream_events TO ada");
    assert_eq!(found(&ada).await.as_deref(), Some("42501"), "a repeat is recognised by reading");
    cluster.ask("GRANT SELECT ON stream_events TO ada");
    assert_eq!(found(&ada).await, None);
    cluster.ask("ALTER ROLE ada SET default_transaction_read_only = on");
    assert_eq!(found(&ada).await.as_deref(), Some("25006"), "as on a standby");

    cluster.ask("ALTER TABLE stream_events DROP CONSTRAINT stream_events_pkey");
    assert_eq!(found(&settings).await.as_deref(), Some("42P10"), "no primary key");
    cluster.ask("ALTER TABLE stream_events ADD PRIMARY KEY (message_id), ALTER payload TYPE text");
    assert_eq!(found(&settings).await.as_deref(), None, "a text takes JSON");
    cluster.ask("ALTER TABLE stream_events DROP payload");
    assert_eq!(found(&settings).await.as_deref(), Some("42703"), "no column");
    assert_eq!(cluster.ask("SELECT count(*) FROM stream_events"), ["0"]);
}
