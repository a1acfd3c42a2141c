//! The pods that are served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::Mutex;
use tokio::task::block_in_place;
use waysteer::compile::{Compiler, EnrolledPod, Node};
use waysteer::kernel::netns::PodNetns;
use waysteer::model::Delta;
use waysteer::tunnel::{EmbeddedTunnel, PodVerdicts, SharedCompiler, Verdicts};
use waysteer_common::verdict::Verdict;
use waysteer_hbone::ca::LocalCa;
use waysteer_tests::zds::Info;

/// Nobody tells this tunnel what the kernel decided: it decides itself.
struct NoVerdicts;

impl Verdicts for NoVerdicts {
    fn of_pod(&self, _netns: u64) -> Arc<dyn PodVerdicts> {
        Arc::new(Self)
    }
}

impl PodVerdicts for NoVerdicts {
    fn verdict(&self, _source: SocketAddr, _destination: SocketAddr) -> Option<Verdict> {
        None
    }
}

pub(crate) struct Pods {
    tunnel: EmbeddedTunnel,
    state: Mutex<State>,
}

struct State {
    compiler: SharedCompiler,
    /// Netns cookies by uid.
    served: BTreeMap<String, u64>,
}

impl Pods {
    pub(crate) fn new(ca: &Path, node: String) -> Result<Self> {
        let certs = Arc::new(LocalCa::load_or_create(ca)?);
        let compiler = SharedCompiler::new(Compiler::new(Node {
            name: node.into(),
            ..Node::default()
        }));
        let tunnel = EmbeddedTunnel::new(certs, Arc::new(NoVerdicts), compiler.view())?;
        let served = BTreeMap::new();
        Ok(Self {
            tunnel,
            state: Mutex::new(State { compiler, served }),
        })
    }

    pub(crate) async fn apply(&self, delta: Delta) {
        let state = self.state.lock().await;
        state.compiler.apply(delta);
        state.publish();
    }

    /// Serves a pod; again, or from a new namespace, is allowed.
    pub(crate) async fn add(&self, uid: &str, info: Info, netns: OwnedFd) -> Result<()> {
        let Info {
            name,
            namespace,
            service_account,
        } = info;
        let pod = block_in_place(|| -> Result<EnrolledPod> {
            let path = PathBuf::from(format!("/proc/self/fd/{}", netns.as_raw_fd()));
            let netns = PodNetns::open(&path)?;
            Ok(EnrolledPod {
                netns: netns.cookie(),
                name,
                namespace,
                service_account,
                addresses: netns.network()?.addresses,
            })
        })?;
        let mut state = self.state.lock().await;
        let cookie = pod.netns;
        if let Some(before) = state.served.get(uid).copied()
            && before != cookie
        {
            self.tunnel.remove(uid, before).await;
            state.compiler.remove_pod(before);
        }
        state.served.insert(uid.to_owned(), cookie);
        state.compiler.set_pod(pod);
        state.publish();
        let added = self.tunnel.add(uid, cookie, netns).await;
        if added.is_err() {
            state.served.remove(uid);
            state.compiler.remove_pod(cookie);
            state.publish();
        }
        added.with_context(|| format!("pod {uid}"))
    }

    pub(crate) async fn remove(&self, uid: &str) {
        let mut state = self.state.lock().await;
        if let Some(cookie) = state.served.remove(uid) {
            self.tunnel.remove(uid, cookie).await;
            state.compiler.remove_pod(cookie);
            state.publish();
        }
    }

    /// Lets go of all that a snapshot does not name, and says which.
    pub(crate) async fn retain(&self, named: &BTreeSet<String>) -> Vec<String> {
        let served = self.state.lock().await.served.clone();
        let gone: Vec<String> = served
            .into_keys()
            .filter(|uid| !named.contains(uid))
            .collect();
        for uid in &gone {
            self.remove(uid).await;
        }
        gone
    }

    pub(crate) async fn drain(&self, at_most: Duration) {
        self.tunnel.drain(at_most).await;
    }
}

impl State {
    fn publish(&self) {
        // There are no maps to write them to.
        drop(self.compiler.take_changes());
        self.compiler.publish();
    }
}
