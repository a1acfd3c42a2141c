//! Which programs are on the hooks that we use, and in which order: ours and those of others.
//!
//! Programs of a cgroup run before those of the cgroups above it, unless these were attached with
//! `BPF_F_PREORDER` (`compute_effective_progs`, Linux 6.15). So a program below the root can be
//! before ours, which sit at the root, and only a look at every cgroup tells.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc::ENOSPC;
use serde::Serialize;

use super::bpf::{self, Command, IdAttr, InfoAttr, QueryAttr};
use super::link::Hook;

const BPF_F_QUERY_EFFECTIVE: u32 = 1;

/// A query that finds more says so, and is asked again.
const ROOM: usize = 16;
const MOST_ROOM: usize = 4096;

/// Cgroups that are looked at in one survey.
const MOST_CGROUPS: usize = 50_000;

/// The start of `struct bpf_prog_info`, in words of 64 bits: type and id; the tag; lengths and
/// addresses of the code, load time; creator and number of maps; their ids' address; the name.
const INFO_WORDS: usize = 10;
const MOST_MAPS: usize = 64;

/// By one of these each of the programs that share a hook with strangers is known.
const OUR_MAPS: [&str; 2] = ["MESH_CIDRS", "LOCAL_FLOWS"];

/// Somebody's program at one of our hooks, before ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Foreign {
    pub id: u32,
    /// As far as the kernel keeps it; empty where the program is gone by now.
    pub name: String,
}

/// Sockets of one cgroup meet programs of others before ours, or do not meet ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Shadow {
    pub hook: &'static str,
    pub cgroup: PathBuf,
    pub before: Vec<Foreign>,
    /// Ours is not among those that run.
    pub absent: bool,
}

/// What is at the cgroup hooks, at the root and below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// At the root first.
    pub shadows: Vec<Shadow>,
    pub cgroups: usize,
    /// There are more cgroups than were looked at.
    pub cut_short: bool,
}

/// Ids of the programs on a device of the calling thread's netns, in order.
pub fn on_device(index: u32, hook: Hook) -> io::Result<Vec<u32>> {
    query(index, hook, 0)
}

/// Ids of the programs that are attached to this very cgroup.
pub fn attached_to(cgroup: BorrowedFd<'_>, hook: Hook) -> io::Result<Vec<u32>> {
    query(bpf::raw(cgroup)?, hook, 0)
}

/// Ids of the programs that sockets of the cgroup run, in order: its own and inherited ones.
pub fn run_by(cgroup: BorrowedFd<'_>, hook: Hook) -> io::Result<Vec<u32>> {
    query(bpf::raw(cgroup)?, hook, BPF_F_QUERY_EFFECTIVE)
}

/// Names a program.
pub fn name(id: u32) -> Foreign {
    let name = program_name(id).unwrap_or_default();
    Foreign { id, name }
}

impl Hook {
    pub fn label(self) -> &'static str {
        match self {
            Self::SockOps => "sock_ops",
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::GetPeerName4 => "getpeername4",
            Self::GetPeerName6 => "getpeername6",
            Self::TcxIngress => "tcx_ingress",
            Self::TcxEgress => "tcx_egress",
        }
    }
}

/// Looks at a hierarchy from its root down. `ours` are the hooks with the ids of our programs.
///
/// # Errors
/// When the root cannot be looked at. Cgroups below it come and go meanwhile.
pub fn survey(root: &Path, ours: &[(Hook, u32)]) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let mut next = vec![root.to_owned()];
    while let Some(path) = next.pop() {
        if survey.cgroups == MOST_CGROUPS {
            survey.cut_short = true;
            break;
        }
        survey.cgroups += 1;
        let is_root = path == root;
        match look_at(&path, is_root, ours, &mut survey.shadows) {
            Err(error) if is_root => return Err(error),
            Ok(()) | Err(_) => {}
        }
        next.extend(below(&path));
    }
    Ok(survey)
}

fn look_at(
    path: &Path,
    is_root: bool,
    ours: &[(Hook, u32)],
    shadows: &mut Vec<Shadow>,
) -> io::Result<()> {
    let cgroup = File::open(path)?;
    for (hook, our_id) in ours {
        // Without a program of its own a cgroup is as the one above it.
        if !is_root && attached_to(cgroup.as_fd(), *hook)?.is_empty() {
            continue;
        }
        let running = run_by(cgroup.as_fd(), *hook)?;
        let position = running.iter().position(|id| id == our_id);
        let before = running.iter().take(position.unwrap_or(running.len()));
        let before = match hook.order_matters() {
            true => strangers(before, *our_id),
            false => Vec::new(),
        };
        if position.is_some() && before.is_empty() {
            continue;
        }
        shadows.push(Shadow {
            hook: hook.label(),
            cgroup: path.to_owned(),
            before,
            absent: position.is_none(),
        });
    }
    Ok(())
}

/// What they are called, each name once: whoever comes again is told in the same words.
pub fn names(programs: &[Foreign]) -> String {
    let mut names: Vec<&str> = programs
        .iter()
        .map(|program| program.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Those that are not the same program as ours, of whichever build: a second agent's does nothing
/// outside of its own pods.
pub fn strangers<'a>(programs: impl Iterator<Item = &'a u32>, ours: u32) -> Vec<Foreign> {
    let mut programs = programs.peekable();
    if programs.peek().is_none() {
        return Vec::new();
    }
    let our_name = name(ours).name;
    let named = programs.map(|id| name(*id));
    let is_sibling = |foreign: &Foreign| foreign.name == our_name && is_ours(foreign.id);
    named.filter(|foreign| !is_sibling(foreign)).collect()
}

/// None where it cannot be read any more.
fn below(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn query(target: u32, hook: Hook, flags: u32) -> io::Result<Vec<u32>> {
    let mut room = ROOM;
    loop {
        let mut programs = vec![0_u32; room];
        let mut attr = QueryAttr {
            target,
            attach_type: hook.number(),
            query_flags: flags,
            programs: programs.as_mut_ptr() as u64,
            count: u32::try_from(room).map_err(io::Error::other)?,
            ..QueryAttr::default()
        };
        // SAFETY: `programs` has room for `count` ids, and lives until after the call.
        match unsafe { bpf::call(Command::ProgramQuery, &mut attr) } {
            Ok(_) => {
                programs.truncate(attr.count as usize);
                return Ok(programs);
            }
            Err(error) if error.raw_os_error() == Some(ENOSPC) && room < MOST_ROOM => room *= 4,
            Err(error) => return Err(error),
        }
    }
}

fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = IdAttr {
        id,
        ..IdAttr::default()
    };
    // SAFETY: the attributes hold no address.
    unsafe { bpf::open(Command::ProgramById, &mut attr) }
}

/// Addresses in `info` are of what the kernel is to fill, as long as it says.
fn read_info(object: BorrowedFd<'_>, info: &mut [u64]) -> io::Result<()> {
    let mut attr = InfoAttr {
        fd: bpf::raw(object)?,
        length: size_of_val(info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: `info` has the length that the attributes say, and lives until after the call, as do
    // what its callers point to in it.
    unsafe { bpf::call(Command::InfoByFd, &mut attr) }.map(drop)
}

fn program_name(id: u32) -> io::Result<String> {
    let mut info = [0_u64; INFO_WORDS];
    read_info(program_by_id(id)?.as_fd(), &mut info)?;
    let [.., first, second] = info;
    Ok(text(&[first, second]))
}

/// Whether a program is one of ours, of whichever build: it looks into maps with the names of ours.
pub fn is_ours(program: u32) -> bool {
    let maps = map_ids(program).unwrap_or_default();
    let mut names = maps.into_iter().filter_map(|id| map_name(id).ok());
    names.any(|name| OUR_MAPS.contains(&name.as_str()))
}

fn map_ids(program: u32) -> io::Result<Vec<u32>> {
    let program = program_by_id(program)?;
    let mut ids = vec![0_u32; MOST_MAPS];
    let mut info = [0_u64; INFO_WORDS];
    let [.., count, address, _, _] = &mut info;
    // The second half of its word; the first is the creator.
    *count = u64::from_ne_bytes(halves(0, MOST_MAPS as u32));
    *address = ids.as_mut_ptr() as u64;
    read_info(program.as_fd(), &mut info)?;
    let [.., count, _, _, _] = info;
    let (_, count) = of_halves(count);
    ids.truncate(count as usize);
    Ok(ids)
}

fn map_name(id: u32) -> io::Result<String> {
    let mut attr = IdAttr {
        id,
        ..IdAttr::default()
    };
    // SAFETY: the attributes hold no address.
    let map = unsafe { bpf::open(Command::MapById, &mut attr) }?;
    // Type, id, sizes of key, value and map, flags; then the name.
    let mut info = [0_u64; 5];
    read_info(map.as_fd(), &mut info)?;
    let [_, _, _, name @ ..] = info;
    Ok(text(&name))
}

/// Two numbers of 32 bits that follow each other.
fn halves(first: u32, second: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    let (low, high) = bytes.split_at_mut(4);
    low.copy_from_slice(&first.to_ne_bytes());
    high.copy_from_slice(&second.to_ne_bytes());
    bytes
}

fn of_halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    )
}

fn text(words: &[u64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
    text.to_string_lossy().into_owned()
}
