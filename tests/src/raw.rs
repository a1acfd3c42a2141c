//! Senders that never call `connect()`: TCP segments made by hand on a raw socket.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::{Domain, Protocol, Socket, Type};

use crate::capture::Capture;
use crate::netns::NetNs;
use crate::wait::wait_for;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// The first sequence number.
const FIRST: u32 = 0x0102_0304;

/// What came back for a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// SYN and ACK: someone listens, and from now on holds half a connection.
    Accepted,
    /// RST: nobody listens.
    Refused,
    /// Nothing within the time.
    Silence,
}

/// Sends one SYN from an address and port of the namespace's own, and waits for the answer. The
/// kernel, which knows no such socket, will reset what is accepted.
pub fn send_syn(
    netns: &NetNs,
    from: SocketAddr,
    to: SocketAddr,
    within: Duration,
) -> io::Result<Answer> {
    netns.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(from.ip(), 0).into())?;
        let syn = segment(from, to, SYN, [FIRST, 0], &[]);
        socket.send_to(&syn, &SocketAddr::new(to.ip(), 0).into())?;
        wait_for_answer(&socket, from, to, Instant::now() + within)
    })
}

/// Sends a SYN from each of the ports of an address of the namespace's own, and waits for nothing.
/// Answers must be hidden from the kernel, which would reset them.
pub fn send_syns(netns: &NetNs, from: IpAddr, ports: Range<u16>, to: SocketAddr) -> io::Result<()> {
    netns.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        let to_host = SocketAddr::new(to.ip(), 0).into();
        for port in ports {
            let syn = segment(SocketAddr::new(from, port), to, SYN, [FIRST, 0], &[]);
            socket.send_to(&syn, &to_host)?;
        }
        Ok(())
    })
}

fn wait_for_answer(
    socket: &Socket,
    from: SocketAddr,
    to: SocketAddr,
    deadline: Instant,
) -> io::Result<Answer> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Answer::Silence);
        }
        socket.set_read_timeout(Some(left))?;
        let (size, peer) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Answer::Silence),
            Err(error) => return Err(error),
        };
        let received = buffer.get(..size).unwrap_or_default();
        // SAFETY: recvfrom(2) has initialised the first `size` bytes, and the types have one layout.
        let bytes = unsafe { &*(std::ptr::from_ref(received) as *const [u8]) };
        if peer.as_socket().map(|peer| peer.ip()) != Some(to.ip()) {
            continue;
        }
        if let Some(flags) = flags_between(bytes, to, from) {
            if flags & RST != 0 {
                return Ok(Answer::Refused);
            }
            if flags & (SYN | ACK) == SYN | ACK {
                return Ok(Answer::Accepted);
            }
        }
    }
}

/// The flags of a segment, if it is between these ports. IPv4 raw sockets give the IP header too.
fn flags_between(bytes: &[u8], from: SocketAddr, to: SocketAddr) -> Option<u8> {
    let header = match from.ip() {
        IpAddr::V4(_) => usize::from(bytes.first()? & 0x0f) * 4,
        IpAddr::V6(_) => 0,
    };
    let tcp = bytes.get(header..)?;
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()];
    (tcp.get(..4)? == ports.as_flattened()).then(|| tcp.get(13).copied())?
}

/// A segment without options; `numbers` are of sequence and acknowledgement.
fn segment(
    from: SocketAddr,
    to: SocketAddr,
    flags: u8,
    numbers: [u32; 2],
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20 + payload.len());
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(numbers.map(u32::to_be_bytes).as_flattened());
    segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let sum = checksum(from.ip(), to.ip(), &segment).to_be_bytes();
    segment.splice(16..18, sum);
    segment
}

/// A whole conversation by hand: handshake, one request, and what is answered until `until` is in
/// it. The kernel must not see the answers, or it resets a connection that it does not know;
/// [`crate::foreign::Foreign::dropping`] hides them, and a packet socket on `device` still sees
/// them.
pub fn converse(
    netns: &NetNs,
    device: &str,
    [from, to]: [SocketAddr; 2],
    request: &[u8],
    until: &[u8],
    within: Duration,
) -> Result<Vec<u8>> {
    let capture = Capture::start(netns, &[device])?;
    let socket = netns.run(|| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(from.ip(), 0).into())?;
        Ok(socket)
    })?;
    let send = |flags, numbers, payload: &[u8]| {
        let segment = segment(from, to, flags, numbers, payload);
        socket.send_to(&segment, &SocketAddr::new(to.ip(), 0).into())
    };
    let answers = || {
        let mut flows = capture
            .flows(|id, _| id.source == to && id.destination == from && id.interface == device);
        flows.pop().map(|(_, traffic)| traffic)
    };
    send(SYN, [FIRST, 0], &[])?;
    let theirs = wait_for(within, "SYN and ACK", || answers()?.first_sequence)?;
    let next = [FIRST.wrapping_add(1), theirs.wrapping_add(1)];
    send(ACK, next, &[])?;
    send(ACK | PUSH, next, request)?;
    let payload = wait_for(within, "the answer", || {
        let traffic = answers()?;
        traffic.contains(until).then_some(traffic.payload)
    })?;
    let sent = u32::try_from(request.len())?;
    let end = [next[0].wrapping_add(sent), next[1]];
    send(RST | ACK, end, &[])?;
    Ok(payload)
}

/// The Internet checksum over the pseudo header and the segment.
fn checksum(from: IpAddr, to: IpAddr, segment: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend([0, 6]);
    bytes.extend((segment.len() as u16).to_be_bytes());
    bytes.extend(segment);
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            [high] => u32::from(high) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_with_its_checksum_sums_to_zero() {
        for (from, to) in [
            ("10.0.0.1:1", "10.0.0.2:80"),
            ("[fd00::1]:1", "[fd00::2]:80"),
        ] {
            let (from, to): (SocketAddr, SocketAddr) =
                (from.parse().expect("valid"), to.parse().expect("valid"));
            assert_eq!(
                checksum(
                    from.ip(),
                    to.ip(),
                    &segment(from, to, SYN, [FIRST, 0], b"odd")
                ),
                0
            );
        }
    }
}
