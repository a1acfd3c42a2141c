//! `waysteer monitor`: verdicts as they come, and who listens too slowly.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::wait::{wait_for, wait_until};

use super::{command, waysteer};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A running `waysteer monitor`, whose lines are read as they come.
pub(super) struct Monitor {
    child: Child,
    pub(super) lines: Receiver<String>,
}

impl Monitor {
    pub(super) fn start(bed: &Bed, arguments: &[&str]) -> Result<Self> {
        let mut command = command(bed, &[&["monitor"], arguments].concat())?;
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("an output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// Dials until the monitor, which has to connect first, tells of it.
    pub(super) fn hears(&self, bed: &Bed, pod: &str, to: SocketAddr) -> Result<String> {
        wait_for(PATIENCE, &format!("a line on {pod} to {to}"), || {
            dial(bed, pod, to);
            self.lines.recv_timeout(Duration::from_millis(200)).ok()
        })
    }

    pub(super) fn end(mut self, signal: Signal) -> Result<(ExitStatus, String)> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        let mut status = None;
        wait_until(PATIENCE, "the monitor ends", || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        let mut errors = String::new();
        let mut pipe = self.child.stderr.take().context("errors")?;
        pipe.read_to_string(&mut errors)?;
        Ok((status.context("a status")?, errors))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether anybody answers is nobody's question here.
fn dial(bed: &Bed, pod: &str, to: SocketAddr) {
    let dial = Dial::new().nonblocking().timeout(Duration::from_millis(1));
    let _ = dial.connect(&bed.pod(pod).netns, to);
}

#[test]
fn what_is_asked_for_is_heard() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let web = Bed::service(bed::WEB, false);
    let empty = Bed::service(bed::EMPTY, false);
    let all = Monitor::start(&bed, &["-o", "json"])?;
    let line: Value = serde_json::from_str(&all.hears(&bed, "client", web)?)?;
    ensure!(
        line["type"] == "verdict" && line["pod"] == "default/client",
        "{line}"
    );
    ensure!(
        line["reason"] == "ServiceHbone" && line["steered"] == true,
        "{line}"
    );
    ensure!(line["next_hop_workload"] == "default/far", "{line}");
    let (status, errors) = all.end(Signal::SIGINT)?;
    ensure!(status.success() && errors.is_empty(), "{status} {errors}");

    // Filters: of what is dialled only one kind is heard.
    let monitor = Monitor::start(&bed, &["--pod", "server", "--dst", "web", "-o", "json"])?;
    dial(&bed, "client", web);
    dial(&bed, "server", empty);
    monitor.hears(&bed, "server", web)?;
    dial(&bed, "client", web);
    dial(&bed, "server", empty);
    let line: Value = serde_json::from_str(&monitor.hears(&bed, "server", web)?)?;
    ensure!(line["pod"] == "default/server", "{line}");
    ensure!(line["destination"] == web.to_string(), "{line}");
    let (status, _) = monitor.end(Signal::SIGINT)?;
    ensure!(status.success(), "{status}");

    // A connection that leads nowhere, for people.
    let monitor = Monitor::start(&bed, &["--reason", "NoEndpoint"])?;
    dial(&bed, "client", web);
    let line = monitor.hears(&bed, "client", empty)?;
    ensure!(
        line.contains("NoEndpoint") && line.contains(&empty.to_string()),
        "{line}"
    );
    ensure!(!line.contains('\u{1b}'), "{line:?}");

    let said = waysteer(&bed, &["monitor", "--summary", "--seconds", "1"])?;
    ensure!(said.status == Some(0), "{said:?}");
    ensure!(said.text.contains("no connection was judged"), "{said:?}");
    let said = waysteer(&bed, &["monitor", "--class", "direkt"])?;
    ensure!(said.errors.contains("DirectLocal"), "{said:?}");
    let said = waysteer(&bed, &["monitor", "--drops", "--class", "direct"])?;
    ensure!(
        said.status == Some(2) && said.errors.contains("--class"),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn the_end_of_the_agent_is_told() -> Result<()> {
    let mut bed = Bed::new(&Options::default())?;
    let web = Bed::service(bed::WEB, true);
    let monitor = Monitor::start(&bed, &[])?;
    monitor.hears(&bed, "client", web)?;
    // In good order, though somebody listens.
    bed.stop_agent()?;
    let mut monitor = monitor;
    let mut status = None;
    wait_until(PATIENCE, "the monitor ends", || {
        status = monitor.child.try_wait().ok().flatten();
        status.is_some()
    })?;
    ensure!(status.and_then(|it| it.code()) == Some(1), "{status:?}");
    let said = waysteer(&bed, &["monitor"])?;
    ensure!(
        said.status == Some(1) && said.errors.contains("no agent answers"),
        "{said:?}"
    );
    Ok(())
}

/// More than all buffers hold.
const CROWD: usize = 30_000;

#[test]
fn whoever_does_not_read_loses_and_holds_nobody_up() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let socket = bed.socket();
    let mut slow = UnixStream::connect(&socket)?;
    write!(
        slow,
        "GET /monitor?dst=203.0.113.99 HTTP/1.0\r\nhost: test\r\n\r\n"
    )?;
    slow.set_read_timeout(Some(PATIENCE))?;
    // The head, and no more.
    let mut first = [0];
    slow.read_exact(&mut first)?;

    let to: IpAddr = "203.0.113.99".parse()?;
    let before = bed.metric("waysteer_verdicts", &[("reason", "Unknown")])?;
    let lost = bed.metric("waysteer_packet_actions", &[("action", "event_lost")])?;
    let client = &bed.pod("client").netns;
    client.run(|| -> Result<()> {
        for _ in 0..CROWD {
            let socket = socket2::Socket::new(
                socket2::Domain::IPV4,
                socket2::Type::STREAM.nonblocking(),
                None,
            )?;
            let _ = socket.connect(&SocketAddr::new(to, 9).into());
        }
        Ok(())
    })?;
    let judged = bed.metric("waysteer_verdicts", &[("reason", "Unknown")])? - before;
    ensure!(judged >= CROWD as u64, "{judged}");
    // The agent has seen all that did not get lost on the way to it, and answers others meanwhile.
    let dropped = bed.metric("waysteer_packet_actions", &[("action", "event_lost")])? - lost;
    wait_until(PATIENCE, "the agent has heard of all", || {
        let (_, body) = admin::get(&socket, "/debug/top").unwrap_or_default();
        let page: Value = serde_json::from_str(&body).unwrap_or_default();
        let pods = page["pods"].as_array().cloned().unwrap_or_default();
        let client = pods.iter().find(|pod| pod["pod"] == "default/client");
        let heard = client.and_then(|pod| pod["verdicts"]["Passthrough"]["bypassed"].as_u64());
        heard.is_some_and(|heard| heard + dropped >= judged)
    })?;
    let (mut verdicts, mut at_agent) = (0, 0);
    for line in BufReader::new(slow).lines() {
        let line = line?;
        let Ok(line) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        match line["type"].as_str() {
            Some("verdict") => verdicts += 1,
            Some("lost") if line["place"] == "agent" => {
                at_agent += line["count"].as_u64().unwrap_or_default();
            }
            _ => {}
        }
        if verdicts + at_agent + dropped >= judged {
            break;
        }
    }
    ensure!(at_agent > 0, "{verdicts} verdicts, {dropped} lost before");
    ensure!(
        verdicts + at_agent + dropped == judged,
        "{verdicts} + {at_agent} + {dropped} of {judged}"
    );
    Ok(())
}
