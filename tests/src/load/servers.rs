//! Who answers: a thread for each server, inside its namespace.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::clients::inside;
use super::ways::{SECRET_PORT, SERVICE_PORT};
use super::words;
use crate::bed::{Bed, OPEN_PORT};
use crate::netns::NetNs;

const GLANCE: Duration = Duration::from_millis(10);
const BACKLOG: i32 = 4096;

/// The servers of every way; they end when dropped.
#[derive(Debug)]
pub(super) struct Servers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Servers {
    pub(super) fn start(bed: &Bed) -> Result<Self> {
        let mut servers = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for pod in ["client", "server", "plain", "far", "behind", "far-plain"] {
            servers.add(&bed.pod(pod).netns, pod)?;
        }
        servers.add(&bed.topology.external.netns, "external")?;
        Ok(servers)
    }

    fn add(&mut self, netns: &NetNs, name: &'static str) -> Result<()> {
        let opened = netns.run(|| {
            let ports = [SERVICE_PORT, SECRET_PORT, OPEN_PORT];
            ports.map(listen).into_iter().collect::<Result<Vec<_>, _>>()
        });
        let listeners = opened.with_context(|| format!("server {name} could not listen"))?;
        let stop = Arc::clone(&self.stop);
        let thread = netns.spawn("load-server", move || inside(serve(name, listeners, stop)))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn listen(port: u16) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn serve(name: &'static str, listeners: Vec<std::net::TcpListener>, stop: Arc<AtomicBool>) {
    for listener in listeners {
        let listener = TcpListener::from_std(listener).expect("the runtime takes a socket");
        tokio::spawn(accept(name, listener));
    }
    while !stop.load(Ordering::Relaxed) {
        sleep(GLANCE).await;
    }
}

async fn accept(name: &'static str, listener: TcpListener) {
    loop {
        let accepted = listener.accept().await;
        let Ok((mut stream, client)) = accepted else {
            // Out of descriptors, most likely; some have to be closed first.
            sleep(GLANCE).await;
            continue;
        };
        tokio::spawn(async move {
            // A client that goes away notices it itself.
            let _ = words::serve(&mut stream, name, client).await;
        });
    }
}
