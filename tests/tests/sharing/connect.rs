//! A program that rewrites services' addresses in `connect()`, as socket load balancers do: ours
//! must see the service.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use waysteer_tests::admin;
use waysteer_tests::bed::{self, Bed, Options};
use waysteer_tests::foreign::{Foreign, Place};
use waysteer_tests::wait::wait_until;

use crate::drift::scene::{PORT, Scene, run};

const TIMER: Duration = Duration::from_secs(10);

fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    root.context("a cgroup v2 hierarchy")
}

/// A cgroup below the root; it goes away when dropped.
struct Child(PathBuf);

impl Child {
    fn new(name: &str) -> Result<Self> {
        let name = format!("waysteer-{}-{name}", std::process::id());
        let path = cgroup_root()?.join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(address) => bail!("{address}"),
    }
}

/// The service with a waypoint, which a balancer would send to `far-plain`.
fn balancer(bed: &Bed, cgroup: &Path, place: Place) -> Result<Foreign> {
    let from = v4(Bed::service(bed::SHOP, false))?;
    let to = v4(SocketAddr::new(bed.address("far-plain", false), PORT))?;
    Foreign::rewriting(cgroup, place, from, to)
}

/// Dials the service from a process of a cgroup, which need not succeed.
fn dial(bed: &Bed, cgroup: Option<&Path>) -> Result<()> {
    let to = Bed::service(bed::SHOP, false);
    let enter = cgroup.map_or(String::new(), |path| {
        format!("echo $$ > {}/cgroup.procs && ", path.display())
    });
    let dial = format!(
        "{enter}timeout 2 bash -c 'exec 3<>/dev/tcp/{}/{}' || true",
        to.ip(),
        to.port()
    );
    let mut command = bed.pod("client").netns.command("bash");
    run(command.arg("-c").arg(dial)).map(drop)
}

/// The verdict is on the service, whoever else is there, and the balancer has run too.
fn ensure_seen(bed: &Bed, cgroup: Option<&Path>, others: &[&Foreign]) -> Result<()> {
    let before: Result<Vec<u64>> = others.iter().map(|other| other.count()).collect();
    let mark = bed.mark()?;
    dial(bed, cgroup)?;
    let flow = bed.flow_to(Bed::service(bed::SHOP, false), mark)?;
    ensure!(flow.reason == "ServiceWaypoint", "{flow:?}");
    ensure!(flow.class == "ToServerWaypoint" && flow.steered, "{flow:?}");
    for (other, before) in others.iter().zip(before?) {
        ensure!(other.count()? > before, "the stranger has not run");
    }
    Ok(())
}

fn shadowed(bed: &Bed) -> Result<u64> {
    bed.metric("waysteer_hooks_shadowed", &[("hook", "connect4")])
}

#[test]
fn services_are_seen_before_they_are_rewritten() -> Result<()> {
    let mut bed = Bed::new(&Options {
        start_agent: false,
        extra: "verify_interval = 1\n".to_owned(),
        ..Options::default()
    })?;
    let root = cgroup_root()?;
    let child = Child::new("child")?;
    let early = balancer(&bed, &root, Place::Last)?;
    let below = balancer(&bed, &child.0, Place::Last)?;
    bed.start_agent()?;
    bed.wait_until_ready()?;
    ensure_seen(&bed, None, &[&early])?;
    // Where it was rewritten by the one below, the one at the root has nothing to do, but runs.
    ensure_seen(&bed, Some(&child.0), &[&below, &early])?;
    let late = balancer(&bed, &root, Place::Last)?;
    ensure_seen(&bed, None, &[&early, &late])?;
    let grandchild = balancer(&bed, &child.0, Place::First)?;
    ensure_seen(&bed, Some(&child.0), &[&grandchild])?;
    ensure!(shadowed(&bed)? == 0);
    Ok(())
}

#[test]
fn who_comes_first_is_put_behind_or_told_of() -> Result<()> {
    let mut scene = Scene::new(1)?;
    let root = cgroup_root()?;
    let mut stranger = None;
    scene.broken("a balancer first", &[("order", 1)], TIMER, |bed| {
        stranger = Some(balancer(bed, &root, Place::First)?);
        Ok(())
    })?;
    let mut stranger = stranger.context("the balancer")?;
    ensure_seen(&scene.bed, None, &[&stranger])?;
    ensure!(shadowed(&scene.bed)? == 0);
    // He insists. Repairs are counted by the metric, for a look takes a while.
    let repaired = |bed: &Bed| bed.metric("waysteer_drift_repaired", &[("kind", "order")]);
    let mut last = repaired(&scene.bed)?;
    stranger = balancer(&scene.bed, &root, Place::First)?;
    wait_until(Duration::from_secs(30), "he is let be", || {
        let now = repaired(&scene.bed).unwrap_or(last);
        if now > last {
            last = now;
            if let Ok(again) = balancer(&scene.bed, &root, Place::First) {
                stranger = again;
            }
        }
        now >= 3 && shadowed(&scene.bed).is_ok_and(|count| count == 1)
    })?;
    let (_, status) = admin::get(&scene.bed.socket(), "/status")?;
    ensure!(status.contains("stranger before connect4"), "{status}");
    ensure!(status.contains(r#""name":"stranger""#), "{status}");
    drop(stranger);
    wait_until(TIMER, "nobody is before us", || {
        shadowed(&scene.bed).is_ok_and(|count| count == 0)
    })?;
    ensure_seen(&scene.bed, None, &[])
}
