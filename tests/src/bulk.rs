//! Many bytes and what they amount to: a repeatable stream with a checksum of its own.

use std::io::{self, Read, Write};

use xxhash_rust::xxh3::Xxh3Default;

/// Not a power of two, so that a lost or doubled segment never goes unnoticed.
const BLOCK: usize = 65_521;

/// Length and hash of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    pub bytes: u64,
    pub hash: u64,
}

impl Checksum {
    /// On the wire: both numbers, big-endian.
    pub const SIZE: usize = 16;

    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        ((u128::from(self.bytes) << 64) | u128::from(self.hash)).to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self {
            bytes: (both >> 64) as u64,
            hash: both as u64,
        }
    }
}

/// Writes so many bytes of the stream.
pub fn send(mut to: impl Write, bytes: u64) -> io::Result<Checksum> {
    let mut hash = Xxh3Default::new();
    let mut block: Vec<u8> = (0..BLOCK)
        .map(|index| (index * 31 + index / 251) as u8)
        .collect();
    let mut left = bytes;
    let mut round = 0_u8;
    while left > 0 {
        // Blocks differ, so that their order is checked too.
        if let Some(first) = block.first_mut() {
            *first = round;
        }
        round = round.wrapping_add(1);
        let size = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        let part = block.get(..size).unwrap_or_default();
        to.write_all(part)?;
        hash.update(part);
        left -= size as u64;
    }
    Ok(Checksum {
        bytes,
        hash: hash.digest(),
    })
}

/// Reads to the end of the stream.
pub fn receive(mut from: impl Read) -> io::Result<Checksum> {
    let mut hash = Xxh3Default::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let size = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(buffer.get(..size).unwrap_or_default());
        bytes += size as u64;
    }
    Ok(Checksum {
        bytes,
        hash: hash.digest(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_received_is_what_was_sent() {
        let mut wire = Vec::new();
        let sent = send(&mut wire, 300_000).expect("a Vec takes every write");
        assert_eq!(receive(wire.as_slice()).expect("a slice reads"), sent);
        wire.swap(1, 2);
        assert_ne!(receive(wire.as_slice()).expect("a slice reads"), sent);
        assert_eq!(Checksum::from_bytes(sent.to_bytes()), sent);
    }
}
