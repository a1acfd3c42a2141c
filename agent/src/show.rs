//! What the command line prints for people. Programs get the same as JSON, with `-o json`.

pub mod dump;
mod explain;
mod findings;
mod flows;
pub mod monitor;
mod offline;
mod programs;
#[cfg(test)]
mod snapshot;
mod status;
mod table;
mod time;
mod wrap;

pub use explain::explain;
pub use findings::findings;
pub use flows::flows;
pub use offline::offline;
pub use status::{only, pod, status};

use serde::de::DeserializeOwned;

use crate::names::pods::NotOnePod;

/// A page for people, and whether all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub text: String,
    pub is_well: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error("the agent's answer is of another version: {0}; ask with -o json")]
    Answer(#[from] serde_json::Error),
    #[error(transparent)]
    UnknownPod(#[from] NotOnePod),
}

fn parse<T: DeserializeOwned>(answer: &str) -> Result<T, ShowError> {
    Ok(serde_json::from_str(answer)?)
}
