//! What the numbers in maps stand for. The agent knows; the command line asks it, and does without
//! when none answers.

pub mod flags;
pub mod pods;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A digest of a name, printed in 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

/// Names by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// `namespace/name`.
    pub workloads: BTreeMap<Id, String>,
    /// `namespace/hostname`.
    pub services: BTreeMap<Id, String>,
    pub namespaces: BTreeMap<Id, String>,
    /// By netns cookie: known without an agent, from what is written down of enrolled pods.
    #[serde(skip)]
    pub pods: BTreeMap<u64, String>,
}

/// Whoever can tell names.
pub trait Namer {
    fn workload(&self, id: u64) -> Option<String>;
    fn service(&self, id: u64) -> Option<String>;
    fn namespace(&self, id: u64) -> Option<String>;

    /// The name, else the id.
    fn workload_or_id(&self, id: u64) -> String {
        self.workload(id).unwrap_or_else(|| Id(id).to_string())
    }

    /// The name, else the id.
    fn service_or_id(&self, id: u64) -> String {
        self.service(id).unwrap_or_else(|| Id(id).to_string())
    }

    /// The name, else the id.
    fn namespace_or_id(&self, id: u64) -> String {
        self.namespace(id).unwrap_or_else(|| Id(id).to_string())
    }
}

impl Namer for Names {
    fn workload(&self, id: u64) -> Option<String> {
        self.workloads.get(&Id(id)).cloned()
    }

    fn service(&self, id: u64) -> Option<String> {
        self.services.get(&Id(id)).cloned()
    }

    fn namespace(&self, id: u64) -> Option<String> {
        self.namespaces.get(&Id(id)).cloned()
    }
}

impl Names {
    pub fn pod(&self, netns: u64) -> Option<String> {
        self.pods.get(&netns).cloned()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_json() {
        let mut names = Names::default();
        names.workloads.insert(Id(0xfedc), "default/web".into());
        let text = serde_json::to_string(&names).expect("JSON");
        assert!(
            text.contains(r#""000000000000fedc":"default/web""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Names>(&text).expect("names"), names);
        assert!(serde_json::from_str::<Id>(r#""x""#).is_err());
    }
}
