//! The kernel's verdicts on the connections that the embedded tunnel accepts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use waysteer_common::abi::key::TupleKey;
use waysteer_common::verdict::Verdict;

use crate::address::to_wire;
use crate::error::chain;
use crate::kernel::connections::Cookies;
use crate::kernel::observe::OpenConnections;
use crate::tunnel::{PodVerdicts, Verdicts};

/// As the embedded tunnel asks for them.
pub(super) struct KernelVerdicts(OpenConnections);

impl KernelVerdicts {
    pub(super) fn new(connections: OpenConnections) -> Self {
        Self(connections)
    }
}

impl Verdicts for KernelVerdicts {
    fn of_pod(&self, netns: u64) -> Arc<dyn PodVerdicts> {
        let cookies = Cookies::here().inspect_err(|error| {
            let error = chain(error);
            tracing::warn!(error, netns, "the tunnel makes the pod's verdicts again");
        });
        Arc::new(NetnsVerdicts {
            connections: self.0.clone(),
            netns,
            cookies: cookies.ok().map(Mutex::new),
        })
    }
}

/// By the cookie of the socket that has a connection.
struct NetnsVerdicts {
    connections: OpenConnections,
    netns: u64,
    cookies: Option<Mutex<Cookies>>,
}

impl PodVerdicts for NetnsVerdicts {
    fn verdict(&self, source: SocketAddr, destination: SocketAddr) -> Option<Verdict> {
        let cookies = self.cookies.as_ref()?;
        let cookie = {
            // One question at a time; what a panic has left behind is the next one's answer.
            let cookies = cookies.lock().ok()?;
            cookies.of_connection(source, destination)
        };
        let tuple = TupleKey::new(
            to_wire(source.ip()),
            source.port(),
            to_wire(destination.ip()),
            destination.port(),
        );
        let flow = tuple.in_netns(self.netns);
        let told = |error: &dyn std::error::Error| {
            let error = chain(error);
            tracing::warn!(error, "verdict of a connection not readable");
        };
        let cookie = cookie.inspect_err(|error| told(error)).ok()??;
        let found = self.connections.of_socket(cookie, &flow);
        found.inspect_err(|error| told(error)).ok()?
    }
}
