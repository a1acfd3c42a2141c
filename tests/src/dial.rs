//! Clients: the ways in which applications connect.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::libc;
use socket2::{Domain, Socket, Type};

use crate::netns::NetNs;
use crate::wait::patient;

/// A connection and what its socket says of it.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    /// `getsockname()`.
    pub local: SocketAddr,
    /// `getpeername()`: what was dialled, whatever happened in between.
    pub peer: SocketAddr,
    /// From `connect()` to its success.
    pub took: Duration,
}

/// How to connect. By default as simple programs do: a blocking `connect()`.
#[derive(Debug, Clone)]
pub struct Dial {
    timeout: Duration,
    source: Option<SocketAddr>,
    mark: Option<u32>,
    device: Option<String>,
    is_mapped: bool,
    is_nonblocking: bool,
    first_bytes: Option<Vec<u8>>,
}

impl Default for Dial {
    fn default() -> Self {
        Self {
            timeout: patient(Duration::from_secs(5)),
            source: None,
            mark: None,
            device: None,
            is_mapped: false,
            is_nonblocking: false,
            first_bytes: None,
        }
    }
}

/// Connects in the simple way, and gives up after a time.
pub fn connect_from(
    netns: &NetNs,
    address: SocketAddr,
    timeout: Duration,
) -> io::Result<Connection> {
    Dial::new().timeout(timeout).connect(netns, address)
}

impl Dial {
    pub fn new() -> Self {
        Self::default()
    }

    /// For connecting, and for every read and write afterwards.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Binds first; port 0 leaves the port to the kernel.
    pub fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// `SO_MARK`, as applications with routing of their own set it.
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = Some(mark);
        self
    }

    /// `SO_BINDTODEVICE`.
    pub fn device(mut self, device: &str) -> Self {
        self.device = Some(device.to_owned());
        self
    }

    /// An IPv4 address from an IPv6 socket, as `::ffff:a.b.c.d`.
    pub fn mapped(mut self) -> Self {
        self.is_mapped = true;
        self
    }

    /// `connect()` that returns at once, then `poll()`.
    pub fn nonblocking(mut self) -> Self {
        self.is_nonblocking = true;
        self
    }

    /// TCP Fast Open: no `connect()`, but `sendto(MSG_FASTOPEN)` with the first bytes.
    pub fn fast_open(mut self, first_bytes: &[u8]) -> Self {
        self.first_bytes = Some(first_bytes.to_vec());
        self
    }

    /// Connects from inside a namespace. A time-out is `ErrorKind::TimedOut`.
    pub fn connect(&self, netns: &NetNs, address: SocketAddr) -> io::Result<Connection> {
        netns.run(|| self.connect_here(address))
    }

    /// Connects from where the calling thread is: for many connections from one namespace, call it
    /// in [`NetNs::run`].
    pub fn connect_here(&self, address: SocketAddr) -> io::Result<Connection> {
        let address = if self.is_mapped {
            mapped(address)
        } else {
            address
        };
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        if let Some(device) = &self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if let Some(source) = self.source {
            let source = if self.is_mapped {
                mapped(source)
            } else {
                source
            };
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
        }
        // A blocking connect() honours the time for sending.
        socket.set_write_timeout(Some(self.timeout))?;
        socket.set_read_timeout(Some(self.timeout))?;
        let start = Instant::now();
        self.start(&socket, address)?;
        let took = start.elapsed();
        socket.set_tcp_nodelay(true)?;
        let stream = TcpStream::from(socket);
        Ok(Connection {
            local: stream.local_addr()?,
            peer: stream.peer_addr()?,
            stream,
            took,
        })
    }

    fn start(&self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
        let result = match &self.first_bytes {
            Some(bytes) => socket
                .send_to_with_flags(bytes, &address.into(), libc::MSG_FASTOPEN)
                .map(drop),
            None if self.is_nonblocking => socket.connect_timeout(&address.into(), self.timeout),
            None => socket.connect(&address.into()),
        };
        result.map_err(|error| match error.raw_os_error() {
            Some(libc::EINPROGRESS | libc::EAGAIN) => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// `connect()` with `AF_UNSPEC`: the socket can be connected again.
pub fn disconnect(stream: &TcpStream) -> io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    // SAFETY: the address is a local of the size given.
    let result = unsafe {
        libc::connect(
            stream.as_raw_fd(),
            &raw const nowhere,
            size_of::<libc::sockaddr>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
