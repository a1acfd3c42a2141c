//! HBONE without the agent: a local port whose connections are carried to one authority through
//! one next hop. Any client then speaks through a waypoint or to a peer, to prove these alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::HeaderMap;
use tokio::net::TcpStream;
use waysteer_hbone::certs::{FileCerts, Files};
use waysteer_hbone::client::{Dial, Pool, PoolConfig, PoolKey};
use waysteer_hbone::copy::copy;
use waysteer_hbone::identity::SpiffeId;

use crate::netns::NetNs;

/// How long the listener waits before it looks whether it should stop.
const PATIENCE: Duration = Duration::from_millis(20);

/// Where connections go.
#[derive(Debug, Clone)]
pub struct Route {
    /// What is presented.
    pub certificates: Files,
    pub next_hop: SocketAddr,
    /// Who must answer there.
    pub expected: SpiffeId,
    /// The original destination.
    pub authority: SocketAddr,
}

/// A running forwarder; it stops when dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forward {
    /// Listens on a loopback port of the namespace, and dials from inside it.
    pub fn start(netns: &NetNs, route: Route) -> Result<Self> {
        let listener = netns.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let mut certificates = FileCerts::new();
        let local = certificates.add(route.certificates.clone())?;
        let key = PoolKey {
            local,
            next_hop: route.next_hop,
            expected: Arc::new([route.expected].into()),
            scope: 0,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let authority = route.authority.to_string();
        let thread = netns.spawn("forward", move || {
            let pool = Pool::new(PoolConfig::default(), Arc::new(certificates), FromHere);
            if let Err(error) = serve(listener, pool, key, &authority, &told) {
                eprintln!("forward to {authority}: {error:#}");
            }
        })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// What to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The runtime has one thread, this one, so every socket is of its namespace.
fn serve(
    listener: TcpListener,
    pool: Pool<FromHere>,
    key: PoolKey,
    authority: &str,
    stop: &AtomicBool,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")?;
    let pool = Arc::new(pool);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        while !stop.load(Ordering::Relaxed) {
            let Ok(accepted) = tokio::time::timeout(PATIENCE, listener.accept()).await else {
                continue;
            };
            let (client, _) = accepted?;
            let (pool, key, authority) = (Arc::clone(&pool), key.clone(), authority.to_owned());
            tokio::spawn(async move {
                match pool.connect(&key, &authority, HeaderMap::new()).await {
                    Ok(tunnel) => drop(copy(client, tunnel).await),
                    // The client sees its connection closed.
                    Err(error) => eprintln!("forward to {authority}: {error:?}"),
                }
            });
        }
        Ok(())
    })
}

#[derive(Debug)]
struct FromHere;

impl Dial for FromHere {
    async fn dial(&self, _scope: u64, next_hop: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(next_hop).await
    }
}
