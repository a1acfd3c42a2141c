//! What verification has found, for the admin pages.

use std::time::Instant;

use serde::{Serialize, Serializer};

use crate::kernel::hooks::Shadow;
use crate::verify::{Book, DriftKind};

/// Of one pod, or of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// What is not as it should be at present.
    pub drift: Vec<Standing>,
    /// How often something was found and repaired.
    pub repaired: u64,
    /// Seconds since the last look; none where it was not looked yet.
    #[serde(rename = "verified_seconds_ago", serialize_with = "seconds_since")]
    pub verified: Option<Instant>,
}

/// A drift that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    pub kind: &'static str,
    pub what: String,
    #[serde(rename = "since_seconds", serialize_with = "seconds_since")]
    pub since: Option<Instant>,
    pub attempts: u32,
    /// Why it could not be repaired.
    pub error: Option<String>,
}

/// Of what belongs to no pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NodeVerification {
    #[serde(flatten)]
    pub verification: Verification,
    /// Cgroups whose sockets meet programs of others before ours.
    pub shadows: Vec<Shadow>,
    /// Seconds since all maps were compared.
    #[serde(rename = "maps_verified_seconds_ago", serialize_with = "seconds_since")]
    pub maps: Option<Instant>,
}

/// How often something was found, and repaired, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DriftCounts {
    found: [u64; DriftKind::ALL.len()],
    repaired: [u64; DriftKind::ALL.len()],
}

impl Verification {
    pub fn of(book: &Book) -> Self {
        let standing = book.standing().map(|(drift, entry)| Standing {
            kind: drift.kind.label(),
            what: drift.what.clone(),
            since: entry.since,
            attempts: entry.attempts,
            error: entry.error.clone(),
        });
        Self {
            drift: standing.collect(),
            repaired: book.repaired(),
            verified: book.verified_at(),
        }
    }
}

impl DriftCounts {
    pub fn add(&mut self, kind: DriftKind, found: u64, repaired: u64) {
        let counts = self.found.iter_mut().zip(&mut self.repaired);
        for (other, counts) in DriftKind::ALL.into_iter().zip(counts) {
            if other == kind {
                *counts.0 += found;
                *counts.1 += repaired;
            }
        }
    }

    /// Kind, found, repaired.
    pub fn each(&self) -> impl Iterator<Item = (DriftKind, u64, u64)> {
        let counts = self.found.into_iter().zip(self.repaired);
        let kinds = DriftKind::ALL.into_iter();
        kinds
            .zip(counts)
            .map(|(kind, (found, repaired))| (kind, found, repaired))
    }
}

fn seconds_since<S: Serializer>(at: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.elapsed().as_secs()).serialize(serializer)
}
