//! Servers on threads inside a namespace.

mod listen;
mod service;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use crate::netns::NetNs;

/// What a server does with a connection.
#[derive(Debug, Clone)]
pub enum Service {
    /// Sends back what it gets, and ends when the client does.
    Echo,
    /// HTTP/1.1: answers every request with what it saw of it, as [`crate::http::Seen`].
    Http,
    /// Speaks first, then echoes.
    Banner(Vec<u8>),
    /// Reads to the end, then answers with the [`crate::bulk::Checksum`] of it.
    Sink,
    /// Sends so many bytes of [`crate::bulk`], then closes.
    Source(u64),
}

/// A connection as the server's socket told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// A running server; it stops, and cuts its connections, when dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    service: Service,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accepted: Vec<Accepted>,
    open: HashMap<u64, Arc<TcpStream>>,
}

impl Server {
    /// Listens on a port of every address, v4 and v6 each with a socket of its own.
    pub fn start(netns: &NetNs, name: &str, port: u16, service: Service) -> Result<Self> {
        let any = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        Self::listen(
            netns,
            name,
            &any.map(|ip| SocketAddr::new(ip, port)),
            service,
        )
    }

    /// Listens on the addresses given. The name is what an HTTP client is told.
    pub fn listen(
        netns: &NetNs,
        name: &str,
        addresses: &[SocketAddr],
        service: Service,
    ) -> Result<Self> {
        let listeners = netns
            .run(|| {
                addresses
                    .iter()
                    .map(listen::open)
                    .collect::<Result<Vec<_>, _>>()
            })
            .with_context(|| format!("server {name} could not listen on {addresses:?}"))?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            service,
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let server = Arc::clone(&shared);
        let thread = netns.spawn(name, move || listen::serve(&server, &listeners))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Every connection so far, in the order in which they came.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.shared.state().accepted.clone()
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.shared.state().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
