//! A pod that is let go, and an agent that ends: as if they had never been.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::foreign::Everywhere;
use waysteer_tests::http;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::traces::{difference, output, state_of};
use waysteer_tests::wait::wait_until;

const PORT: u16 = 8080;

/// Ids of the links that the agent has pinned.
fn pinned_links(bed: &Bed) -> Result<Vec<String>> {
    let pins = bed.pins.list()?;
    let links = pins.into_iter().map(|path| bed.pins.path().join(path));
    let links = links.filter(|path| path.is_file() && path.to_string_lossy().contains("/links/"));
    let id = |path: PathBuf| {
        let mut command = Command::new("bpftool");
        command.args(["--json", "link", "show", "pinned"]).arg(path);
        let link: serde_json::Value = serde_json::from_str(&output(command)?)?;
        Ok(link["id"].to_string())
    };
    links.map(id).collect()
}

fn existing_links() -> Result<Vec<String>> {
    let mut command = Command::new("bpftool");
    command.args(["link", "list", "--json"]);
    let links: serde_json::Value = serde_json::from_str(&output(command)?)?;
    let links = links.as_array().context("a list of links")?;
    Ok(links.iter().map(|link| link["id"].to_string()).collect())
}

/// A request of the client's, plain where nothing captures it.
fn ask(bed: &Bed, to: SocketAddr) -> Result<()> {
    let connection = Dial::new().connect(&bed.pod("client").netns, to)?;
    let seen = http::get(&connection.stream, "any", "/")?.seen()?;
    ensure!(seen.client.ip() == connection.local.ip(), "{seen:?}");
    Ok(())
}

#[test]
fn nothing_of_ours_stays_and_nothing_of_others_goes() -> Result<()> {
    let mut bed = Bed::new(&Options {
        start_agent: false,
        ..Options::default()
    })?;
    let mut servers = Vec::new();
    for name in ["client", "server", "far-plain"] {
        servers.push(Server::start(
            &bed.pod(name).netns,
            name,
            PORT,
            Service::Http,
        )?);
    }
    let filter = "qdisc add dev eth0 clsact\nfilter add dev eth0 ingress bpf bytecode 1,6_0_0_0,";
    for line in filter.lines() {
        let mut command = bed.pod("client").netns.command("tc");
        command.args(line.split(' ').map(|word| word.replace('_', " ")));
        output(command)?;
    }
    let foreigners = Everywhere::new(&bed.pod("client").netns)?;
    let to = |name: &str, v6| SocketAddr::new(bed.address(name, v6), PORT);
    let far: Vec<_> = [false, true].map(|v6| to("far-plain", v6)).into();
    let own: Vec<_> = [false, true].map(|v6| to("client", v6)).into();
    let server: Vec<_> = [false, true].map(|v6| to("server", v6)).into();
    let ask_all = |bed: &Bed| {
        for to in far.iter().chain(&own).chain(&server) {
            ask(bed, *to).with_context(|| format!("to {to}"))?;
        }
        Ok(())
    };
    foreigners.see("before", || ask_all(&bed))?;
    let names = ["client", "server", "other"];
    let states = |bed: &Bed| -> Result<Vec<Vec<String>>> {
        let states = names.iter().map(|name| state_of(&bed.pod(name).netns));
        states.collect()
    };
    let before = states(&bed)?;

    bed.start_agent()?;
    bed.wait_until_ready()?;
    foreigners.see("captured", || ask_all(&bed))?;
    ensure!(states(&bed)?[0] != before[0], "nothing was done");
    // Whoever comes later is let run too.
    let later = Everywhere::new(&bed.pod("client").netns)?;
    later.see("later", || ask_all(&bed))?;
    drop(later);

    bed.write_pods(&["server"])?;
    wait_until(Duration::from_secs(10), "one pod is left", || {
        bed.metric("waysteer_pods_enrolled", &[])
            .is_ok_and(|n| n == 1)
    })?;
    for name in ["client", "other"] {
        let index = names.iter().position(|other| *other == name);
        let index = index.context("a name")?;
        let mut last = Vec::new();
        wait_until(Duration::from_secs(10), name, || {
            last = state_of(&bed.pod(name).netns).unwrap_or_default();
            last == before[index]
        })
        .with_context(|| difference(&before[index], &last))?;
    }
    foreigners.see("let go", || ask_all(&bed))?;
    bed.write_pods(&names)?;
    wait_until(Duration::from_secs(10), "all are back", || {
        bed.metric("waysteer_pods_enrolled", &[])
            .is_ok_and(|n| n == 3)
    })?;
    foreigners.see("captured again", || ask_all(&bed))?;

    let links = pinned_links(&bed)?;
    // Two programs for connect(), two for getpeername(), one for sockets, and three for each pod.
    ensure!(links.len() == 14, "{links:?}");
    bed.stop_agent()?;
    ensure!(!bed.pins.path().exists(), "{:?}", bed.pins.list()?);
    let existing = existing_links()?;
    for link in links {
        ensure!(!existing.contains(&link), "link {link} is still there");
    }
    let after = states(&bed)?;
    for (before, after) in before.iter().zip(&after) {
        ensure!(before == after, "{}", difference(before, after));
    }
    foreigners.see("after", || ask_all(&bed))?;
    Ok(())
}
