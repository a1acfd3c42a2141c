//! What can go wrong with the configuration maps.

use std::io;

use aya::maps::MapError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("there is no map {map}")]
    Missing { map: &'static str },
    #[error("map {map} is of another kind")]
    Kind { map: &'static str },
    #[error("no second handle on map {map}")]
    Handle {
        map: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("map {map} has another layout")]
    Layout {
        map: &'static str,
        #[source]
        source: MapError,
    },
}

#[derive(Debug, Error)]
pub enum MapsError {
    /// What the kernel has is less than was asked for, and safe: no flow goes past the tunnel
    /// because of it. See [`super::Maps::apply`].
    #[error("{} map(s) are not complete: {}", tables.len(), list(tables))]
    Incomplete { tables: Vec<TableError> },
    #[error("cannot write the settings")]
    Settings(#[source] MapError),
    #[error("cannot list map {map}")]
    Unlisted {
        map: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot read map {map}")]
    Unreadable {
        map: &'static str,
        #[source]
        source: MapError,
    },
}

/// What one map did not take.
#[derive(Debug, Error)]
#[error(
    "{map}{} refused {failed} entries, such as {}: {source}",
    full.as_ref().map(ToString::to_string).unwrap_or_default(),
    examples.first().map(String::as_str).unwrap_or("none")
)]
pub struct TableError {
    pub map: &'static str,
    /// Number of entries.
    pub failed: usize,
    /// Keys of the first of them.
    pub examples: Vec<String>,
    pub full: Option<TableFull>,
    pub source: MapError,
}

impl TableError {
    /// At most so many.
    pub const EXAMPLES: usize = 16;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(" is full ({capacity} entries) and")]
pub struct TableFull {
    pub capacity: u32,
}

fn list(tables: &[TableError]) -> String {
    tables
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
