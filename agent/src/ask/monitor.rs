//! `waysteer monitor`: what the agent tells, until one has seen enough.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::escaped;
use crate::cli::{MonitorArgs, Output};
use crate::client::{Lines, lines};
use crate::kernel::clock::monotonic_epoch;
use crate::show::monitor::{Line, Stream, Summary};

/// How often a summary is drawn.
const PERIOD: Duration = Duration::from_secs(1);
/// Longer than anybody looks.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// # Errors
/// When no agent answers, or it ends.
pub async fn monitor(args: &MonitorArgs) -> anyhow::Result<ExitCode> {
    if args.summary && args.output.output != Output::Table {
        bail!("--summary is for people: without it -o json prints each verdict");
    }
    if args.output.output == Output::Yaml {
        bail!("-o yaml has no form for what comes a line at a time: -o json has");
    }
    let mut source = lines(&args.client.socket, &page(args)).await?;
    let shown = show(args, &mut source).await;
    match shown {
        // Whoever has read it has seen enough.
        Err(Ended::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Ended::Output(error)) => Err(error.into()),
        Err(Ended::Other(error)) => Err(error),
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(lost) => {
            if args.drops {
                eprintln!("waysteer: {lost} drops were lost: waysteer_packet_actions counts all");
            } else {
                eprintln!("waysteer: {lost} verdicts were lost: filters make fewer of them");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

enum Ended {
    Output(std::io::Error),
    Other(anyhow::Error),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

/// Until Ctrl-C or the time is over; how many verdicts were lost.
async fn show(args: &MonitorArgs, source: &mut Lines) -> Result<u64, Ended> {
    let is_terminal = std::io::stdout().is_terminal();
    let mut stream = Stream::new(super::width(), monotonic_epoch());
    let mut page = Page::new(if args.drops {
        Summary::of_drops()
    } else {
        Summary::of_verdicts()
    });
    let mut lost = 0;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.reset();
    let end = sleep(args.seconds.map_or(FOREVER, Duration::from_secs));
    tokio::pin!(end);
    loop {
        let text = tokio::select! {
            _ = interrupt.recv() => break,
            () = &mut end => break,
            _ = clock.tick(), if args.summary && is_terminal => {
                page.draw()?;
                continue;
            }
            text = source.next() => text,
        };
        let text = match text {
            Ok(Some(text)) if text.is_empty() => continue,
            Ok(Some(text)) => text,
            Ok(None) => {
                let error = anyhow::anyhow!("the agent has ended: see waysteer status");
                return Err(Ended::Other(error));
            }
            Err(error) => return Err(Ended::Other(error.into())),
        };
        let line = Line::read(&text).map_err(|error| Ended::Other(error.into()))?;
        lost += line.lost();
        match args.output.output {
            _ if args.summary => page.summary.add(&line),
            Output::Json => writeln!(std::io::stdout(), "{text}")?,
            Output::Table | Output::Yaml => {
                write!(anstream::stdout(), "{}", stream.text(&line))?;
            }
        }
    }
    if args.summary && is_terminal {
        page.draw()?;
    } else if args.summary {
        let text = page
            .summary
            .page(page.since.elapsed().as_secs_f64(), None, None);
        write!(anstream::stdout(), "{text}")?;
    }
    Ok(lost)
}

/// A summary that is drawn again in its place.
struct Page {
    summary: Summary,
    since: Instant,
    /// Lines of the last one.
    drawn: usize,
}

impl Page {
    fn new(summary: Summary) -> Self {
        Self {
            summary,
            since: Instant::now(),
            drawn: 0,
        }
    }

    fn draw(&mut self) -> std::io::Result<()> {
        let size = ratatui::crossterm::terminal::size().ok();
        let width = size.map(|(columns, _)| usize::from(columns));
        let height = size.map(|(_, rows)| usize::from(rows).saturating_sub(1));
        let seconds = self.since.elapsed().as_secs_f64();
        let text = self.summary.page(seconds, width, height);
        self.since = Instant::now();
        // Also where colours are not wanted.
        let mut out = std::io::stdout().lock();
        if self.drawn > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        drop(out);
        self.drawn = text.lines().count();
        let mut out = anstream::stdout().lock();
        write!(out, "{text}")?;
        out.flush()
    }
}

fn page(args: &MonitorArgs) -> String {
    let MonitorArgs {
        pod,
        class,
        reason,
        dst,
        drops,
        ..
    } = args;
    let mut page = format!("/monitor?drops={drops}");
    for (name, value) in [
        ("pod", pod.as_deref()),
        ("class", class.map(|class| class.label())),
        ("reason", reason.map(|reason| reason.label())),
        ("dst", dst.as_deref()),
    ] {
        if let Some(value) = value {
            page.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    page
}
