//! The streams of verdicts and of drops.

mod dropped;
mod verdict;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use aya::maps::{Map, MapData, RingBuf};
use thiserror::Error;

pub use self::dropped::DropReport;
pub use self::verdict::VerdictReport;
use crate::kernel::maps::OpenError;

/// What a ring buffer of the programs tells.
pub trait Event: Sized {
    /// The ring buffer.
    const MAP: &'static str;
    /// How often it is looked at. The kernel wakes nobody for an event: that would cost the
    /// application that connects more than the verdict itself.
    const PERIOD: Duration;

    /// # Errors
    /// When another version has written it.
    fn decode(bytes: &[u8]) -> Result<Self, EventError>;
}

#[derive(Debug, Error)]
pub enum EventError {
    #[error("an event of {length} bytes in {map}, where {expected} are expected")]
    Length {
        map: &'static str,
        length: usize,
        expected: usize,
    },
    #[error("an event with hook {hook}, class {class} and reason {reason}, not all of which exist")]
    Verdict { hook: u8, class: u8, reason: u8 },
    #[error("a drop with hook {hook} and action {action}, not both of which exist")]
    Drop { hook: u8, action: u8 },
}

/// A ring buffer's one reader. Events that come while it is full are counted as lost.
pub struct EventStream<E> {
    ring: RingBuf<MapData>,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> EventStream<E> {
    pub(in crate::kernel) fn open(
        take: &mut dyn FnMut(&'static str) -> Option<Map>,
    ) -> Result<Self, OpenError> {
        let map = E::MAP;
        let found = take(map).ok_or(OpenError::Missing { map })?;
        let ring = found.try_into();
        let ring = ring.map_err(|source| OpenError::Layout { map, source })?;
        Ok(Self {
            ring,
            event: PhantomData,
        })
    }

    /// The next event; waits for one. Safe to cancel. After an error the stream goes on with the
    /// event after it.
    pub async fn next(&mut self) -> Result<E, EventError> {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            tokio::time::sleep(E::PERIOD).await;
        }
    }

    /// What is there already.
    pub fn take(&mut self) -> Option<Result<E, EventError>> {
        let item = self.ring.next()?;
        Some(E::decode(&item))
    }
}

impl<E> fmt::Debug for EventStream<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}
