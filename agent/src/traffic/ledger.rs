//! The book over the kernel's map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use waysteer_common::abi::key::TrafficKey;
use waysteer_common::verdict::Class;

use super::book::Book;
use super::series::Series;
use crate::kernel::observe::{ClassTraffic, PodTraffic, PodTrafficError, Traffic};
use crate::tunnel::View;

/// The map, and who stands behind its entries. While somebody reads nobody tidies up: nothing is
/// seen twice, or not at all.
#[derive(Debug)]
pub struct Ledger {
    map: PodTraffic,
    view: View,
    book: Mutex<Book>,
}

/// By netns cookie.
pub type PodsTraffic = BTreeMap<u64, ClassTraffic>;

/// What metrics are made of.
#[derive(Debug)]
pub struct Reading {
    pub series: BTreeMap<Series, Traffic>,
    /// Of the map.
    pub entries: usize,
}

impl Ledger {
    /// With so many lines that have a destination of their own.
    pub fn new(map: PodTraffic, view: View, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            map,
            view,
            book: Mutex::new(Book::new(limit)),
        }
    }

    /// How many entries the kernel has room for.
    pub fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// # Errors
    /// When the map cannot be read.
    pub fn read(&self) -> Result<Reading, PodTrafficError> {
        let mut book = self.lock();
        let entries = self.map.read()?;
        let series = self.view.with(|compiler| book.sums(&entries, compiler));
        Ok(Reading {
            series,
            entries: entries.len(),
        })
    }

    /// What each pod's connections did, steered ones too.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn by_pod(&self) -> Result<PodsTraffic, PodTrafficError> {
        let mut pods = PodsTraffic::new();
        for (key, traffic) in &self.map.read()? {
            let is_left = key.flags & TrafficKey::LEFT != 0;
            let Some(class) = Class::from_number(key.class).filter(|_| !is_left) else {
                continue;
            };
            let is_steered = key.flags & TrafficKey::STEER != 0;
            let classes = pods.entry(key.source.get()).or_default();
            let sum = classes.entry((class, is_steered)).or_default();
            sum.merge(traffic);
        }
        Ok(pods)
    }

    /// Looks up these pods' names, before the mesh forgets them.
    pub fn learn(&self, pods: impl IntoIterator<Item = u64>) {
        let mut book = self.lock();
        self.view.with(|compiler| {
            for netns in pods {
                book.learn(netns, compiler);
            }
        });
    }

    /// Takes out what pods have left that are not of the `live`.
    ///
    /// # Errors
    /// When the map cannot be read or written; nothing is lost then that the kernel still has.
    pub fn settle(&self, live: &BTreeSet<u64>) -> Result<(), PodTrafficError> {
        let mut book = self.lock();
        let entries = self.map.read()?;
        let settlement = self
            .view
            .with(|compiler| book.settle(&entries, live, compiler));
        // First out, since what is put in needs room.
        self.map.remove(&settlement.remove)?;
        for (key, error) in self.map.put(&settlement.put) {
            tracing::debug!(%error, "what a pod had counted stays with the agent");
            if let Some(traffic) = settlement.put.get(&key) {
                book.keep(&key, traffic);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
