//! The maps, from the source text of their statics.

use anyhow::{Context as _, Result, bail};

use super::types::Abi;

/// Maps under one comment of the source.
#[derive(Debug)]
pub(super) struct Section {
    /// The comment's sentence.
    pub(super) title: String,
    pub(super) maps: Vec<Map>,
}

#[derive(Debug)]
pub(super) struct Map {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Of an array, none.
    pub(super) key: Option<String>,
    pub(super) value: String,
    pub(super) capacity: Capacity,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Capacity {
    Entries(u64),
    Bytes(u64),
    /// As many as there are sockets.
    Sockets,
}

pub(super) fn parse(text: &str, abi: &Abi) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("// ") {
            sections.push(Section {
                title: title.to_owned(),
                maps: Vec::new(),
            });
        }
        let Some(start) = line.strip_prefix("pub(crate) static ") else {
            continue;
        };
        let mut statement = start.to_owned();
        while !statement.ends_with(';') {
            let more = lines.next().context("a static without an end")?;
            statement.push(' ');
            statement.push_str(more.trim());
        }
        let map = parse_static(&statement, abi).with_context(|| format!("`{statement}`"))?;
        let section = sections.last_mut();
        section
            .context("a map stands under no comment that says who writes it")?
            .maps
            .push(map);
    }
    Ok(sections)
}

/// `NAME: Kind<A, B> = Kind::new();`
fn parse_static(statement: &str, abi: &Abi) -> Result<Map> {
    let (name, rest) = statement.split_once(": ").context("no type")?;
    let (declared, _) = rest.split_once(" = ").context("no value")?;
    let generic = declared.strip_suffix('>').and_then(|d| d.split_once('<'));
    let (kind, arguments) = generic.context("no type arguments")?;
    let arguments = split(arguments);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let entries = |size: &str| Ok::<_, anyhow::Error>(Capacity::Entries(number(size, abi)?));
    let (kind, key, value, capacity) = match (kind, arguments.as_slice()) {
        ("Array", [value, size]) => ("array", None, value, entries(size)?),
        ("PerCpuArray", [value, size]) => ("array per CPU", None, value, entries(size)?),
        ("HashMap", [key, value, size, "ON_DEMAND"]) => {
            ("hash, on demand", Some(key), value, entries(size)?)
        }
        ("PerCpuHashMap", [key, value, size, "ON_DEMAND"]) => {
            let kind = "hash per CPU, on demand";
            (kind, Some(key), value, entries(size)?)
        }
        ("LruHashMap", [key, value, size]) => ("LRU hash", Some(key), value, entries(size)?),
        ("LpmTrie", [key, value, size]) => ("longest prefix", Some(key), value, entries(size)?),
        ("SkStorage", [value]) => ("socket storage", None, value, Capacity::Sockets),
        ("RingBuf", [value, size]) => {
            let capacity = Capacity::Bytes(number(size, abi)?);
            ("ring buffer", None, value, capacity)
        }
        _ => bail!("a map of unknown kind"),
    };
    Ok(Map {
        name: name.to_owned(),
        kind,
        key: key.map(|key| (*key).to_owned()),
        value: (*value).to_owned(),
        capacity,
    })
}

/// `4_096`, `{ NAME as usize }`, or `{ capacity(4_096) }`.
fn number(size: &str, abi: &Abi) -> Result<u64> {
    let block = size
        .strip_prefix("{ ")
        .and_then(|size| size.strip_suffix(" }"));
    let expression = block.and_then(|block| {
        let size = block
            .strip_prefix("capacity(")
            .and_then(|size| size.strip_suffix(')'));
        size.or_else(|| block.strip_suffix(" as usize"))
    });
    abi.number(expression.unwrap_or(size))
}

/// At commas outside of brackets.
fn split(arguments: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in arguments.chars() {
        match letter {
            '<' | '[' | '{' => depth += 1,
            '>' | ']' | '}' => depth -= 1,
            _ => {}
        }
        match parts.last_mut() {
            Some(_) if letter == ',' && depth == 0 => parts.push(String::new()),
            Some(part) => part.push(letter),
            None => {}
        }
    }
    let trimmed = parts.iter().map(|part| part.trim().to_owned());
    trimmed.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statics_are_read() {
        let text = "// State: written by the programs.\n\n#[btf_map]\n\
                    pub(crate) static A: HashMap<AKey, [u8; 16], 1_024, ON_DEMAND> =\n    \
                    HashMap::new();\n#[btf_map]\n\
                    pub(crate) static B: RingBuf<u64, 4_096> = RingBuf::new();\n";
        let sections = parse(text, &Abi::default()).expect("it is regular");
        assert_eq!(sections.len(), 1);
        let [first, second] = sections[0].maps.as_slice() else {
            panic!("two maps");
        };
        assert_eq!(
            (first.name.as_str(), first.value.as_str()),
            ("A", "[u8; 16]")
        );
        assert_eq!(first.capacity, Capacity::Entries(1024));
        assert_eq!(second.capacity, Capacity::Bytes(4096));
    }

    #[test]
    fn a_map_of_unknown_kind_is_an_error() {
        let text = "// State.\npub(crate) static A: Stack<u64, 4> = Stack::new();\n";
        assert!(parse(text, &Abi::default()).is_err());
    }
}
