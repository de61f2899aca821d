//! The comparison: which measurements are made, what they come to, and whether each goal is met.

use std::time::Duration;

use crate::Outcome;
use crate::moments;
use crate::payload::{Form, Size};
use crate::server::Load;
use crate::side::{Bench, Sample, Side};

/// The latency of a queue that is not on this machine, in milliseconds: of a receive and of a batch of deletes.
const FAR: (u64, u64) = (10, 5);

/// One row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Floor(Form, Size),
    NaiveFloor(Form, Size),
    Consume { side: Side, pollers: usize, form: Form, size: Size, far: bool, most: usize, cores: usize },
}

/// A side at work on full receives of gzip without latency, on one core.
fn consume(side: Side, pollers: usize, size: Size) -> Case {
    Case::Consume { side, pollers, form: Form::Gzip, size, far: false, most: 10, cores: 1 }
}

impl Case {
    fn plain(self) -> Case {
        match self {
            Case::Consume { side, pollers, size, far, most, cores, .. } => {
                Case::Consume { side, pollers, form: Form::Plain, size, far, most, cores }
            }
            floor => floor,
        }
    }

    fn far(self) -> Case {
        match self {
            Case::Consume { side, pollers, form, size, most, cores, .. } => {
                Case::Consume { side, pollers, form, size, far: true, most, cores }
            }
            floor => floor,
        }
    }

    fn of_five(self) -> Case {
        match self {
            Case::Consume { side, pollers, form, size, far, cores, .. } => {
                Case::Consume { side, pollers, form, size, far, most: 5, cores }
            }
            floor => floor,
        }
    }

    fn on_two_cores(self) -> Case {
        match self {
            Case::Consume { side, pollers, form, size, far, most, .. } => {
                Case::Consume { side, pollers, form, size, far, most, cores: 2 }
            }
            floor => floor,
        }
    }

    fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for size in Size::ALL {
            cases.push(Case::Floor(Form::Gzip, size));
            cases.push(Case::NaiveFloor(Form::Gzip, size));
            for side in [Side::Ours, Side::Daemon, Side::SdkLoop] {
                cases.push(consume(side, 8, size));
            }
        }
        cases.push(Case::Floor(Form::Plain, Size::Medium));
        cases.push(Case::NaiveFloor(Form::Plain, Size::Medium));
        for side in [Side::Ours, Side::Daemon, Side::SdkLoop] {
            cases.push(consume(side, 8, Size::Medium).plain());
        }
        cases.push(consume(Side::OursBySdk, 8, Size::Medium));
        cases.push(consume(Side::OursBySdk, 8, Size::Medium).plain());
        cases.push(consume(Side::Ours, 1, Size::Medium));
        cases.push(consume(Side::Ours, 32, Size::Medium));
        cases.push(consume(Side::Daemon, 64, Size::Medium));
        cases.push(consume(Side::Ours, 8, Size::Medium).of_five());
        cases.push(consume(Side::Ours, 8, Size::Medium).on_two_cores());
        cases.push(consume(Side::Daemon, 8, Size::Medium).on_two_cores());
        for pollers in [64, 96] {
            cases.push(consume(Side::Ours, pollers, Size::Medium).far());
        }
        cases.push(consume(Side::SdkLoop, 64, Size::Medium).far());
        for instances in [1, 8, 32] {
            cases.push(consume(Side::SqsConsumer, instances, Size::Medium));
            cases.push(consume(Side::SqsConsumer, instances, Size::Medium).far());
        }
        cases
    }

    fn measure(self, bench: Bench<'_>) -> Outcome<Sample> {
        let alone = |cpu| Sample { cpu, rate: 1e6 / cpu, requests: 0.0, busy: 1.0, memory: 0, connections: 0 };
        match self {
            Case::Floor(form, size) => bench.floor(form, size, 0).map(alone),
            Case::NaiveFloor(form, size) => bench.naive_floor(form, size, 0).map(alone),
            Case::Consume { side, pollers, form, size, far, most, cores } => {
                let load = Load { most, ..Load::new(form, size) };
                let load = if far { load.with_latency(FAR.0, FAR.1) } else { load };
                let cores: Vec<usize> = (0..cores).collect();
                bench.consume(side, pollers, load, &cores)
            }
        }
    }

    fn row(self) -> (&'static str, String) {
        match self {
            Case::Floor(form, size) => ("floor F", format!("{} {}", size.name(), form.name())),
            Case::NaiveFloor(form, size) => ("naive floor", format!("{} {}", size.name(), form.name())),
            Case::Consume { side, pollers, form, size, far, most, cores } => {
                let what = if side == Side::SqsConsumer { "instances" } else { "pollers" };
                let what = if pollers == 1 { what.trim_end_matches('s') } else { what };
                let mut text = format!("{} {}, {pollers} {what}", size.name(), form.name());
                if far {
                    text.push_str(&format!(", {}/{} ms", FAR.0, FAR.1));
                }
                if most != 10 {
                    text.push_str(&format!(", receives of {most}"));
                }
                if cores != 1 {
                    text.push_str(&format!(", {cores} cores"));
                }
                (side.name(), text)
            }
        }
    }
}

/// What was measured of one case.
struct Measured {
    case: Case,
    samples: Vec<Sample>,
    /// Why there are none.
    trouble: Option<String>,
}

/// A median between the least and the greatest.
pub(crate) struct Median {
    pub(crate) least: f64,
    pub(crate) middle: f64,
    pub(crate) greatest: f64,
}

impl Median {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Median> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Median { least: *values.first()?, middle: *values.get(values.len() / 2)?, greatest: *values.last()? })
    }
}

struct Results(Vec<Measured>);

impl Results {
    fn median(&self, case: Case, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let measured = self.0.iter().find(|measured| measured.case == case)?;
        Some(Median::of(measured.samples.iter().map(of))?.middle)
    }

    fn cpu(&self, case: Case) -> Option<f64> {
        self.median(case, |sample| sample.cpu)
    }

    /// The least CPU for a message among several.
    fn best_cpu(&self, cases: impl IntoIterator<Item = Case>) -> Option<f64> {
        cases.into_iter().filter_map(|case| self.cpu(case)).min_by(f64::total_cmp)
    }

    fn best_rate(&self, cases: impl IntoIterator<Item = Case>) -> Option<f64> {
        cases.into_iter().filter_map(|case| self.median(case, |sample| sample.rate)).max_by(f64::total_cmp)
    }
}

/// Measures everything, `rounds` times, and prints the two tables.
pub(crate) fn compare(bench: Bench<'_>, rounds: usize) -> Outcome {
    let mut results =
        Results(Case::all().into_iter().map(|case| Measured { case, samples: Vec::new(), trouble: None }).collect());
    for round in 1..=rounds {
        for measured in &mut results.0 {
            if measured.trouble.is_some() {
                continue;
            }
            let (side, what) = measured.case.row();
            eprintln!("round {round} of {rounds}: {side}, {what}");
            match measured.case.measure(bench) {
                Ok(sample) => measured.samples.push(sample),
                // What is ours must run; the others are there or are not.
                Err(error) if side == Side::SqsConsumer.name() => measured.trouble = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
    }
    print_sides(&results);
    print_goals(&goals(bench, rounds, &results)?);
    Ok(())
}

fn print_sides(results: &Results) {
    println!("| side | what | µs of CPU a message (least to greatest) | messages/s | requests a message | peak MB |");
    println!("|---|---|---|---|---|---|");
    for Measured { case, samples, trouble } in &results.0 {
        let (side, what) = case.row();
        let middle = |of: fn(&Sample) -> f64| Median::of(samples.iter().map(of)).map_or(0.0, |median| median.middle);
        match (trouble, Median::of(samples.iter().map(|sample| sample.cpu))) {
            (None, Some(cpu)) => {
                let cpu = format!("{:.1} ({:.1} to {:.1})", cpu.middle, cpu.least, cpu.greatest);
                print!("| {side} | {what} | {cpu} | {:.0} ", middle(|sample| sample.rate));
                match case {
                    Case::Consume { .. } => {
                        let (requests, memory) =
                            (middle(|sample| sample.requests), middle(|sample| sample.memory as f64));
                        println!("| {requests:.3} | {:.1} |", memory / 1e6);
                    }
                    _ => println!("| | |"),
                }
            }
            (trouble, _) => println!("| {side} | {what} | not measured: {} | | | |", trouble.as_deref().unwrap_or("")),
        }
    }
    println!();
}

/// A goal and what was measured.
struct Goal {
    what: &'static str,
    goal: f64,
    measured: Option<f64>,
    /// Whether more is better.
    at_least: bool,
    unit: &'static str,
    remark: String,
}

fn at_most(what: &'static str, goal: f64, measured: Option<f64>) -> Goal {
    Goal { what, goal, measured, at_least: false, unit: "", remark: String::new() }
}

fn at_least(what: &'static str, goal: f64, measured: Option<f64>) -> Goal {
    Goal { at_least: true, ..at_most(what, goal, measured) }
}

impl Goal {
    fn unit(self, unit: &'static str) -> Goal {
        Goal { unit, ..self }
    }

    fn remark(self, remark: String) -> Goal {
        Goal { remark, ..self }
    }
}

fn goals(bench: Bench<'_>, rounds: usize, results: &Results) -> Outcome<Vec<Goal>> {
    use Size::{Large, Medium, Small};
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let ours = |size| results.cpu(consume(Side::Ours, 8, size));
    let floor = |size| results.cpu(Case::Floor(Form::Gzip, size));
    let node = [1, 8, 32].map(|instances| consume(Side::SqsConsumer, instances, Medium));
    let ours_near = [1, 8, 32].map(|pollers| consume(Side::Ours, pollers, Medium));
    let ours_far = [64, 96].map(|pollers| consume(Side::Ours, pollers, Medium).far());
    let requests = |case| results.median(case, |sample| sample.requests);

    let mut goals = vec![
        at_most("CPU per message ÷ F at 1.5 KB", 2.4, ratio(ours(Small), floor(Small))),
        at_most("CPU per message ÷ F at 6 KB", 1.8, ratio(ours(Medium), floor(Medium))),
        at_most("CPU per message ÷ F at 30 KB", 1.25, ratio(ours(Large), floor(Large))),
        at_most(
            "CPU per message of whole events ÷ F at 6 KB",
            1.2,
            ratio(results.cpu(consume(Side::Daemon, 8, Medium)), floor(Medium)),
        )
        .remark("`run` with nothing configured: standard output".into()),
        at_most("F ÷ naive floor", 0.60, ratio(floor(Medium), results.cpu(Case::NaiveFloor(Form::Gzip, Medium)))),
        at_most(
            "CPU per message ÷ SDK loop, same pollers",
            0.45,
            ratio(ours(Medium), results.cpu(consume(Side::SdkLoop, 8, Medium))),
        ),
        at_most(
            "the same, plain text",
            0.75,
            ratio(
                results.cpu(consume(Side::Ours, 8, Medium).plain()),
                results.cpu(consume(Side::SdkLoop, 8, Medium).plain()),
            ),
        ),
        at_most(
            "CPU per message ÷ sqs-consumer, each at its best",
            0.16,
            ratio(results.best_cpu(ours_near), results.best_cpu(node)),
        ),
        at_most("the same at 10/5 ms", 0.16, ratio(results.best_cpu(ours_far), results.best_cpu(node.map(Case::far)))),
        at_least(
            "messages a second on one core at 10/5 ms ÷ sqs-consumer at its best",
            6.0,
            ratio(results.best_rate(ours_far), results.best_rate(node.map(Case::far))),
        ),
        at_most("requests a message, full receives", 0.21, requests(consume(Side::Ours, 8, Medium))),
        at_most("requests a message, receives of five", 0.31, requests(consume(Side::Ours, 8, Medium).of_five())),
    ];
    goals.extend(moments(bench, rounds)?);
    let memory = |pollers| {
        results.median(consume(Side::Daemon, pollers, Medium), |sample| sample.memory as f64).map(|bytes| bytes / 1e6)
    };
    goals.push(at_most("peak memory at 8 pollers", 20.0, memory(8)).unit(" MB"));
    goals.push(at_most("peak memory at 64 pollers", 22.0, memory(64)).unit(" MB"));
    let held = Median::of(
        (0..rounds).map(|_| bench.held_message(Load::new(Form::Gzip, Medium), 0)).collect::<Outcome<Vec<_>>>()?,
    );
    let beyond = |held: f64| held - Medium.bytes() as f64;
    goals.push(
        at_most("a held message of 6 KB, beyond its text", 4.0, held.map(|held| beyond(held.middle) / 1e3))
            .unit(" KB")
            .remark("with a handler that takes whole events".into()),
    );
    goals.push(two_cores(bench, results));
    Ok(goals)
}

/// The goals that are not a cost of a message.
fn moments(bench: Bench<'_>, rounds: usize) -> Outcome<Vec<Goal>> {
    let load = Load::new(Form::Gzip, Size::Medium);
    eprintln!("idle");
    // The second of the polls that are counted ends after 41 seconds.
    let watched = Duration::from_secs(if rounds > 1 { 101 } else { 41 });
    let (receives, share) = moments::idle(bench, load, watched, 0)?;
    eprintln!("from idle to full rate");
    let mut wake_ups = Vec::new();
    let mut far_wake_ups = Vec::new();
    for _ in 0..rounds {
        wake_ups.push(moments::wake_up(bench, load, 8, 0)?.0.as_secs_f64() * 1e3);
        far_wake_ups.push(moments::wake_up(bench, load.with_latency(FAR.0, FAR.1), 32, 0)?.0.as_secs_f64() * 1e3);
    }
    eprintln!("start");
    let starts = (0..4 * rounds).map(|_| moments::start(bench, load, 0)).collect::<Outcome<Vec<_>>>()?;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let own = Median::of(starts.iter().map(|(own, _)| millis(*own))).map(|own| own.middle);
    let clock = Median::of(starts.iter().map(|(_, clock)| millis(*clock))).map_or(0.0, |clock| clock.middle);
    let far = Median::of(far_wake_ups).map_or(0.0, |far| far.middle);
    Ok(vec![
        at_most("receives in an idle hour", 185.0, Some(receives)),
        at_most("CPU when idle", 0.1, Some(share * 100.0)).unit(" %"),
        at_most("from idle to 90 % of full rate", 300.0, Median::of(wake_ups).map(|wake_up| wake_up.middle))
            .unit(" ms")
            .remark(format!("{far:.0} ms at {}/{} ms with 32 pollers", FAR.0, FAR.1)),
        at_most("start to first message over TLS, our own time", 8.0, own)
            .unit(" ms")
            .remark(format!("CPU; {clock:.0} ms on the clock, with the server's and the machine's")),
    ])
}

/// Where there is a third core for the load server, the rates tell. On a machine of two the server takes a part of the
/// second one, so there it is the CPU of a message that tells whether a second core is worth a whole one.
fn two_cores(bench: Bench<'_>, results: &Results) -> Goal {
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let one = consume(Side::Ours, 8, Size::Medium);
    let two = one.on_two_cores();
    let by_rate = ratio(results.median(two, |sample| sample.rate), results.median(one, |sample| sample.rate));
    let by_cpu = ratio(results.cpu(one), results.cpu(two)).map(|ratio| ratio * 2.0);
    let busy = results.median(two, |sample| sample.busy).unwrap_or_default();
    let (measured, remark) = if bench.server_core >= 2 {
        (by_rate, format!("{busy:.2} cores busy"))
    } else {
        let rate = by_rate.unwrap_or_default();
        (
            by_cpu,
            format!(
                "by CPU a message, since the load server has the second core too; by rate {rate:.2} with {busy:.2} cores busy"
            ),
        )
    };
    at_least("messages a second on two cores ÷ on one", 1.85, measured).remark(remark)
}

fn print_goals(goals: &[Goal]) {
    println!("| goal | | measured | | |");
    println!("|---|---|---|---|---|");
    for Goal { what, goal, measured, at_least, unit, remark } in goals {
        let sign = if *at_least { "≥" } else { "≤" };
        let digits = |value: f64| if value < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") };
        let (measured, check) = match measured {
            None => ("not measured".to_owned(), ""),
            Some(value) => {
                let met = if *at_least { value >= goal } else { value <= goal };
                (format!("{}{unit}", digits(*value)), if met { "met" } else { "**not met**" })
            }
        };
        println!("| {what} | {sign} {}{unit} | {measured} | {check} | {remark} |", digits(*goal));
    }
}
