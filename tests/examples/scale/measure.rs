//! One size: the whole mesh, then changes of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use waysteer::source::xds::proto::workload::Workload;

use crate::agent::{Address, Agent, Written};
use crate::mesh::{Mesh, of_workload, waypoint};
use crate::plane::{Plane, Stream};

/// Changes of single pods.
const SINGLE: usize = 200;
/// Pods that are replaced, each by a response of its own.
const ROLLOUT: usize = 1_000;
/// Of these, not yet acknowledged.
const UNDER_WAY: usize = 100;
/// Workloads that get another waypoint by one response.
const BEHIND_WAYPOINT: usize = 10_000;

/// What one size has cost. Memory in kilobytes.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) mesh: Mesh,
    pub(crate) snapshot: Duration,
    pub(crate) snapshot_processor: f64,
    pub(crate) snapshot_waited: f64,
    pub(crate) snapshot_written: Written,
    pub(crate) peak: u64,
    pub(crate) resident: u64,
    pub(crate) kernel: u64,
    /// In order of size.
    pub(crate) single: Vec<Duration>,
    pub(crate) single_written: Written,
    pub(crate) rollout: Duration,
    pub(crate) rollout_pods: usize,
    pub(crate) rollout_written: Written,
    pub(crate) waypoint: Duration,
    pub(crate) waypoint_workloads: usize,
    pub(crate) waypoint_written: Written,
}

pub(crate) async fn measure(program: &Path, mesh: Mesh) -> Result<Measured> {
    let mut plane = Plane::start().await?;
    // Before the agent starts: making them is not its work.
    let resources = mesh.resources().collect();
    let mut agent = Agent::start(program, &plane.address.to_string())?;
    let mut stream = plane.accept().await?;
    let (before, processor) = (agent.written()?, agent.processor_time()?);
    let waited = agent.waited_for_processor()?;
    let start = Instant::now();
    stream.tell_all(resources).await?;
    let end;
    (agent, end) = blocking(agent, Agent::wait_until_synced).await?;
    let snapshot = end.duration_since(start);
    stream.acknowledged(2).await?;
    let snapshot_processor = agent.processor_time()? - processor;
    let snapshot_waited = agent.waited_for_processor()? - waited;
    let snapshot_written = since(before, &agent)?;
    let (peak, resident) = (agent.memory("VmHWM")?, agent.memory("VmRSS")?);
    let kernel = agent.kernel_memory()?;

    let before = agent.written()?;
    let mut single = Vec::new();
    for number in 0..SINGLE {
        let took;
        (agent, took) = one(agent, &mut stream, mesh, number).await?;
        single.push(took);
    }
    single.sort();
    let single_written = since(before, &agent)?;

    let before = agent.written()?;
    let rollout_pods = ROLLOUT.min(mesh.workloads / 4);
    let rollout;
    (agent, rollout) = roll_out(agent, &mut stream, mesh, rollout_pods).await?;
    let rollout_written = since(before, &agent)?;

    let before = agent.written()?;
    let waypoint_workloads = BEHIND_WAYPOINT.min(mesh.workloads / 2);
    let waypoint;
    (agent, waypoint) = other_waypoint(agent, &mut stream, mesh, waypoint_workloads).await?;
    let waypoint_written = since(before, &agent)?;
    agent.stop()?;
    Ok(Measured {
        mesh,
        snapshot,
        snapshot_processor,
        snapshot_waited,
        snapshot_written,
        peak,
        resident,
        kernel,
        single,
        single_written,
        rollout,
        rollout_pods,
        rollout_written,
        waypoint,
        waypoint_workloads,
        waypoint_written,
    })
}

/// A pod of a service gets another address; until that is in the map.
async fn one(
    agent: Agent,
    stream: &mut Stream,
    mesh: Mesh,
    number: usize,
) -> Result<(Agent, Duration)> {
    let mut workload = mesh.workload(number * mesh.workloads / 10 / SINGLE * 3);
    workload.addresses = vec![vec![10, 200, 0, number as u8]];
    let key = key(&workload)?;
    let resource = of_workload(&workload);
    let start = Instant::now();
    stream.tell(vec![resource]).await?;
    let (agent, end) = look_for(agent, key).await?;
    stream.acknowledged(1).await?;
    Ok((agent, end.duration_since(start)))
}

/// Pods of services go and others come, each in a response of its own; until the last is in the map.
async fn roll_out(
    agent: Agent,
    stream: &mut Stream,
    mesh: Mesh,
    pods: usize,
) -> Result<(Agent, Duration)> {
    let mut last = None;
    let mut changes = Vec::new();
    for number in 0..pods {
        let old = mesh.workload(number);
        let mut new = old.clone();
        new.name.push_str("-new");
        new.uid.push_str("-new");
        let [high, low] = (number as u16).to_be_bytes();
        new.addresses = vec![vec![10, 201, high, low]];
        last = Some(key(&new)?);
        changes.push((old.uid, of_workload(&new)));
    }
    let start = Instant::now();
    for (number, (old, new)) in changes.into_iter().enumerate() {
        stream.replace(old, new).await?;
        if number >= UNDER_WAY {
            // Who is not listened to does not listen either.
            stream.acknowledged(1).await?;
        }
    }
    let (agent, end) = look_for(agent, last.context("some pods")?).await?;
    stream.acknowledged(pods.min(UNDER_WAY)).await?;
    Ok((agent, end.duration_since(start)))
}

/// Many workloads get another waypoint; until all entries are other ones.
async fn other_waypoint(
    agent: Agent,
    stream: &mut Stream,
    mesh: Mesh,
    workloads: usize,
) -> Result<(Agent, Duration)> {
    let mut resources = Vec::new();
    let mut keys = Vec::new();
    // None of those that were changed above.
    let first = mesh.workloads / 3;
    let numbers = (first..).take(workloads);
    for number in numbers {
        let mut workload = mesh.workload(number);
        workload.waypoint = Some(waypoint(0));
        keys.push(key(&workload)?);
        resources.push(of_workload(&workload));
    }
    let map = agent.workloads()?;
    let old: Vec<_> = keys.iter().map(|key| map.get(key, 0).ok()).collect();
    let start = Instant::now();
    stream.tell(resources).await?;
    let (agent, end) = blocking(agent, move |agent| {
        for (key, old) in keys.iter().zip(&old) {
            agent.wait("another waypoint", || {
                (map.get(key, 0).ok() != *old).then_some(())
            })?;
        }
        Ok(())
    })
    .await?;
    stream.acknowledged(1).await?;
    Ok((agent, end.duration_since(start)))
}

async fn look_for(agent: Agent, key: Address) -> Result<(Agent, Instant)> {
    let map = agent.workloads()?;
    blocking(agent, move |agent| {
        let found = agent.wait("the new address", || map.get(&key, 0).ok());
        found.map(drop)
    })
    .await
}

/// Looks from a thread of its own, since the control plane goes on meanwhile; says when it was done.
async fn blocking(
    mut agent: Agent,
    work: impl FnOnce(&mut Agent) -> Result<()> + Send + 'static,
) -> Result<(Agent, Instant)> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut agent);
        (agent, done, Instant::now())
    });
    let (agent, done, end) = done.await?;
    done?;
    Ok((agent, end))
}

fn since(before: Written, agent: &Agent) -> Result<Written> {
    let now = agent.written()?;
    ensure!(now.entries >= before.entries, "a counter went back");
    Ok(Written {
        entries: now.entries - before.entries,
        syscalls: now.syscalls - before.syscalls,
    })
}

fn key(workload: &Workload) -> Result<Address> {
    let address = workload.addresses.first().context("an address")?;
    let v4: [u8; 4] = address.as_slice().try_into()?;
    Ok(std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets())
}
