//! From what was given to what holds: raw settings in, checked settings out.
//!
//! Flags beat the environment, which beats the file, which beats the defaults. All mistakes are found in one go, each
//! with where it stands; what is wrong only in parts of the world that are not here (the queue, a target) is not looked
//! for.

pub(crate) mod timeouts;
pub(crate) mod relay;
pub(crate) mod stream;
pub(crate) mod routes;
pub(crate) mod listen;
pub(crate) mod secret;
pub(crate) mod document;
pub(crate) mod settings;
pub(crate) mod address;
pub(crate) mod diagnostics;
pub(crate) mod source;
pub(crate) mod units;
#[cfg(test)]
mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stream_sqsd::consumer::{Settings, Unrouted};
use stream_sqsd::queue::sqs::{QueueAddress, QueueUrl, SqsClient, SqsOptions};

use crate::config::diagnostics::{Diagnostic, Diagnostics, Origin, nearest};
use crate::config::document::{Entry, Item, Section};
use crate::config::listen::Listen;
use crate::config::relay::{RELAY, RelayConfig};
use crate::config::routes::OwnFile;
use crate::config::routes::route::RouteConfig;
use crate::config::secret::Missing;
use crate::config::settings::{Flags, Given, Group, OfDecode, OfDemo, OfRelay, OfSend, Setting, Unset, Value};
use crate::config::source::{DEFAULT_FILE, FILE_VARIABLE, Source, TEXT_VARIABLE};
use crate::config::stream::{STREAM, StreamConfig};
use crate::daemon::reasons;
use crate::terminal::exit::Failure;
use crate::terminal::log::LogFormat;

/// Everything that a run needs, checked.
#[derive(Debug)]
pub(crate) struct Config<Queue = SqsOptions> {
    pub(crate) queue: Queue,
    pub(crate) engine: Settings,
    /// None of them: every event goes to standard output.
    pub(crate) routes: Vec<RouteConfig>,
    pub(crate) log_format: LogFormat,
    /// Where the operator watches.
    pub(crate) admin: Listen,
    /// By which further names.
    pub(crate) admin_hosts: Vec<String>,
    /// Where it is kept why messages were dead-lettered, beside the log.
    pub(crate) reasons: Option<PathBuf>,
    /// The app at Stream, where the file says which.
    pub(crate) stream: Option<StreamConfig>,
    /// What receives webhooks, where the file says how.
    pub(crate) relay: Option<RelayConfig>,
    /// What is allowed and probably not meant.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The file that it came from, if one was read.
    pub(crate) file: Option<Arc<Path>>,
}

/// The configuration of a run, or of what does a part of its work. `file` is the file that was named by a flag.
pub(crate) fn of_run<G: Group>(flags: Flags<G>, file: Option<&Path>, missing: Missing) -> Result<Config, Failure> {
    // A run needs nothing of these. What asks Stream says itself what is missing for that.
    let of_relay = if missing == Missing::Refused { Missing::Ignored } else { missing };
    let secrets = Secrets { of_routes: missing, of_stream: Missing::Ignored, of_relay };
    of(flags, file, secrets, queue)
}

/// The configuration of a relay, of whose file `run` may use the rest.
pub(crate) fn of_relay(flags: Flags<OfRelay>, file: Option<&Path>) -> Result<Config, Failure> {
    let secrets = Secrets { of_routes: Missing::Ignored, of_stream: Missing::Ignored, of_relay: Missing::Refused };
    of(flags, file, secrets, queue)
}

/// What becomes of secrets that are not here, by where they belong.
#[derive(Clone, Copy)]
struct Secrets {
    of_routes: Missing,
    of_stream: Missing,
    of_relay: Missing,
}

/// The same for what needs no queue.
pub(crate) fn of_replay<G: Group>(flags: Flags<G>, file: Option<&Path>) -> Result<Config<()>, Failure> {
    let secrets = Secrets { of_routes: Missing::Refused, of_stream: Missing::Ignored, of_relay: Missing::Ignored };
    of(flags, file, secrets, |_, _| Some(()))
}

fn of<G: Group, Queue>(
    flags: Flags<G>,
    file: Option<&Path>,
    secrets: Secrets,
    queue: fn(&Given, &mut Diagnostics) -> Option<Queue>,
) -> Result<Config<Queue>, Failure> {
    let mut given = flags.with_environment();
    let mut diagnostics = Diagnostics::default();
    find_unknown_variables(&mut diagnostics);
    given.values().for_each(|value| refuse_expansion(None, &value.origin, &value.text, &mut diagnostics));

    let source = Source::of(file)?;
    let Tables { routes, stream, relay } = match &source {
        Some(source) => {
            let root = Section::parse(&source.text, &source.name, &mut diagnostics);
            // What the file would have said is unknown, so everything missing would be said to be missing.
            let Some(root) = root else { return Err(diagnostics.into_failure()) };
            read_file(root, &mut given, &mut diagnostics)
        }
        None => {
            if Path::new(DEFAULT_FILE).is_file() {
                diagnostics.advise(format!(
                    "there is a {DEFAULT_FILE} here, which is read only where it is named, as in `stream-sqsd run \
                     {DEFAULT_FILE}`"
                ));
            }
            Tables::default()
        }
    };

    let queue = queue(&given, &mut diagnostics);
    let stream = stream.and_then(|entry| stream::read(entry, secrets.of_stream, &mut diagnostics));
    let relay =
        diagnostics.not_needed(|diagnostics| relay.and_then(|entry| relay::read(entry, secrets.of_relay, diagnostics)));
    let engine = engine(&given, &mut diagnostics);
    let log_format = choice(&given, &settings::LOG_FORMAT, &mut diagnostics, LogFormat::of);
    let routes = routes.map(|entry| routes::read(entry, secrets.of_routes, &mut diagnostics)).unwrap_or_default();
    if let Some(engine) = &engine {
        timeouts::check(engine, &routes, &given, &mut diagnostics);
    }
    routes::find_shared_files(&routes, &own_files(&given), &mut diagnostics);
    let named = given.get(&settings::ADMIN).is_some();
    let admin = read(&given, &settings::ADMIN, &mut diagnostics, |text| Listen::parse(text, named)).flatten();
    let admin_hosts = read(&given, &settings::ADMIN_HOSTS, &mut diagnostics, host_names).map(Option::unwrap_or_default);
    let reasons = reasons(&given, &mut diagnostics);
    let config = queue.zip(engine).zip(log_format).zip(admin).zip(admin_hosts);

    let (((((queue, engine), log_format), admin), admin_hosts), warnings) = diagnostics.none_or_else(config)?;
    let file = source.map(|source| source.name);
    Ok(Config { queue, engine, routes, log_format, admin, admin_hosts, reasons, stream, relay, warnings, file })
}

/// The files that the daemon writes for itself.
fn own_files(given: &Given) -> Vec<OwnFile<'_>> {
    let own = [
        ("the journal", &settings::JOURNAL, &["", ".old", ".lock"] as &[&str]),
        ("the file of reasons", &settings::DEAD_LETTERS_REASONS, &reasons::ALL_ENDINGS),
    ];
    let given = own.into_iter().filter_map(|(what, setting, endings)| {
        let value = given.get(setting)?;
        Some(OwnFile { what, path: Path::new(&value.text), place: &value.origin, endings })
    });
    given.collect()
}

/// Where it is kept why messages were dead-lettered.
fn reasons(given: &Given, diagnostics: &mut Diagnostics) -> Option<PathBuf> {
    let value = given.get(&settings::DEAD_LETTERS_REASONS)?;
    if value.text.trim().is_empty() {
        diagnostics.wrong(&value.origin, "`reasons` is empty: name a file, or leave it out");
        return None;
    }
    let path = PathBuf::from(&value.text);
    diagnostics.check_directory(&value.origin, &path);
    Some(path)
}

/// The sections that hold settings: those of the queue, of who watches, and of what is kept of dead letters.
pub(crate) const SECTIONS: [&str; 3] = ["queue", "admin", "dead_letters"];

/// The name of the routes.
const ROUTE: &str = "route";

/// What has a form of its own in a file.
#[derive(Default)]
struct Tables {
    routes: Option<Entry>,
    stream: Option<Entry>,
    relay: Option<Entry>,
}

/// Reads the settings of a file under those that are given already, and gives back what has a form of its own.
fn read_file(mut root: Section, given: &mut Given, diagnostics: &mut Diagnostics) -> Tables {
    root.each_text(&mut |key, place, text| {
        // The arguments of a program are its own: it may be a shell.
        if key != "command" {
            refuse_expansion(Some(key), place, text, diagnostics);
        }
    });
    read_settings(&mut root, "", given, diagnostics);
    for name in SECTIONS {
        let Some(entry) = root.take(name) else { continue };
        match entry.item {
            Item::Section(mut section) => {
                read_settings(&mut section, name, given, diagnostics);
                section.finish(&keys_of(name), |key| belongs(key, name), diagnostics);
            }
            _ => {
                diagnostics.wrong(&entry.place, format!("`{name}` is a section of its own, which begins with [{name}]"))
            }
        }
    }
    let tables = Tables { routes: root.take(ROUTE), stream: root.take(STREAM), relay: root.take(RELAY) };
    let mut known = keys_of("");
    known.extend(SECTIONS);
    known.extend([ROUTE, STREAM, RELAY]);
    root.finish(&known, |key| belongs(key, ""), diagnostics);
    tables
}

fn read_settings(section: &mut Section, name: &str, given: &mut Given, diagnostics: &mut Diagnostics) {
    for setting in settings::ALL.iter().filter(|setting| setting.file.0 == name) {
        if let Some(entry) = section.take(setting.file.1) {
            let origin = entry.place.clone();
            let text = match setting.is_list() {
                true => entry.texts(setting.file.1, diagnostics).map(|texts| {
                    let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
                    texts.join(",")
                }),
                false => entry.text(setting.file.1, diagnostics),
            };
            if let Some(text) = text {
                given.add(setting, Value { text, origin });
            }
        }
    }
}

/// The keys that a section can have.
fn keys_of(section: &str) -> Vec<&'static str> {
    settings::ALL.iter().filter(|setting| setting.file.0 == section).map(|setting| setting.file.1).collect()
}

/// Where a key belongs that stands in the wrong section, or bears the name of its flag.
fn belongs(key: &str, section: &str) -> Option<String> {
    let named = |setting: &&&Setting| setting.file.1 == key || setting.flag.replace('-', "_") == key.replace('-', "_");
    let setting = settings::ALL.iter().find(named)?;
    let (right, name) = setting.file;
    Some(match (right, right == section) {
        (_, true) => format!("did you mean `{name}`?"),
        ("", false) => format!("`{name}` belongs to the top of the file, above the first section"),
        (right, false) => format!("`{name}` belongs to the section [{right}]"),
    })
}

/// Where to send to, and how to log.
pub(crate) fn of_send(flags: Flags<OfSend>) -> Result<(SqsOptions, LogFormat), Failure> {
    let given = flags.with_environment();
    let mut diagnostics = Diagnostics::default();
    let queue = queue(&given, &mut diagnostics);
    let log_format = choice(&given, &settings::LOG_FORMAT, &mut diagnostics, LogFormat::of);
    Ok(diagnostics.none_or_else(queue.zip(log_format))?.0)
}

/// How the demo logs.
pub(crate) fn of_demo(flags: Flags<OfDemo>) -> Result<LogFormat, Failure> {
    let given = flags.with_environment();
    let mut diagnostics = Diagnostics::default();
    let log_format = choice(&given, &settings::LOG_FORMAT, &mut diagnostics, LogFormat::of);
    Ok(diagnostics.none_or_else(log_format)?.0)
}

/// How many bytes one body may decode to.
pub(crate) fn of_decode(flags: Flags<OfDecode>) -> Result<usize, Failure> {
    let given = flags.with_environment();
    let mut diagnostics = Diagnostics::default();
    let limit = read(&given, &settings::INFLATE_LIMIT, &mut diagnostics, units::size).flatten();
    Ok(diagnostics.none_or_else(limit)?.0)
}

/// Which queue, and how to get there.
fn queue(given: &Given, diagnostics: &mut Diagnostics) -> Option<SqsOptions> {
    let (url, name) = (given.get(&settings::QUEUE_URL), given.get(&settings::QUEUE_NAME));
    let account = given.get(&settings::QUEUE_ACCOUNT);
    let address = match (url, name) {
        (Some(url), Some(name)) if url.origin.rank() == name.origin.rank() => {
            diagnostics.wrong(&name.origin, format!("the queue is named twice, by {} too: leave one out", url.origin));
            return None;
        }
        (None, None) => {
            diagnostics.missing(
                "no queue: say which one by --queue-url URL, by STREAM_SQSD_QUEUE_URL, or in the file by `url` in the \
                 section [queue]",
            );
            return None;
        }
        (Some(url), name) if name.is_none_or(|name| name.origin.rank() < url.origin.rank()) => {
            if let Some(account) = account.filter(|account| account.origin.rank() >= url.origin.rank()) {
                diagnostics
                    .wrong(&account.origin, "an account goes with the name of a queue; its URL holds the account");
            }
            match QueueUrl::parse(url.text.trim()) {
                Ok(url) => QueueAddress::Url(url),
                Err(error) => {
                    let meant = address::meant_queue(url.text.trim()).map(|meant| format!("; {meant}"));
                    diagnostics.wrong(&url.origin, format!("{error}{}", meant.unwrap_or_default()));
                    return None;
                }
            }
        }
        (_, name) => {
            let name = name?;
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.text.is_empty() || name.text.len() > 80 || !name.text.chars().all(allowed) {
                let looks_like_url = if name.text.contains("//") { "; a URL goes into --queue-url" } else { "" };
                diagnostics.wrong(&name.origin, format!("{:?} is not the name of a queue{looks_like_url}", name.text));
            }
            if let Some(account) = account
                && !(account.text.len() == 12 && account.text.bytes().all(|b| b.is_ascii_digit()))
            {
                diagnostics
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
    options.client = choice(given, &settings::CLIENT, diagnostics, client).unwrap_or_default();
    if let Some(endpoint) = given.get(&settings::ENDPOINT_URL)
        && let Some(meant) = address::with_scheme(endpoint.text.trim(), "https")
    {
        let what = format!("no scheme: did you mean {}?", address::shown(&meant));
        diagnostics.wrong(&endpoint.origin, named(settings::ENDPOINT_URL.file.1, &endpoint.origin, &what));
    }
    Some(options)
}

/// The settings of the engine.
fn engine(given: &Given, diagnostics: &mut Diagnostics) -> Option<Settings> {
    let wait = read(given, &settings::WAIT, diagnostics, whole_seconds);
    let visibility = read(given, &settings::VISIBILITY, diagnostics, whole_seconds);
    let concurrency = read(given, &settings::CONCURRENCY, diagnostics, units::count);
    let max_in_flight_bytes = read(given, &settings::MAX_IN_FLIGHT_BYTES, diagnostics, units::size);
    let handler_timeout = read(given, &settings::HANDLER_TIMEOUT, diagnostics, units::duration);
    let grace = read(given, &settings::GRACE, diagnostics, units::duration);
    let inflate_limit = read(given, &settings::INFLATE_LIMIT, diagnostics, units::size);
    let unrouted = choice(given, &settings::UNROUTED, diagnostics, unrouted);
    let until_empty = read(given, &settings::UNTIL_EMPTY, diagnostics, units::truth);
    let fifo_attempts = read(given, &settings::FIFO_ATTEMPTS, diagnostics, units::count);
    let journal = read(given, &settings::JOURNAL, diagnostics, |path| Ok(PathBuf::from(path)));
    if let Some(value) = given.get(&settings::JOURNAL) {
        diagnostics.check_directory(&value.origin, Path::new(&value.text));
    }

    // All of them were read before the first mistake ends it.
    let engine = Settings::new()
        .with_wait(wait??)
        .with_visibility(visibility?)
        .with_concurrency(concurrency??)
        .with_max_in_flight_bytes(max_in_flight_bytes??)
        .with_handler_timeout(handler_timeout??)
        .with_grace(grace??)
        .with_inflate_limit(inflate_limit??)
        .with_unrouted(unrouted?)
        .with_until_empty(until_empty??)
        .with_fifo_attempts(fifo_attempts?.map(|attempts| u32::try_from(attempts).unwrap_or(u32::MAX)))
        .with_journal(journal?);
    if let Err(error) = engine.check() {
        let setting = settings::ALL.iter().find(|setting| setting.file.1 == error.setting);
        match setting.and_then(|setting| given.get(setting)) {
            Some(value) => diagnostics.wrong(&value.origin, named(error.setting, &value.origin, &error.reason)),
            // The value is a default, so it is another one that does not fit it: the reason names that.
            None => diagnostics.missing(error.to_string()),
        }
        return None;
    }
    Some(engine)
}

/// Reads a setting, or its default. The outer None is a mistake, which is noted; the inner that nothing holds.
fn read<T>(
    given: &Given,
    setting: &Setting,
    diagnostics: &mut Diagnostics,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Option<T>> {
    match given.get(setting) {
        Some(value) => match parse(&value.text) {
            Ok(parsed) => Some(Some(parsed)),
            Err(what) => {
                diagnostics.wrong(&value.origin, named(setting.file.1, &value.origin, &what));
                None
            }
        },
        None => match given.unset(setting) {
            Unset::Value(text) => Some(parse(text).ok()),
            Unset::Words(_) => Some(None),
        },
    }
}

/// A flag and a variable bear their name, a line of a file does not.
fn named(key: &str, origin: &Origin, what: &str) -> String {
    match origin {
        Origin::File { .. } => format!("`{key}`: {what}"),
        Origin::Flag(_) | Origin::Environment(_) => what.to_owned(),
    }
}

/// Reads a setting whose values can be listed.
fn choice<T>(
    given: &Given,
    setting: &Setting,
    diagnostics: &mut Diagnostics,
    of: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let parse = |text: &str| {
        of(text.trim()).ok_or_else(|| format!("{text:?} is none of the values: {}", setting.choices.join(", ")))
    };
    read(given, setting, diagnostics, parse).flatten()
}

fn client(text: &str) -> Option<SqsClient> {
    match text {
        "auto" => Some(SqsClient::Auto),
        "sdk" => Some(SqsClient::Sdk),
        _ => None,
    }
}

fn unrouted(text: &str) -> Option<Unrouted> {
    match text {
        "ack" => Some(Unrouted::Acknowledge),
        "leave" => Some(Unrouted::Leave),
        _ => None,
    }
}

/// Names of hosts, with commas between.
fn host_names(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let checked = names.map(|name| {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let why = "is not the name of a host, such as metrics.example.com: without scheme, port and path";
        if plain { Ok(name.to_owned()) } else { Err(format!("{name:?} {why}")) }
    });
    checked.collect()
}

/// A time that SQS takes in seconds: it would be cut without a word.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let time = units::duration(text)?;
    match time.subsec_nanos() {
        0 => Ok(time),
        _ => Err(format!("{text:?} is not in whole seconds, which is what SQS takes")),
    }
}

/// `${NAME}`, which other programs replace by a variable, would be taken literally here.
fn refuse_expansion(key: Option<&str>, place: &Origin, text: &str, diagnostics: &mut Diagnostics) {
    let Some((_, name)) = text.split_once("${") else { return };
    let name = name.split_once(['}', ':']).map_or(name, |(name, _)| name);
    // Default values and the like may be secret.
    let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let name = if plain && !name.is_empty() { name } else { "NAME" };
    let what = match key {
        Some("env") => format!("`env` takes the name alone: write \"{name}\", without ${{ and }}"),
        Some("file") => {
            "`file` takes the path as it is: for what systemd hands over write { credential = \"NAME\" }".to_owned()
        }
        Some(key) => format!(
            "`{key}`: ${{{name}}} is not replaced by the variable: where a secret may stand write {{ env = \"{name}\" }}; \
             other settings have variables of their own, such as STREAM_SQSD_QUEUE_URL"
        ),
        None => format!("${{{name}}} is not replaced by the variable: nothing here expands variables but a shell"),
    };
    diagnostics.wrong(place, what);
}

/// Environment variables that look like ours and are not: typos, which nothing else would ever tell of.
fn find_unknown_variables(diagnostics: &mut Diagnostics) {
    let known = settings::ALL.iter().map(|setting| setting.variable());
    let known: Vec<String> = known.chain([FILE_VARIABLE, TEXT_VARIABLE].map(str::to_owned)).collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with(settings::VARIABLE_PREFIX) && !known.contains(name)) {
        if let Some(nearest) = nearest(&name, known.iter().map(String::as_str)) {
            let what = format!("this environment variable is not a setting; did you mean {nearest}?");
            diagnostics.warn(&Origin::Environment(name), what);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    /// What a file says, with nothing from flags and the environment.
    fn engine_of(text: &str) -> Result<Settings, String> {
        let mut diagnostics = Diagnostics::default();
        let mut given = Given::default();
        let root = Section::parse(text, &Path::new("f.toml").into(), &mut diagnostics);
        read_file(root.unwrap(), &mut given, &mut diagnostics);
        let engine = engine(&given, &mut diagnostics);
        diagnostics.none_or_else(engine).map(|(engine, _)| engine).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_engine() {
        assert_eq!(format!("{:?}", engine_of("").unwrap()), format!("{:?}", Settings::default()));
    }

    #[test]
    fn every_mistake_is_told_in_the_order_of_the_lines() {
        let told =
            engine_of("grace = 5\nunrouted = \"delete\"\nconcurency = 3\n[queue]\nwait = \"1500ms\"\n").unwrap_err();
        let place = |what: &str| told.find(what).unwrap_or_else(|| panic!("{what} is not in {told}"));
        let places = [place("f.toml:1"), place("f.toml:2"), place("f.toml:3"), place("f.toml:5")];
        assert!(places.is_sorted(), "{told}");
        assert!(told.contains("did you mean `concurrency`?"), "{told}");
    }

    #[test]
    fn a_value_of_a_higher_layer_stays() {
        let mut given = Given::default();
        let flag = Value { text: "7".to_owned(), origin: Origin::Flag("concurrency") };
        given.add(&settings::CONCURRENCY, flag);
        let mut diagnostics = Diagnostics::default();
        let root = Section::parse("concurrency = 3\ngrace = \"40s\"", &Path::new("f.toml").into(), &mut diagnostics);
        read_file(root.unwrap(), &mut given, &mut diagnostics);
        let engine = engine(&given, &mut diagnostics).unwrap();
        assert_eq!((engine.concurrency, engine.grace), (7, Duration::from_secs(40)));
    }

    #[test]
    fn a_setting_has_one_name_as_flag_variable_and_key() {
        for setting in settings::ALL {
            let flag = setting.flag.replace('-', "_");
            let (section, key) = setting.file;
            let same = match section {
                // The flag `--admin` says all that its section has to say.
                "admin" if key == "listen" => flag == section,
                _ => key == flag || format!("{section}_{key}") == flag,
            };
            assert!(same, "{} is {key} in the file", setting.flag);
            assert_eq!(setting.variable(), format!("STREAM_SQSD_{}", flag.to_uppercase()));
        }
    }

    #[test]
    fn no_flag_no_variable_and_no_key_stands_twice() {
        for (position, setting) in settings::ALL.iter().enumerate() {
            for other in &settings::ALL[position + 1..] {
                assert!(setting.flag != other.flag && setting.file != other.file, "{}", setting.flag);
            }
        }
    }
}
