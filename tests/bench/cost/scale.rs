//! Beyond one poller and one core: how the rate grows with the receives that may be open, at the latency of a real queue,
//! and how well a model of two terms foretells it.
//!
//! A message holds its slot from the receive that was asked for it to the delete that is confirmed. With ten slots for
//! each poller, the rate is what the slots allow, or what the cores do, whichever is less:
//!
//! ```text
//! rate = min(cores ÷ CPU of a message, slots ÷ (receive + delete + gathering + work))
//! ```
//!
//! where gathering is the wait for a full batch of deletes and work is that of the batch which a message comes with.

use crate::Outcome;
use crate::payload::{Form, Size};
use crate::server::Load;
use crate::side::{Bench, Side};

/// Milliseconds of a receive and of a batch of deletes.
const LATENCY: (u64, u64) = (15, 8);

pub(crate) fn measure(bench: Bench<'_>) -> Outcome {
    let load = Load::new(Form::Gzip, Size::Medium).with_latency(LATENCY.0, LATENCY.1);
    println!("6 KB gzip at {}/{} ms, {}", LATENCY.0, LATENCY.1, Side::Ours.name());
    println!("| cores | pollers | messages/s | model | error | µs of CPU a message | cores busy | peak MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for cores in [1, 2] {
        let set: Vec<usize> = (0..cores).collect();
        // What the cores can do at most is taken from where nothing else holds them up.
        let saturated = bench.consume(Side::Ours, 96, load, &set)?;
        for pollers in [1, 2, 4, 8, 16, 32, 64, 96] {
            let sample = bench.consume(Side::Ours, pollers, load, &set)?;
            let by_cores = saturated.busy / saturated.cpu * 1e6;
            let held = (LATENCY.0 + LATENCY.1) as f64 / 1e3 + 2.0 * TIMER + 10.0 * sample.cpu / 1e6;
            let model = by_cores.min(pollers as f64 * 10.0 / held);
            println!(
                "| {cores} | {pollers} | {:.0} | {model:.0} | {:+.0} % | {:.1} | {:.2} | {:.1} |",
                sample.rate,
                (model / sample.rate - 1.0) * 100.0,
                sample.cpu,
                sample.busy,
                sample.memory as f64 / 1e6
            );
        }
    }
    Ok(())
}

/// By how much the load server's timer is late, in seconds.
const TIMER: f64 = 0.001;
