//! Two network namespaces with a wire between them: a pod and the world.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use waysteer::kernel::netns::PodNetns;

pub(crate) const POD_V4: &str = "10.77.0.1";
pub(crate) const POD_V6: &str = "fd77::1";
pub(crate) const WORLD_V4: &str = "10.77.0.2";
pub(crate) const WORLD_V6: &str = "fd77::2";

/// Read while a child runs: `exec` lets its parent go on before it closes what is to be closed.
static FORKS: RwLock<()> = RwLock::new(());

/// How long a wire may take.
const SETTLED: Duration = Duration::from_secs(30);

/// Goes away when dropped.
pub(crate) struct Bed {
    pub(crate) pod: Namespace,
    pub(crate) world: Namespace,
}

pub(crate) struct Namespace {
    name: String,
    pub(crate) netns: PodNetns,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let (pod, world) = (Namespace::new("pod"), Namespace::new("world"));
        world.ip("link set lo up");
        let bed = Self { pod, world };
        bed.connect();
        bed
    }

    /// Lays the wire, with its ends' addresses.
    pub(crate) fn connect(&self) {
        let Self { pod, world } = self;
        let peer = format!(
            "link add eth0 type veth peer name eth0 netns {}",
            world.name
        );
        pod.ip(&peer);
        for (namespace, v4, v6) in [(pod, POD_V4, POD_V6), (world, WORLD_V4, WORLD_V6)] {
            // No address of the kernel's own: it would come in the middle of a test, once the kernel
            // has asked whether somebody else has it.
            namespace.ip("link set eth0 addrgenmode none");
            namespace.ip("link set eth0 up");
            namespace.ip(&format!("addr add {v4}/24 dev eth0"));
            namespace.ip(&format!("addr add {v6}/64 dev eth0 nodad"));
        }
        // The kernel takes its time to tell a device that the other end is up.
        let begun = Instant::now();
        while [pod, world]
            .iter()
            .any(|end| end.ip("route").contains("linkdown"))
        {
            assert!(begun.elapsed() < SETTLED, "the wire has no carrier");
        }
    }
}

impl Namespace {
    fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsk-{}-{count}-{role}", std::process::id());
        ip(&format!("netns add {name}"));
        let netns = PodNetns::open(&path(&name)).expect("the netns");
        Self { name, netns }
    }

    pub(crate) fn path(&self) -> PathBuf {
        path(&self.name)
    }

    /// `ip` in the namespace.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.name))
    }

    pub(crate) fn read_sysctl(&self, path: &str) -> String {
        self.run(|| std::fs::read_to_string(format!("/proc/sys/{path}")).expect("a sysctl"))
    }

    pub(crate) fn write_sysctl(&self, path: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/{path}"), value).expect("a sysctl"));
    }

    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.netns.run(work).expect("a thread in the netns")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn socket(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(self::address(address), port)
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("/run/netns/{name}"))
}

/// For what counts on the kernel letting go of what is closed: a child that a test beside this one
/// starts has all of our files open at first, too.
pub(crate) fn without_forks<R>(work: impl FnOnce() -> R) -> R {
    let _forks = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    work()
}

fn ip(arguments: &str) -> String {
    let _forks = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("iproute2");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), output.stderr);
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&err)
    );
    out.into_owned()
}
