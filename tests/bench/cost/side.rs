//! The sides of the comparison, and how a message's cost is measured for each.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::Outcome;
use crate::payload::{Form, Size, bodies};
use crate::process::{Process, wait_until};
use crate::server::{Load, Server};

/// Who consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// This project as a whole, with a handler that takes the event parsed and drops it: the same work as the next but one.
    Ours,
    /// The same with `client = "sdk"`: what our own client of receives and deletes saves.
    OursBySdk,
    /// The daemon's own binary, as it is when nothing is configured: each event is a line on standard output.
    Daemon,
    /// The straightforward loop on the AWS SDK.
    SdkLoop,
    /// sqs-consumer on Node, in batch mode.
    SqsConsumer,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Ours => "stream-sqsd",
            Side::OursBySdk => "stream-sqsd by the SDK",
            Side::Daemon => "stream-sqsd run",
            Side::SdkLoop => "SDK loop",
            Side::SqsConsumer => "sqs-consumer",
        }
    }
}

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    /// tests/bench/cost/ours.rs.
    pub(crate) ours: PathBuf,
    /// The folder in which sqs-consumer is installed, or why it is not.
    pub(crate) sqs_consumer: Result<PathBuf, String>,
}

impl Programs {
    pub(crate) fn find() -> Outcome<Programs> {
        Ok(Programs { ours: build_ours()?, sqs_consumer: install_sqs_consumer().map_err(|error| error.to_string()) })
    }

    /// What starts a side: `pollers` is how many receives it may have open, each of ten messages.
    pub(crate) fn command(&self, side: Side, url: &str, pollers: usize) -> Outcome<Command> {
        let concurrency = (pollers * 10).to_string();
        let mut command = match side {
            Side::Ours | Side::OursBySdk => {
                let mut command = Command::new(&self.ours);
                let what = if side == Side::Ours { "consume" } else { "consume-by-sdk" };
                command.args([what, url, &concurrency]);
                command
            }
            Side::Daemon => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_stream-sqsd"));
                command.args(["run", "--admin", "127.0.0.1:0", "--concurrency", &concurrency, "--queue-url", url]);
                command
            }
            Side::SdkLoop => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["sdk-loop", url, &pollers.to_string()]);
                command
            }
            Side::SqsConsumer => {
                let mut command = Command::new("node");
                command.args(["sqs-consumer.mjs", url, &pollers.to_string()]);
                command.current_dir(self.sqs_consumer.clone()?);
                command
            }
        };
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "us-east-1");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.stdout(Stdio::from(File::options().write(true).open("/dev/null")?));
        command.stderr(Stdio::from(File::create(complaints())?));
        Ok(command)
    }
}

/// Where what the measured process says ends up, for the error of a measurement that fails.
fn complaints() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cost-stderr")
}

/// What a message costs one side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Microseconds of CPU for a message.
    pub(crate) cpu: f64,
    /// Messages a second.
    pub(crate) rate: f64,
    /// Requests for a message.
    pub(crate) requests: f64,
    /// The cores that it kept busy.
    pub(crate) busy: f64,
    /// The most memory that it took, in bytes.
    pub(crate) memory: u64,
    /// The most connections that it had open at the same time.
    pub(crate) connections: u64,
}

/// How one measurement is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) programs: &'a Programs,
    /// How long is measured; before it half as long is waited.
    pub(crate) window: Duration,
    /// Where the load server is.
    pub(crate) server_core: usize,
}

impl Bench<'_> {
    /// Lets a side consume for a while.
    pub(crate) fn consume(&self, side: Side, pollers: usize, load: Load, cores: &[usize]) -> Outcome<Sample> {
        let server = Server::start(load, self.server_core, None)?;
        let command = &mut self.programs.command(side, &server.url(), pollers)?;
        let mut process = Process::start(command, cores)?;
        let warm = wait_until("the first thousand messages", Duration::from_secs(60), || {
            Ok(server.counts().deleted > 1000 || !process.runs()?)
        });
        // A just-in-time compiler needs its time.
        thread::sleep(if side == Side::SqsConsumer { self.window } else { self.window / 2 });
        if warm.is_err() || !process.runs()? {
            let said = fs::read_to_string(complaints()).unwrap_or_default();
            return Err(format!("{} does not consume: {}", side.name(), said.trim()).into());
        }
        let (before, cpu, begun) = (server.counts(), process.cpu()?, std::time::Instant::now());
        thread::sleep(self.window);
        let (after, cpu, took) = (server.counts(), process.cpu()? - cpu, begun.elapsed());
        let messages = (after.deleted - before.deleted) as f64;
        let requests = (after.receives + after.deletes + after.visibility_changes)
            - (before.receives + before.deletes + before.visibility_changes);
        Ok(Sample {
            cpu: cpu.as_secs_f64() * 1e6 / messages,
            rate: messages / took.as_secs_f64(),
            requests: requests as f64 / messages,
            busy: cpu.as_secs_f64() / took.as_secs_f64(),
            memory: process.peak_memory()?,
            connections: after.connections,
        })
    }

    /// The decode floor: microseconds of CPU to decode and parse, and nothing else.
    pub(crate) fn floor(&self, form: Form, size: Size, core: usize) -> Outcome<f64> {
        let mut command = Command::new(&self.programs.ours);
        self.read_floor(command.args(["floor", form.name(), size.name()]), core)
    }

    /// The same for the naive floor.
    pub(crate) fn naive_floor(&self, form: Form, size: Size, core: usize) -> Outcome<f64> {
        let mut command = Command::new(env::current_exe()?);
        self.read_floor(command.args(["naive-floor", form.name(), size.name()]), core)
    }

    fn read_floor(&self, command: &mut Command, core: usize) -> Outcome<f64> {
        command.arg(self.window.as_millis().to_string()).stdout(Stdio::piped());
        let mut process = Process::start(command, &[core])?;
        let said = std::io::read_to_string(process.stdout()?)?;
        let (count, nanos) = said.trim().split_once(' ').ok_or("a floor that printed no figures")?;
        Ok(nanos.parse::<f64>()? / 1e3 / count.parse::<f64>()?)
    }

    /// What a message takes that is with a handler: the memory of many of them less that of a few.
    pub(crate) fn held_message(&self, load: Load, core: usize) -> Outcome<f64> {
        const FEW: u64 = 500;
        const MANY: u64 = 5500;
        let hold = |count: u64| -> Outcome<u64> {
            let server = Server::start(Load { backlog: count, ..load }, self.server_core, None)?;
            let command = self.programs.command(Side::Ours, &server.url(), 1)?;
            let mut words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            words[0] = "hold".into();
            words[2] = MANY.to_string().into();
            let mut hold = Command::new(&self.programs.ours);
            hold.args(words).stderr(Stdio::null());
            hold.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let process = Process::start(hold.stdout(Stdio::null()), &[core])?;
            wait_until("all messages to be held", Duration::from_secs(60), || Ok(server.counts().received == count))?;
            // What was received is decoded and with its handler a moment later; when nothing more is done, it is.
            let mut last = Duration::ZERO;
            wait_until("the process to be idle", Duration::from_secs(60), || {
                thread::sleep(Duration::from_millis(200));
                let now = process.cpu()?;
                Ok(now - std::mem::replace(&mut last, now) < Duration::from_millis(2))
            })?;
            process.memory()
        };
        let (few, many) = (hold(FEW)?, hold(MANY)?);
        Ok(many.saturating_sub(few) as f64 / (MANY - FEW) as f64)
    }
}

/// Builds the other half of this benchmark, as cargo has built this one.
fn build_ours() -> Outcome<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["bench", "--no-run", "--bench", "cost-ours", "--message-format", "json"]);
    // What cargo tells this process about its package. The build of ring looks at it, and would be made again each time, and
    // with it all that stands on ring.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output()?;
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        if message["target"]["name"] == "cost-ours"
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    Err("cargo did not build cost-ours".into())
}

/// Installs sqs-consumer from npm's registry, once: exactly what the lock file says, and without running anything of it.
fn install_sqs_consumer() -> Outcome<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/cost");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sqs-consumer");
    fs::create_dir_all(&place)?;
    for file in ["package.json", "package-lock.json", "sqs-consumer.mjs"] {
        fs::copy(source.join(file), place.join(file))?;
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"];
    let status = Command::new("npm").args(install).current_dir(&place).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(place),
        Ok(_) => Err("npm could not install it".into()),
        Err(error) => Err(format!("there is no npm: {error}").into()),
    }
}

/// Floor of the naive decode, in a process of its own: prints how often, and the nanoseconds of CPU.
pub(crate) fn print_naive_floor(form: &str, size: &str, millis: &str) -> Outcome {
    let form = Form::ALL.into_iter().find(|known| known.name() == form).ok_or("no such form")?;
    let size = Size::ALL.into_iter().find(|known| known.name() == size).ok_or("no such size")?;
    let bodies = bodies(form, size, 64);
    crate::naive::floor(&bodies, Duration::ZERO)?;
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    let before = clock.now()?;
    let count = crate::naive::floor(&bodies, Duration::from_millis(millis.parse()?))?;
    println!("{count} {}", Duration::from(clock.now()? - before).as_nanos());
    Ok(())
}
