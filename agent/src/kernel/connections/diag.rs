//! sock_diag: TCP sockets of a netns with their marks and verdicts, and `SOCK_DESTROY`.
//!
//! Written by hand, because a socket is ended by the very bytes that it was listed with, and because
//! what programs have stored with it is asked for by an attribute of its own (Linux 5.7).

use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::libc::ENOENT;
use waysteer_common::abi::value::{SocketValue, VerdictValue};
use zerocopy::FromBytes;

use super::Verdicts;

// Of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const REQ_SK_BPF_STORAGES: u16 = 2;
const REQ_MAP_FD: u16 = 1;
const DIAG_MARK: u16 = 15;
const DIAG_SK_BPF_STORAGES: u16 = 20;
const BPF_STORAGE: u16 = 1;
const BPF_STORAGE_MAP_VALUE: u16 = 3;
const NLA_F_NESTED: u16 = 1 << 15;

/// States in which a socket may still send data: `ESTABLISHED`, `SYN_SENT`, `SYN_RECV`, `FIN_WAIT1`,
/// `CLOSE_WAIT`, `LAST_ACK`, `CLOSING`.
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 11;

/// Lengths of `nlmsghdr`, `inet_diag_sockid`, and of `inet_diag_msg` with what is before the id.
const HEADER: usize = 16;
const ID: usize = 48;
const ID_AT: usize = 4;
const MESSAGE: usize = 72;

/// A socket of the calling thread's netns that asks about others there.
#[derive(Debug)]
pub(super) struct Diag {
    socket: Socket,
}

/// A TCP socket.
#[derive(Clone, Debug)]
pub(super) struct Found {
    family: u8,
    id: [u8; ID],
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) mark: u32,
    /// A program's verdict on it says so.
    pub(super) is_steered: bool,
}

impl Diag {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// All that may send, with what was said of them.
    pub(super) fn list(&mut self, verdicts: Option<&Verdicts>) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut request = request(family, &[0; ID]);
            if let Some(map) = verdicts.and_then(Verdicts::on_sockets) {
                let fd = map.as_raw_fd().to_ne_bytes();
                let inner = attribute(REQ_MAP_FD, &fd);
                request.extend(attribute(NLA_F_NESTED | REQ_SK_BPF_STORAGES, &inner));
            }
            self.send(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request)?;
            self.receive(|bytes| all.extend(Found::read(bytes)))?;
        }
        if let Some(verdicts) = verdicts {
            for found in &mut all {
                found.is_steered |= verdicts.is_steered(found.cookie())?;
            }
        }
        Ok(all)
    }

    /// The cookie of the socket that has this connection, if any has; `local` is its own end.
    pub(super) fn cookie(
        &self,
        local: net::SocketAddr,
        remote: net::SocketAddr,
    ) -> io::Result<Option<u64>> {
        let family = match local {
            net::SocketAddr::V4(_) => AF_INET,
            net::SocketAddr::V6(_) => AF_INET6,
        };
        self.send(
            SOCK_DIAG_BY_FAMILY,
            0,
            &request(family, &id_of(local, remote)),
        )?;
        let (datagram, _) = self.socket.recv_from_full()?;
        let (kind, payload, _) = message(&datagram).ok_or(io::ErrorKind::InvalidData)?;
        if kind == NLMSG_ERROR {
            let code = payload.first_chunk().copied().map(i32::from_ne_bytes);
            return match code.map(|code| -code) {
                Some(ENOENT) => Ok(None),
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        let found = Found::read(payload).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(found.cookie()))
    }

    /// Ends a connection.
    pub(super) fn destroy(&mut self, found: &Found) -> io::Result<()> {
        let request = request(found.family, &found.id);
        self.send(SOCK_DESTROY, NLM_F_ACK, &request)?;
        self.receive(|_| ())
    }

    fn send(&self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        // Sequence number and port: there is one question at a time.
        message.extend([0; 8]);
        message.extend(payload);
        self.socket.send(&message, 0).map(drop)
    }

    /// Messages until the answer is over.
    fn receive(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Some((kind, payload, next)) = message(rest) {
                match kind {
                    // Both begin with an error's number, or zero.
                    NLMSG_DONE | NLMSG_ERROR => {
                        let code = payload.first_chunk().copied().map(i32::from_ne_bytes);
                        return match code {
                            Some(0..) => Ok(()),
                            Some(code) => Err(io::Error::from_raw_os_error(-code)),
                            None => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                    _ => each(payload),
                }
                rest = next;
            }
        }
    }
}

impl Found {
    /// The same socket, and not merely one with the same addresses: the id has the kernel's cookie.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// As programs see it.
    fn cookie(&self) -> u64 {
        let [.., c0, c1, c2, c3, c4, c5, c6, c7] = self.id;
        // Two numbers, of which the first is the lower half.
        let low = u32::from_ne_bytes([c0, c1, c2, c3]);
        let high = u32::from_ne_bytes([c4, c5, c6, c7]);
        u64::from(high) << 32 | u64::from(low)
    }

    /// `inet_diag_msg` and its attributes.
    fn read(bytes: &[u8]) -> Option<Self> {
        let family = *bytes.first()?;
        let id: [u8; ID] = *bytes.get(ID_AT..)?.first_chunk()?;
        let address = |at: usize| {
            let bytes: [u8; 16] = *id.get(at..)?.first_chunk()?;
            let [a, b, c, d, ..] = bytes;
            Some(match family {
                AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                _ => IpAddr::V6(Ipv6Addr::from(bytes)),
            })
        };
        let mut found = Self {
            family,
            // Behind the ports.
            local: address(4)?,
            remote: address(20)?,
            id,
            mark: 0,
            is_steered: false,
        };
        for attribute in NlasIterator::new(bytes.get(MESSAGE..)?).flatten() {
            let value = attribute.value();
            match attribute.kind() {
                DIAG_MARK => found.mark = u32::from_ne_bytes(*value.first_chunk()?),
                DIAG_SK_BPF_STORAGES => found.is_steered = is_steered(value),
                _ => {}
            }
        }
        Some(found)
    }

    /// No socket has port 0 at both ends.
    pub(super) fn nobody() -> Self {
        Self {
            family: AF_INET,
            id: [0; ID],
            local: Ipv4Addr::UNSPECIFIED.into(),
            remote: Ipv4Addr::UNSPECIFIED.into(),
            mark: 0,
            is_steered: false,
        }
    }
}

fn is_steered(storages: &[u8]) -> bool {
    let storages = NlasIterator::new(storages).flatten();
    let mut verdicts = storages.filter(|storage| storage.kind() == BPF_STORAGE);
    verdicts.any(|storage| {
        let mut parts = NlasIterator::new(storage.value()).flatten();
        parts.any(|part| {
            let value = SocketValue::read_from_bytes(part.value());
            let is_steered = |value: SocketValue| value.verdict.flags & VerdictValue::STEER != 0;
            part.kind() == BPF_STORAGE_MAP_VALUE && value.is_ok_and(is_steered)
        })
    })
}

/// `inet_diag_sockid` of a connection on any device, with any cookie.
fn id_of(local: net::SocketAddr, remote: net::SocketAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => [address.octets().as_slice(), &[0; 12]].concat(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut all = Vec::with_capacity(ID);
    all.extend(local.port().to_be_bytes());
    all.extend(remote.port().to_be_bytes());
    all.extend(octets(local.ip()));
    all.extend(octets(remote.ip()));
    // The device, and no cookie.
    all.extend([0; 4]);
    all.extend([0xff; 8]);
    all
}

/// `inet_diag_req_v2`.
fn request(family: u8, id: &[u8]) -> Vec<u8> {
    let mut request = vec![family, IPPROTO_TCP, 0, 0];
    request.extend(STATES.to_ne_bytes());
    request.extend(id);
    request
}

/// With a length that is a multiple of four already.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut attribute = length.to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute
}

/// Kind and payload of the first message, and what is behind it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let payload = bytes.get(HEADER..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, payload, next))
}
