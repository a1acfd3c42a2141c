//! What to try while everything runs.

use std::fmt::Write as _;

use anyhow::Result;
use waysteer_tests::bed::{self, Bed};
use waysteer_tests::process::binary;

use crate::stage::Stage;

pub(crate) fn text(stage: &Stage) -> Result<String> {
    let bed = &stage.bed;
    let enter =
        |netns: &waysteer_tests::netns::NetNs| format!("nsenter --net={}", netns.path().display());
    let client = enter(stage.client());
    let node = enter(&bed.topology.node.netns);
    let waysteer = binary("waysteer")?;
    let waysteer = waysteer.display();
    let socket = bed.socket();
    let socket = socket.display();
    let shop = Bed::service(bed::SHOP, false);
    let shop_v6 = Bed::service(bed::SHOP, true);
    let mut text = String::from("\nStill running. To try, as root:\n");
    for (what, command) in [
        (
            "through the waypoint",
            format!("{client} curl -si http://{shop}/"),
        ),
        (
            "the same over IPv6",
            format!("{client} curl -sig http://{shop_v6}/"),
        ),
        (
            "pod to pod, no tunnel",
            format!(
                "{client} curl -s http://{}:8080/",
                bed.address("server", false)
            ),
        ),
        (
            "the wire meanwhile",
            format!("{node} tcpdump -ni {} -A tcp", bed.pod("client").veth),
        ),
        ("the pods", format!("{waysteer} status --socket {socket}")),
        (
            "the last verdicts",
            format!("{waysteer} flows --socket {socket}"),
        ),
        (
            "a verdict in advance",
            format!("{waysteer} explain default/client {shop} --socket {socket}"),
        ),
        (
            "the metrics",
            format!("{node} curl -s http://127.0.0.1:15030/metrics"),
        ),
        (
            "the mesh; change it and ask again",
            format!("$EDITOR {}", bed.scratch.path().join("mesh.yaml").display()),
        ),
    ] {
        writeln!(text, "  # {what}\n  {command}")?;
    }
    text.push_str("Ctrl-C ends it and removes everything.\n");
    Ok(text)
}
