//! The running kernel's own type information: where a field of one of its structures is.
//!
//! As much of the format as that takes, see `Documentation/bpf/btf.rst`.

use std::io;
use std::path::Path;

use thiserror::Error;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// How deep nested structures without a name are looked into.
const MOST_NESTED: u8 = 8;

#[derive(Debug, Error)]
pub(super) enum BtfError {
    #[error("cannot read {VMLINUX}")]
    Read(#[source] io::Error),
    #[error("{VMLINUX} is not in the format of this version")]
    Format,
    #[error("the kernel has no field {field} in struct {structure}")]
    Absent {
        structure: &'static str,
        field: &'static str,
    },
}

/// A field, by the structures that it is in, each within the one before: with the field of each.
pub(super) type Way = &'static [(&'static str, &'static str)];

/// The offset of each field in its outermost structure, in bytes, in the running kernel.
pub(super) fn offsets<const N: usize>(
    ways: [Way; N],
) -> Result<[Result<u32, BtfError>; N], BtfError> {
    let bytes = std::fs::read(Path::new(VMLINUX)).map_err(BtfError::Read)?;
    let btf = Btf::parse(&bytes).ok_or(BtfError::Format)?;
    Ok(ways.map(|way| {
        let offsets = way.iter().map(|&(structure, field)| {
            btf.field(structure, field)
                .ok_or(BtfError::Absent { structure, field })
        });
        offsets.sum()
    }))
}

struct Btf<'a> {
    /// By id, from 1.
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

struct Type<'a> {
    name: u32,
    kind: u32,
    /// Of structures, 12 bytes each.
    members: &'a [u8],
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(bytes.first_chunk().copied()?) != MAGIC {
            return None;
        }
        let body = bytes.get(word(bytes, 4)? as usize..)?;
        let section = |at| {
            let (start, length) = (word(bytes, at)?, word(bytes, at + 4)?);
            body.get(start as usize..)?.get(..length as usize)
        };
        let (mut rest, strings) = (section(8)?, section(16)?);
        let mut types = Vec::new();
        while !rest.is_empty() {
            let (name, info) = (word(rest, 0)?, word(rest, 4)?);
            let kind = info >> 24 & 0x1f;
            let size = detail_size(kind, (info & 0xffff) as usize)?;
            let (members, behind) = rest.get(12..)?.split_at_checked(size)?;
            types.push(Type {
                name,
                kind,
                members,
            });
            rest = behind;
        }
        Some(Self { types, strings })
    }

    fn field(&self, structure: &str, field: &str) -> Option<u32> {
        let mut named = self.types.iter();
        let structure =
            named.find(|kind| kind.kind == STRUCT && self.is_called(kind.name, structure))?;
        let bits = self.bits_to(structure, field, MOST_NESTED)?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Also within members that have no name themselves.
    fn bits_to(&self, structure: &Type<'_>, field: &str, depth: u8) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        structure.members.chunks_exact(12).find_map(|member| {
            let (name, id) = (word(member, 0)?, word(member, 4)?);
            // The upper byte may be a bit field's size.
            let offset = word(member, 8)? & 0x00ff_ffff;
            if self.is_called(name, field) {
                return Some(offset);
            }
            let inner = self.types.get((id as usize).checked_sub(1)?)?;
            let is_part = name == 0 && matches!(inner.kind, STRUCT | UNION);
            let within = is_part.then(|| self.bits_to(inner, field, depth))??;
            offset.checked_add(within)
        })
    }

    fn is_called(&self, name: u32, wanted: &str) -> bool {
        let found = self.strings.get(name as usize..).unwrap_or_default();
        found
            .strip_prefix(wanted.as_bytes())
            .is_some_and(|behind| behind.first() == Some(&0))
    }
}

/// The size of what follows a type's three words. `None` for kinds of kernels to come.
fn detail_size(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Integers, variables and declaration tags.
        1 | 14 | 17 => 4,
        ARRAY => 12,
        // And sections, and enumerations of 64 bits.
        STRUCT | UNION | 15 | 19 => 12 * count,
        // Enumerations and prototypes.
        6 | 13 => 8 * count,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk().copied()?;
    Some(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct a { int b; union { int c; int d; }; }`, and the strings of it.
    fn small() -> Vec<u8> {
        let strings = b"\0a\0b\0c\0d\0int\0";
        let types = [
            [9, 1 << 24, 4, 32].as_slice(),
            &[0, 5 << 24 | 2, 4, 5, 1, 0, 7, 1, 0],
            &[1, 4 << 24 | 2, 8, 3, 1, 0, 0, 2, 32],
        ]
        .concat();
        let length = types.len() as u32 * 4;
        let header = [24, 0, length, length, strings.len() as u32];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        bytes.extend(
            header
                .iter()
                .chain(&types)
                .flat_map(|word: &u32| word.to_ne_bytes()),
        );
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn fields_are_found_in_unnamed_unions_too() {
        let bytes = small();
        let btf = Btf::parse(&bytes).expect("it parses");
        assert_eq!(btf.field("a", "b"), Some(0));
        assert_eq!(btf.field("a", "d"), Some(4));
        assert_eq!(btf.field("a", "e"), None);
        assert_eq!(btf.field("int", "b"), None);
    }

    #[test]
    fn what_is_cut_short_or_something_else_is_refused() {
        let bytes = small();
        for length in 0..bytes.len() {
            assert!(Btf::parse(&bytes[..length]).is_none(), "{length}");
        }
        assert!(Btf::parse(b"something else").is_none());
    }
}
