//! Reading a map many entries at a time (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc::{ENOENT, ENOSPC};

use crate::kernel::bpf::{self, BatchAttr, Command};

/// The map itself, and the sizes of what is in it.
pub(super) struct Batches<'a> {
    pub(super) map: BorrowedFd<'a>,
    pub(super) key: usize,
    pub(super) value: usize,
}

/// How far a reader has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Position {
    #[default]
    Start,
    /// The kernel's own: a bucket of a hash map, a key of a trie.
    After(Vec<u8>),
    End,
}

/// Keys and values, one after the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) keys: Vec<u8>,
    pub(super) values: Vec<u8>,
}

impl Batches<'_> {
    /// About so many entries from there on.
    pub(super) fn read(&self, position: &mut Position, entries: u32) -> io::Result<Batch> {
        let mut room = entries;
        loop {
            match self.read_into(position, room) {
                // A bucket that has more entries than there is room for.
                Err(error) if error.raw_os_error() == Some(ENOSPC) && room < entries * 64 => {
                    room *= 2;
                }
                read => return read,
            }
        }
    }

    fn read_into(&self, position: &mut Position, room: u32) -> io::Result<Batch> {
        let entries = room as usize;
        let mut batch = Batch {
            keys: vec![0; self.key * entries],
            values: vec![0; self.value * entries],
        };
        let from = match position {
            Position::Start => 0,
            Position::After(from) => from.as_ptr() as u64,
            Position::End => return Ok(Batch::default()),
        };
        // The kernel writes a bucket's number, or a key.
        let mut next = vec![0_u8; self.key.max(size_of::<u64>())];
        let mut attr = BatchAttr {
            from,
            next: next.as_mut_ptr() as u64,
            keys: batch.keys.as_mut_ptr() as u64,
            values: batch.values.as_mut_ptr() as u64,
            count: room,
            map: bpf::raw(self.map.as_fd())?,
            ..BatchAttr::default()
        };
        // SAFETY: keys and values have room for `count` of them, `next` for either kind of
        // position, `from` is one that the kernel wrote, and all live until after the call.
        let read = unsafe { bpf::call(Command::MapLookupBatch, &mut attr) };
        *position = match read {
            Ok(_) => Position::After(next),
            Err(error) if error.raw_os_error() == Some(ENOENT) => Position::End,
            Err(error) => return Err(error),
        };
        batch.keys.truncate(self.key * attr.count as usize);
        batch.values.truncate(self.value * attr.count as usize);
        Ok(batch)
    }
}
