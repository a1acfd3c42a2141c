//! A ztunnel that knows nothing but bytes.

use std::io::{IoSliceMut, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use socket2::{Domain, SockAddr, Socket, Type};

use super::PATIENCE;

pub(super) const ACK: &[u8] = &[0x0a, 0x00];
pub(super) const SNAPSHOT_SENT: &[u8] = &[0x1a, 0x00];

pub(super) struct Peer {
    socket: Socket,
}

/// A packet, and what the files that came with it hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) files: Vec<String>,
}

/// A field of a message: its key as it stands on the wire, a length, and that many bytes.
pub(super) fn field(key: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![key];
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(value);
    bytes
}

/// What tells ztunnel of a pod of [`super::pod`], and gives it the netns of that name.
pub(super) fn add(uid: &str, netns: &str) -> Packet {
    let info = [
        field(0x0a, format!("name-{uid}").as_bytes()),
        field(0x12, format!("ns-{uid}").as_bytes()),
        field(0x1a, format!("sa-{uid}").as_bytes()),
    ];
    let workload = [field(0x0a, uid.as_bytes()), field(0x12, &info.concat())];
    Packet {
        bytes: field(0x0a, &workload.concat()),
        files: vec![netns.to_owned()],
    }
}

pub(super) fn keep(uid: &str) -> Packet {
    message(&field(0x2a, &field(0x0a, uid.as_bytes())))
}

pub(super) fn del(uid: &str) -> Packet {
    message(&field(0x12, &field(0x12, uid.as_bytes())))
}

/// Without files.
pub(super) fn message(bytes: &[u8]) -> Packet {
    Packet {
        bytes: bytes.to_vec(),
        files: Vec::new(),
    }
}

impl Peer {
    pub(super) fn connect(path: &Path) -> Self {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(&SockAddr::unix(path).unwrap()).unwrap();
        Self { socket }
    }

    pub(super) fn hello(&self) {
        self.send(&[0x08, 0x01]);
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        assert_eq!(self.socket.send(bytes).unwrap(), bytes.len());
    }

    pub(super) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn ack(&self) {
        self.send(ACK);
    }

    pub(super) fn nack(&self, error: &str) {
        self.send(&field(0x0a, &field(0x0a, error.as_bytes())));
    }

    pub(super) fn receive(&self) -> Packet {
        let packet = self.read(MsgFlags::empty()).expect("a packet");
        assert!(!packet.bytes.is_empty(), "the connection was closed");
        packet
    }

    /// Nothing is there to be read at this moment.
    pub(super) fn has_nothing(&self) -> bool {
        self.read(MsgFlags::MSG_DONTWAIT) == Err(nix::Error::EWOULDBLOCK)
    }

    /// Says hello, and waits until it is spoken to, or turned away.
    pub(super) fn has_come_in(&self) -> bool {
        let is_said = self.socket.send(&[0x08, 0x01]).is_ok();
        let answer = || self.read(MsgFlags::empty());
        is_said && answer().is_ok_and(|packet| !packet.bytes.is_empty())
    }

    /// Waits until the other side closes; nothing else may come before.
    pub(super) fn expect_end(&self) {
        match self.read(MsgFlags::empty()) {
            Ok(packet) => assert_eq!(packet, message(&[])),
            // What we sent was not read.
            Err(error) => assert_eq!(error, nix::Error::ECONNRESET),
        }
    }

    pub(super) fn expect(&self, expected: &Packet) {
        assert_eq!(self.receive(), *expected);
    }

    /// Waits for a message and acknowledges it.
    pub(super) fn take(&self, expected: &Packet) {
        self.expect(expected);
        self.ack();
    }

    pub(super) fn take_snapshot(&self) {
        self.take(&message(SNAPSHOT_SENT));
    }

    fn read(&self, flags: MsgFlags) -> nix::Result<Packet> {
        let mut buffer = [0; 4096];
        let mut control = nix::cmsg_space!([RawFd; 4]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            flags,
        )?;
        let mut files = Vec::new();
        for message in received.cmsgs()? {
            let ControlMessageOwned::ScmRights(fds) = message else {
                panic!("{message:?}");
            };
            files.extend(fds.into_iter().map(content));
        }
        let length = received.bytes;
        Ok(Packet {
            bytes: buffer[..length].to_vec(),
            files,
        })
    }
}

fn content(fd: RawFd) -> String {
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut file = std::fs::File::from(fd);
    // The offset is shared with the descriptor that was sent.
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}
