//! How many daemons a rate asks for, and what they and the queue cost: the model of one daemon, and the tables of
//! deploy/SCALE.md that follow from it.
//!
//! Nothing is measured here. [`Measured`] is what the benchmark `cost -- scale` found out; it stands in that document once,
//! and a test computes the tables from it again. Facts about SQS and prices are those of AWS's documentation and price
//! lists, in us-east-1.

#![allow(dead_code, reason = "the benchmark takes the model of this, and the test of the document its tables")]

use std::fmt::Write as _;

/// Messages in one receive and in one batch of deletes, at the most.
pub(crate) const BATCH: f64 = 10.0;

/// How many batches of deletes may be on their way at the same time: `CALLS` in src/consumer/settle.rs.
pub(crate) const DELETE_CALLS: f64 = 16.0;

/// For how long a delete waits for others, in seconds: `LINGER` in src/consumer/settle.rs.
pub(crate) const LINGER: f64 = 0.020;

/// How many messages the daemon holds when nothing else is set: `concurrency`.
pub(crate) const SLOTS: f64 = 64.0;

/// What the daemon holds in bytes when nothing else is set: `max_in_flight_bytes`.
pub(crate) const BUDGET: f64 = 256.0 * MIB;

const MIB: f64 = 1024.0 * 1024.0;

/// Where and for how long a message is, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Of a receive that brings something.
    pub(crate) receive: f64,
    /// Of a batch of deletes.
    pub(crate) delete: f64,
    /// Of the handler, waiting included.
    pub(crate) handler: f64,
}

/// One daemon at work on a backlog.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Daemon {
    /// Messages a second that its cores can do.
    pub(crate) cores: f64,
    /// CPU of a message, in seconds.
    pub(crate) cpu: f64,
    /// Messages that it may hold: `concurrency`.
    pub(crate) slots: f64,
    /// Bytes that it may hold: `max_in_flight_bytes`.
    pub(crate) budget: f64,
    /// The queue's MaximumMessageSize, in bytes: so much is reserved for each message of an open receive.
    pub(crate) message_size: f64,
    pub(crate) times: Times,
}

impl Daemon {
    /// For how long a message has its slot: from the receive that was asked for it to the delete that is confirmed. What
    /// came with it in the same receive is decoded before it or after it.
    pub(crate) fn slot_held(&self) -> f64 {
        self.times.receive + self.times.delete + self.times.handler + BATCH * self.cpu
    }

    /// Messages a second: the least of what its cores, its slots, its bytes and its deletes allow.
    pub(crate) fn rate(&self) -> f64 {
        let by_slots = self.slots / self.slot_held();
        let open_receives = (self.budget / (BATCH * self.message_size)).floor().max(1.0);
        let by_bytes = open_receives * BATCH / self.times.receive;
        let by_deletes = DELETE_CALLS * BATCH / self.times.delete;
        self.cores.min(by_slots).min(by_bytes).min(by_deletes)
    }

    /// Receives and deletes that are under way at this rate, on the average: each has a connection.
    pub(crate) fn connections(&self, rate: f64) -> f64 {
        rate / BATCH * (self.times.receive + self.times.delete)
    }

    /// Receives and deletes that the engine allows at the same time.
    pub(crate) fn most_connections(&self) -> f64 {
        (self.slots / BATCH).ceil() + DELETE_CALLS
    }

    /// Bytes that its open receives reserve at this rate, on the average.
    pub(crate) fn reserved(&self, rate: f64) -> f64 {
        rate * self.times.receive * self.message_size
    }
}

/// What is measured and what follows from nothing else: the row of each, and its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// CPU of a message of 6 KB in gzip, on a core that does nothing else, in microseconds.
    pub(crate) cpu: f64,
    /// Memory of a process with ten slots at its peak, in MB.
    pub(crate) memory: f64,
    /// Memory of a message that is held, in KB.
    pub(crate) held: f64,
    /// Bytes of its body in the queue, in KB.
    pub(crate) body: f64,
    /// By how much the model was wrong where it was most wrong, in parts of a hundred.
    pub(crate) error: f64,
}

impl Measured {
    const ROWS: [&str; 5] = [
        "CPU of a message, in µs",
        "memory of a process with ten slots, in MB",
        "memory of a message that is held, in KB",
        "body of a message in the queue, in KB",
        "greatest error of the model, in %",
    ];

    /// The table of the document.
    pub(crate) fn table(&self) -> String {
        let values = [self.cpu, self.memory, self.held, self.body, self.error];
        let mut text = "| measured | |\n|---|---|\n".to_owned();
        for (row, value) in Self::ROWS.iter().zip(values) {
            line(&mut text, format_args!("| {row} | {value:.1} |"));
        }
        text
    }

    /// Reads the table of the document.
    pub(crate) fn read(table: &str) -> Option<Measured> {
        let value = |row: &str| {
            let rest =
                table.lines().find_map(|line| line.strip_prefix("| ")?.strip_prefix(row)?.strip_prefix(" | "))?;
            rest.trim_end_matches(" |").parse().ok()
        };
        let [cpu, memory, held, body, error] = Self::ROWS.map(value);
        Some(Measured { cpu: cpu?, memory: memory?, held: held?, body: body?, error: error? })
    }

    /// What is left of a rate when the model is wrong by as much as it ever was.
    fn sure(&self, rate: f64) -> f64 {
        rate / (1.0 + self.error / 100.0)
    }

    /// The tables of tasks, of the queue, and of the bill.
    pub(crate) fn fleet(&self) -> String {
        let mut text = String::new();
        tasks(&mut text, self);
        text.push('\n');
        queue(&mut text, self);
        text.push('\n');
        bill(&mut text, self);
        text
    }

    /// The table of what one task of the template's default size does.
    pub(crate) fn targets(&self) -> String {
        let mut text = String::new();
        targets(&mut text, self);
        text
    }
}

/// Messages a second that the tables are made for.
const RATES: [f64; 4] = [1.0, 100.0, 10_000.0, 1_000_000.0];

/// Seconds that the handlers of the tables take.
const HANDLERS: [f64; 2] = [0.020, 0.500];

/// How busy a fleet is planned to be: the rest is for the hour that is not like the others, and for a task that is lost.
const BUSY: f64 = 0.6;

/// Seconds of a receive and of a batch of deletes, where SQS is in the same region.
const RECEIVE: f64 = 0.015;
const DELETE: f64 = 0.008;

/// What SQS has in flight for one queue, at the most.
const IN_FLIGHT: f64 = 120_000.0;

/// Hours of a month, as AWS counts them.
const HOURS: f64 = 730.0;

/// Dollars for a vCPU and for a GB of memory, an hour, of Fargate on Linux and x86. A task has one and two of them.
const TASK: f64 = 0.04048 + 2.0 * 0.004445;

/// Dollars for a GB that goes through a NAT gateway.
const NAT: f64 = 0.045;

/// What SQS wraps a message in, in KB: ids, receipt handle, checksum, attributes.
const WRAPPING: f64 = 0.5;

/// A chunk of payload that is billed as one request, in KB.
const CHUNK: f64 = 65.536;

/// Dollars a month for so many requests to standard queues.
fn price(requests: f64) -> f64 {
    let tier = |from: f64, to: f64, price: f64| (requests.min(to) - from).max(0.0) / 1e6 * price;
    tier(1e6, 100e9, 0.40) + tier(100e9, 200e9, 0.30) + tier(200e9, f64::INFINITY, 0.24)
}

/// A fleet that has a rate to do, and one of its tasks.
struct Fleet {
    tasks: f64,
    each: f64,
    slots: f64,
    task: Daemon,
}

impl Fleet {
    /// Tasks of one vCPU for this rate.
    fn of(measured: &Measured, rate: f64, handler: f64) -> Fleet {
        let cpu = measured.cpu / 1e6;
        let times = Times { receive: RECEIVE, delete: DELETE, handler };
        let most =
            Daemon { cores: 1.0 / cpu, cpu, slots: f64::INFINITY, budget: f64::INFINITY, message_size: MIB, times };
        let tasks = (rate / (measured.sure(most.rate()) * BUSY)).ceil().max(1.0);
        let each = rate / tasks;
        // The default is more than enough for most.
        let slots = (each * most.slot_held() / BUSY / BATCH).ceil() * BATCH;
        let slots = slots.max(SLOTS);
        Fleet { tasks, each, slots, task: Daemon { slots, ..most } }
    }

    /// Requests for each message, chunks of payload counted: at a high rate a receive brings ten messages and a batch
    /// deletes ten; at a low one a receive brings what came during the one before it, and a delete waits for what comes
    /// within its moment.
    fn requests(&self, measured: &Measured) -> f64 {
        let received = (self.each * RECEIVE).clamp(1.0, BATCH);
        let deleted = (1.0 + self.each * LINGER).clamp(1.0, BATCH);
        let chunks = (received * measured.body / CHUNK).ceil();
        chunks / received + 1.0 / deleted
    }
}

fn tasks(text: &mut String, measured: &Measured) {
    let best = Daemon { slots: f64::INFINITY, ..Fleet::of(measured, 1.0, HANDLERS[0]).task };
    line(
        text,
        format_args!(
            "By the model one task of 1 vCPU does {} messages a second at its most, the lesser of its core (1 ÷ {:.1} µs = {}) and \
             of its deletes ({DELETE_CALLS} × {BATCH} ÷ {} = {}). Less the model's greatest error it is {}, and planned with \
             {:.0} % of that, {}.\n",
            count(best.rate()),
            measured.cpu,
            count(best.cores),
            millis(DELETE),
            count(DELETE_CALLS * BATCH / DELETE),
            count(measured.sure(best.rate())),
            BUSY * 100.0,
            count(measured.sure(best.rate()) * BUSY)
        ),
    );
    line(
        text,
        format_args!(
            "| messages/s | handler | tasks | messages/s a task | `concurrency` | pollers, at most | connections to SQS, \
             average (at most) | MiB reserved at 256 KiB (at 1 MiB) | MB of memory a task |"
        ),
    );
    line(text, format_args!("|---|---|---|---|---|---|---|---|---|"));
    for rate in RATES {
        for handler in HANDLERS {
            let fleet = Fleet::of(measured, rate, handler);
            let task = Daemon { message_size: MIB / 4.0, ..fleet.task };
            // What is planned for is the busy hour, hence not the average alone.
            let reserved = task.reserved(fleet.each) / BUSY / MIB;
            line(
                text,
                format_args!(
                    "| {} | {} | {} | {} | {} | {} | {} ({}) | {} ({}) | {:.0} |",
                    count(rate),
                    millis(handler),
                    count(fleet.tasks),
                    count(fleet.each),
                    count(fleet.slots),
                    count((fleet.slots / BATCH).ceil()),
                    count(task.connections(fleet.each).ceil()),
                    count(task.most_connections()),
                    count(reserved.max(2.5).ceil()),
                    count((reserved * 4.0).max(10.0).ceil()),
                    measured.memory + fleet.slots * measured.held / 1e3
                ),
            );
        }
    }
}

fn queue(text: &mut String, measured: &Measured) {
    line(text, format_args!("| messages/s | handler | in flight | of SQS's 120,000 | queues |"));
    line(text, format_args!("|---|---|---|---|---|"));
    for rate in RATES {
        for handler in HANDLERS {
            let in_flight = rate * Fleet::of(measured, rate, handler).task.slot_held();
            line(
                text,
                format_args!(
                    "| {} | {} | {} | {} | {} |",
                    count(rate),
                    millis(handler),
                    if in_flight < 1.0 { "less than 1".to_owned() } else { count(in_flight) },
                    share(in_flight / IN_FLIGHT),
                    count((in_flight / (IN_FLIGHT * BUSY)).ceil().max(1.0))
                ),
            );
        }
    }
}

fn bill(text: &mut String, measured: &Measured) {
    let seconds = HOURS * 3600.0;
    line(
        text,
        format_args!(
            "| messages/s | requests a message | requests/s | requests a month, millions | SQS, $ a month | tasks, $ a month \
             | NAT gateway, if there is one, $ a month |"
        ),
    );
    line(text, format_args!("|---|---|---|---|---|---|---|"));
    let idle = 180.0 / 3600.0;
    line(
        text,
        format_args!(
            "| idle | | {idle} | {:.2} | {:.2} | {} | 0 |",
            idle * seconds / 1e6,
            price(idle * seconds),
            count(TASK * HOURS)
        ),
    );
    for rate in RATES {
        let fleet = Fleet::of(measured, rate, HANDLERS[0]);
        let requests = fleet.requests(measured);
        let month = rate * requests * seconds;
        let gigabytes = rate * seconds * (measured.body + WRAPPING) / 1e6;
        line(
            text,
            format_args!(
                "| {} | {requests:.2} | {} | {} | {} | {} | {} |",
                count(rate),
                count(rate * requests),
                count(month / 1e6),
                count(price(month)),
                count(fleet.tasks * TASK * HOURS),
                count(gigabytes * NAT)
            ),
        );
    }
}

/// The default of the parameter BacklogPerTask in deploy/ecs/template.yaml.
pub(crate) const BACKLOG_PER_TASK: f64 = 1000.0;

/// The default of its parameter Cpu, in cores.
pub(crate) const TEMPLATE_CORES: f64 = 0.25;

/// The size of a task in its parameter's default, with the daemon's default of slots.
fn targets(text: &mut String, measured: &Measured) {
    line(
        text,
        format_args!(
            "| handler | messages/s a task | backlog a task for a wait of 10 s | for a wait of 60 s | wait at {} |",
            count(BACKLOG_PER_TASK)
        ),
    );
    line(text, format_args!("|---|---|---|---|---|"));
    for handler in [0.020, 0.100, 0.500, 2.0] {
        let cpu = measured.cpu / 1e6;
        let rate = Daemon {
            cores: TEMPLATE_CORES / cpu,
            cpu: cpu / TEMPLATE_CORES,
            slots: SLOTS,
            budget: BUDGET / 2.0,
            message_size: MIB,
            times: Times { receive: RECEIVE, delete: DELETE, handler },
        }
        .rate();
        line(
            text,
            format_args!(
                "| {} | {} | {} | {} | {} |",
                millis(handler),
                count(rate),
                count(rate * 10.0),
                count(rate * 60.0),
                format_args!("{:.1} s", BACKLOG_PER_TASK / rate)
            ),
        );
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

/// A number with two digits that count at least, in groups of three.
fn count(value: f64) -> String {
    if value < 10.0 && value.fract() > 0.005 {
        return format!("{value:.2}").trim_end_matches('0').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn millis(seconds: f64) -> String {
    if seconds >= 1.0 { format!("{seconds:.0} s") } else { format!("{:.0} ms", seconds * 1e3) }
}

fn share(share: f64) -> String {
    if share < 0.001 { "less than 0.1 %".to_owned() } else { format!("{:.1} %", share * 100.0) }
}
