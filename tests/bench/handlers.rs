//! How many events a second each handler takes, 64 at once as the engine has them, and the CPU that one of them costs.
//!
//! ```text
//! cargo bench --no-default-features --features stdout,file,http,exec,postgres --bench handlers -- stdout file http exec
//! ```
//!
//! The names choose the handlers. `persistent` is `exec` with a program that stays, which is this one again, and
//! `persistent-python`, `persistent-node` and `persistent-ruby` are the examples; all get events of 6 KB, and their own CPU
//! stands beside ours: on a busy machine it says how many a core of its own would take. `postgres` wants a database in
//! `DATABASE_URL`, where it leaves the table `bench_events`. `file` writes to the directory for temporary files, which should
//! be on a disk.

#![allow(clippy::disallowed_methods, reason = "the bans are for the engine; a benchmark watches the real clock")]

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stream_sqsd::decode::decode;
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, Handler, HandlerError};
use stream_sqsd::handlers::exec::{Exec, ExecSettings};
use stream_sqsd::handlers::file::{File, FileSettings};
use stream_sqsd::handlers::http::{Http, HttpSettings};
use stream_sqsd::handlers::persistent::{Persistent, PersistentSettings};
use stream_sqsd::handlers::postgres::{Postgres, PostgresSettings, init};
use stream_sqsd::handlers::stdout::Stdout;
use tokio::task::JoinSet;

const AT_ONCE: usize = 64;

/// The process that answers the http handler is this one too, so that its CPU is not counted.
const SERVE: &str = "serve";

/// The program that stays and answers `done` is this one too.
const ECHO: &str = "echo";

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    // `cargo bench` adds `--bench`.
    let names: Vec<String> = env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    if names.first().is_some_and(|name| name == SERVE) {
        return serve();
    }
    if names.first().is_some_and(|name| name == ECHO) {
        return echo();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for name in names {
        match name.as_str() {
            "stdout" => runtime.block_on(measure(&name, 200_000, Stdout::new(fs::File::create("/dev/null")?)?))?,
            "file" => {
                let place = tempfile::tempdir()?;
                let file = File::open(FileSettings::new(place.path().join("events.jsonl")))?;
                runtime.block_on(measure(&name, 100_000, file))?;
            }
            "http" => {
                let mut server = Command::new(env::current_exe()?).arg(SERVE).stdout(Stdio::piped()).spawn()?;
                let mut port = String::new();
                BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut port)?;
                let url = format!("http://127.0.0.1:{}/hook", port.trim());
                let settings = HttpSettings::new(url).with_api_secret("secret");
                let measured = runtime.block_on(async { measure(&name, 50_000, Http::new(settings)?).await });
                server.kill()?;
                server.wait()?;
                measured?;
            }
            "exec" => runtime.block_on(measure(&name, 5_000, Exec::new(ExecSettings::new(["cat"]))?))?,
            "persistent" => {
                let program = env::current_exe()?.into_os_string().into_string().map_err(|_| "a path in UTF-8")?;
                let settings = PersistentSettings::new([program.as_str(), ECHO]);
                let large = sample(48);
                runtime.block_on(measure_with(&name, 100_000, Persistent::new(settings)?, &large))?;
            }
            "persistent-python" => runtime.block_on(measure_example(&name, "python3", "persistent.py"))?,
            "persistent-node" => runtime.block_on(measure_example(&name, "node", "persistent.mjs"))?,
            "persistent-ruby" => runtime.block_on(measure_example(&name, "ruby", "persistent.rb"))?,
            "postgres" => {
                let table = "bench_events".to_owned();
                let settings = PostgresSettings::new(env::var("DATABASE_URL")?).with_table(table);
                runtime.block_on(async {
                    init(&settings).await?;
                    measure(&name, 50_000, Postgres::new(settings)?).await
                })?;
            }
            _ => return Err(format!("there is no handler {name}").into()),
        }
    }
    Ok(())
}

async fn measure(name: &str, events: usize, handler: impl Handler<Event, Error = HandlerError>) -> Outcome {
    measure_with(name, events, handler, &sample(8)).await
}

/// An example of a program that stays, with events of 6 KB.
async fn measure_example(name: &str, interpreter: &str, file: &str) -> Outcome {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/").to_owned() + file;
    let settings = PersistentSettings::new([interpreter, example.as_str()]);
    measure_with(name, 50_000, Persistent::new(settings)?, &sample(48)).await
}

async fn measure_with(
    name: &str,
    events: usize,
    handler: impl Handler<Event, Error = HandlerError>,
    sample: &str,
) -> Outcome {
    let event = decode(sample, 1 << 20)?;
    let run = env::var("BENCH_RUN").unwrap_or_else(|_| std::process::id().to_string());
    let (handler, next) = (Arc::new(handler), Arc::new(AtomicUsize::new(0)));
    let (begun, cpu) = (Instant::now(), cpu()?);
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (handler, next, event, run) = (handler.clone(), next.clone(), event.clone(), run.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    return Ok(());
                }
                let ctx = Context::for_test(&format!("{run}-{number}"));
                handler.handle(event.clone(), ctx).await.map_err(|error| error.to_string())?;
            }
        });
    }
    for result in tasks.join_all().await {
        result.map_err(|error: String| error)?;
    }
    let (wall, ours) = (begun.elapsed(), self::cpu()? - cpu);
    // Programs that stay end with it.
    drop(handler);
    let microseconds = |cpu: Duration| cpu.as_secs_f64() * 1e6 / events as f64;
    println!(
        "{name:<17} {:>9.0} events/s   {:>7.1} µs of CPU for each, and then {:>7.1} µs of programs that stayed",
        events as f64 / wall.as_secs_f64(),
        microseconds(ours),
        microseconds(self::cpu()? - cpu - ours)
    );
    Ok(())
}

/// What this process and the children that it has waited for have used, to the hundredth of a second.
fn cpu() -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // After the name, which may hold spaces: utime, stime, cutime and cstime are the fields 14 to 17 of the whole.
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no stat")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11..15].iter().map(|field| field.parse::<u64>()).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// A message.new of a channel with so many members: 1.2 KB with 8 of them, 6 KB with 48.
fn sample(members: usize) -> String {
    let user = r#"{"id":"user-1","role":"user","name":"Someone","image":"https://example.com/1.png","online":true}"#;
    let members: Vec<String> =
        (0..members).map(|number| format!(r#"{{"user_id":"user-{number}","user":{user}}}"#)).collect();
    format!(
        r#"{{"type":"message.new","cid":"messaging:1","created_at":"2026-01-01T00:00:00.123456Z","user":{user},"message":{{"id":"1","text":"the quick brown fox jumps over the lazy dog"}},"members":[{}]}}"#,
        members.join(",")
    )
}

/// Answers each line by `done`.
fn echo() -> Outcome {
    let (mut input, mut line) = (BufReader::with_capacity(1 << 16, std::io::stdin().lock()), String::new());
    let mut output = std::io::stdout().lock();
    while input.read_line(&mut line)? > 0 {
        let id = line.strip_prefix(r#"{"message_id":""#).and_then(|rest| rest.split('"').next()).ok_or("no id")?;
        writeln!(output, r#"{{"message_id":"{id}","outcome":"done"}}"#)?;
        line.clear();
    }
    Ok(())
}

/// Answers every request by 204, on threads, and says its port first.
fn serve() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || answer(stream));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> Outcome {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(_) => {}
                None if line.trim().is_empty() => break,
                None => {}
            }
        }
        std::io::copy(&mut std::io::Read::take(&mut reader, length), &mut std::io::sink())?;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}
