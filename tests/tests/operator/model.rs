//! `/debug/model`, as `curl` asks for it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::wait::wait_until;

use super::monitor::PATIENCE;

const KINDS: [&str; 5] = ["workloads", "services", "waypoints", "policies", "pods"];
const PODS: [&str; 3] = ["client", "other", "server"];

fn ask(bed: &Bed, query: &str) -> Result<(u16, String)> {
    admin::get(&bed.socket(), &format!("/debug/model{query}"))
}

fn page(bed: &Bed, query: &str) -> Result<Value> {
    let (status, body) = ask(bed, query)?;
    ensure!(status == 200, "{query}: {status} {body}");
    serde_json::from_str(&body).with_context(|| format!("{query}: {body}"))
}

/// The entries of a page.
fn items(page: &Value) -> Result<&Vec<Value>> {
    page["items"].as_array().context("items")
}

/// The one entry of a page.
fn only<'a>(page: &'a Value, what: &str) -> Result<&'a Value> {
    match items(page)?.as_slice() {
        [one] => Ok(one),
        others => anyhow::bail!("{what}: {others:?}"),
    }
}

#[test]
fn pages_hold_all_that_the_agent_has_once() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let totals = page(&bed, "")?;
    ensure!(totals["complete"] == true, "{totals}");
    for kind in KINDS {
        let whole = page(&bed, &format!("?kind={kind}&limit=1000"))?;
        ensure!(
            whole["total"] == totals[kind] && whole["next"].is_null(),
            "{kind}: {whole}, of {totals}"
        );
        let mut seen: Vec<Value> = Vec::new();
        let mut after = String::new();
        loop {
            let next = page(&bed, &format!("?kind={kind}&limit=2{after}"))?;
            ensure!(next["total"] == totals[kind], "{kind}: {next}");
            ensure!(items(&next)?.len() <= 2, "{kind}: {next}");
            seen.extend(items(&next)?.iter().cloned());
            match next["next"].as_str() {
                Some(key) => after = format!("&after={key}"),
                None => break,
            }
        }
        ensure!(seen == *items(&whole)?, "{kind}: {seen:?}, not {whole}");
        ensure!(totals[kind] == seen.len(), "{kind}: {totals}");
    }
    // The mesh of the bed has more than one page of each of these.
    for kind in ["workloads", "services", "pods"] {
        ensure!(totals[kind].as_u64() > Some(2), "{kind}: {totals}");
    }
    Ok(())
}

#[test]
fn entries_are_what_was_configured_and_follow_it() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    for pod in PODS {
        let asked = page(&bed, &format!("?kind=pods&namespace=default&name={pod}"))?;
        let found = only(&asked, pod)?;
        ensure!(found["netns"] == bed.pod(pod).netns.cookie()?, "{found}");
        let addresses = found["addresses"].as_array().context("addresses")?;
        for v6 in [false, true] {
            let address = bed.address(pod, v6).to_string();
            ensure!(addresses.iter().any(|it| *it == address), "{found}");
        }
    }
    let far = page(&bed, "?kind=workloads&name=far")?;
    let far = only(&far, "far")?;
    ensure!(
        far["protocol"] == "hbone" && far["node"] == "node2",
        "{far}"
    );
    let web = page(&bed, "?kind=services&name=web")?;
    let web = only(&web, "web")?;
    let vips = web["vips"].to_string();
    for v6 in [false, true] {
        let ip = Bed::service(bed::WEB, v6).ip().to_string();
        ensure!(vips.contains(&ip), "{ip} of {web}");
    }
    let none = page(&bed, "?kind=workloads&namespace=nowhere")?;
    ensure!(items(&none)?.is_empty() && none["next"].is_null(), "{none}");

    bed.write_pods(&["client"])?;
    wait_until(PATIENCE, "the model has one pod", || {
        let pods = page(&bed, "?kind=pods");
        pods.is_ok_and(|pods| only(&pods, "pods").is_ok_and(|pod| pod["name"] == "client"))
    })
}

#[test]
fn what_is_no_question_is_refused() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    for (query, why) in [
        ("?kind=things", "things"),
        ("?kind=pods&colour=red", "colour"),
        ("?kind=pods&limit=many", "limit"),
        ("?kind=pods&after=client", "after=client is not a number"),
        (
            "?kind=services&after=web",
            "after=web is not NAMESPACE/NAME",
        ),
        ("?kind=waypoints&name=gate", "waypoints have no names"),
    ] {
        let (status, body) = ask(&bed, query)?;
        ensure!(status == 400, "{query}: {status} {body}");
        ensure!(body.contains(why), "{query}: {body}");
    }
    // As Prometheus and a person on the node reach it, the answer is the same.
    let (_, expected) = ask(&bed, "")?;
    let answer = bed.topology.node.netns.run(|| -> Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:15030")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /debug/model HTTP/1.0\r\nhost: test\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    ensure!(answer.ends_with(&expected), "{answer}, not {expected}");
    Ok(())
}
