//! Names of generations.

use std::fmt;

/// `v1`, `v1-2`: ordered by age as far as names tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GenerationName {
    pub(super) abi: u32,
    /// Counted from 1, which is not written.
    pub(super) number: u32,
}

impl GenerationName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix('v')?;
        let (abi, number) = match rest.split_once('-') {
            Some((abi, number)) => (abi, number.parse().ok()?),
            None => (rest, 1),
        };
        let parsed = Self {
            abi: abi.parse().ok()?,
            number,
        };
        // Anything else that reads the same is not of our making.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for GenerationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => write!(f, "v{}", self.abi),
            number => write!(f, "v{}-{number}", self.abi),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_read() {
        let parse = |name| GenerationName::parse(name).map(|name| (name.abi, name.number));
        assert_eq!(parse("v1"), Some((1, 1)));
        assert_eq!(parse("v12-3"), Some((12, 3)));
        for foreign in [
            "", "v", "1", "v1-1", "v01", "v1-", "v+1", "v1-2-3", "w1", "v1+",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
