//! The agent comes back and finds the world changed, or cannot find out.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::Bed;
use waysteer_tests::capture::Capture;
use waysteer_tests::dial::Dial;
use waysteer_tests::wait::wait_until;

use super::{PATIENCE, Scene};

#[test]
fn restarted_without_its_source() -> Result<()> {
    let mut scene = Scene::new()?;
    let (mesh, pods) = ("mesh.yaml", "pods.yaml");
    for missing in [vec![mesh], vec![pods], vec![mesh, pods]] {
        scene.bed.kill_agent()?;
        for file in &missing {
            scene.bed.remove_file(file)?;
        }
        scene.bed.start_agent()?;
        let socket = scene.bed.socket();
        wait_until(PATIENCE, "the agent says what it lacks", || {
            admin::get(&socket, "/readyz")
                .is_ok_and(|(status, text)| status == 503 && text.contains("source"))
        })?;
        scene.go_on()?;
        let (status, text) = admin::get(&socket, "/readyz")?;
        ensure!(status == 503, "without {missing:?}: {status} {text}");
        for file in &missing {
            match *file {
                "mesh.yaml" => scene.bed.write_mesh(&scene.bed.mesh())?,
                _ => scene.bed.write_pods(&["client", "server", "other"])?,
            }
        }
        scene.bed.wait_until_ready()?;
        scene.go_on()?;
    }
    scene.finish()
}

#[test]
fn pods_went_and_came_meanwhile() -> Result<()> {
    let mut scene = Scene::new()?;
    let gone = scene.bed.pod("other").netns.cookie()?.to_string();
    ensure!(has_pins(&scene.bed, &gone)?, "no pins of {gone}");
    scene.bed.kill_agent()?;
    scene.bed.topology.node.remove_pod("other");
    scene.bed.topology.node.add_pod("late")?;
    scene.bed.write_mesh(&scene.bed.mesh())?;
    scene.bed.write_pods(&["client", "server", "late"])?;
    scene.bed.start_agent()?;
    scene.bed.wait_until_ready()?;
    ensure!(scene.bed.metric("waysteer_pods_enrolled", &[])? == 3);
    let socket = scene.bed.socket();
    let states = admin::pod_states(&socket)?;
    ensure!(states.keys().eq(["client", "late", "server"]), "{states:?}");
    wait_until(PATIENCE, "the pins of the pod that went are gone", || {
        has_pins(&scene.bed, &gone).is_ok_and(|has| !has)
    })?;
    let late = scene.bed.pod("late");
    let veth = Capture::start(&scene.bed.topology.node.netns, &[&late.veth])?;
    for v6 in [false, true] {
        let far = SocketAddr::new(scene.bed.address("far", v6), 8080);
        Dial::new().connect(&late.netns, far)?;
        let seen = veth.sum_to(far);
        ensure!(seen.packets == 0, "the new pod's traffic: {seen:?}");
    }
    // The tunnel accepts first, and then begins to speak with the next hop.
    wait_until(PATIENCE, "the new pod's traffic is HBONE", || {
        !veth.hbone().is_empty()
    })?;
    drop(veth);
    scene.go_on()?;
    scene.finish()
}

fn has_pins(bed: &Bed, cookie: &str) -> Result<bool> {
    let mut names = bed.pins.list()?.into_iter();
    Ok(names.any(|path| path.iter().any(|part| part == cookie)))
}
