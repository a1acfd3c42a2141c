//! What is pinned, and what runs where.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use waysteer::kernel::hooks;
use waysteer::kernel::link::{Hook, Link, LinkInfo, Place};
use waysteer_tests::admin;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::http;
use waysteer_tests::netns::NetNs;
use waysteer_tests::peers::{Server, Service};
use waysteer_tests::wait::wait_until;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PORT: u16 = 8080;

/// A bed with its agent, and servers in `far`, reached by HBONE, and `far-plain`, by plain TCP.
pub(crate) struct Stage {
    pub(crate) bed: Bed,
    _servers: Vec<Server>,
}

impl Stage {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let bed = Bed::new(options)?;
        let mut servers = Vec::new();
        for name in ["far", "far-plain"] {
            let netns = &bed.pod(name).netns;
            servers.push(Server::start(netns, name, PORT, Service::Http)?);
        }
        Ok(Self {
            bed,
            _servers: servers,
        })
    }

    /// The agent ends without a word, and another one takes over.
    pub(crate) fn restart(&mut self, flags: &[&str], between: impl FnOnce(&Bed)) -> Result<()> {
        self.bed.kill_agent()?;
        between(&self.bed);
        self.bed.start_agent_with(flags)?;
        self.bed.wait_until_ready()
    }

    /// From a pod to `far`, through the tunnel, and to `far-plain`, past it.
    pub(crate) fn check_flows(&self, pod: &str) -> Result<()> {
        for v6 in [false, true] {
            for (name, class) in [("far", "Direct"), ("far-plain", "Direct")] {
                let to = SocketAddr::new(self.bed.address(name, v6), PORT);
                let mark = self.bed.mark()?;
                ask(&self.bed, pod, to)?;
                let flow = self.bed.flow_to(to, mark)?;
                let steered = name == "far";
                ensure!(
                    (flow.class.as_str(), flow.steered) == (class, steered),
                    "{flow:?}"
                );
            }
        }
        Ok(())
    }
}

pub(crate) fn ask(bed: &Bed, pod: &str, to: SocketAddr) -> Result<()> {
    let dial = Dial::new().timeout(PATIENCE);
    let connection = dial.connect(&bed.pod(pod).netns, to)?;
    let seen = http::get(&connection.stream, "any", "/")?.seen()?;
    ensure!(
        seen.client.ip() == bed.address(pod, to.is_ipv6()),
        "{seen:?}"
    );
    Ok(())
}

/// The directories of generations.
pub(crate) fn generations(bed: &Bed) -> Result<Vec<PathBuf>> {
    let root = bed.pins.path();
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(|| root.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The only one.
pub(crate) fn generation(bed: &Bed) -> Result<PathBuf> {
    let found = generations(bed)?;
    let [only] = found.as_slice() else {
        anyhow::bail!("{found:?}");
    };
    Ok(only.clone())
}

/// All pinned links of all generations, by path.
pub(crate) fn links(bed: &Bed) -> Result<BTreeMap<PathBuf, LinkInfo>> {
    let mut links = BTreeMap::new();
    for path in bed.pins.list()? {
        let whole = bed.pins.path().join(&path);
        if whole.is_file() && path.iter().any(|part| part == "links") {
            let link = Link::open(&whole).with_context(|| path.display().to_string())?;
            links.insert(path, link.info()?);
        }
    }
    Ok(links)
}

/// Ids of the programs at a pod's hooks, in order, where there are any.
pub(crate) fn hooks(netns: &NetNs) -> Result<BTreeMap<String, Vec<u32>>> {
    let spots = [
        ("lo", Hook::TcxIngress),
        ("lo", Hook::TcxEgress),
        ("eth0", Hook::TcxIngress),
        ("eth0", Hook::TcxEgress),
    ];
    let look = || -> Result<BTreeMap<String, Vec<u32>>> {
        let mut hooks = BTreeMap::new();
        for (device, hook) in spots {
            let programs = hooks::on_device(if_nametoindex(device)?, hook)?;
            if !programs.is_empty() {
                hooks.insert(format!("{device} {hook:?}"), programs);
            }
        }
        Ok(hooks)
    };
    netns.run(look)
}

/// Waits until there is one program of ours at each hook of each of these pods, each by a pinned
/// link; and no other link, nor one to nowhere: what is left of other pods goes after these have
/// come.
pub(crate) fn check_whole(bed: &Bed, pods: &[&str]) -> Result<()> {
    until(|| is_whole(bed, pods))
}

/// Waits until this holds; its last error where it does not come to hold.
pub(crate) fn until(mut holds: impl FnMut() -> Result<()>) -> Result<()> {
    let mut last = Ok(());
    let waited = wait_until(PATIENCE, "this to hold", || {
        last = holds();
        last.is_ok()
    });
    last.and(waited)
}

fn is_whole(bed: &Bed, pods: &[&str]) -> Result<()> {
    let links = links(bed)?;
    let pinned: Vec<u32> = links.values().map(|link| link.program).collect();
    ensure!(links.len() == 5 + 3 * pods.len(), "{links:#?}");
    ensure!(
        links.values().all(|link| link.place != Place::Nowhere),
        "{links:#?}"
    );
    for pod in pods {
        let hooks = hooks(&bed.pod(pod).netns)?;
        ensure!(hooks.len() == 3, "{pod}: {hooks:?}");
        for (hook, programs) in &hooks {
            let [program] = programs.as_slice() else {
                anyhow::bail!("{pod}: {hook}: {programs:?}");
            };
            ensure!(
                pinned.contains(program),
                "{pod}: {hook}: {program} of {links:#?}"
            );
        }
    }
    Ok(())
}

/// Rules and routes of a pod that carry our number, and our parameters.
pub(crate) fn redirection(netns: &NetNs) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for family in ["-4", "-6"] {
        for what in ["rule list", "route list table 100"] {
            let mut command = netns.command("ip");
            command.args([family, "-N"]).args(what.split(' '));
            // The table is not there before its first route.
            let text = command.output().context("ip")?.stdout;
            let text = String::from_utf8_lossy(&text).into_owned();
            let ours = text
                .lines()
                .filter(|line| line.contains("100") || line.contains("local"));
            all.extend(ours.map(|line| format!("{family} {}", line.trim())));
        }
    }
    for name in [
        "tcp_fwmark_accept",
        "conf/lo/accept_local",
        "conf/lo/src_valid_mark",
    ] {
        all.push(format!(
            "{name} {}",
            netns.sysctl(&format!("net/ipv4/{name}"))?
        ));
    }
    Ok(all)
}

/// Keys of a pinned map.
pub(crate) fn keys(map: &Path) -> Result<Vec<u64>> {
    let mut command = Command::new("bpftool");
    command.args(["--json", "map", "dump", "pinned"]).arg(map);
    let entries: serde_json::Value = serde_json::from_str(&output(command)?)?;
    let entries = entries.as_array().context("entries")?;
    let key = |entry: &serde_json::Value| {
        let bytes = entry["key"].as_array().context("a key")?;
        let byte = |text: &serde_json::Value| {
            let text = text.as_str().context("a byte")?;
            Ok(u8::from_str_radix(text.trim_start_matches("0x"), 16)?)
        };
        let bytes = bytes.iter().map(byte).collect::<Result<Vec<u8>>>()?;
        let bytes: [u8; 8] = bytes.try_into().ok().context("eight bytes")?;
        Ok(u64::from_ne_bytes(bytes))
    };
    entries.iter().map(key).collect()
}

/// Waits until these, in order, are the pods that are enrolled.
pub(crate) fn wait_for_pods(bed: &Bed, names: &[&str]) -> Result<()> {
    wait_for_status(bed, &format!("{names:?} are enrolled"), |status| {
        let pods = status["pods"].as_array().into_iter().flatten();
        let enrolled = pods.filter(|pod| pod["state"] == "enrolled");
        enrolled.map(|pod| &pod["name"]).eq(names)
    })
}

/// Waits until the source has given a whole mesh.
pub(crate) fn wait_for_mesh(bed: &Bed) -> Result<()> {
    wait_for_status(bed, "a whole mesh", |status| {
        status["source"]["synced"] == true
    })
}

fn wait_for_status(
    bed: &Bed,
    what: &str,
    condition: impl Fn(&serde_json::Value) -> bool,
) -> Result<()> {
    let mut last = String::new();
    let waited = wait_until(PATIENCE, what, || {
        let Ok((200, body)) = admin::get(&bed.socket(), "/status") else {
            return false;
        };
        last = body;
        serde_json::from_str(&last).is_ok_and(|status| condition(&status))
    });
    waited.with_context(|| last.clone())
}

pub(crate) fn output(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
