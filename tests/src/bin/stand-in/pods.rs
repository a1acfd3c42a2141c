//! The pods that are served.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::{Mutex, watch};
use tokio::task::block_in_place;
use waysteer::compile::{EnrolledPod, Node, compile};
use waysteer::kernel::netns::PodNetns;
use waysteer::model::{Delta, Mesh};
use waysteer::tunnel::{EmbeddedTunnel, Verdicts, View};
use waysteer_common::abi::key::FlowKey;
use waysteer_common::verdict::Verdict;
use waysteer_hbone::ca::LocalCa;
use waysteer_tests::zds::Info;

/// Nobody tells this tunnel what the kernel decided: it decides itself.
struct NoVerdicts;

impl Verdicts for NoVerdicts {
    fn verdict(&self, _flow: &FlowKey) -> Option<Verdict> {
        None
    }
}

pub(crate) struct Pods {
    tunnel: EmbeddedTunnel,
    view: watch::Sender<Arc<View>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    node: Node,
    mesh: Mesh,
    served: BTreeMap<String, EnrolledPod>,
}

impl Pods {
    pub(crate) fn new(ca: &Path, node: String) -> Result<Self> {
        let certs = Arc::new(LocalCa::load_or_create(ca)?);
        let (view, views) = watch::channel(Arc::new(View::default()));
        let tunnel = EmbeddedTunnel::new(certs, Arc::new(NoVerdicts), views)?;
        let node = Node {
            name: node.into(),
            ..Node::default()
        };
        Ok(Self {
            tunnel,
            view,
            state: Mutex::new(State {
                node,
                ..State::default()
            }),
        })
    }

    pub(crate) async fn apply(&self, delta: Delta) {
        let mut state = self.state.lock().await;
        state.mesh.apply(delta);
        self.publish(&state);
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
        if let Some(before) = state.served.get(uid)
            && before.netns != pod.netns
        {
            self.tunnel.remove(uid, before.netns).await;
        }
        let cookie = pod.netns;
        state.served.insert(uid.to_owned(), pod);
        self.publish(&state);
        let added = self.tunnel.add(uid, cookie, netns).await;
        if added.is_err() {
            state.served.remove(uid);
            self.publish(&state);
        }
        added.with_context(|| format!("pod {uid}"))
    }

    pub(crate) async fn remove(&self, uid: &str) {
        let mut state = self.state.lock().await;
        if let Some(pod) = state.served.remove(uid) {
            self.tunnel.remove(uid, pod.netns).await;
            self.publish(&state);
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

    fn publish(&self, state: &State) {
        let pods: Vec<EnrolledPod> = state.served.values().cloned().collect();
        let compiled = compile(&state.mesh, &state.node, &pods);
        self.view.send_replace(Arc::new(View { compiled }));
    }
}
