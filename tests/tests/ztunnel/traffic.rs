//! Traffic of every class.

use anyhow::{Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::load::{Load, Wire};
use waysteer_tests::wait::wait_until;
use waysteer_tests::ztunnel::{Settings, Ztunnel};

use super::{PATIENCE, bed};

fn ensure_whole(bed: &Bed) -> Result<()> {
    let wire = Wire::watch(bed)?;
    let load = Load::start(bed, 200)?;
    load.wait_for_more(50, PATIENCE)?;
    let report = load.finish()?;
    println!("{report}");
    report.ensure_whole()?;
    wire.ensure_clean()
}

/// The other node has the embedded tunnel, which is told the same by the same file.
#[test]
fn every_way_is_whole_and_none_is_plaintext() -> Result<()> {
    let Some(bed) = bed(Options::default())? else {
        return Ok(());
    };
    wait_until(PATIENCE, "the pods wait", || {
        let page = admin::get(&bed.socket(), "/readyz");
        page.is_ok_and(|(_, body)| body.contains("no ztunnel is connected"))
    })?;
    let _ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    let acked = bed.metric(
        "waysteer_ztunnel_messages",
        &[("kind", "add"), ("result", "ack")],
    )?;
    ensure!(acked == 3, "{acked}");
    ensure!(bed.metric("waysteer_ztunnel_pods", &[("readiness", "ready")])? == 3);
    ensure_whole(&bed)
}

#[test]
fn two_nodes_with_a_ztunnel_each() -> Result<()> {
    let Some(mut bed) = bed(Options {
        start_remote_agent: false,
        ..Options::default()
    })?
    else {
        return Ok(());
    };
    let path = bed.scratch.path().to_owned();
    let socket = path.join("remote-zds.sock");
    let config = std::fs::read_to_string(path.join("remote.toml"))?;
    let (head, _) = config
        .split_once("[tunnel]")
        .expect("the bed writes this section");
    let config = format!("{head}[tunnel]\nkind = \"ztunnel\"\nsocket = {socket:?}\n");
    bed.scratch.write("remote.toml", config)?;
    let _remote = Ztunnel::with(
        &Settings {
            name: "remote-ztunnel",
            node: "node2",
            socket: &socket,
            mesh: &path.join("mesh.yaml"),
            ca: &path.join("ca"),
        },
        &bed.scratch,
    )?;
    bed.start_remote_agent()?;
    let _ztunnel = Ztunnel::start(&bed, "ztunnel")?;
    bed.wait_until_ready()?;
    ensure_whole(&bed)
}
