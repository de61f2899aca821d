//! From what was given to what holds: raw settings in, checked settings out.
//!
//! Flags beat the environment, which beats the file, which beats the defaults. All mistakes are found in one go, each
//! with where it stands; what is wrong only in parts of the world that are not here (the queue, a target) is not looked
//! for.

use std::fmt;
use std::time::Duration;

use stream_sqsd::consumer::{Settings, Unrouted};
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsOptions};

use crate::exit::{Exit, Failure};
use crate::log::LogFormat;
use crate::quantity;
use crate::settings::{self, Flags, Given, Group, Setting, Unset, Value};

/// Everything that a run needs, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) queue: SqsOptions,
    pub(crate) engine: Settings,
    pub(crate) log_format: LogFormat,
    /// What is allowed and probably not meant.
    pub(crate) warnings: Vec<Mistake>,
}

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct OfRun;

impl Group for OfRun {
    const SETTINGS: &'static [&'static Setting] = settings::ALL;
}

/// The settings of what sends to the queue.
#[derive(Clone, Debug)]
pub(crate) struct OfSend;

impl Group for OfSend {
    const SETTINGS: &'static [&'static Setting] = &[
        &settings::QUEUE_URL,
        &settings::QUEUE_NAME,
        &settings::QUEUE_ACCOUNT,
        &settings::REGION,
        &settings::PROFILE,
        &settings::ENDPOINT_URL,
        &settings::LOG_FORMAT,
    ];
}

/// The settings of the demo.
#[derive(Clone, Debug)]
pub(crate) struct OfDemo;

impl Group for OfDemo {
    const SETTINGS: &'static [&'static Setting] = &[&settings::LOG_FORMAT];
}

/// The settings of what decodes bodies.
#[derive(Clone, Debug)]
pub(crate) struct OfDecode;

impl Group for OfDecode {
    const SETTINGS: &'static [&'static Setting] = &[&settings::INFLATE_LIMIT];
}

/// Something in the configuration that is wrong, or probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where to mend it. None where something is missing everywhere.
    place: Option<String>,
    what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Mistakes as they are found, so that a person reads of all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    wrong: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Mistakes {
    pub(crate) fn wrong(&mut self, place: impl fmt::Display, what: impl Into<String>) {
        self.wrong.push(Mistake { place: Some(place.to_string()), what: what.into() });
    }

    pub(crate) fn missing(&mut self, what: impl Into<String>) {
        self.wrong.push(Mistake { place: None, what: what.into() });
    }

    /// The value, if nothing was wrong with anything.
    fn none_or_else<T>(self, value: Option<T>) -> Result<(T, Vec<Mistake>), Failure> {
        match value {
            Some(value) if self.wrong.is_empty() => Ok((value, self.warnings)),
            _ => Err(self.into_failure()),
        }
    }

    fn into_failure(self) -> Failure {
        let text = match self.wrong.as_slice() {
            [one] => one.to_string(),
            several => {
                let lines: Vec<String> = several.iter().map(|mistake| format!("\n  {mistake}")).collect();
                format!("{} mistakes in the configuration:{}", several.len(), lines.concat())
            }
        };
        Failure::new(Exit::Usage, anyhow::Error::msg(text))
    }
}

/// The configuration of a run.
pub(crate) fn of_run(flags: Flags<OfRun>) -> Result<Config, Failure> {
    let given = flags.with_environment();
    let mut mistakes = Mistakes::default();
    mistakes.warnings.extend(unknown_variables());

    let queue = queue(&given, &mut mistakes);
    let engine = engine(&given, &mut mistakes);
    let log_format = choice(&given, &settings::LOG_FORMAT, &mut mistakes, LogFormat::of);
    let config = queue.zip(engine).zip(log_format);

    let (((queue, engine), log_format), warnings) = mistakes.none_or_else(config)?;
    Ok(Config { queue, engine, log_format, warnings })
}

/// Where to send to, and how to log.
pub(crate) fn of_send(flags: Flags<OfSend>) -> Result<(SqsOptions, LogFormat), Failure> {
    let given = flags.with_environment();
    let mut mistakes = Mistakes::default();
    let queue = queue(&given, &mut mistakes);
    let log_format = choice(&given, &settings::LOG_FORMAT, &mut mistakes, LogFormat::of);
    Ok(mistakes.none_or_else(queue.zip(log_format))?.0)
}

/// How the demo logs.
pub(crate) fn of_demo(flags: Flags<OfDemo>) -> Result<LogFormat, Failure> {
    let given = flags.with_environment();
    let mut mistakes = Mistakes::default();
    let log_format = choice(&given, &settings::LOG_FORMAT, &mut mistakes, LogFormat::of);
    Ok(mistakes.none_or_else(log_format)?.0)
}

/// How many bytes one body may decode to.
pub(crate) fn of_decode(flags: Flags<OfDecode>) -> Result<usize, Failure> {
    let given = flags.with_environment();
    let mut mistakes = Mistakes::default();
    let limit = read(&given, &settings::INFLATE_LIMIT, &mut mistakes, quantity::size).flatten();
    Ok(mistakes.none_or_else(limit)?.0)
}

/// Which queue, and how to get there.
fn queue(given: &Given, mistakes: &mut Mistakes) -> Option<SqsOptions> {
    let (url, name) = (given.get(&settings::QUEUE_URL), given.get(&settings::QUEUE_NAME));
    let account = given.get(&settings::QUEUE_ACCOUNT);
    let address = match (url, name) {
        (Some(url), Some(name)) if url.origin.rank() == name.origin.rank() => {
            mistakes.wrong(&name.origin, format!("the queue is named twice, by {} too: leave one out", url.origin));
            return None;
        }
        (None, None) => {
            mistakes.missing("no queue: say which one by --queue-url URL (or STREAM_SQSD_QUEUE_URL)");
            return None;
        }
        (Some(url), name) if name.is_none_or(|name| name.origin.rank() < url.origin.rank()) => {
            if let Some(account) = account.filter(|account| account.origin.rank() >= url.origin.rank()) {
                mistakes.wrong(&account.origin, "an account goes with the name of a queue; its URL holds the account");
            }
            match QueueUrl::parse(url.text.trim()) {
                Ok(url) => QueueAddress::Url(url),
                Err(error) => {
                    mistakes.wrong(&url.origin, error.to_string());
                    return None;
                }
            }
        }
        (_, name) => {
            let name = name?;
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.text.is_empty() || name.text.len() > 80 || !name.text.chars().all(allowed) {
                let looks_like_url = if name.text.contains("//") { "; a URL goes into --queue-url" } else { "" };
                mistakes.wrong(&name.origin, format!("{:?} is not the name of a queue{looks_like_url}", name.text));
            }
            if let Some(account) = account
                && !(account.text.len() == 12 && account.text.bytes().all(|b| b.is_ascii_digit()))
            {
                mistakes
                    .wrong(&account.origin, format!("{:?} is not an account, which is twelve digits", account.text));
            }
            QueueAddress::Name { name: name.text.clone(), account: account.map(|account| account.text.clone()) }
        }
    };
    let mut options = SqsOptions::new(address);
    let text = |setting| given.get(setting).map(|value: &Value| value.text.trim().to_owned());
    options.region = text(&settings::REGION);
    options.profile = text(&settings::PROFILE);
    options.endpoint_url = text(&settings::ENDPOINT_URL);
    Some(options)
}

/// The settings of the engine.
fn engine(given: &Given, mistakes: &mut Mistakes) -> Option<Settings> {
    let wait = read(given, &settings::WAIT, mistakes, whole_seconds);
    let visibility = read(given, &settings::VISIBILITY, mistakes, whole_seconds);
    let concurrency = read(given, &settings::CONCURRENCY, mistakes, quantity::count);
    let max_in_flight_bytes = read(given, &settings::MAX_IN_FLIGHT_BYTES, mistakes, quantity::size);
    let handler_timeout = read(given, &settings::HANDLER_TIMEOUT, mistakes, quantity::duration);
    let grace = read(given, &settings::GRACE, mistakes, quantity::duration);
    let inflate_limit = read(given, &settings::INFLATE_LIMIT, mistakes, quantity::size);
    let unrouted = choice(given, &settings::UNROUTED, mistakes, unrouted);
    let until_empty = read(given, &settings::UNTIL_EMPTY, mistakes, quantity::truth);

    // All of them were read before the first mistake ends it.
    let engine = Settings {
        wait: wait??,
        visibility: visibility?,
        concurrency: concurrency??,
        max_in_flight_bytes: max_in_flight_bytes??,
        handler_timeout: handler_timeout??,
        grace: grace??,
        inflate_limit: inflate_limit??,
        unrouted: unrouted?,
        until_empty: until_empty??,
        ..Settings::default()
    };
    if let Err(error) = engine.check() {
        let setting = settings::ALL.iter().find(|setting| setting.file.1 == error.setting);
        match setting.and_then(|setting| given.get(setting)) {
            Some(value) => mistakes.wrong(&value.origin, error.reason),
            // The value is a default, so it is another one that does not fit it: the reason names that.
            None => mistakes.wrong(error.setting, error.reason),
        }
        return None;
    }
    Some(engine)
}

/// Reads a setting, or its default. The outer None is a mistake, which is noted; the inner that nothing holds.
fn read<T>(
    given: &Given,
    setting: &Setting,
    mistakes: &mut Mistakes,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Option<T>> {
    match given.get(setting) {
        Some(value) => match parse(&value.text) {
            Ok(parsed) => Some(Some(parsed)),
            Err(what) => {
                mistakes.wrong(&value.origin, what);
                None
            }
        },
        None => match setting.default {
            Unset::Value(text) => Some(parse(text).ok()),
            Unset::Words(_) => Some(None),
        },
    }
}

/// Reads a setting whose values can be listed.
fn choice<T>(given: &Given, setting: &Setting, mistakes: &mut Mistakes, of: impl Fn(&str) -> Option<T>) -> Option<T> {
    let parse = |text: &str| {
        of(text.trim()).ok_or_else(|| format!("{text:?} is none of the values: {}", setting.choices.join(", ")))
    };
    read(given, setting, mistakes, parse).flatten()
}

fn unrouted(text: &str) -> Option<Unrouted> {
    match text {
        "ack" => Some(Unrouted::Acknowledge),
        "leave" => Some(Unrouted::Leave),
        _ => None,
    }
}

/// A time that SQS takes in seconds: it would be cut without a word.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let time = quantity::duration(text)?;
    match time.subsec_nanos() {
        0 => Ok(time),
        _ => Err(format!("{text:?} is not in whole seconds, which is what SQS takes")),
    }
}

/// Environment variables that look like ours and are not: slips of the pen, which nothing else would ever tell of.
fn unknown_variables() -> Vec<Mistake> {
    let known: Vec<String> = settings::ALL.iter().map(|setting| setting.variable()).collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours = names.filter(|name| name.starts_with(settings::VARIABLE_PREFIX) && !known.contains(name));
    let slip = |name: String| {
        let nearest = nearest(&name, known.iter().map(String::as_str))?;
        let what = format!("this environment variable is no setting; did you mean {nearest}?");
        Some(Mistake { place: Some(name), what })
    };
    ours.filter_map(slip).collect()
}

/// The name that somebody probably meant: the nearest within two slips of the pen, or three in long ones.
pub(crate) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |name: &&str| strsim::damerau_levenshtein(written, name);
    let allowed = if written.len() > 12 { 3 } else { 2 };
    known.map(|name| (slips(&name), name)).filter(|(slips, _)| *slips <= allowed).min().map(|(_, name)| name)
}
