//! The server against peers whose every byte is made by hand.

mod ends;
mod file;
mod model;
mod peer;
mod refusals;
mod snapshot;
mod upgrade;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self::peer::{Peer, add, message};
use super::{Ztunnel, ZtunnelStatus};
use crate::model::PodSpec;
use crate::tunnel::Readiness;

/// For what must come; machines are slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// The server's, where nothing is to be late: longer than a test waits for anything.
const PATIENT: Duration = Duration::from_secs(120);
/// Where something is.
const IMPATIENT: Duration = Duration::from_millis(300);

/// A directory of a test's own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("waysteer-zds-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("ztunnel.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

struct Server {
    ztunnel: Ztunnel,
    directory: Directory,
}

impl Server {
    /// With the gate open.
    fn new() -> Self {
        let server = Self::closed();
        server.ztunnel.pods_registered();
        server
    }

    fn closed() -> Self {
        Self::with(PATIENT)
    }

    /// With the gate open, and little time for answers.
    fn impatient() -> Self {
        let server = Self::with(IMPATIENT);
        server.ztunnel.pods_registered();
        server
    }

    fn with(deadline: Duration) -> Self {
        let directory = Directory::new();
        let ztunnel = Ztunnel::start_with(&directory.socket(), deadline).unwrap();
        Self { ztunnel, directory }
    }

    /// Any file will do for a netns here; its content tells which one it is.
    fn netns(&self, name: &str) -> OwnedFd {
        let path = self.directory.0.join(name);
        std::fs::write(&path, name).unwrap();
        File::open(path).unwrap().into()
    }

    fn add(&self, uid: &str) {
        self.add_with_netns(uid, uid);
    }

    fn add_with_netns(&self, uid: &str, netns: &str) {
        let cookie = netns.bytes().map(u64::from).sum();
        self.ztunnel
            .add(&pod(uid), cookie, self.netns(netns))
            .unwrap();
    }

    fn connect(&self) -> Peer {
        Peer::connect(&self.directory.socket())
    }

    /// A ztunnel that has said hello and has had its (empty) snapshot.
    fn synced(&self) -> Peer {
        let peer = self.connect();
        peer.hello();
        peer.take_snapshot();
        peer
    }

    fn wait_until<T>(&self, what: &str, test: impl Fn(&ZtunnelStatus) -> Option<T>) -> T {
        wait_until(what, || test(&self.ztunnel.status()))
    }

    fn wait_until_connected(&self, number: usize) {
        self.wait_until("connections", |status| {
            (status.connected.len() == number).then_some(())
        });
    }

    fn wait_until_ready(&self, uid: &str) {
        wait_until(&format!("{uid} is ready"), || {
            (self.ztunnel.readiness(uid) == Readiness::Ready).then_some(())
        });
    }

    fn waiting(&self, uid: &str) -> String {
        match self.ztunnel.readiness(uid) {
            Readiness::Waiting { reason } => reason,
            other => panic!("{uid} is {other:?}"),
        }
    }

    fn closed_for(&self, reason: &str) -> u64 {
        self.ztunnel.status().closed[reason]
    }

    fn wait_until_closed_for(&self, reason: &str) {
        self.wait_until(reason, |status| (status.closed[reason] == 1).then_some(()));
    }

    fn messages(&self, kind: &str, result: &str) -> u64 {
        let messages = self.ztunnel.status().messages;
        let found = messages
            .iter()
            .find(|(k, r, _)| k.label() == kind && r.label() == result);
        found.unwrap().2
    }
}

fn wait_until<T>(what: &str, test: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = test() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::yield_now();
    }
}

/// Name, namespace and service account are made from the uid.
fn pod(uid: &str) -> PodSpec {
    PodSpec {
        uid: uid.to_owned(),
        name: format!("name-{uid}"),
        namespace: format!("ns-{uid}"),
        service_account: format!("sa-{uid}"),
        netns: PathBuf::from("/run/netns/nowhere"),
    }
}
