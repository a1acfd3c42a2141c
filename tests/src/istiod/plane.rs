//! A control plane with a mesh of its own, for tests that look at what becomes of it.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tonic::Status;
use waysteer::source::xds::proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};

use super::resources::{ADDRESS, AUTHORIZATION, response};
use super::{DEADLINE, Istiod, Session};
use crate::netns::NetNs;

/// What a connection that says which versions it has is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Everything, without versions, as istiod does up to 1.30.
    Everything,
    /// What is new, as from 1.31.
    Changes,
}

/// Serves a mesh to everybody who connects, and every change of it. Stopped, it forgets nothing but
/// its connections.
#[derive(Debug)]
pub struct Plane {
    shared: Arc<Mutex<Shared>>,
    /// While it serves.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    resend: Resend,
    /// By type and name.
    resources: BTreeMap<&'static str, BTreeMap<String, Resource>>,
    /// Of a type that is not told yet.
    withheld: Option<&'static str>,
    streams: Vec<Stream>,
    /// Answers to responses.
    answers: Vec<DeltaDiscoveryRequest>,
    /// What each subscription to addresses began with.
    versions: Vec<HashMap<String, String>>,
    connections: usize,
    number: u64,
}

#[derive(Debug)]
struct Stream {
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    /// Subscribed, with the versions that it had, until it is told.
    waiting: HashMap<&'static str, HashMap<String, String>>,
    told: Vec<&'static str>,
}

impl Plane {
    pub const PORT: u16 = 15012;

    /// Makes one that does not serve yet.
    pub fn new(resend: Resend) -> Self {
        let resources = [ADDRESS, AUTHORIZATION].map(|of| (of, BTreeMap::new()));
        Self {
            shared: Arc::new(Mutex::new(Shared {
                resend,
                resources: resources.into(),
                withheld: None,
                streams: Vec::new(),
                answers: Vec::new(),
                versions: Vec::new(),
                connections: 0,
                number: 0,
            })),
            runtime: None,
        }
    }

    /// Listens on loopback of a namespace.
    pub fn start(&mut self, netns: &NetNs) -> Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], Self::PORT));
        let listener = netns.run(|| TcpListener::bind(address));
        let listener = listener.with_context(|| format!("a control plane at {address}"))?;
        listener.set_nonblocking(true)?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let shared = self.shared.clone();
        let mut istiod = {
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            Istiod::serve(listener, None)?
        };
        runtime.spawn(async move {
            while let Some(session) = istiod.next().await {
                tokio::spawn(serve(session, shared.clone()));
            }
        });
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Breaks all connections, and refuses new ones.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(DEADLINE);
        }
        self.lock().streams.clear();
    }

    /// Of a type nothing is told until [`Self::tell_all`].
    pub fn withhold(&self, type_url: &'static str) {
        self.lock().withheld = Some(type_url);
    }

    pub fn tell_all(&self) {
        let mut shared = self.lock();
        shared.withheld = None;
        for number in 0..shared.streams.len() {
            shared.catch_up(number);
        }
    }

    /// Adds or replaces resources; what is the same is told again.
    pub fn set(&self, resources: Vec<Resource>) {
        self.change(resources, &[]);
    }

    /// Removes resources by name.
    pub fn remove(&self, names: &[&str]) {
        self.change(Vec::new(), names);
    }

    fn change(&self, resources: Vec<Resource>, names: &[&str]) {
        let mut shared = self.lock();
        for type_url in [ADDRESS, AUTHORIZATION] {
            let is_of = |resource: &&Resource| {
                let any = resource.resource.as_ref();
                any.is_some_and(|any| any.type_url == type_url)
            };
            let new: Vec<Resource> = resources.iter().filter(is_of).cloned().collect();
            let known = shared.resources.entry(type_url).or_default();
            let mut gone = Vec::new();
            for name in names {
                gone.extend(known.remove(*name).map(|resource| resource.name));
            }
            known.extend(new.iter().map(|r| (r.name.clone(), r.clone())));
            if !new.is_empty() || !gone.is_empty() {
                shared.tell(type_url, &new, &gone);
            }
        }
    }

    /// Everything that was answered so far.
    pub fn answers(&self) -> Vec<DeltaDiscoveryRequest> {
        self.lock().answers.clone()
    }

    /// The versions of addresses that each connection so far began with.
    pub fn versions(&self) -> Vec<HashMap<String, String>> {
        self.lock().versions.clone()
    }

    /// Streams that were opened so far.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn nonce(&mut self) -> String {
        self.number += 1;
        self.number.to_string()
    }

    /// To all who have had everything of the type.
    fn tell(&mut self, type_url: &'static str, new: &[Resource], gone: &[String]) {
        let nonce = self.nonce();
        for stream in &self.streams {
            if stream.told.contains(&type_url) {
                let mut told = response(type_url, &nonce, new.to_vec());
                told.removed_resources = gone.to_vec();
                stream.send(told);
            }
        }
    }

    fn catch_up(&mut self, number: usize) {
        for type_url in [ADDRESS, AUTHORIZATION] {
            if self.withheld == Some(type_url) {
                continue;
            }
            let nonce = self.nonce();
            let (resend, resources) = (self.resend, &self.resources[type_url]);
            let stream = &mut self.streams[number];
            let Some(known) = stream.waiting.remove(type_url) else {
                continue;
            };
            let is_new = |resource: &&Resource| {
                resend == Resend::Everything || known.get(&resource.name) != Some(&resource.version)
            };
            let new = resources.values().filter(is_new).cloned();
            let new = new.map(|mut resource| {
                if resend == Resend::Everything {
                    resource.version.clear();
                }
                resource
            });
            let mut told = response(type_url, &nonce, new.collect());
            let gone = known
                .into_keys()
                .filter(|name| !resources.contains_key(name));
            told.removed_resources = gone.collect();
            stream.told.push(type_url);
            stream.send(told);
        }
    }
}

impl Stream {
    fn send(&self, told: DeltaDiscoveryResponse) {
        // Whoever is gone, or does not read at all, comes again and is told everything.
        let _ = self.responses.try_send(Ok(told));
    }
}

async fn serve(mut session: Session, shared: Arc<Mutex<Shared>>) {
    let number = {
        let mut shared = lock(&shared);
        shared.connections += 1;
        shared.streams.push(Stream {
            responses: session.responses.clone(),
            waiting: HashMap::new(),
            told: Vec::new(),
        });
        shared.streams.len() - 1
    };
    while let Ok(Some(request)) = session.requests.message().await {
        let mut shared = lock(&shared);
        if !request.response_nonce.is_empty() {
            shared.answers.push(request);
            continue;
        }
        let types = [ADDRESS, AUTHORIZATION];
        let Some(type_url) = types.into_iter().find(|of| *of == request.type_url) else {
            continue;
        };
        let versions = request.initial_resource_versions;
        if type_url == ADDRESS {
            shared.versions.push(versions.clone());
        }
        if let Some(stream) = shared.streams.get_mut(number) {
            stream.waiting.insert(type_url, versions);
            shared.catch_up(number);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
