//! What istiod says while all is well.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use waysteer::source::xds::proto::authorization::Authorization;
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed};
use waysteer_tests::istiod::Resend;
use waysteer_tests::istiod::resources::{of_policy, of_service, of_workload};
use waysteer_tests::wait::wait_until;

use super::{Meshed, PATIENCE};

fn wait_for_next_hop(meshed: &Meshed, to: SocketAddr, pod: &str) -> Result<()> {
    let hop = SocketAddr::new(meshed.bed.address(pod, to.is_ipv6()), 15008).to_string();
    let mut last = Value::Null;
    wait_until(PATIENCE, &format!("{to} by way of {hop}"), || {
        last = meshed.explain(to).unwrap_or_default();
        last["next_hop"] == hop
    })
    .with_context(|| last.to_string())
}

#[test]
fn a_waypoint_that_changes_is_where_connections_go() -> Result<()> {
    let mut meshed = Meshed::new(Resend::Changes)?;
    meshed.start()?;
    for v6 in [false, true] {
        wait_for_next_hop(&meshed, Bed::service(bed::SHOP, v6), "waypoint")?;
    }
    // Another one.
    let mut shop = meshed.bed.xds_service("shop")?;
    shop.waypoint = Some(Bed::xds_waypoint("gate"));
    meshed.plane.set(vec![of_service(&shop, "2")]);
    for v6 in [false, true] {
        wait_for_next_hop(&meshed, Bed::service(bed::SHOP, v6), "gate")?;
    }
    // The waypoint's own workload is another pod.
    let mut gate = meshed.bed.xds_workload("gate")?;
    let mut waypoint = meshed.bed.xds_workload("waypoint")?;
    std::mem::swap(&mut gate.services, &mut waypoint.services);
    meshed
        .plane
        .set(vec![of_workload(&gate, "2"), of_workload(&waypoint, "2")]);
    for v6 in [false, true] {
        wait_for_next_hop(&meshed, Bed::service(bed::SHOP, v6), "waypoint")?;
    }
    // It goes: held, never sent on without it.
    meshed
        .plane
        .remove(&["default/gate.default.svc.cluster.local"]);
    let to = Bed::service(bed::SHOP, false);
    let verdict = meshed.wait_for_verdict(to, "WaypointUnresolved")?;
    ensure!(
        verdict["steered"] == true && verdict["next_hop"].is_null(),
        "{verdict}"
    );
    // And is no more.
    shop.waypoint = None;
    meshed.plane.set(vec![of_service(&shop, "3")]);
    meshed.wait_for_verdict(to, "ServiceHbone")?;
    Ok(())
}

#[test]
fn what_is_refused_is_told_and_loses_nothing() -> Result<()> {
    let mut meshed = Meshed::new(Resend::Changes)?;
    meshed.start()?;
    let plain = meshed.pod("far-plain");
    meshed.wait_for_verdict(plain, "WorkloadPlain")?;
    let mut bad = meshed.bed.xds_workload("far-plain")?;
    bad.addresses = vec![vec![1, 2, 3]];
    let mut other = meshed.bed.xds_service("web")?;
    other.waypoint = Some(Bed::xds_waypoint("waypoint"));
    meshed
        .plane
        .set(vec![of_workload(&bad, "2"), of_service(&other, "2")]);
    // The rest is applied, the last good version stays.
    meshed.wait_for_verdict(Bed::service(bed::WEB, false), "ServiceWaypoint")?;
    meshed.wait_for_verdict(plain, "WorkloadPlain")?;
    // It is told after it was applied.
    let socket = meshed.bed.socket();
    wait_until(PATIENCE, "the refusal in the status", || {
        let page = admin::get(&socket, "/status");
        page.is_ok_and(|(_, body)| {
            body.contains("resource cluster1//Pod/default/far-plain")
                && body.contains("4 or 16 bytes")
        })
    })?;
    wait_until(PATIENCE, "the refusal in the metrics", || {
        let labels = [("type", "address")];
        let rejected = meshed.bed.metric("waysteer_xds_rejected", &labels);
        rejected.is_ok_and(|rejected| rejected == 1)
    })?;
    let messages = || -> Vec<String> {
        let answers = meshed.plane.answers();
        let refused = answers.into_iter().filter_map(|answer| answer.error_detail);
        refused.map(|detail| detail.message).collect()
    };
    wait_until(PATIENCE, "a nack", || !messages().is_empty())?;
    let messages = messages();
    ensure!(
        messages.len() == 1 && messages[0].starts_with("cluster1//Pod/default/far-plain: "),
        "{messages:?}"
    );
    let good = meshed.bed.xds_workload("far-plain")?;
    meshed.plane.set(vec![of_workload(&good, "3")]);
    meshed.wait_for_source("nothing is wrong", |source| {
        source["xds"]["types"]["address"]["rejected"] == 0
    })
}

#[test]
fn a_policy_ends_the_bypass_and_its_removal_begins_it_again() -> Result<()> {
    let mut meshed = Meshed::new(Resend::Changes)?;
    meshed.start()?;
    let server = meshed.pod("server");
    meshed.wait_for_verdict(server, "LocalBypass")?;
    let policy = Authorization {
        name: "allow-nothing".into(),
        namespace: "default".into(),
        scope: 1,
        ..Authorization::default()
    };
    meshed.plane.set(vec![of_policy(&policy, "1")]);
    let verdict = meshed.wait_for_verdict(server, "LocalPolicy")?;
    ensure!(verdict["steered"] == true, "{verdict}");
    meshed.plane.remove(&["default/allow-nothing"]);
    meshed.wait_for_verdict(server, "LocalBypass")?;
    Ok(())
}
