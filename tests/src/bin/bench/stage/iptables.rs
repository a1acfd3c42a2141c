//! The same redirection by iptables: as little as does it, and as the others do it, with NAT.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use waysteer_common::abi::names::{MARK_MASK, OUTBOUND_PORT, TUNNEL_MARK};
use waysteer_tests::netns::NetNs;

/// What leaves the pod and is not the tunnel's goes to the tunnel's listener. Says which iptables
/// this is, of the two that there are.
pub(super) fn redirect(netns: &NetNs) -> Result<String> {
    let not_the_tunnels = format!("{TUNNEL_MARK:#x}/{MARK_MASK:#x}");
    let port = OUTBOUND_PORT.to_string();
    let mut command = netns.command("iptables");
    command.args(["-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp"]);
    command.args(["!", "-d", "127.0.0.1/32"]);
    command.args(["-m", "mark", "!", "--mark", &not_the_tunnels]);
    command.args(["-j", "REDIRECT", "--to-ports", &port]);
    output(command)?;
    let mut version = netns.command("iptables");
    version.arg("--version");
    output(version)
}

fn output(mut command: Command) -> Result<String> {
    let output = command.output();
    let output =
        output.context("iptables could not be started; `cargo xtask setup --with-tests`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "this kernel has no NAT for iptables: {}",
        said.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
