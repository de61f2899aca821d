//! `stream-sqsd check`: whether a configuration is good, and with `--online` whether its queue and its targets are.
//!
//! Queue, targets and app are asked and never changed. What is found is of two grades: what loses or delays messages, and advice.

mod queue;
mod stream;
mod targets;
mod relay;
mod coverage;
mod event;
mod finding;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stream_sqsd::queue::sqs::{SqsQueue, queue_arn};
use tokio::runtime::Builder;

use self::event::Way;
use self::finding::{Examined, Fact, Finding, Grade};
use self::queue::{Subject, allow, ask, denial};
use crate::commands::advice;
use crate::config::diagnostics::Diagnostic;
use crate::config::secret::Missing;
use crate::config::settings::{Flags, OfRun};
use crate::config::source::ConfigArguments;
use crate::config::{self, Config};
use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure, print};
use crate::terminal::log;
use crate::terminal::screen::Screen;

const CHECK_HELP: &str = "\
The exit code is 0 when nothing was found or advice only, 1 when something loses or delays messages, 2 when the \
configuration is wrong, 69 when the queue cannot be asked. Nothing is ever changed. What `run` would refuse on this \
machine, such as a secret or a directory that is not here, counts as 1.

With --online each target is looked at too, and sent no event: connections to URLs are opened and closed again, databases \
are asked to plan an insertion, files and directories must be writable.

With --event the routes that an event takes are printed, each with what it would do. Nobody is called.

Examples:
  stream-sqsd check stream-sqsd.toml
  stream-sqsd check --event event.json stream-sqsd.toml
  stream-sqsd check --online --queue-url URL --json";

/// Check a configuration, and with --online the queue too.
#[derive(Debug, Args)]
#[command(after_help = CHECK_HELP)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Read the queue's attributes and judge them, try what the daemon is allowed to do, and look at the targets.
    #[arg(long)]
    pub(crate) online: bool,
    /// Try to receive as well, which costs one message one of its receives.
    #[arg(long, requires = "online")]
    pub(crate) receive: bool,
    /// Print which routes the event in FILE takes and what each would do: an event as JSON, or the body of a message; `-` is
    /// standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) event: Option<PathBuf>,
    /// Print what was found as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
}

pub(crate) fn check(arguments: CheckArguments, signals: Signals) -> Result<Exit, Failure> {
    signals.end_at_once()?;
    let config = config::of_run(arguments.settings.clone(), arguments.config.path(), Missing::Warned)?;
    let screen = Screen::new();
    log::start(config.log_format, &screen)?;
    let way = arguments.event.as_deref().map(|path| event::read(path, &config)).transpose()?;
    let mut findings: Vec<Finding> = config.warnings.iter().map(of_configuration).collect();
    let mut facts: Vec<Fact> = coverage::rest(&config).into_iter().collect();
    let of_relay = relay::examine(&config);
    findings.extend(of_relay.findings);
    facts.extend(of_relay.facts);
    if arguments.online {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let examined = runtime.block_on(examine(&config, arguments.receive))?;
        findings.extend(examined.findings);
        facts.extend(examined.facts);
    }

    let text = match arguments.json {
        true => as_json(&config, &facts, &findings, arguments.online, way.as_ref()),
        false => for_people(&config, &facts, &findings, &arguments, way.as_ref()),
    };
    print(&text)?;
    Ok(if findings.iter().any(|finding| finding.grade == Grade::Harm) { Exit::Findings } else { Exit::Done })
}

fn of_configuration(warning: &Diagnostic) -> Finding {
    let (grade, why) = match warning.is_needed() {
        true => (Grade::Harm, "The daemon would not start here."),
        false => (Grade::Advice, ""),
    };
    Finding { grade, what: warning.to_string(), why: why.to_owned(), fix: warning.fix().map(str::to_owned) }
}

fn for_people(
    config: &Config,
    facts: &[Fact],
    findings: &[Finding],
    arguments: &CheckArguments,
    way: Option<&Way<'_>>,
) -> String {
    let is_good = match config.warnings.iter().any(Diagnostic::is_needed) {
        true => "the configuration is well-formed, and something that it needs is not here",
        false => "the configuration is good",
    };
    let mut text = match &config.file {
        Some(file) => format!("{}: {is_good}\n", file.display()),
        None => format!("{is_good}\n"),
    };
    for (position, route) in config.routes.iter().enumerate() {
        text.push_str(&format!("  route {}: {route}\n", position + 1));
    }
    if config.routes.is_empty() {
        text.push_str("  no routes: every event goes to standard output\n");
    }
    if let Some(way) = way {
        text.push_str(&way.for_people());
    }
    for fact in facts {
        text.push_str(&format!("\n{}\n  {}\n", fact.what, fact.why));
    }
    for finding in findings {
        let grade = match finding.grade {
            Grade::Harm => "loses or delays messages",
            Grade::Advice => "advice",
        };
        text.push_str(&format!("\n{grade}: {}\n", finding.what));
        if !finding.why.is_empty() {
            text.push_str(&format!("  {}\n", finding.why));
        }
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("  to fix it: {fix}\n"));
        }
    }
    if arguments.online {
        if findings.is_empty() {
            text.push_str("\nthe queue is good, and so are the targets\n");
        }
        if !arguments.receive {
            text.push_str("\nnot tried: receiving; --receive does, and costs one message one of its receives\n");
        }
    }
    text
}

fn as_json(config: &Config, facts: &[Fact], findings: &[Finding], online: bool, way: Option<&Way<'_>>) -> String {
    let facts: Vec<Value> = facts.iter().map(|fact| json!({"what": fact.what, "why": fact.why})).collect();
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let grade = match finding.grade {
                Grade::Harm => "harm",
                Grade::Advice => "advice",
            };
            json!({"grade": grade, "what": finding.what, "why": finding.why, "fix": finding.fix})
        })
        .collect();
    let file = config.file.as_ref().map(|file| file.display().to_string());
    let mut found = json!({"file": file, "online": online, "facts": facts, "findings": findings});
    if let Some(way) = way {
        found["event"] = way.as_json();
    }
    format!("{found}\n")
}

/// Asks the queue everything.
async fn examine(config: &Config, receive: bool) -> Result<Examined, Failure> {
    let queue = SqsQueue::connect(config.queue.clone()).await;
    let queue = queue.map_err(|error| advice::not_connected(error, &config.queue))?;
    let arn = queue.arn().unwrap_or_else(|| queue_arn(queue.region(), "ACCOUNT", queue.url().name()));
    // First, since it says by whose permission Stream sends.
    let of_stream = stream::examine(config, &queue).await;
    let subject = Subject {
        url: queue.url().as_str(),
        arn: &arn,
        engine: &config.engine,
        keeps_reasons: config.reasons.is_some(),
        auth: of_stream.auth,
        by_topic: of_stream.by_topic,
    };
    let mut found = ask(&queue, &subject, receive).await.map_err(|error| advice::refused(error, &arn))?;
    found.findings.extend(of_stream.findings);
    found.findings.extend(targets::examine(config).await);
    if config.relay.is_some()
        && let Some(message) =
            denial(queue.send(&[relay::refused_message(&queue)]).await).map_err(|error| advice::refused(error, &arn))?
    {
        found.findings.push(relay::may_not_send(allow("sqs:SendMessage", &arn, &message)));
    }
    Ok(found)
}
