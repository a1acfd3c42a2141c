//! Pods that came, went and were replaced while no agent ran.

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::bed::{Bed, Options};

use super::look::{self, Stage};

/// The netns under a pod's path is another one, as after a restart of its sandbox.
fn replace(bed: &Bed, pod: &str) -> Result<()> {
    let path = bed.pod(pod).netns.path();
    let path = path.to_str().context("a path")?;
    let mut command = std::process::Command::new("umount");
    look::output({
        command.arg("-l").arg(path);
        command
    })?;
    let mut command = std::process::Command::new("unshare");
    command.arg(format!("--net={path}")).args(["sh", "-c"]);
    command.arg(
        "ip link set lo up && ip link add eth0 type veth peer name peer0 && \
         ip addr add 10.99.0.1/32 dev eth0 && ip link set eth0 up",
    );
    look::output(command)?;
    Ok(())
}

#[test]
fn the_next_agent_has_the_pods_of_now() -> Result<()> {
    let mut stage = Stage::new(&Options::default())?;
    stage.bed.write_pods(&["client", "server"])?;
    look::wait_for_pods(&stage.bed, &["client", "server"])?;
    look::check_whole(&stage.bed, &["client", "server"])?;
    let old = stage.bed.pod("server").netns.cookie()?;
    stage.restart(&[], |bed| {
        bed.write_pods(&["client", "server", "other"])
            .expect("the pods");
        replace(bed, "server").expect("another netns");
    })?;
    look::wait_for_pods(&stage.bed, &["client", "other", "server"])?;
    let generation = look::generation(&stage.bed)?;
    let old_links = generation.join("links/pods").join(old.to_string());
    look::until(|| {
        let records = look::keys(&stage.bed.pins.path().join("ENROLMENTS"))?;
        ensure!(records.len() == 3 && !records.contains(&old), "{records:?}");
        ensure!(
            !old_links.exists(),
            "links of the netns that was replaced stay"
        );
        let pods = look::keys(&generation.join("maps/PODS"))?;
        let pods: Vec<u64> = pods.into_iter().map(u64::from_be).collect();
        ensure!(pods.len() == 3 && !pods.contains(&old), "{pods:?}");
        let links = look::links(&stage.bed)?.len();
        // The new netns has two devices.
        ensure!(links == 5 + 3 * 3 + 2, "{links} links");
        Ok(())
    })?;
    stage.check_flows("client")?;
    stage.check_flows("other")?;

    // And a pod that is gone from the list.
    stage.restart(&[], |bed| bed.write_pods(&["client"]).expect("the pods"))?;
    look::wait_for_pods(&stage.bed, &["client"])?;
    look::check_whole(&stage.bed, &["client"])?;
    let other = &stage.bed.pod("other").netns;
    ensure!(look::hooks(other)?.is_empty(), "{:?}", look::hooks(other)?);
    stage.check_flows("client")
}

#[test]
fn without_a_list_of_pods_none_is_let_go() -> Result<()> {
    let mut stage = Stage::new(&Options::default())?;
    stage.bed.kill_agent()?;
    let pods = stage.bed.scratch.path().join("pods.yaml");
    let text = std::fs::read(&pods)?;
    std::fs::remove_file(&pods)?;
    stage.bed.start_agent()?;
    look::wait_for_pods(&stage.bed, &["client", "other", "server"])?;
    look::wait_for_mesh(&stage.bed)?;
    look::check_whole(&stage.bed, &["client", "server", "other"])?;
    stage.check_flows("client")?;
    std::fs::write(&pods, text)?;
    stage.bed.wait_until_ready()?;
    look::check_whole(&stage.bed, &["client", "server", "other"])
}
