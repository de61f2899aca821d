//! This project's own sides of the comparison of costs, in a process that has nothing of the others in it.
//!
//! `floor` decodes and parses bodies in a loop. `consume` is the daemon (runtime, log, admin listener and engine as
//! `stream-sqsd run` puts them together) with a handler that takes the event parsed and drops it: what the daemon's own
//! handlers do with an event would be measured otherwise. `hold` is the same with a handler that never ends, to see what
//! a message takes that is held. Run by the benchmark `cost`; alone it is of no use.

#![allow(clippy::disallowed_methods, reason = "the bans are for the engine; a benchmark watches the real clock")]

#[path = "../payload.rs"]
mod payload;

use std::env;
use std::error::Error;
use std::future::pending;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use payload::{Form, Size, bodies};
use stream_sqsd::admin::Admin;
use stream_sqsd::decode::{DEFAULT_LIMIT, decode};
use stream_sqsd::event::message::MessageNew;
use stream_sqsd::prelude::*;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["floor", form, size, millis] => {
            let form = Form::ALL.into_iter().find(|known| known.name() == form).ok_or("no such form")?;
            let size = Size::ALL.into_iter().find(|known| known.name() == size).ok_or("no such size")?;
            floor(&bodies(form, size, 64), Duration::from_millis(millis.parse()?))
        }
        ["consume", url, concurrency] => consume(url, Router::new().on(take), concurrency.parse()?),
        ["hold", url, concurrency] => consume(url, Router::new().route("*", hold), concurrency.parse()?),
        _ => {
            println!("a part of the benchmark `cost`: cargo bench --bench cost");
            Ok(())
        }
    }
}

async fn take(event: MessageNew, _ctx: Context) -> Result<(), HandlerError> {
    black_box(&event);
    Ok(())
}

async fn hold(_event: Event, _ctx: Context) -> Result<(), HandlerError> {
    pending().await
}

/// Decodes and parses the bodies in a circle until the time is over; prints how often, and the nanoseconds of CPU.
fn floor(bodies: &[String], time: Duration) -> Outcome {
    let work = || -> Outcome {
        for body in bodies {
            let event = decode(black_box(body), DEFAULT_LIMIT)?;
            black_box(event.parse::<MessageNew>()?);
        }
        Ok(())
    };
    work()?;
    let clock = ClockId::CLOCK_PROCESS_CPUTIME_ID;
    let (begun, before, mut count) = (Instant::now(), clock.now()?, 0);
    while begun.elapsed() < time {
        work()?;
        count += bodies.len();
    }
    println!("{count} {}", Duration::from(clock.now()? - before).as_nanos());
    Ok(())
}

/// Consumes until it is killed.
fn consume(url: &str, router: Router, concurrency: usize) -> Outcome {
    // As the daemon's: of what is logged only the lines at the beginning are, and messages have no spans.
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new("info,aws_config=error,hyper=error,stream_sqsd::message=off")?);
    log.with_writer(std::io::stderr).json().flatten_event(true).with_span_list(false).init();
    let one_core = std::thread::available_parallelism()?.get() == 1;
    let mut runtime = if one_core { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let runtime = runtime.enable_all().build()?;
    let url = url.to_owned();
    runtime.block_on(runtime.spawn(async move {
        let options = SqsOptions::new(QueueAddress::Url(QueueUrl::parse(&url)?));
        let queue = Arc::new(SqsQueue::connect(options).await?);
        let settings = Settings::new().with_concurrency(concurrency);
        let consumer = Consumer::new(queue, router, settings);
        let admin = Admin::bind("127.0.0.1:0".parse()?, consumer.monitor(), &url).await?;
        let mut watched = JoinSet::new();
        watched.spawn(admin.serve(pending()));
        consumer.run(pending()).await?;
        Ok(())
    }))?
}
