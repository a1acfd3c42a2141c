//! `waysteer dump`: the maps as they are, with an agent and without one.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer_tests::bed::{self, Bed, Options, TunnelKind};
use waysteer_tests::dial::Dial;
use waysteer_tests::peers::{Server, Service};

use super::waysteer;

/// The rows of a dump.
fn rows(bed: &Bed, arguments: &[&str]) -> Result<Vec<Value>> {
    let all = [&["dump"], arguments, &["-o", "json"]].concat();
    let said = waysteer(bed, &all)?;
    ensure!(said.status == Some(0), "{said:?}");
    let kind = arguments.first().context("a kind")?;
    let rows = said.json()?[kind].as_array().cloned();
    rows.with_context(|| format!("no {kind} in {said:?}"))
}

#[test]
fn of_a_node_with_an_agent() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let far = bed.address("far", false).to_string();
    let found = rows(&bed, &["workloads", "--address", &far])?;
    ensure!(found.len() == 1, "{found:?}");
    let row = found.first().context("a row")?;
    ensure!(row["name"] == "default/far", "{row}");
    ensure!(row["protocol"] == "HBONE", "{row}");
    let found = rows(&bed, &["workloads", "--name", "server"])?;
    ensure!(found.len() == 2, "both families: {found:?}");
    for row in &found {
        let flags = row["flags"].to_string();
        ensure!(
            flags.contains("local") && flags.contains("enrolled"),
            "{row}"
        );
    }

    let found = rows(&bed, &["services", "--name", "web.default"])?;
    ensure!(found.len() == 2, "{found:?}");
    for row in &found {
        let endpoint = &row["ports"][0]["endpoints"][0];
        ensure!(row["ports"][0]["port"] == 80, "{row}");
        ensure!(endpoint["name"] == "default/far", "{row}");
        ensure!(
            endpoint["port"] == 8080 && endpoint["share"] == 1.0,
            "{row}"
        );
    }
    let shop = Bed::service(bed::SHOP, false).ip().to_string();
    let found = rows(&bed, &["services", "--address", &shop])?;
    let waypoint = found.first().context("shop")?["waypoint"].clone();
    let waypoint = waypoint.as_str().context("a waypoint")?;
    let found = rows(&bed, &["waypoints", "--name", waypoint])?;
    let row = found.first().context("the waypoint of shop")?;
    ensure!(row["endpoints"][0]["name"] == "default/waypoint", "{row}");
    ensure!(rows(&bed, &["waypoints", "--namespace", "nowhere"])?.is_empty());

    let found = rows(&bed, &["pods", "--pod", "default/client"])?;
    let row = found.first().context("the client")?;
    ensure!(
        found.len() == 1 && row["namespace_name"] == "default",
        "{row}"
    );
    let own = bed.address("client", true).to_string();
    ensure!(row["addresses"].to_string().contains(&own), "{row}");
    let said = waysteer(&bed, &["dump", "pods"])?;
    let row = said.row("default/client")?;
    ensure!(row.contains("known"), "{row}");
    ensure!(!said.text.contains('\u{1b}'), "{:?}", said.text);

    let _server = Server::start(&bed.pod("far").netns, "far", 8080, Service::Echo)?;
    let web = Bed::service(bed::WEB, false);
    let open = Dial::new().connect(&bed.pod("client").netns, web)?;
    let found = rows(
        &bed,
        &[
            "flows",
            "--pod",
            "client",
            "--address",
            &web.ip().to_string(),
        ],
    )?;
    let row = found.first().context("the open connection")?;
    ensure!(
        row["source"] == open.local.to_string(),
        "{row}, not of {open:?}"
    );
    ensure!(
        row["reason"] == "ServiceHbone" && row["steered"] == true,
        "{row}"
    );
    ensure!(row["workload_name"] == "default/far", "{row}");
    let found = rows(&bed, &["counters"])?;
    let opened = found
        .iter()
        .find(|row| row["class"] == "Direct" && row["what"] == "opened" && row["path"] == "tunnel");
    ensure!(opened.is_some_and(|row| row["count"] == 1), "{found:?}");

    let said = waysteer(&bed, &["dump", "services", "--name", "web", "-o", "yaml"])?;
    ensure!(said.text.contains("\nservices:\n"), "{}", said.text);
    let said = waysteer(&bed, &["dump", "counters", "--pod", "client"])?;
    ensure!(said.status == Some(1), "{said:?}");
    ensure!(said.errors.contains("cannot be filtered"), "{said:?}");
    Ok(())
}

#[test]
fn without_an_agent_ids_are_shown() -> Result<()> {
    // The tunnel's end is not the agent's.
    let mut bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        ..Options::default()
    })?;
    let far = bed.address("far", true).to_string();
    let known = rows(&bed, &["workloads", "--address", &far])?;
    bed.kill_agent()?;
    let found = rows(&bed, &["workloads", "--address", &far])?;
    let (row, before) = (found.first().context("far")?, known.first().context("far")?);
    ensure!(
        row["name"] == Value::Null && row["id"] == before["id"],
        "{row}"
    );
    let said = waysteer(&bed, &["dump", "workloads", "--address", &far])?;
    ensure!(said.errors.contains("no agent answers"), "{said:?}");
    let id = before["id"].as_str().context("an id")?;
    ensure!(said.row(&far)?.contains(id), "{said:?}");
    // Pods were written down.
    let found = rows(&bed, &["pods", "--pod", "client"])?;
    ensure!(found.len() == 1, "{found:?}");
    let said = waysteer(&bed, &["dump", "services", "--name", "web"])?;
    ensure!(said.status == Some(1), "{said:?}");
    ensure!(said.errors.contains("without an agent"), "{said:?}");

    let nowhere = "/sys/fs/bpf/waysteer-nowhere";
    let said = waysteer(&bed, &["dump", "pods", "--pin-root", nowhere])?;
    ensure!(said.status == Some(1), "{said:?}");
    ensure!(said.errors.contains("nothing is pinned in"), "{said:?}");
    Ok(())
}
