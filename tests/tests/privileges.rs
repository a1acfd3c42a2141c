//! The agent with exactly the capabilities that it needs, and with each of them missing.

mod seccomp;

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer::kernel::privileges::{CAPABILITIES, Capability};
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed, Options, TunnelKind};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::process::{Process, binary};
use waysteer_tests::topology::Node;
use waysteer_tests::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);

fn needed() -> impl Iterator<Item = Capability> {
    let all = CAPABILITIES.into_iter();
    all.filter(|capability| capability.only_if.is_none())
}

/// The agent, as a container's runtime starts it: root, with these capabilities and no way to more,
/// and without system calls that nobody should need.
fn command(bed: &Bed, capabilities: &[Capability]) -> Result<Command> {
    let mut set = "-all".to_owned();
    for capability in capabilities {
        set += ",+";
        set += &capability.name.trim_start_matches("CAP_").to_lowercase();
    }
    let mut command = bed.topology.node.netns.command("setpriv");
    seccomp::confine(&mut command);
    command
        .args(["--no-new-privs", "--inh-caps=-all"])
        .arg(format!("--bounding-set={set}"))
        .arg(binary("waysteer")?)
        .arg("run")
        .arg("--config")
        .arg(bed.scratch.path().join("waysteer.toml"));
    Ok(command)
}

fn start(bed: &mut Bed, capabilities: &[Capability]) -> Result<()> {
    let command = command(bed, capabilities)?;
    bed.agent = Some(Process::start("waysteer", command, &bed.scratch)?);
    Ok(())
}

fn bed(tunnel: TunnelKind) -> Result<Bed> {
    Bed::new(&Options {
        start_agent: false,
        tunnel,
        ..Options::default()
    })
}

#[test]
fn what_the_table_says_is_enough() -> Result<()> {
    for tunnel in [TunnelKind::Embedded, TunnelKind::StandIn] {
        let mut bed = bed(tunnel)?;
        let capabilities: Vec<Capability> = needed().collect();
        start(&mut bed, &capabilities)?;
        if tunnel == TunnelKind::StandIn {
            bed.start_ztunnel()?;
        }
        bed.wait_until_ready()?;
        let pid = bed.agent.as_ref().context("the agent")?.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let bits = capabilities
            .iter()
            .map(|capability| 1_u64 << capability.bit);
        let mask: u64 = bits.sum();
        for line in [
            format!("CapPrm:\t{mask:016x}\n"),
            format!("CapEff:\t{mask:016x}\n"),
            format!("CapBnd:\t{mask:016x}\n"),
            "NoNewPrivs:\t1\n".to_owned(),
            // A filter.
            "Seccomp:\t2\n".to_owned(),
        ] {
            ensure!(status.contains(&line), "{line:?} is not in {status}");
        }
        let _far = Server::start(&bed.pod("far").netns, "far", 8080, Service::Http)?;
        let capture = Capture::start(&bed.topology.node.netns, &[Node::UPLINK])?;
        for v6 in [false, true] {
            let to = Bed::service(bed::WEB, v6);
            let connection = Dial::new().connect(&bed.pod("client").netns, to)?;
            let seen = http::get(&connection.stream, "web", "/secret")?.seen()?;
            ensure!(seen.server == "far", "{tunnel:?}: {seen:?}");
        }
        ensure!(capture.seen(b"/secret").is_empty());
        ensure!(!capture.hbone().is_empty());
        // Pods go and come with it, too.
        bed.write_pods(&["client"])?;
        wait_until(PATIENCE, "one pod is left", || {
            bed.metric("waysteer_pods", &[]).is_ok_and(|pods| pods == 1)
        })?;
        bed.write_pods(&["client", "server"])?;
        wait_until(PATIENCE, "it is back", || {
            bed.metric("waysteer_pods_enrolled", &[])
                .is_ok_and(|pods| pods == 2)
        })?;
        bed.stop_agent()?;
    }
    Ok(())
}

#[test]
fn a_start_without_one_says_which_and_what_for() -> Result<()> {
    let bed = bed(TunnelKind::Embedded)?;
    for missing in needed() {
        let rest: Vec<Capability> = needed().filter(|other| *other != missing).collect();
        let output = command(&bed, &rest)?.output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success(), "{said}");
        let Capability {
            name, needed_for, ..
        } = missing;
        let expected = format!("this process lacks {name}, which is needed for {needed_for}\n");
        ensure!(said.contains(&expected), "{said}");
        ensure!(
            rest.iter().all(|other| !said.contains(other.name)),
            "{said}"
        );
    }
    Ok(())
}

/// A process of another user, with capabilities that the agent does not have, as those of most
/// containers.
#[test]
fn pods_by_process_need_one_more() -> Result<()> {
    let mut bed = bed(TunnelKind::Embedded)?;
    let mut sleeper = bed.pod("client").netns.command("sleep");
    sleeper.arg("600");
    let sleeper = Process::start("sleeper", sleeper, &bed.scratch)?;
    let pods = format!(
        "- {{uid: client, name: client, namespace: default, serviceAccount: client, \
         netns: /proc/{}/ns/net}}\n",
        sleeper.id()
    );
    bed.scratch.write("pods.yaml", pods)?;
    let capabilities: Vec<Capability> = needed().collect();
    start(&mut bed, &capabilities)?;
    wait_until(PATIENCE, "the pod is refused, in words", || {
        let status = admin::get(&bed.socket(), "/status");
        status.is_ok_and(|(_, body)| {
            body.contains("ns/net: Permission denied") && body.contains("needs CAP_SYS_PTRACE")
        })
    })?;
    ensure!(bed.metric("waysteer_pods", &[])? == 0);
    bed.stop_agent()?;
    start(&mut bed, &CAPABILITIES)?;
    bed.wait_until_ready()?;
    bed.stop_agent()
}
