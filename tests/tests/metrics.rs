//! What an agent says of itself is what the documentation says it does.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options, Source, TunnelKind};
use waysteer_tests::metrics_doc;
use waysteer_tests::wait::wait_until;

/// Series of an agent's page, histograms by their one name.
fn exposed(bed: &Bed) -> Result<BTreeSet<String>> {
    let (status, text) = admin::get(&bed.socket(), "/metrics")?;
    ensure!(status == 200, "{text}");
    // A family without a value has a type all the same.
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let name = |line: &str| match line.split_once(' ') {
        Some((name, "counter")) => format!("{name}_total"),
        Some((name, _)) => name.to_owned(),
        None => line.to_owned(),
    };
    Ok(typed.map(name).collect())
}

fn compare(bed: &Bed, elsewhere: &[&str]) -> Result<()> {
    let documented = metrics_doc::documented()?;
    let exposed = exposed(bed)?;
    for series in &exposed {
        ensure!(
            documented.contains_key(series),
            "{series} is not in docs/metrics.md"
        );
    }
    for (series, heading) in &documented {
        let is_here = !elsewhere.contains(&heading.as_str());
        ensure!(
            !is_here || exposed.contains(series),
            "{series} of docs/metrics.md is not there: {exposed:?}"
        );
    }
    Ok(())
}

#[test]
fn of_an_agent_with_the_embedded_tunnel() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    compare(&bed, &["istiod", "ztunnel"])
}

#[test]
fn of_an_agent_with_ztunnel() -> Result<()> {
    let bed = Bed::new(&Options {
        tunnel: TunnelKind::StandIn,
        ..Options::default()
    })?;
    compare(&bed, &["istiod", "Embedded"])
}

/// Whom nobody answers; the metrics are there all the same.
#[test]
fn of_an_agent_that_waits_for_istiod() -> Result<()> {
    let mut bed = Bed::new(&Options {
        source: Source::Istiod,
        start_agent: false,
        ..Options::default()
    })?;
    bed.start_agent()?;
    wait_until(Duration::from_secs(30), "the agent's pages", || {
        admin::get(&bed.socket(), "/metrics").is_ok()
    })?;
    compare(&bed, &["ztunnel"])
}
