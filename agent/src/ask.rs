//! The commands that ask a running agent, or where none runs what is pinned, and print the answer.

mod dump;
mod explain;
mod monitor;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::cli::{FlowsArgs, LogArgs, Output, StatusArgs};
use crate::client::{self, ClientError};
use crate::kernel::pinned::Pinned;
use crate::kernel::programs::programs;
use crate::names::pods::find;
use crate::show::{self, Shown};

pub use self::dump::dump;
pub use self::explain::explain;
pub use self::monitor::monitor;

/// The question was answered, and the answer is that something is not well.
const NOT_WELL: u8 = 3;

/// # Errors
/// When an agent answers with something else, or does not know the pod.
pub async fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let answer = match client::get(&args.client.socket, "/status").await {
        Err(error @ ClientError::Connect { .. }) => {
            return without_agent(args, &error);
        }
        answer => answer?,
    };
    let (answer, shown) = match args.pod.as_deref() {
        Some(asked) => {
            let answer = show::only(&answer, asked)?;
            let shown = show::pod(&answer, width())?;
            (answer, shown)
        }
        None => {
            let shown = show::status(&answer, width())?;
            (answer, shown)
        }
    };
    print(&answer, &shown, args.output.output)
}

/// # Errors
/// When no agent answers, or with something else.
pub async fn flows(args: &FlowsArgs) -> anyhow::Result<ExitCode> {
    let answer = client::get(&args.client.socket, "/debug/flows").await?;
    print(&answer, &show::flows(&answer, width())?, args.output.output)
}

/// # Errors
/// When no agent answers, or the filter is not one.
pub async fn log(args: &LogArgs) -> anyhow::Result<()> {
    let socket = &args.client.socket;
    let answer = match &args.filter {
        Some(filter) => client::post(socket, "/log", filter).await?,
        None => client::get(socket, "/log").await?,
    };
    println!("{}", answer.trim_end());
    Ok(())
}

/// What outlives an agent is told without one.
fn without_agent(args: &StatusArgs, error: &ClientError) -> anyhow::Result<ExitCode> {
    eprintln!("waysteer: {error}");
    let root = &args.pin_root;
    let mut pinned = block_in_place(|| Pinned::look(root));
    if let Some(asked) = args.pod.as_deref() {
        let uid = find(&pinned.pods, asked)?.uid.clone();
        pinned.pods.retain(|pod| pod.uid == uid);
    }
    let programs = block_in_place(|| programs(root)).unwrap_or_default();
    let answer = json!({ "agent": null, "pin_root": root, "pinned": pinned, "programs": programs });
    let shown = show::offline(&pinned, &programs, root, width());
    print(&answer.to_string(), &shown, args.output.output)
}

fn print(answer: &str, shown: &Shown, form: Output) -> anyhow::Result<ExitCode> {
    let document: Value = match form {
        Output::Table => Value::Null,
        Output::Json | Output::Yaml => serde_json::from_str(answer)?,
    };
    output(form, &shown.text, &document)?;
    Ok(if shown.is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    })
}

/// The text for people, else the document.
fn output(form: Output, text: &str, document: &Value) -> anyhow::Result<()> {
    match form {
        Output::Table => anstream::print!("{text}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(document)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(document)?),
    }
    Ok(())
}

/// Columns of the terminal that is written to.
pub fn width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let (columns, _) = ratatui::crossterm::terminal::size().ok()?;
    Some(usize::from(columns))
}

/// As it may stand in a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b':' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_is_typed_arrives_whole() {
        assert_eq!(escaped("default/web-1:80"), "default/web-1:80");
        assert_eq!(escaped("[fd00::1]:80"), "%5Bfd00::1%5D:80");
        assert_eq!(escaped("a&b=c d"), "a%26b%3Dc%20d");
    }
}
