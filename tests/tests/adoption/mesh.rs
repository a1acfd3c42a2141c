//! The source cannot be read when the agent comes back.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use waysteer_tests::bed::Options;

use super::look::{self, PORT, Stage};

#[test]
fn the_mesh_of_before_stays_until_there_is_another() -> Result<()> {
    let mut stage = Stage::new(&Options::default())?;
    stage.bed.write_pods(&["client", "server"])?;
    look::wait_for_pods(&stage.bed, &["client", "server"])?;
    let mesh = stage.bed.scratch.path().join("mesh.yaml");
    let text = std::fs::read_to_string(&mesh)?;
    stage.bed.kill_agent()?;
    std::fs::remove_file(&mesh)?;
    stage.bed.write_pods(&["client", "other"])?;
    stage.bed.start_agent()?;
    look::wait_for_pods(&stage.bed, &["client", "other"])?;
    look::check_whole(&stage.bed, &["client", "other"])?;
    // A pod of before is judged as before: what is plain goes past the tunnel.
    let plain = SocketAddr::new(stage.bed.address("far-plain", false), PORT);
    let explain = |pod: &str, to: SocketAddr| {
        let page = format!("/explain?pod=default/{pod}&destination={to}");
        let (status, body) = waysteer_tests::admin::get(&stage.bed.socket(), &page)?;
        ensure!(status == 200, "{pod} to {to}: {body}");
        Ok(serde_json::from_str::<serde_json::Value>(&body)?)
    };
    let verdict = explain("client", plain)?;
    ensure!(verdict["reason"] == "WorkloadPlain", "{verdict}");
    look::ask(&stage.bed, "client", plain)?;
    let hbone = explain(
        "client",
        SocketAddr::new(stage.bed.address("far", false), PORT),
    )?;
    ensure!(hbone["reason"] == "WorkloadHbone", "{hbone}");
    // Of a new one nothing is known: it is steered.
    let verdict = explain("other", plain)?;
    ensure!(
        (verdict["reason"].as_str(), verdict["steered"].as_bool())
            == (Some("SourceUnknown"), Some(true)),
        "{verdict}"
    );
    // Whoever is gone is let go, mesh or not.
    let server = &stage.bed.pod("server").netns;
    look::until(|| {
        let hooks = look::hooks(server)?;
        ensure!(hooks.is_empty(), "{hooks:?}");
        Ok(())
    })?;

    stage.bed.write_mesh(&text)?;
    stage.bed.wait_until_ready()?;
    stage.check_flows("client")?;
    stage.check_flows("other")
}
