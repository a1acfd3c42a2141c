//! Sockets in other network namespaces.
//!
//! A socket belongs for ever to the netns of the thread that made it. One thread does nothing but
//! enter a pod's netns, make a socket and hand it out; it does nothing else, so no other work can
//! ever run in a foreign netns.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use waysteer_common::abi::names::TUNNEL_MARK;

const BACKLOG: i32 = 4096;

/// Below the ports that Linux (from 32768) and others (from 49152) give to clients.
const STAND_IN_PORTS: std::ops::RangeInclusive<u16> = 10_240..=32_767;
const TRIES: usize = 16;

type Job = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The thread that makes sockets. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Workshop {
    jobs: mpsc::Sender<(Arc<OwnedFd>, JobBox)>,
    pods: Arc<Mutex<BTreeMap<u64, Arc<OwnedFd>>>>,
    /// The agent's own netns.
    home: Arc<OwnedFd>,
}

struct JobBox(Job);

impl std::fmt::Debug for JobBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Workshop {
    pub(super) fn start() -> io::Result<Self> {
        let home = File::open("/proc/thread-self/ns/net")?;
        let (jobs, queue) = mpsc::channel::<(Arc<OwnedFd>, JobBox)>();
        std::thread::Builder::new()
            .name("netns-sockets".into())
            .spawn(move || {
                for (netns, JobBox(job)) in queue {
                    job(setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from));
                }
            })?;
        Ok(Self {
            jobs,
            pods: Arc::default(),
            home: Arc::new(home.into()),
        })
    }

    /// Makes a pod's netns known by its cookie.
    pub(super) fn register(&self, netns: u64, fd: Arc<OwnedFd>) {
        self.pods().insert(netns, fd);
    }

    /// The thread leaves it too, if it was the last that it was in: else it would keep it.
    pub(super) fn forget(&self, netns: u64) {
        self.pods().remove(&netns);
        // Nothing is left to leave if the thread is gone.
        let _ = self
            .jobs
            .send((self.home.clone(), JobBox(Box::new(|_| {}))));
    }

    /// Runs `make` in the netns of an enrolled pod.
    pub(super) async fn in_pod<T: Send + 'static>(
        &self,
        netns: u64,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let fd = self.pods().get(&netns).cloned();
        let fd = fd.ok_or_else(|| io::Error::other("the pod is no longer enrolled"))?;
        self.in_netns(fd, make).await
    }

    /// Runs `make` in a netns.
    pub(super) async fn in_netns<T: Send + 'static>(
        &self,
        netns: Arc<OwnedFd>,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the thread that makes sockets is gone");
        let (send, made) = oneshot::channel();
        let job: Job = Box::new(move |entered| {
            // Whoever asked may have gone away; then the socket is closed here.
            let _ = send.send(entered.and_then(|()| make()));
        });
        self.jobs.send((netns, JobBox(job))).map_err(|_| gone())?;
        made.await.map_err(|_| gone())?
    }

    fn pods(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<OwnedFd>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener as ztunnel makes them: transparent, shared, marked, for both families.
pub(super) fn listen(port: u16) -> io::Result<std::net::TcpListener> {
    let v6 = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP));
    let (socket, any) = match v6 {
        Ok(socket) => {
            socket.set_only_v6(false)?;
            (socket, IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        }
        // A kernel without IPv6.
        Err(_) => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            (socket, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        }
    };
    prepare(&socket)?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(any, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket to connect with, from `source` if given.
pub(super) fn dialling(to: SocketAddr, source: Option<IpAddr>) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    prepare(&socket)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        bind_in_place_of(&socket, source)?;
    }
    Ok(socket.into())
}

/// Binds to a client's address and a port that the client is unlikely to use: in this netns its own
/// connection has the same addresses, and would get the tunnel's SYN.
fn bind_in_place_of(socket: &Socket, client: IpAddr) -> io::Result<()> {
    // One port serves for connections to several destinations.
    socket.set_reuse_address(true)?;
    for _ in 0..TRIES {
        let port = rand::random_range(STAND_IN_PORTS);
        match socket.bind(&SocketAddr::new(client, port).into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    socket.bind(&SocketAddr::new(client, 0).into())
}

/// Connects a socket that was made elsewhere.
pub(super) async fn connect(socket: std::net::TcpStream, to: SocketAddr) -> io::Result<TcpStream> {
    TcpSocket::from_std_stream(socket).connect(to).await
}

/// The option of IPv4 sets the same bit as that of IPv6, on sockets of both families.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_mark(TUNNEL_MARK)?;
    socket.set_ip_transparent_v4(true)?;
    socket.set_freebind_v4(true)
}
