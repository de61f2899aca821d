//! What it costs to decode a body and to parse the event in it, by form and size: in time, for the eye, and in
//! instructions, for the guard.
//!
//! ```text
//! cargo bench --no-default-features --bench decode                           # a table in microseconds of CPU
//! cargo bench --no-default-features --bench decode -- instructions           # the guard: compares with the figures
//! cargo bench --no-default-features --bench decode -- instructions renew     # writes the figures again
//! cargo bench --no-default-features --features relay --bench decode -- relay # what the relay costs, by the same events
//! ```
//!
//! The guard runs itself under valgrind's callgrind, which counts instructions: the same code gives the same count, to a
//! few in a thousand, on a busy machine too. Time is never compared. The figures stand in `instructions.txt` beside this
//! file and depend on the compiler and the libraries, so a new version of either may ask for new figures; and on what
//! the processor can do, since base64, inflation and string search choose their code by it.

mod payload;
#[cfg(feature = "relay")]
mod relay;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::time::ClockId;
use payload::{Form, Size, bodies};
use stream_sqsd::decode::decode;
use stream_sqsd::event::Event;
use stream_sqsd::event::message::MessageNew;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The limit of inflation, as the daemon has it.
const LIMIT: usize = stream_sqsd::decode::DEFAULT_LIMIT;

/// By how much a count may differ from its figure, in parts of a hundred. What costs a tenth more must not pass; what is
/// this much cheaper must not either, or the next one could lose it again unseen.
const TOLERANCE: f64 = 5.0;

fn main() -> Outcome {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => times(),
        ["instructions"] => guard(),
        ["instructions", "renew"] => renew(),
        ["work", name, times] => {
            let work = Work::of(name).ok_or("no such work")?;
            work.prepare(8)(times.parse()?);
            Ok(())
        }
        #[cfg(feature = "relay")]
        ["relay"] => relay::measure(),
        #[cfg(feature = "relay")]
        ["relay-send", address, form] => relay::send(address, form),
        #[cfg(feature = "relay")]
        ["relay-idle", address, kind] => relay::hold(address, kind),
        _ => Err("what it can do stands at the top of tests/bench/decode.rs".into()),
    }
}

/// Does a work so many times over.
type Repeat = Box<dyn Fn(usize)>;

/// One row.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// A body to an event.
    Decode(Form, Size),
    /// An event to a struct, whose form no longer matters.
    Parse(Size),
}

impl Work {
    fn all() -> Vec<Work> {
        let decodes = Form::ALL.into_iter().flat_map(|form| Size::ALL.map(|size| Work::Decode(form, size)));
        decodes.chain(Size::ALL.map(Work::Parse)).collect()
    }

    fn name(self) -> String {
        match self {
            Work::Decode(form, size) => format!("decode {} {}", form.name(), size.name()),
            Work::Parse(size) => format!("parse {}", size.name()),
        }
    }

    fn of(name: &str) -> Option<Work> {
        Work::all().into_iter().find(|work| work.name() == name)
    }

    /// Makes so many different bodies, and returns what does the work so many times over.
    fn prepare(self, count: u64) -> Repeat {
        let decoded = |body: &String| decode(body, LIMIT).expect("what we made can be decoded");
        match self {
            Work::Decode(form, size) => {
                let bodies = bodies(form, size, count);
                Box::new(move |times| {
                    for body in bodies.iter().cycle().take(times) {
                        black_box(decoded(black_box(body)));
                    }
                })
            }
            Work::Parse(size) => {
                let events: Vec<Event> = bodies(Form::Plain, size, count).iter().map(decoded).collect();
                Box::new(move |times| {
                    for event in events.iter().cycle().take(times) {
                        let parsed: MessageNew = black_box(event).parse().expect("what we made can be parsed");
                        black_box(&parsed);
                    }
                })
            }
        }
    }
}

/// What this process has used of its core: a busy machine takes from it, but not from this.
fn cpu() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().expect("each process has this clock").into()
}

/// Prints the median of eleven rounds of each, and how far they lie apart. The rounds of all take turns, so that a busy
/// moment of the machine touches all alike.
fn times() -> Outcome {
    let works: Vec<(Work, Repeat, usize)> = Work::all()
        .into_iter()
        .map(|work| {
            let run = work.prepare(64);
            // Once to get warm, then as often as fits into twenty milliseconds.
            run(64);
            let begun = cpu();
            run(64);
            let once = (cpu() - begun) / 64;
            let often = Duration::from_millis(20).as_nanos() / once.as_nanos().max(1);
            (work, run, usize::try_from(often).unwrap_or(1).max(1))
        })
        .collect();
    let mut rounds = vec![Vec::new(); works.len()];
    for _ in 0..11 {
        for ((_, run, often), rounds) in works.iter().zip(&mut rounds) {
            let begun = cpu();
            run(*often);
            rounds.push((cpu() - begun).as_secs_f64() * 1e6 / *often as f64);
        }
    }
    println!("{:<24} {:>10} {:>20}", "what", "µs of CPU", "eleven rounds");
    for ((work, ..), rounds) in works.iter().zip(&mut rounds) {
        rounds.sort_by(f64::total_cmp);
        let spread = format!("{:.2} to {:.2}", rounds[0], rounds[10]);
        println!("{:<24} {:>10.2} {spread:>20}", work.name(), rounds[5]);
    }
    Ok(())
}

/// Compares the count of each with its figure.
fn guard() -> Outcome {
    let figures = read_figures()?;
    let mut wrong = 0;
    println!("{:<24} {:>12} {:>12} {:>9}", "instructions", "figure", "counted", "");
    for work in Work::all() {
        let name = work.name();
        let counted = count(work)?;
        let Some(figure) = figures.get(&name) else {
            println!("{name:<24} {:>12} {counted:>12} {:>9}", "none", "");
            wrong += 1;
            continue;
        };
        let change = (counted as f64 / *figure as f64 - 1.0) * 100.0;
        let check = if change > TOLERANCE {
            "  DEARER"
        } else if change < -TOLERANCE {
            "  CHEAPER"
        } else {
            ""
        };
        println!("{name:<24} {figure:>12} {counted:>12} {change:>+8.1} %{check}");
        wrong += usize::from(!check.is_empty());
    }
    if wrong == 0 {
        return Ok(());
    }
    let text = fs::read_to_string(figures_path())?;
    let made_by = text.lines().find_map(|line| line.strip_prefix("# Made by ")).unwrap_or("nobody knows what");
    Err(format!(
        "{wrong} of the counts are more than {TOLERANCE} % off, or have no figure. Where that is meant, or comes from a new \
         compiler (this is {}; the figures were made by {made_by}) or new libraries: cargo bench --no-default-features \
         --bench decode -- instructions renew",
        compiler()?
    )
    .into())
}

/// Writes the figures again.
fn renew() -> Outcome {
    let mut text = format!(
        "# Instructions of valgrind's callgrind for one event: what tests/bench/decode.rs compares with, and how to renew it.\n\
         # Made by {}\n",
        compiler()?
    );
    for work in Work::all() {
        let counted = count(work)?;
        println!("{:<24} {counted:>12}", work.name());
        text.push_str(&format!("{:<24} {counted:>12}\n", work.name()));
    }
    fs::write(figures_path(), text)?;
    Ok(())
}

fn read_figures() -> Outcome<BTreeMap<String, u64>> {
    let text = fs::read_to_string(figures_path())?;
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let (name, figure) = row.rsplit_once(' ').ok_or("a row of instructions.txt without a figure")?;
        Ok((name.trim().to_owned(), figure.parse()?))
    })
    .collect()
}

fn figures_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.txt")
}

fn compiler() -> Outcome<String> {
    let answer = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output()?;
    Ok(format!("{} for {}", String::from_utf8(answer.stdout)?.trim(), env::consts::ARCH))
}

/// The instructions of one event: those of a longer run less those of a shorter one, so that neither the start of the
/// process nor the making of the bodies is among them.
fn count(work: Work) -> Outcome<u64> {
    const SHORT: u64 = 8;
    const LONG: u64 = 40;
    let short = count_run(work, SHORT)?;
    let long = count_run(work, LONG)?;
    Ok((long - short) / (LONG - SHORT))
}

fn count_run(work: Work, times: u64) -> Outcome<u64> {
    let answer = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["work", &work.name(), &times.to_string()])
        .output()
        .map_err(|error| format!("valgrind (the package of that name) cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&answer.stderr);
    // ==1234== Collected : 5678
    let counted = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match counted {
        Some(counted) if answer.status.success() => Ok(counted),
        _ => Err(format!("valgrind did not count: {said}").into()),
    }
}
