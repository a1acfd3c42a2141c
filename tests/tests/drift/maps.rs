//! Entries of maps that are deleted, changed, or not ours.

use std::time::Duration;

use anyhow::{Context as _, Result};
use waysteer_tests::bed::Bed;

use super::scene::{Scene, bpftool};

const TIMER: Duration = Duration::from_secs(10);

/// The first key and value of a pinned map, as `bpftool` takes them.
fn first(bed: &Bed, map: &str) -> Result<(Vec<String>, Vec<String>)> {
    let text = bpftool("-j map dump pinned", &Scene::pin(bed, map)?, &[])?;
    let entries: serde_json::Value = serde_json::from_str(&text)?;
    let words = |field: &str| -> Result<Vec<String>> {
        let bytes = entries[0][field].as_array().context("bytes")?;
        let bytes = bytes.iter().map(|byte| byte.as_str().unwrap_or_default());
        Ok(bytes.map(str::to_owned).collect())
    };
    Ok((words("key")?, words("value")?))
}

fn command(bed: &Bed, map: &str, verb: &str, words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let pin = Scene::pin(bed, map)?;
    bpftool(&format!("map {verb} pinned"), &pin, &words).map(drop)
}

pub(super) fn delete(bed: &Bed, map: &str) -> Result<()> {
    let (key, _) = first(bed, map)?;
    let words = [vec!["key".to_owned()], key].concat();
    command(bed, map, "delete", &words)
}

/// The last byte of the first entry's value.
fn change(bed: &Bed, map: &str, is_new: bool) -> Result<()> {
    let (mut key, mut value) = first(bed, map)?;
    let changed = if is_new { &mut key } else { &mut value };
    let last = changed.last_mut().context("a byte")?;
    *last = if last == "0xee" { "0xdd" } else { "0xee" }.to_owned();
    let words = |name: &str| vec![name.to_owned()];
    let words = [words("key"), key, words("value"), value].concat();
    command(bed, map, "update", &words)
}

#[test]
fn entries_are_put_right() -> Result<()> {
    let mut scene = Scene::new(1)?;
    for map in [
        "PODS",
        "POD_ADDRESSES",
        "WORKLOADS",
        "SERVICES",
        "SERVICE_PORTS",
        "ENDPOINTS",
        "WAYPOINTS",
    ] {
        let name = format!("maps/{map}");
        let what = format!("an entry of {map} deleted");
        scene.broken(&what, &[("map", 1)], TIMER, |bed| delete(bed, &name))?;
    }
    for (map, is_new) in [("WORKLOADS", false), ("SERVICES", true), ("PODS", true)] {
        let name = format!("maps/{map}");
        let what = format!("{map} changed");
        scene.broken(&what, &[("map", 1)], TIMER, |bed| {
            change(bed, &name, is_new)
        })?;
    }
    let zeros = "key 0 0 0 0 value 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0";
    let zeros: Vec<String> = zeros.split(' ').map(str::to_owned).collect();
    scene.broken("settings cleared", &[("map", 1)], TIMER, |bed| {
        command(bed, "maps/SETTINGS", "update", &zeros)
    })
}
