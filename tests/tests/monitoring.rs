//! Alerts and dashboard: they say what Prometheus understands, of metrics that there are.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer_tests::metrics_doc::{documented, family, file, names_in, read};
use waysteer_tests::process::Scratch;
use waysteer_tests::skip;

const ALERTS: &str = "deploy/monitoring/alerts.yaml";
const ALERT_TESTS: &str = "deploy/monitoring/alerts.test.yaml";
const DASHBOARD: &str = "deploy/monitoring/dashboard.json";

fn promtool(arguments: &[&str], path: &std::path::Path) -> Result<()> {
    let output = Command::new("promtool")
        .args(arguments)
        .arg(path)
        .output()?;
    ensure!(
        output.status.success(),
        "promtool {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn without_promtool() -> Result<bool> {
    let is_there = Command::new("promtool").arg("--version").output().is_ok();
    skip::without("promtool", is_there)
}

/// All expressions of the dashboard, as a query has them.
fn expressions() -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let mut found = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("an expression")?;
            let expression = expression.replace("$__rate_interval", "5m");
            found.push(expression.replace("$instance", ".*"));
        }
    }
    Ok(found)
}

#[test]
fn alerts_fire_when_they_should() -> Result<()> {
    if without_promtool()? {
        return Ok(());
    }
    promtool(&["check", "rules"], &file(ALERTS))?;
    promtool(&["test", "rules"], &file(ALERT_TESTS))
}

#[test]
fn the_dashboard_asks_what_prometheus_understands() -> Result<()> {
    let expressions = expressions()?;
    ensure!(expressions.len() > 20, "{expressions:?}");
    if without_promtool()? {
        return Ok(());
    }
    // promtool reads rules: each expression becomes one.
    let rules: Vec<Value> = (0..)
        .zip(&expressions)
        .map(|(number, expr)| serde_json::json!({ "record": format!("panel:{number}"), "expr": expr }))
        .collect();
    let file = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let scratch = Scratch::new()?;
    let path = scratch.write("dashboard.yaml", file.to_string())?;
    promtool(&["check", "rules"], &path)
}

#[test]
fn all_that_is_asked_for_is_documented() -> Result<()> {
    let documented = documented()?;
    for path in [ALERTS, ALERT_TESTS, DASHBOARD] {
        let names = names_in(&read(path)?);
        ensure!(!names.is_empty(), "{path}");
        for name in names {
            let is_known = documented.contains_key(&name) || documented.contains_key(family(&name));
            ensure!(is_known, "{path}: {name} is not in docs/metrics.md");
        }
    }
    Ok(())
}

#[test]
fn panels_have_a_place_of_their_own() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let mut taken = std::collections::BTreeMap::new();
    for panel in panels {
        let title = panel["title"].as_str().context("a title")?;
        let at = |side: &str| panel["gridPos"][side].as_u64().context(side.to_owned());
        let (x, y) = (at("x")?, at("y")?);
        for column in x..x + at("w")? {
            for row in y..y + at("h")? {
                let before = taken.insert((column, row), title);
                ensure!(
                    before.is_none() && column < 24,
                    "{title} is where {before:?} is"
                );
            }
        }
    }
    Ok(())
}
