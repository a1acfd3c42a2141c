//! The ABI's structures, flags, numbered enums and constants, from their source text.

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

/// Where the reader is.
enum Place {
    Top,
    Record,
    Enum,
    /// In an `impl` of this type.
    Impl(String),
    /// In what does not matter, such as a function or a macro's definition.
    Elsewhere,
}

impl Abi {
    /// Adds what one file defines.
    pub(super) fn read(&mut self, text: &str) -> Result<()> {
        let mut place = Place::Top;
        let mut docs: Vec<&str> = Vec::new();
        for line in text.lines() {
            let code = line.trim();
            if let Some(doc) = code.strip_prefix("///") {
                docs.push(doc.trim());
                continue;
            }
            let documented = docs.join(" ");
            // Whatever is one level deep is closed by a brace in the first column, or, in a macro,
            // in the fifth.
            match &place {
                Place::Top => place = self.open(code, documented)?.unwrap_or(Place::Top),
                _ if line == "}" || line == "    }" && !matches!(place, Place::Impl(_)) => {
                    place = Place::Top;
                }
                Place::Record => self.field(code, documented)?,
                Place::Enum => self.variant(code, documented)?,
                Place::Impl(owner) => {
                    let owner = owner.clone();
                    self.member(&owner, code, documented)?;
                }
                Place::Elsewhere => {}
            }
            // Between a comment and what it belongs to stand attributes, of several lines at the top.
            let is_between = matches!(place, Place::Top) && !code.is_empty();
            if !code.starts_with('#') && !is_between {
                docs.clear();
            }
        }
        Ok(())
    }

    /// A line outside of everything; `None` where it opens nothing.
    fn open(&mut self, code: &str, docs: String) -> Result<Option<Place>> {
        Ok(if let Some(name) = opened(code, "pub struct ") {
            self.records.push(Record {
                name,
                docs,
                fields: Vec::new(),
                flags: Vec::new(),
            });
            Some(Place::Record)
        } else if let Some(name) = opened(code, "pub enum ") {
            self.enums.push(Numbered {
                name,
                docs,
                variants: Vec::new(),
            });
            Some(Place::Enum)
        } else if let Some(name) = opened(code, "impl ") {
            Some(Place::Impl(name))
        } else if code.starts_with("pub const ") && !code.contains("fn ") {
            self.constant("", code, docs)?;
            None
        } else if code.contains("fn ") || code.starts_with("macro_rules!") {
            Some(Place::Elsewhere)
        } else {
            None
        })
    }

    fn field(&mut self, code: &str, docs: String) -> Result<()> {
        let declared = code
            .strip_prefix("pub ")
            .and_then(|code| code.strip_suffix(','))
            .and_then(|code| code.split_once(": "));
        let (name, kind) = declared.with_context(|| format!("not a field: `{code}`"))?;
        let record = self.records.last_mut().context("a structure was opened")?;
        record.fields.push(Field {
            name: name.to_owned(),
            kind: kind.to_owned(),
            docs,
        });
        Ok(())
    }

    fn variant(&mut self, code: &str, docs: String) -> Result<()> {
        let declared = code.strip_suffix(',').and_then(|code| {
            let (left, label) = code.split_once(" => ")?;
            let (_, number) = left.split_once(" = ")?;
            Some((number.parse().ok()?, label.trim_matches('"').to_owned()))
        });
        let (number, label) = declared.with_context(|| format!("not a variant: `{code}`"))?;
        let numbered = self.enums.last_mut().context("an enum was opened")?;
        numbered.variants.push(Variant {
            number,
            label,
            docs,
        });
        Ok(())
    }

    /// A line in an `impl`: flags and public constants matter, and nothing else.
    fn member(&mut self, owner: &str, code: &str, docs: String) -> Result<()> {
        if let Some(flag) = code.strip_prefix("flag!(") {
            let flag = parse_flag(flag).with_context(|| format!("not a flag: `{code}`"))?;
            self.record_mut(owner)?.flags.push(flag);
        } else if code.starts_with("pub const ") && code.ends_with(';') {
            self.constant(owner, code, docs)?;
        }
        Ok(())
    }

    fn constant(&mut self, owner: &str, code: &str, docs: String) -> Result<()> {
        let declared = code
            .strip_prefix("pub const ")
            .and_then(|code| code.strip_suffix(';'))
            .and_then(|code| code.split_once(" = "));
        let (left, value) = declared.with_context(|| format!("not a constant: `{code}`"))?;
        let (name, _) = left.split_once(": ").context("a constant has a type")?;
        let name = match owner {
            "" => name.to_owned(),
            owner => format!("{owner}::{name}"),
        };
        self.constants.push(Constant {
            name,
            value: value.to_owned(),
            docs,
        });
        Ok(())
    }

    pub(super) fn record(&self, name: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.name == name)
    }

    fn record_mut(&mut self, name: &str) -> Result<&mut Record> {
        self.records
            .iter_mut()
            .find(|record| record.name == name)
            .with_context(|| format!("no structure {name}"))
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
                } else if let Some(count) = bytes(kind) {
                    count
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

/// The name in `pub struct NAME {` and the like.
fn opened(code: &str, keyword: &str) -> Option<String> {
    let name = code.strip_prefix(keyword)?.strip_suffix(" {")?;
    Some(name.to_owned())
}

/// The count in `[u8; COUNT]`.
fn bytes(kind: &str) -> Option<usize> {
    kind.strip_prefix("[u8; ")?.strip_suffix(']')?.parse().ok()
}

/// `/** docs */ NAME = BIT);`
fn parse_flag(code: &str) -> Option<Flag> {
    let code = code.strip_suffix(");")?;
    let (docs, code) = match code.strip_prefix("/**") {
        Some(code) => code.split_once("*/")?,
        None => ("", code),
    };
    let (name, bit) = code.split_once(" = ")?;
    Some(Flag {
        name: name.trim().to_owned(),
        bit: bit.parse().ok()?,
        docs: docs.trim().to_owned(),
    })
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
