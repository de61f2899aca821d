//! What a message costs: this project beside a straightforward loop on the AWS SDK and sqs-consumer on Node, and all of
//! them beside the floor of decoding and parsing alone.
//!
//! ```text
//! cargo bench --bench cost              # the table: a quarter of an hour, on a machine that does nothing else
//! cargo bench --bench cost -- quick     # the same in one short round, to see that it runs
//! cargo bench --bench cost -- scale     # one core and two, 1 to 96 pollers, with the latency of a real queue, and the
//!                                       # model of it: four minutes
//! cargo bench --bench cost -- serve     # only the load server, to try or profile something against it
//! ```
//!
//! Each side is a process of its own on core 0; the load server, in this process, has the last core. CPU is what getrusage
//! tells of a process, read while it is at work, after it got warm. The sides take turns, round by round, and what is
//! printed is the median with the least and the greatest: a busy machine touches all alike, and the goals are ratios.
//! Absolute figures compare with nothing but others of the same run.

#![allow(clippy::disallowed_methods, reason = "the bans are for the engine; a benchmark watches the real clock")]

mod goals;
mod moments;
mod naive;
#[path = "../payload.rs"]
mod payload;
mod process;
mod scale;
mod sdk_loop;
mod server;
mod side;

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use payload::{Form, Size};
use server::{Load, Server};
use side::{Bench, Programs};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => prepared(Duration::from_millis(2000), |bench| goals::compare(bench, 5)),
        ["quick"] => prepared(Duration::from_millis(600), |bench| goals::compare(bench, 1)),
        ["scale"] => prepared(Duration::from_millis(2000), scale::measure),
        ["serve"] => serve(),
        // What this process starts of itself.
        ["sdk-loop", url, pollers] => sdk_loop::consume(url, pollers.parse()?),
        ["naive-floor", form, size, millis] => side::print_naive_floor(form, size, millis),
        _ => Err("what it can do stands at the top of tests/bench/cost/main.rs".into()),
    }
}

/// Builds and installs what is measured, says where, and measures.
fn prepared(window: Duration, measure: impl FnOnce(Bench<'_>) -> Outcome) -> Outcome {
    let cores = std::thread::available_parallelism()?.get();
    if cores < 2 {
        return Err("one core is for the load server and one for what is measured: this machine has only one".into());
    }
    let programs = Programs::find()?;
    println!("{}\n", machine(cores)?);
    measure(Bench { programs: &programs, window, server_core: cores - 1 })
}

/// Machine and date, since figures of one compare with nothing of another.
fn machine(cores: usize) -> Outcome<String> {
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let compiler = Command::new("rustc").arg("--version").output()?.stdout;
    let compiler = String::from_utf8(compiler)?;
    let busy = fs::read_to_string("/proc/loadavg")?;
    Ok(format!(
        "{cores} cores of {}, Linux {}, {}, {}; load average at the beginning {}",
        processor.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        compiler.split(" (").next().unwrap_or_default().trim(),
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        busy.split(' ').next().unwrap_or_default()
    ))
}

/// Serves 6 KB in gzip without end, until it is killed.
fn serve() -> Outcome {
    let cores = std::thread::available_parallelism()?.get();
    let server = Server::start(Load::new(Form::Gzip, Size::Medium), cores - 1, None)?;
    println!("{}", server.url());
    let mut before = server.counts();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = server.counts();
        if now.deleted > before.deleted {
            println!("{} messages a second", now.deleted - before.deleted);
        }
        before = now;
    }
}
