//! The rules and the route of an enrolled pod, and nothing else of it: what they alone cost.

use anyhow::{Context as _, Result, ensure};
use waysteer_common::abi::names::{MARK_MASK, RETURN_MARK, ROUTE_TABLE, STEER_MARK};
use waysteer_tests::netns::NetNs;

pub(super) fn lay(netns: &NetNs) -> Result<()> {
    for (mark, priority) in [(STEER_MARK, 100), (RETURN_MARK, 101)] {
        ip(
            netns,
            &format!(
                "rule add pref {priority} fwmark {mark:#x}/{MARK_MASK:#x} lookup {ROUTE_TABLE}"
            ),
        )?;
    }
    ip(
        netns,
        &format!("route add local default dev lo table {ROUTE_TABLE}"),
    )
}

fn ip(netns: &NetNs, arguments: &str) -> Result<()> {
    let mut command = netns.command("ip");
    command.args(arguments.split(' '));
    let status = command.status().context("`ip` could not be started")?;
    ensure!(status.success(), "`ip {arguments}` failed: {status}");
    Ok(())
}
