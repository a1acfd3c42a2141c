//! Those who come to an enrolled pod from the host and from outside the mesh.

use anyhow::{Context as _, Result, ensure};
use waysteer_tests::dial::Dial;

use super::watched::Watched;

#[test]
fn a_probe_of_the_host_goes_past_the_tunnel() -> Result<()> {
    let watched = Watched::new()?;
    let node = &watched.bed.topology.node;
    for v6 in [false, true] {
        let to = watched.pod("client", v6);
        let (plain, hosts) = (
            watched.tunnelled_in()?,
            watched.action("host_flow_recorded")?,
        );
        let connection = Dial::new().connect(&node.netns, to)?;
        let seen = watched.ask(&connection.stream)?;
        ensure!(seen.server == "client", "{seen:?}");
        ensure!(seen.client == connection.local, "{seen:?}");
        ensure!(
            seen.client.ip() == node.addresses.both()[usize::from(v6)],
            "{seen:?}"
        );
        ensure!(
            watched.tunnelled_in()? == plain,
            "a probe went through the tunnel"
        );
        ensure!(watched.action("host_flow_recorded")? > hosts);
    }
    Ok(())
}

#[test]
fn a_client_from_outside_comes_through_the_tunnel_with_its_address() -> Result<()> {
    let watched = Watched::new()?;
    let external = &watched.bed.topology.external;
    for v6 in [false, true] {
        let to = watched.pod("client", v6);
        let plain = watched.tunnelled_in()?;
        let connection = Dial::new().connect(&external.netns, to)?;
        let seen = watched
            .ask(&connection.stream)
            .with_context(|| to.to_string())?;
        ensure!(seen.server == "client" && seen.local == to, "{seen:?}");
        ensure!(seen.client.ip() == connection.local.ip(), "{seen:?}");
        ensure!(
            watched.tunnelled_in()? == plain + 1,
            "not through the tunnel"
        );
        // A port where nobody listens.
        let mut closed = to;
        closed.set_port(8181);
        let connection = Dial::new().connect(&external.netns, closed);
        let answer = connection
            .map_err(Into::into)
            .and_then(|c| watched.ask(&c.stream));
        ensure!(answer.is_err(), "{answer:?}");
    }
    Ok(())
}

impl Watched {
    fn tunnelled_in(&self) -> Result<u64> {
        self.bed.metric("waysteer_tunnel_inbound_plain", &[])
    }
}
