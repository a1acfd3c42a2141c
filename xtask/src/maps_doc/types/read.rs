//! Reading the sources, line by line.

use anyhow::{Context as _, Result};

use super::{Abi, Constant, Field, Flag, Numbered, Record, Variant};

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
    pub(in crate::maps_doc) fn read(&mut self, text: &str) -> Result<()> {
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

    fn record_mut(&mut self, name: &str) -> Result<&mut Record> {
        self.records
            .iter_mut()
            .find(|record| record.name == name)
            .with_context(|| format!("no structure {name}"))
    }
}

/// The name in `pub struct NAME {` and the like.
fn opened(code: &str, keyword: &str) -> Option<String> {
    let name = code.strip_prefix(keyword)?.strip_suffix(" {")?;
    Some(name.to_owned())
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
