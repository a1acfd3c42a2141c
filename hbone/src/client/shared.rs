//! The pool's connections by key.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Lease};
use super::{ConnectError, DialError, PoolConfig, PoolKey};
use crate::certs::{CertSource, Credentials};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: PoolConfig,
    pub(super) certs: Arc<dyn CertSource>,
    /// One task for each connection.
    pub(super) drivers: TaskTracker,
    /// Ends the drivers although their connections have streams.
    pub(super) kill: CancellationToken,
    permits: Arc<Semaphore>,
    entries: Mutex<HashMap<PoolKey, Arc<Entry>>>,
}

/// The connections of one key.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Held by the one who makes a connection, until it takes streams.
    pub(super) dialling: Arc<tokio::sync::Mutex<()>>,
    connections: Mutex<Vec<Arc<Connection>>>,
    failure: Mutex<(u64, Option<Arc<DialError>>)>,
}

impl Shared {
    pub(super) fn new(config: PoolConfig, certs: Arc<dyn CertSource>) -> Self {
        Self {
            config,
            certs,
            drivers: TaskTracker::new(),
            kill: CancellationToken::new(),
            permits: Arc::new(Semaphore::new(config.max_connections)),
            entries: Mutex::default(),
        }
    }

    pub(super) fn entry(self: &Arc<Self>, key: &PoolKey) -> EntryRef {
        let mut entries = lock(&self.entries);
        let entry = entries.entry(key.clone()).or_default().clone();
        EntryRef {
            shared: self.clone(),
            key: key.clone(),
            entry,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.config.max_connections - self.permits.available_permits()
    }

    /// Leave to make a connection. Where there is none left, the connection that has been idle
    /// for longest is closed for it.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, ConnectError> {
        let exhausted = || ConnectError::Exhausted {
            max: self.config.max_connections,
        };
        if self.permits.is_closed() {
            return Err(ConnectError::Closed);
        }
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let idlest = self
            .all()
            .into_iter()
            .filter_map(|connection| Some((connection.idle_since()?, connection)))
            .min_by_key(|(since, _)| *since)
            .ok_or_else(exhausted)?;
        idlest.1.retire();
        drop(idlest);
        let freed = self.permits.clone().acquire_owned();
        match timeout(self.config.handshake_timeout, freed).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ConnectError::Closed),
            Err(_) => Err(exhausted()),
        }
    }

    pub(super) fn retire(&self, scope: u64) {
        let entries = lock(&self.entries);
        for (_, entry) in entries.iter().filter(|(key, _)| key.scope == scope) {
            for connection in &*lock(&entry.connections) {
                connection.retire();
            }
        }
    }

    /// No new connections and no new streams from now on.
    pub(super) fn close(&self) {
        self.permits.close();
        for connection in self.all() {
            connection.retire();
        }
        self.drivers.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        lock(&self.entries)
            .values()
            .flat_map(|entry| lock(&entry.connections).clone())
            .collect()
    }
}

impl Entry {
    /// A place on a connection that presents these credentials.
    pub(super) fn acquire(
        &self,
        credentials: &Arc<Credentials>,
        avoid: Option<&Arc<Connection>>,
    ) -> Option<Lease> {
        let mut connections = lock(&self.connections);
        for connection in connections.iter() {
            if !connection.presents(credentials) {
                connection.retire();
            }
        }
        connections.retain(|connection| !connection.is_retired());
        connections
            .iter()
            .filter(|connection| avoid.is_none_or(|avoid| !Arc::ptr_eq(connection, avoid)))
            .find_map(Connection::lease)
    }

    pub(super) fn add(&self, connection: Arc<Connection>) {
        lock(&self.connections).push(connection);
    }

    pub(super) fn remove(&self, gone: &Arc<Connection>) {
        lock(&self.connections).retain(|connection| !Arc::ptr_eq(connection, gone));
    }

    /// How many attempts to connect have failed.
    pub(super) fn failures(&self) -> u64 {
        lock(&self.failure).0
    }

    pub(super) fn record_failure(&self, error: Arc<DialError>) {
        let mut failure = lock(&self.failure);
        failure.0 += 1;
        failure.1 = Some(error);
    }

    /// The error of an attempt that failed after `seen` had.
    pub(super) fn failure_since(&self, seen: u64) -> Option<Arc<DialError>> {
        let failure = lock(&self.failure);
        failure.1.clone().filter(|_| failure.0 > seen)
    }
}

/// An entry in use. The last one to let go of an entry without connections takes it out of the
/// pool.
#[derive(Debug)]
pub(super) struct EntryRef {
    shared: Arc<Shared>,
    key: PoolKey,
    entry: Arc<Entry>,
}

impl Deref for EntryRef {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for EntryRef {
    fn drop(&mut self) {
        let mut entries = lock(&self.shared.entries);
        // Entries are handed out under this lock only, so two owners are the map and this one.
        if Arc::strong_count(&self.entry) <= 2 && lock(&self.entry.connections).is_empty() {
            entries.remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
