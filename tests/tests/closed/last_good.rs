//! A mesh file that gets worse while the agent runs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::{Connection, Dial};
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::topology::Node;
use waysteer_tests::wait::wait_until;
use waysteer_tests::{admin, http};

const PORT: u16 = 8080;
const SECRET: &str = "/secret-of-a-rejected-entry";

fn diagnostics(bed: &Bed) -> Result<Vec<String>> {
    let (_, body) = admin::get(&bed.socket(), "/status")?;
    let status: serde_json::Value = serde_json::from_str(&body)?;
    let all = status["diagnostics"].as_array().context("diagnostics")?;
    Ok(all
        .iter()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect())
}

/// Waits until one diagnostic has all the parts.
fn wait_for_diagnostic(bed: &Bed, parts: &[&str]) -> Result<()> {
    let mut last = Vec::new();
    wait_until(Duration::from_secs(10), "a diagnostic", || {
        last = diagnostics(bed).unwrap_or_default();
        last.iter()
            .any(|one| parts.iter().all(|part| one.contains(part)))
    })
    .with_context(|| format!("{parts:?} in {last:?}"))
}

/// Waits until the source has so many errors and workloads; the bed's mesh has nine.
fn wait_for_source(bed: &Bed, errors: u64, workloads: u64) -> Result<()> {
    let wanted = [
        ("waysteer_source_errors", errors),
        ("waysteer_source_workloads", workloads),
    ];
    let what = format!("{errors} errors and {workloads} workloads");
    wait_until(Duration::from_secs(10), &what, || {
        wanted
            .iter()
            .all(|(name, value)| bed.metric(name, &[]).is_ok_and(|now| now == *value))
    })
}

fn ask(bed: &Bed, to: SocketAddr, path: &str) -> Result<String> {
    let asked = || -> Result<String> {
        let Connection { stream, .. } = Dial::new().connect(&bed.pod("client").netns, to)?;
        Ok(http::get(&stream, "any", path)?.seen()?.server)
    };
    asked().with_context(|| format!("asking {to} for {path}"))
}

fn line_of(text: &str, part: &str) -> Result<String> {
    let line = text.lines().position(|line| line.contains(part));
    Ok(format!("mesh.yaml:{}:", line.context("a line")? + 1))
}

#[test]
fn a_file_that_gets_worse_changes_nothing_that_was_good() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let good = bed.mesh();
    let _far = Server::start(&bed.pod("far").netns, "far", PORT, Service::Http)?;
    let far_plain = Server::start(
        &bed.pod("far-plain").netns,
        "far-plain",
        PORT,
        Service::Http,
    )?;
    let _external = Server::start(
        &bed.topology.external.netns,
        "external",
        PORT,
        Service::Http,
    )?;
    let veth = &bed.pod("client").veth;
    let capture = Capture::start(&bed.topology.node.netns, &[veth, Node::UPLINK])?;
    let far = SocketAddr::new(bed.address("far", false), PORT);

    // The whole file cannot be read.
    let broken = format!("{good}- {{name: [\n");
    bed.write_mesh(&broken)?;
    wait_for_source(&bed, 1, 9)?;
    let line = format!("mesh.yaml:{}:", broken.lines().count());
    wait_for_diagnostic(&bed, &[&line])?;
    for to in [
        far,
        Bed::service(bed::WEB, false),
        Bed::service(bed::WEB, true),
    ] {
        ensure!(ask(&bed, to, SECRET)? == "far", "{to} with a broken file");
    }
    bed.wait_until_ready()?;

    // Without `far-plain`, and then with an entry of it that was never good; `far`'s was.
    let without: String = good
        .lines()
        .filter(|line| !line.contains("Pod/default/far-plain"))
        .map(|line| format!("{line}\n"))
        .collect();
    bed.write_mesh(&without)?;
    wait_for_source(&bed, 0, 8)?;
    ensure!(
        ask(
            &bed,
            SocketAddr::new(bed.address("far-plain", false), PORT),
            "/known"
        )? == "far-plain"
    );
    let external = bed.topology.external.addresses.both();
    let added = format!(
        "- {{uid: added, name: added, namespace: default, workloadIps: [\"{}\", \"{}\"], \
         protocol: TCP, network: \"\", node: other}}\nservices:",
        external[0], external[1]
    );
    let bad = good.replacen("services:\n", &format!("{added}\n"), 1);
    let bad: String = bad
        .lines()
        .map(|line| {
            let breaks =
                line.contains("Pod/default/far-plain") || line.contains("Pod/default/far\"");
            // A field that does not exist.
            let line = if breaks {
                line.replacen("{uid:", "{colour: red, uid:", 1)
            } else {
                line.to_owned()
            };
            line + "\n"
        })
        .collect();
    bed.write_mesh(&bad)?;
    for name in ["far\"", "far-plain"] {
        let line = line_of(&bad, &format!("Pod/default/{name}"))?;
        let entry = name.trim_end_matches('"');
        wait_for_diagnostic(&bed, &[&line, entry, "colour"])?;
    }
    for v6 in [false, true] {
        // The last good version of one.
        for to in [
            SocketAddr::new(bed.address("far", v6), PORT),
            Bed::service(bed::WEB, v6),
        ] {
            ensure!(ask(&bed, to, SECRET)? == "far", "{to} with a bad entry");
        }
        // The valid rest of the batch.
        let mark = bed.mark()?;
        let to = SocketAddr::new(external[usize::from(v6)], PORT);
        ensure!(ask(&bed, to, "/added")? == "external", "{to}");
        let verdict = bed.flow_to(to, mark)?;
        ensure!(verdict.reason == "WorkloadPlain", "{verdict:?}");
        // What never was good.
        let mark = bed.mark()?;
        let accepted = far_plain.accepted().len();
        let to = SocketAddr::new(bed.address("far-plain", v6), PORT);
        let answer = ask(&bed, to, SECRET);
        ensure!(answer.is_err(), "{to} answered: {answer:?}");
        let verdict = bed.flow_to(to, mark)?;
        ensure!(
            verdict.steered && verdict.reason == "Invalid",
            "{verdict:?}"
        );
        ensure!(far_plain.accepted().len() == accepted, "{to} was reached");
    }
    ensure!(
        capture.seen(SECRET.as_bytes()).is_empty(),
        "{:?}",
        capture.seen(SECRET.as_bytes())
    );
    ensure!(
        capture.broken_hbone().is_empty(),
        "{:?}",
        capture.broken_hbone()
    );

    bed.write_mesh(&good)?;
    wait_for_source(&bed, 0, 9)?;
    for v6 in [false, true] {
        let to = SocketAddr::new(bed.address("far-plain", v6), PORT);
        ensure!(ask(&bed, to, "/good-again")? == "far-plain");
    }
    Ok(())
}
