//! `stream-sqsd init-postgres`: makes the tables that the configuration's routes write to.

use anyhow::anyhow;
use clap::Args;
use stream_sqsd::handlers::postgres::{self, PostgresSettings};
use tokio::runtime::Builder;

use crate::config;
use crate::config::secret::Missing;
use crate::config::settings::{Flags, OfRun};
use crate::config::source::ConfigArguments;
use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure, print, say};

/// Make the tables that the configuration's routes to PostgreSQL write to. What is there already stays.
#[derive(Debug, Args)]
pub(crate) struct InitPostgresArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Print the statements instead, for anyone who may run them.
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
}

pub(crate) fn init_postgres(arguments: InitPostgresArguments, signals: Signals) -> Result<Exit, Failure> {
    signals.end_at_once()?;
    // To print the statements nobody needs the password.
    let missing = if arguments.print { Missing::Warned } else { Missing::Refused };
    let config = config::of_run(arguments.settings, arguments.config.path(), missing)?;
    let mut tables = Vec::new();
    for route in &config.routes {
        let Some(settings) = route.target.settings::<PostgresSettings>() else { continue };
        if !tables.iter().any(|(_, known)| *known == settings) {
            tables.push((&route.place, settings));
        }
    }
    if tables.is_empty() {
        return Err(Failure::usage("no route of this configuration has the handler \"postgres\""));
    }
    if arguments.print {
        let statements: Vec<String> =
            tables.iter().map(|(_, settings)| postgres::schema(&settings.table)).collect::<Result<_, _>>()?;
        print(&statements.concat())?;
        return Ok(Exit::Done);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    for (place, settings) in tables {
        runtime
            .block_on(postgres::init(settings))
            .map_err(|error| Failure::new(Exit::Unavailable, anyhow!("{place}: {:#}", anyhow::Error::new(error))))?;
        say(&format!("the table {} is there", settings.table));
    }
    Ok(Exit::Done)
}
