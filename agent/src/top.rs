//! `waysteer top`: a node at a glance, on the whole terminal.

mod draw;
mod model;
mod page;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::block_in_place;

use crate::cli::TopArgs;
use crate::client;
use model::{Model, Next};
use page::{Flow, Page};

/// How soon a signal is noticed.
const SOON: Duration = Duration::from_millis(200);

/// # Errors
/// Where there is no terminal, or no agent answers.
pub async fn top(args: &TopArgs) -> anyhow::Result<ExitCode> {
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        bail!("top needs a terminal; waysteer status and waysteer monitor --summary do not");
    }
    let every = Duration::try_from_secs_f64(args.interval).unwrap_or(Duration::ZERO);
    if every < Duration::from_millis(100) {
        bail!("--interval {}: a tenth of a second at least", args.interval);
    }
    // Before the terminal is another: whether there is anything to show.
    let first = fetch(args).await?;
    let ends = Arc::new(AtomicBool::new(false));
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind)?;
        let ends = ends.clone();
        tokio::spawn(async move {
            signals.recv().await;
            ends.store(true, Ordering::Relaxed);
            // Reading keys from a terminal that is gone never returns.
            tokio::time::sleep(SOON * 5).await;
            let _ = ratatui::try_restore();
            std::process::exit(1);
        });
    }
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let mut model = Model::new(first, Instant::now(), is_plain);
    let result = block_in_place(|| {
        // Puts the terminal back when it panics, too.
        let mut terminal = ratatui::try_init()?;
        let result = run(&mut terminal, &mut model, args, every, &ends);
        ratatui::try_restore()?;
        result
    });
    result.map(|()| ExitCode::SUCCESS)
}

fn run(
    terminal: &mut ratatui::DefaultTerminal,
    model: &mut Model,
    args: &TopArgs,
    every: Duration,
    ends: &AtomicBool,
) -> anyhow::Result<()> {
    let mut due = Instant::now() + every;
    loop {
        terminal.draw(|frame| draw::draw(frame, model))?;
        let wait = due.saturating_duration_since(Instant::now()).min(SOON);
        if event::poll(wait)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && model.key(key) == Next::End
        {
            return Ok(());
        }
        if ends.load(Ordering::Relaxed) {
            return Ok(());
        }
        if Instant::now() < due {
            continue;
        }
        due = Instant::now() + every;
        let fetched = Handle::current().block_on(async {
            let page = fetch(args).await?;
            let flows = if model.wants_flows() {
                flows(args).await?
            } else {
                Vec::new()
            };
            anyhow::Ok((page, flows))
        });
        match fetched {
            Ok((page, flows)) => model.update(page, flows, Instant::now()),
            // It may come again.
            Err(error) => model.fail(format!("{error:#}")),
        }
    }
}

async fn fetch(args: &TopArgs) -> anyhow::Result<Page> {
    let answer = client::get(&args.client.socket, "/debug/top").await?;
    Ok(serde_json::from_str(&answer)?)
}

async fn flows(args: &TopArgs) -> anyhow::Result<Vec<Flow>> {
    let answer = client::get(&args.client.socket, "/debug/flows").await?;
    Ok(serde_json::from_str(&answer)?)
}
