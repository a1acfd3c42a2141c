//! What an agent could leave behind, read before it and after it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::netns::NetNs;

/// What a command prints, line by line in order: programs list things in orders of their own.
pub fn output(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{command:?}: {output:?}");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

/// All that a namespace could keep of us: rules, routes, parameters, links, programs and filters.
pub fn state_of(netns: &NetNs) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for line in [
        "ip -4 -N rule list",
        "ip -6 -N rule list",
        "ip -4 -N route list table all",
        "ip -6 -N route list table all",
        "ip -o address list",
        "bpftool net list",
        "tc filter show dev eth0 ingress",
        "tc qdisc show",
        "ss -lntH",
    ] {
        let mut words = line.split(' ');
        let mut command = netns.command(words.next().context("a program")?);
        command.args(words);
        // Lifetimes of router entries count down.
        let text = output(command)?;
        all.push(format!("{line}\n{text}"));
    }
    let mut command = netns.command("sysctl");
    command.args(["-a", "--pattern", r"^net\.ipv[46]\.(conf|tcp_|fwmark|ip_)"]);
    all.push(output(command)?);
    Ok(all)
}

/// Lines that only one of two states has.
pub fn difference(before: &[String], after: &[String]) -> String {
    let lines = |all: &[String]| -> Vec<String> {
        all.iter()
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line));
    let new = after.iter().filter(|line| !before.contains(line));
    format!(
        "gone: {:#?}\nnew: {:#?}",
        gone.collect::<Vec<_>>(),
        new.collect::<Vec<_>>()
    )
}
