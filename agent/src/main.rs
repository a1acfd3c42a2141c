//! The `waysteer` binary.

use std::process::ExitCode;

use clap::Parser;
use waysteer::cli::{Cli, ClientArgs, Command, ExplainArgs, RunArgs};
use waysteer::config::Config;
use waysteer::{app, check, cleanup, client, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args).await,
        Command::Check => check::run(),
        Command::Status(args) => show(&args, "/status").await,
        Command::Flows(args) => show(&args, "/debug/flows").await,
        Command::Cleanup(args) => cleanup::run(&args).await,
        Command::Explain(args) => explain(&args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waysteer: {error:#}");
            ExitCode::FAILURE
        }
    }
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

async fn show(args: &ClientArgs, page: &str) -> anyhow::Result<()> {
    let body = client::get(&args.socket, page).await?;
    let value: serde_json::Value = serde_json::from_str(&body)?;
    println!("{}", serde_json::to_string_pretty(&value)?);
    Ok(())
}

async fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let ExplainArgs {
        pod,
        destination,
        client,
    } = args;
    show(
        client,
        &format!("/explain?pod={pod}&destination={destination}"),
    )
    .await
}
