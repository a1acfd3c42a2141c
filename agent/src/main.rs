//! The `waysteer` binary.

use std::process::ExitCode;

use clap::Parser;
use waysteer::cli::{Cli, Command, RunArgs};
use waysteer::config::Config;
use waysteer::{app, ask, check, cleanup, manual, telemetry, top};

#[tokio::main]
async fn main() -> ExitCode {
    let well = |()| ExitCode::SUCCESS;
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args).await.map(well),
        Command::Check(args) => check::run(&args).await.map(well),
        Command::Status(args) => ask::status(&args).await,
        Command::Flows(args) => ask::flows(&args).await,
        Command::Dump(args) => ask::dump(&args).await,
        Command::Top(args) => top::top(&args).await,
        Command::Monitor(args) => ask::monitor(&args).await,
        Command::Cleanup(args) => cleanup::run(&args).await.map(well),
        Command::Explain(args) => ask::explain(&args).await,
        Command::Log(args) => ask::log(&args).await.map(well),
        Command::Completions { shell } => manual::completions(shell).map(well).map_err(Into::into),
        Command::Man { directory } => manual::pages(&directory).map(well).map_err(Into::into),
    };
    result.unwrap_or_else(|error| {
        eprintln!("waysteer: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    let RunArgs {
        config,
        object,
        settings,
    } = args;
    let config = Config::load(config.as_deref(), &settings)?;
    telemetry::start(&config.log, config.log_format)?;
    tracing::info!(
        config = serde_json::to_string(&config)?,
        "effective configuration"
    );
    Ok(app::run(config, object.as_deref()).await?)
}
