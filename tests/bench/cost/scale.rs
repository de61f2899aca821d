//! Beyond one poller and one core: how the rate grows with the receives that may be open, at the latency of a real queue,
//! and how well a model foretells it.
//!
//! A message holds its slot from the receive that was asked for it to the delete that is confirmed, and there are ten slots
//! for each poller. Beside the slots and the cores the bytes bound the rate that are reserved for what open receives may
//! bring. [`Daemon::rate`] is the least of the three. Its two figures that are measured, the CPU of a message and what the
//! cores can do with it, come from a run without latency, so no row is foretold out of itself; and the last rows are there
//! for slow deletes and for the bound that the others do not meet.
//!
//! The deletes that may be under way do not: there is one for each ten slots, and 16 at the least.

use stream_sqsd::consumer::Settings;

use crate::Outcome;
use crate::goals::Median;
use crate::payload::{Form, Size, bodies};
use crate::server::Load;
use crate::side::{Bench, Sample, Side};

/// Messages in one receive and in one batch of deletes, at the most.
const BATCH: f64 = 10.0;

/// How many batches of deletes may be on their way at the same time at the least and at the most; between them, one for
/// each ten slots.
const DELETE_CALLS: (f64, f64) = (16.0, 128.0);

/// Where and for how long a message is, in seconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Of a receive that brings something.
    receive: f64,
    /// Of a batch of deletes.
    delete: f64,
}

/// One daemon at work on a backlog.
#[derive(Clone, Copy, Debug)]
struct Daemon {
    /// Messages a second that its cores can do.
    cores: f64,
    /// CPU of a message, in seconds.
    cpu: f64,
    /// Messages that it may hold: `concurrency`.
    slots: f64,
    /// Bytes that it may hold: `max_in_flight_bytes`.
    budget: f64,
    /// The queue's MaximumMessageSize, in bytes: so much is reserved for each message of an open receive.
    message_size: f64,
    times: Times,
}

impl Daemon {
    /// For how long a message has its slot: from the receive that was asked for it to the delete that is confirmed. What
    /// came with it in the same receive is decoded before it or after it.
    fn slot_held(&self) -> f64 {
        self.times.receive + self.times.delete + BATCH * self.cpu
    }

    /// Messages a second: the least of what its cores, its slots and its bytes allow.
    fn rate(&self) -> f64 {
        let by_slots = self.slots / self.slot_held();
        let open_receives = (self.budget / (BATCH * self.message_size)).floor().max(1.0);
        let by_bytes = open_receives * BATCH / self.times.receive;
        self.cores.min(by_slots).min(by_bytes)
    }

    /// Receives and deletes that are under way at this rate, on the average: each has a connection.
    fn connections(&self, rate: f64) -> f64 {
        rate / BATCH * (self.times.receive + self.times.delete)
    }

    /// Receives and deletes that the engine allows at the same time.
    fn most_connections(&self) -> f64 {
        (self.slots / BATCH).ceil() + (self.slots / BATCH).clamp(DELETE_CALLS.0, DELETE_CALLS.1)
    }

    /// Bytes that its open receives reserve at this rate, on the average.
    fn reserved(&self, rate: f64) -> f64 {
        rate * self.times.receive * self.message_size
    }
}

/// How often everything is measured. The rows take turns.
const ROUNDS: usize = 3;

/// Milliseconds of a receive and of a batch of deletes.
const LATENCY: (u64, u64) = (15, 8);

/// By how much the load server's timer is late, in seconds.
const TIMER: f64 = 0.001;

/// One row.
#[derive(Debug)]
struct Row {
    cores: usize,
    pollers: usize,
    latency: (u64, u64),
    message_size: u64,
    samples: Vec<Sample>,
}

impl Row {
    fn all() -> Vec<Row> {
        let row =
            |cores, pollers, latency, message_size| Row { cores, pollers, latency, message_size, samples: vec![] };
        let usual = 256 * 1024;
        let mut rows = Vec::new();
        for cores in [1, 2] {
            // What the cores can do where nothing else holds them up.
            rows.push(row(cores, 8, (0, 0), usual));
            rows.extend([1, 2, 4, 8, 16, 32, 64, 96].map(|pollers| row(cores, pollers, LATENCY, usual)));
        }
        rows.extend([8, 32, 96].map(|pollers| row(1, pollers, (60, 30), usual)));
        // Slow deletes; and here bytes are the least.
        rows.push(row(1, 96, (15, 40), usual));
        rows.push(row(1, 96, (60, 8), 1024 * 1024));
        rows
    }

    fn measure(&mut self, bench: Bench<'_>) -> Outcome {
        let load = Load { message_size: self.message_size, ..Load::new(Form::Gzip, Size::Medium) };
        let load = load.with_latency(self.latency.0, self.latency.1);
        let cores: Vec<usize> = (0..self.cores).collect();
        self.samples.push(bench.consume(Side::Ours, self.pollers, load, &cores)?);
        Ok(())
    }

    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        Median::of(self.samples.iter().map(of)).map_or(0.0, |median| median.middle)
    }

    fn has_latency(&self) -> bool {
        self.latency != (0, 0)
    }

    /// What the model knows of it, after a run on as many cores that nothing held up.
    fn daemon(&self, unhindered: &Row) -> Daemon {
        let seconds = |millis: u64| millis as f64 / 1e3 + TIMER;
        Daemon {
            cores: unhindered.median(|sample| sample.rate),
            cpu: unhindered.median(|sample| sample.cpu) / 1e6,
            slots: self.pollers as f64 * BATCH,
            budget: Settings::default().max_in_flight_bytes as f64,
            message_size: self.message_size as f64,
            times: Times { receive: seconds(self.latency.0), delete: seconds(self.latency.1) },
        }
    }
}

pub(crate) fn measure(bench: Bench<'_>) -> Outcome {
    let mut rows = Row::all();
    for round in 1..=ROUNDS {
        for row in &mut rows {
            let (receive, delete) = row.latency;
            eprintln!("round {round} of {ROUNDS}: {} cores, {} pollers, {receive}/{delete} ms", row.cores, row.pollers);
            row.measure(bench)?;
        }
    }
    let error = print_model(&rows)?;
    eprintln!("memory of a held message");
    let load = Load::new(Form::Gzip, Size::Medium);
    let held = Median::of((0..ROUNDS).map(|_| bench.held_message(load, 0)).collect::<Outcome<Vec<_>>>()?);
    let unhindered = unhindered(&rows, 1).ok_or("one core was not measured")?;
    let smallest = rows.iter().find(|row| row.has_latency()).ok_or("nothing was measured with latency")?;
    let bodies = bodies(Form::Gzip, Size::Medium, 64);
    let body = bodies.iter().map(String::len).sum::<usize>() as f64 / bodies.len() as f64;
    println!("\nFor deploy/SCALE.md:\n\n| measured | |\n|---|---|");
    for (what, value) in [
        ("CPU of a message, in µs", unhindered.median(|sample| sample.cpu)),
        ("memory of a process with ten slots, in MB", smallest.median(|sample| sample.memory as f64) / 1e6),
        ("memory of a message that is held, in KB", held.map_or(0.0, |held| held.middle / 1e3)),
        ("body of a message in the queue, in KB", body / 1e3),
        ("greatest error of the model, in %", error),
    ] {
        println!("| {what} | {value:.1} |");
    }
    Ok(())
}

fn unhindered(rows: &[Row], cores: usize) -> Option<&Row> {
    rows.iter().find(|row| row.cores == cores && !row.has_latency())
}

/// Prints each row beside what the model says, and returns by how much it was wrong where it was most wrong, in parts of a
/// hundred.
fn print_model(rows: &[Row]) -> Outcome<f64> {
    println!(
        "| cores | pollers | receive/delete | messages/s (least to greatest) | model | error | slots | connections, model's \
         average | most seen | allowed | MiB reserved, model's average | µs of CPU a message | cores busy | peak MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut errors = Vec::new();
    for row in rows {
        let daemon = row.daemon(unhindered(rows, row.cores).ok_or("a number of cores that was not measured")?);
        let rate = Median::of(row.samples.iter().map(|sample| sample.rate)).ok_or("a row without a sample")?;
        let (model, error) = if row.has_latency() {
            let model = daemon.rate();
            let error = (model / rate.middle - 1.0) * 100.0;
            errors.push(error.abs());
            (format!("{model:.0}"), format!("{error:+.0} %"))
        } else {
            ("taken from here".to_owned(), String::new())
        };
        println!(
            "| {} | {} | {}/{} ms{} | {:.0} ({:.0} to {:.0}) | {model} | {error} | {:.0} | {:.1} | {:.0} | {:.0} | {:.1} | {:.1} | {:.2} | {:.1} |",
            row.cores,
            row.pollers,
            row.latency.0,
            row.latency.1,
            if row.message_size > 256 * 1024 { ", messages up to 1 MiB" } else { "" },
            rate.middle,
            rate.least,
            rate.greatest,
            daemon.slots,
            daemon.connections(rate.middle),
            row.median(|sample| sample.connections as f64),
            daemon.most_connections(),
            daemon.reserved(rate.middle) / (1024.0 * 1024.0),
            row.median(|sample| sample.cpu),
            row.median(|sample| sample.busy),
            row.median(|sample| sample.memory as f64) / 1e6
        );
    }
    errors.sort_by(f64::total_cmp);
    let most = *errors.last().ok_or("nothing was foretold")?;
    println!("\nThe model is off by {most:.0} % at the most, and by {:.0} % in the middle.", errors[errors.len() / 2]);
    Ok(most)
}
