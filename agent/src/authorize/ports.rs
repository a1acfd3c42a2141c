//! Sets of ports: some, or all but some.

use std::collections::BTreeSet;

/// Closed under all that rules do with their conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// Whether ports that are no exceptions are in the set.
    pub others: bool,
    pub exceptions: BTreeSet<u16>,
}

impl Ports {
    pub const ALL: Self = Self {
        others: true,
        exceptions: BTreeSet::new(),
    };
    pub const NONE: Self = Self {
        others: false,
        exceptions: BTreeSet::new(),
    };

    pub fn of(ports: &[u16]) -> Self {
        Self {
            others: false,
            exceptions: ports.iter().copied().collect(),
        }
    }

    pub fn contains(&self, port: u16) -> bool {
        self.others != self.exceptions.contains(&port)
    }

    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    #[must_use]
    pub fn complement(self) -> Self {
        Self {
            others: !self.others,
            ..self
        }
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (mut a, b) = (self, other);
        let exceptions = match (a.others, b.others) {
            (true, true) => {
                a.exceptions.extend(b.exceptions);
                a.exceptions
            }
            (false, _) => {
                a.exceptions.retain(|port| b.contains(*port));
                a.exceptions
            }
            (true, false) => {
                let in_both = |port: &u16| a.contains(*port);
                b.exceptions.iter().copied().filter(in_both).collect()
            }
        };
        Self {
            others: a.others && b.others,
            exceptions,
        }
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.complement().and(other.complement()).complement()
    }
}
