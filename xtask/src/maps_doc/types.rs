//! The ABI's structures, flags, numbered enums and constants, from their source text.

mod read;

use anyhow::{Context as _, Result, bail, ensure};

/// Everything that crosses the kernel line, besides the maps themselves.
#[derive(Debug, Default)]
pub(super) struct Abi {
    pub(super) records: Vec<Record>,
    pub(super) enums: Vec<Numbered>,
    pub(super) constants: Vec<Constant>,
}

/// A `#[repr(C)]` structure without implicit padding.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) docs: String,
    pub(super) fields: Vec<Field>,
    pub(super) flags: Vec<Flag>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) docs: String,
}

#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) bit: u32,
    pub(super) docs: String,
}

/// An enum of the `numbered!` macro.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) name: String,
    pub(super) docs: String,
    pub(super) variants: Vec<Variant>,
}

#[derive(Debug)]
pub(super) struct Variant {
    pub(super) number: u32,
    pub(super) label: String,
    pub(super) docs: String,
}

#[derive(Debug)]
pub(super) struct Constant {
    /// With the type that it belongs to.
    pub(super) name: String,
    pub(super) value: String,
    pub(super) docs: String,
}

impl Abi {
    pub(super) fn record(&self, name: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.name == name)
    }

    /// In bytes. Nothing of the ABI has implicit padding, which zerocopy's derives prove.
    pub(super) fn size(&self, kind: &str) -> Result<usize> {
        Ok(match kind {
            "u8" => 1,
            "U16" => 2,
            "U32" => 4,
            "U64" | "u64" => 8,
            "Address" => 16,
            kind => {
                if let Some(record) = self.record(kind) {
                    ensure!(!record.fields.is_empty(), "{kind} has no fields");
                    let sizes = record.fields.iter().map(|field| self.size(&field.kind));
                    sizes.sum::<Result<usize>>()?
                } else if let Some((item, count)) = array(kind) {
                    self.size(item)? * count
                } else {
                    bail!("a type of unknown size: `{kind}`")
                }
            }
        })
    }

    /// The value of a number, a constant, or a product of them.
    pub(super) fn number(&self, expression: &str) -> Result<u64> {
        let factor = |word: &str| match word.replace('_', "").parse::<u64>() {
            Ok(number) => Ok(number),
            Err(_) => {
                let constant = self.constants.iter().find(|c| c.name == word);
                let constant = constant.with_context(|| format!("no constant `{word}`"))?;
                self.number(&constant.value)
            }
        };
        expression.split(" * ").map(factor).product()
    }
}

/// Type and count in `[TYPE; COUNT]`.
fn array(kind: &str) -> Option<(&str, usize)> {
    let (item, count) = kind
        .strip_prefix('[')?
        .strip_suffix(']')?
        .split_once("; ")?;
    Some((item, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
wire! {
    /// Key of `A`.
    pub struct AKey {
        /// Where it is.
        pub address: Address,
        pub port: U16,
        pub padding: [u8; 6],
    }
}

impl AKey {
    flag!(/** It is. */ IS = 3);
    flag!(WAS = 4);
    /// How many.
    pub const SLOTS: u32 = 32;

    pub fn other(&self) -> u8 {
        0
    }
}

numbered! {
    /// What it is.
    pub enum Kind {
        /// This.
        This = 0 => \"this\",
    }
}

pub const ALL: u32 = 4 * AKey::SLOTS;
";

    #[test]
    fn everything_is_read() {
        let mut abi = Abi::default();
        abi.read(SOURCE).expect("it is regular");
        let key = abi.record("AKey").expect("it is there");
        assert_eq!(key.docs, "Key of `A`.");
        assert_eq!(key.fields.len(), 3);
        assert_eq!(key.fields[0].docs, "Where it is.");
        let flags: Vec<_> = key.flags.iter().map(|f| (f.bit, f.docs.as_str())).collect();
        assert_eq!(flags, [(3, "It is."), (4, "")]);
        assert_eq!(abi.size("AKey").expect("known"), 24);
        assert_eq!(abi.size("[U16; 26]").expect("known"), 52);
        assert_eq!(abi.number("ALL").expect("known"), 128);
        assert_eq!(abi.enums[0].variants[0].label, "this");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let mut abi = Abi::default();
        let text = "    pub struct A {\n        b: U16,\n    }\n";
        assert!(abi.read(text).is_err());
        assert!(abi.size("Option<u8>").is_err());
        assert!(abi.number("MISSING").is_err());
    }
}
