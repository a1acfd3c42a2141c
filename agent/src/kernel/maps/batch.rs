//! Reading and writing a map many entries at a time (`BPF_MAP_LOOKUP_BATCH`, `BPF_MAP_UPDATE_BATCH`,
//! `BPF_MAP_DELETE_BATCH`; Linux 5.6).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc::{ENOENT, ENOSPC};

use crate::kernel::bpf::{self, BatchAttr, Command};

/// The map itself, and the sizes of what is in it.
pub(in crate::kernel) struct Batches<'a> {
    pub(in crate::kernel) map: BorrowedFd<'a>,
    pub(in crate::kernel) key: usize,
    pub(in crate::kernel) value: usize,
}

/// How far a reader has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::kernel) enum Position {
    #[default]
    Start,
    /// The kernel's own: a bucket of a hash map, a key of a trie.
    After(Vec<u8>),
    End,
}

/// Keys and values, one after the other.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Batch {
    pub(in crate::kernel) keys: Vec<u8>,
    pub(in crate::kernel) values: Vec<u8>,
}

/// What became of entries that were to be written.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Written {
    /// By their numbers, in order.
    pub(in crate::kernel) refused: Vec<(usize, io::Error)>,
    pub(in crate::kernel) syscalls: u64,
}

impl Batches<'_> {
    /// Entries that are written by one call.
    pub(in crate::kernel) const WRITTEN: usize = 1024;

    /// Writes entries in their order. One that is refused does not keep back those behind it: a full
    /// map still takes new values of keys that it has.
    pub(in crate::kernel) fn update(&self, entries: &Batch) -> Written {
        self.write(Command::MapUpdateBatch, &entries.keys, &entries.values)
    }

    /// Takes entries out, in their order.
    pub(in crate::kernel) fn delete(&self, keys: &[u8]) -> Written {
        self.write(Command::MapDeleteBatch, keys, &[])
    }

    fn write(&self, command: Command, keys: &[u8], values: &[u8]) -> Written {
        let count = keys.len() / self.key;
        let mut written = Written::default();
        let mut next = 0;
        while next < count {
            written.syscalls += 1;
            match self.write_from(next, count, command, keys, values) {
                (_, Ok(())) => next = count,
                (taken, Err(error)) => {
                    written.refused.push((next + taken, error));
                    next += taken + 1;
                }
            }
        }
        written
    }

    /// How many were taken before one was refused.
    fn write_from(
        &self,
        next: usize,
        count: usize,
        command: Command,
        keys: &[u8],
        values: &[u8],
    ) -> (usize, io::Result<()>) {
        let left = count - next;
        let keys = keys.get(next * self.key..).unwrap_or_default();
        let values = values.get(next * self.value..).unwrap_or_default();
        let map = match bpf::raw(self.map.as_fd()) {
            Ok(map) => map,
            Err(error) => return (0, Err(error)),
        };
        let mut attr = BatchAttr {
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: left as u32,
            map,
            ..BatchAttr::default()
        };
        // SAFETY: there are `count` keys, and as many values where the command reads them; both live
        // until after the call.
        let result = unsafe { bpf::call(command, &mut attr) };
        let taken = attr.count as usize;
        match result {
            Ok(_) => (left, Ok(())),
            // Refused as a whole, so not even the first was looked at; it stands for the others,
            // each of which is tried in its turn.
            Err(error) if taken >= left => (0, Err(error)),
            Err(error) => (taken, Err(error)),
        }
    }

    /// About so many entries from there on.
    pub(in crate::kernel) fn read(
        &self,
        position: &mut Position,
        entries: u32,
    ) -> io::Result<Batch> {
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
