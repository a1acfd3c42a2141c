//! bpf(2) where aya has no way: links that are made with flags it does not know, updated, looked
//! at and pinned one by one.
//!
//! The structures are prefixes of `union bpf_attr`; the kernel takes what is missing as zero.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ObjectPin = 6,
    ObjectGet = 7,
    ProgramById = 13,
    MapById = 14,
    InfoByFd = 15,
    ProgramQuery = 16,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct MapCreateAttr {
    pub(super) kind: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) capacity: u32,
    pub(super) flags: u32,
    pub(super) inner_map: u32,
    pub(super) numa_node: u32,
    /// Up to 15 bytes, and zeros.
    pub(super) name: [u8; 16],
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct ElementAttr {
    map: u32,
    padding: u32,
    key: u64,
    /// Or the next key.
    value: u64,
    flags: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct ObjectAttr {
    pub(super) path: u64,
    pub(super) fd: u32,
    pub(super) flags: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct IdAttr {
    pub(super) id: u32,
    pub(super) next_id: u32,
    pub(super) flags: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct InfoAttr {
    pub(super) fd: u32,
    pub(super) length: u32,
    pub(super) info: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct QueryAttr {
    pub(super) target: u32,
    pub(super) attach_type: u32,
    pub(super) query_flags: u32,
    pub(super) attach_flags: u32,
    pub(super) programs: u64,
    pub(super) count: u32,
    pub(super) padding: u32,
    pub(super) program_flags: u64,
    pub(super) links: u64,
    pub(super) link_flags: u64,
    pub(super) revision: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct BatchAttr {
    pub(super) from: u64,
    pub(super) next: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map: u32,
    pub(super) element_flags: u64,
    pub(super) flags: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct LinkCreateAttr {
    pub(super) program: u32,
    /// A descriptor, or the index of a device in the calling thread's netns.
    pub(super) target: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct LinkUpdateAttr {
    pub(super) link: u32,
    pub(super) program: u32,
    pub(super) flags: u32,
    pub(super) old_program: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct LinkDetachAttr {
    pub(super) link: u32,
}

/// `struct bpf_link_info`, with its union as words.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct LinkInfoBuffer {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) program: u32,
    pub(super) padding: u32,
    pub(super) place: [u32; 16],
}

/// # Safety
/// What the attributes point to must be as the command wants it, and live until the call is over.
pub(super) unsafe fn call<A>(command: Command, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is readable and writable in its whole size; the rest is the caller's word.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as u32,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// For commands that answer with a descriptor, which the kernel makes close-on-exec.
///
/// # Safety
/// As for [`call`].
pub(super) unsafe fn open<A>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's word.
    let fd = unsafe { call(command, attr) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives an object a name in a bpf file system.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = ObjectAttr {
        path: path.as_ptr() as u64,
        fd: raw(object)?,
        flags: 0,
    };
    // SAFETY: the path lives until after the call.
    unsafe { call(Command::ObjectPin, &mut attr) }.map(drop)
}

/// Opens whatever is pinned there.
pub(super) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = ObjectAttr {
        path: path.as_ptr() as u64,
        ..ObjectAttr::default()
    };
    // SAFETY: the path lives until after the call.
    unsafe { open(Command::ObjectGet, &mut attr) }
}

/// Takes all entries out of a map whose keys have 8 bytes, whatever its values are.
pub(super) fn clear(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut next = 0_u64;
    if sizes(map)?.0 as usize != size_of_val(&next) {
        return Err(io::Error::other(
            "the map's keys are not what they were ever",
        ));
    }
    let mut attr = ElementAttr {
        map: raw(map)?,
        value: (&raw mut next) as u64,
        ..ElementAttr::default()
    };
    loop {
        attr.key = 0;
        attr.value = (&raw mut next) as u64;
        // SAFETY: without a key it is the first that is asked for; `next` has a key's size.
        match unsafe { call(Command::MapNextKey, &mut attr) } {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            asked => drop(asked?),
        }
        attr.key = (&raw const next) as u64;
        attr.value = 0;
        // SAFETY: `next` has a key's size, and lives until after the call.
        unsafe { call(Command::MapDelete, &mut attr) }?;
    }
}

/// Whether a map has this key, whatever its values are.
pub(super) fn contains(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    match value(map, key) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|_| true),
    }
}

/// The value of a key, whatever its size is; not found where there is none. Not for maps that have a
/// value for each processor.
pub(super) fn value(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<Vec<u8>> {
    let (key_size, value_size) = sizes(map)?;
    if key_size as usize != key.len() {
        return Err(io::Error::other("the map's keys are of another size"));
    }
    let mut value = vec![0_u8; value_size as usize];
    let mut attr = ElementAttr {
        map: raw(map)?,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        ..ElementAttr::default()
    };
    // SAFETY: key and value have the map's sizes, and live until after the call.
    unsafe { call(Command::MapLookup, &mut attr) }?;
    Ok(value)
}

/// Gives an entry that is there another value; not found where there is none.
///
/// # Safety
/// Key and value must have the sizes that the map's have.
pub(super) unsafe fn replace(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    const ONLY_IF_THERE: u64 = 2;
    let mut attr = ElementAttr {
        map: raw(map)?,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags: ONLY_IF_THERE,
        ..ElementAttr::default()
    };
    // SAFETY: both live until after the call; their sizes are the caller's word.
    unsafe { call(Command::MapUpdate, &mut attr) }.map(drop)
}

/// Of keys and values, in bytes.
pub(super) fn sizes(map: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    // The start of `struct bpf_map_info`: type, id, sizes of key and value.
    let mut info = [0_u32; 4];
    let mut attr = InfoAttr {
        fd: raw(map)?,
        length: size_of_val(&info) as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` has the length that the attributes say, and lives until after the call.
    unsafe { call(Command::InfoByFd, &mut attr) }?;
    let [_, _, key_size, value_size] = info;
    Ok((key_size, value_size))
}

pub(super) fn raw(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
