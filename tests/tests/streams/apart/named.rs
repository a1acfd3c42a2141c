//! What metrics say of connections past the tunnel, while pods come and go.

use std::collections::BTreeSet;

use super::*;

const SENT: &str = "istio_tcp_sent_bytes";
const OPENED: &str = "istio_tcp_connections_opened";

/// Of what the two pods of one deployment sent.
fn sent(bed: &Bed, labels: &[(&str, &str)]) -> Result<u64> {
    let source = [
        ("reporter", "source"),
        ("source_workload", "shoppers"),
        ("source_workload_namespace", "default"),
        (
            "source_principal",
            "spiffe://cluster.local/ns/default/sa/client",
        ),
        ("connection_security_policy", "none"),
    ];
    bed.metric(SENT, &[&source, labels].concat())
}

/// Of whom the kernel has entries.
fn owners(scene: &Scene) -> Result<BTreeSet<u64>> {
    let entries = scene.entries()?;
    Ok(entries.keys().map(|key| key.source.get()).collect())
}

fn wait_until_gone(scene: &Scene, pod: &str) -> Result<()> {
    let netns = scene.bed.pod(pod).netns.cookie()?;
    wait_until(PATIENCE, "the pod's entries are gone", || {
        owners(scene).is_ok_and(|owners| !owners.contains(&netns))
    })
}

#[test]
fn lines_are_of_workloads_and_outlive_pods_and_agents() -> Result<()> {
    let mut scene = Scene::new(&Options {
        extra: "on_stop = \"leave\"\n".to_owned(),
        ..Options::default()
    })?;
    let [plain, neighbour, old, headless, external, web] = scene.ways(false);
    scene.exchange("client", &plain, 100)?;
    scene.exchange("other", &plain, 200)?;
    for (way, bytes) in [
        (neighbour, 3),
        (old, 50),
        (headless, 60),
        (external, 70),
        (web, 1000),
    ] {
        scene.exchange("client", &way, bytes)?;
    }
    scene.wait_until_closed(7)?;
    let check = |bed: &Bed| -> Result<()> {
        let workload = |name| {
            let service = ("destination_service", "unknown");
            sent(bed, &[("destination_workload", name), service])
        };
        let service = |name: &str| {
            let host = format!("{name}.default.svc.cluster.local");
            let name = ("destination_service_name", name);
            let workload = ("destination_workload", "unknown");
            sent(bed, &[("destination_service", &host), name, workload])
        };
        let unknown = [
            ("destination_workload", "unknown"),
            ("destination_service", "unknown"),
        ];
        let found = [
            workload("far-plain")?,
            workload("server")?,
            service("old")?,
            service("headless")?,
            sent(bed, &unknown)?,
        ];
        ensure!(found == [300, 3, 50, 60, 70], "{found:?}");
        // What was steered is the tunnel's to tell.
        ensure!(bed.metric(SENT, &[])? == 483);
        ensure!(bed.metric(OPENED, &[])? == 6);
        Ok(())
    };
    check(&scene.bed)?;
    scene.write_pods(&["server", "other"])?;
    wait_until_gone(&scene, "client")?;
    check(&scene.bed).context("after one of the two pods has left")?;
    let before = scene.entries()?;
    scene.bed.stop_agent()?;
    ensure!(scene.entries()? == before, "a stop leaves what there is");
    scene.bed.start_agent()?;
    scene.bed.wait_until_ready()?;
    check(&scene.bed).context("of the next agent")?;
    scene.write_pods(&["server"])?;
    wait_until(PATIENCE, "nothing is left of the deployment", || {
        scene.entries().is_ok_and(|entries| entries.is_empty())
    })?;
    ensure!(scene.bed.metric(SENT, &[])? == 0);
    Ok(())
}

#[test]
fn destinations_beyond_the_bound_are_one_line() -> Result<()> {
    let scene = Scene::new(&Options {
        extra: "traffic = {series = 1}\n".to_owned(),
        ..Options::default()
    })?;
    let [plain, _, old, headless, ..] = scene.ways(true);
    scene.exchange("client", &plain, 5)?;
    scene.wait_until_closed(1)?;
    ensure!(sent(&scene.bed, &[("destination_workload", "far-plain")])? == 5);
    scene.exchange("client", &old, 10)?;
    scene.exchange("other", &headless, 20)?;
    scene.exchange("other", &plain, 40)?;
    scene.wait_until_closed(4)?;
    ensure!(sent(&scene.bed, &[("destination_workload", "far-plain")])? == 45);
    ensure!(sent(&scene.bed, &[("destination_service", "other")])? == 30);
    ensure!(scene.bed.metric("waysteer_traffic_series", &[])? == 2);
    ensure!(scene.bed.metric("waysteer_traffic_entries", &[])? == 4);
    Ok(())
}
