//! A ztunnel that answers as a test wants it to.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::wire::{ACK, Request, nack};
use super::{Connection, Listeners, Packet, Rules, Violation};
use crate::wait::wait_until;

/// What is done about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Ack,
    Nack(&'static str),
    /// An ack after a time, in which the agent must keep still.
    Slowly(Duration),
    /// None, until the agent gives the connection up.
    Never,
    /// Whatever these bytes are.
    Bytes(Vec<u8>),
    /// Two acks, one of which nobody asked for.
    Twice,
    Close,
}

/// Chooses the answer to each request, which are counted from 0.
pub type Manner = Box<dyn FnMut(usize, &Request) -> Answer + Send>;

/// What has come over a connection.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: Vec<Request>,
    pub violations: Vec<Violation>,
    /// The pods that were added, and acked, and not deleted.
    pub pods: BTreeMap<String, OwnedFd>,
    /// When the snapshot was over.
    pub snapshot: bool,
    /// The connection is over, by either side.
    pub closed: bool,
    /// From a request that is never answered to the agent's closing.
    pub waited: Option<Duration>,
    listeners: BTreeMap<String, Listeners>,
}

/// A connected peer. Dropped, it closes, and panics over violations that nobody has looked at.
#[derive(Debug)]
pub struct Peer {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How often the thread looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(5);

impl Peer {
    /// One that acks everything, and opens the real listeners first.
    pub fn start(socket: &Path) -> Result<Self> {
        Self::with(socket, true, Box::new(|_, _| Answer::Ack))
    }

    /// One of a certain manner, with listeners in acked pods or without.
    pub fn with(socket: &Path, listens: bool, manner: Manner) -> Result<Self> {
        let connection = Connection::open(socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        let seen = Arc::<Mutex<Seen>>::default();
        let stop = Arc::<AtomicBool>::default();
        let mut work = Work {
            connection,
            rules: Rules::default(),
            seen: Arc::clone(&seen),
            stop: Arc::clone(&stop),
            listens,
            manner,
        };
        let thread = thread::Builder::new()
            .name("zds-peer".to_owned())
            .spawn(move || {
                if let Err(error) = work.run() {
                    // The agent went away in mid-word, which is for the test to judge.
                    eprintln!("zds peer: {error}");
                }
                work.seen().closed = true;
            })?;
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// What has come so far; fails on a violation.
    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> Result<T> {
        let mut seen = lock(&self.seen);
        let violations = std::mem::take(&mut seen.violations);
        ensure!(violations.is_empty(), "violations: {violations:?}");
        Ok(look(&seen))
    }

    /// Waits for what has come to be of a kind.
    pub fn wait(&self, within: Duration, what: &str, is: impl Fn(&Seen) -> bool) -> Result<()> {
        let waited = wait_until(within, what, || {
            let seen = lock(&self.seen);
            !seen.violations.is_empty() || is(&seen)
        });
        self.look(|seen| waited.with_context(|| format!("requests: {:?}", seen.requests)))?
    }

    /// Waits for the end of the snapshot, and says which pods are in it.
    pub fn snapshot(&self, within: Duration) -> Result<Vec<String>> {
        self.wait(within, "the snapshot is sent", |seen| seen.snapshot)?;
        self.look(|seen| seen.pods.keys().cloned().collect())
    }

    /// Closes the connection and gives all that has come over it.
    pub fn finish(mut self) -> Result<Seen> {
        self.end();
        let seen = std::mem::take(&mut *lock(&self.seen));
        if !seen.violations.is_empty() {
            bail!("violations: {:?}", seen.violations);
        }
        Ok(seen)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
        let violations = std::mem::take(&mut lock(&self.seen).violations);
        if !thread::panicking() {
            assert!(violations.is_empty(), "violations: {violations:?}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Work {
    connection: Connection,
    rules: Rules,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    listens: bool,
    manner: Manner,
}

impl Work {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    fn run(&mut self) -> io::Result<()> {
        while self.wait() {
            let Some(packet) = self.connection.receive()? else {
                return Ok(());
            };
            let request = match self.rules.check(&packet) {
                Ok(request) => request,
                Err(violation) => {
                    self.seen().violations.push(violation);
                    return Ok(());
                }
            };
            let number = self.seen().requests.len();
            let answer = (self.manner)(number, &request);
            self.seen().requests.push(request.clone());
            if !self.answer(request, packet, answer)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for a packet; false when told to stop.
    fn wait(&self) -> bool {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            if self.connection.is_readable(GLANCE) {
                return true;
            }
        }
    }

    /// False where the connection is to end.
    fn answer(&mut self, request: Request, packet: Packet, answer: Answer) -> io::Result<bool> {
        match answer {
            Answer::Ack => {}
            Answer::Slowly(time) => {
                let until = Instant::now() + time;
                while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
                    if self.connection.is_readable(GLANCE) {
                        self.note_early(&request);
                        return Ok(false);
                    }
                }
            }
            Answer::Twice => self.connection.send(&ACK)?,
            Answer::Nack(error) => {
                self.connection.send(&nack(error))?;
                return Ok(true);
            }
            Answer::Bytes(bytes) => {
                self.connection.send(&bytes)?;
                return Ok(true);
            }
            Answer::Never => {
                let start = Instant::now();
                if self.wait() {
                    self.note_early(&request);
                    self.seen().waited = Some(start.elapsed());
                }
                return Ok(false);
            }
            Answer::Close => return Ok(false),
        }
        self.take(request, packet)?;
        self.connection.send(&ACK)?;
        Ok(true)
    }

    /// Something is there before the answer: the end is allowed, another request is not.
    fn note_early(&self, request: &Request) {
        if let Ok(Some(_)) = self.connection.receive() {
            let text = format!("another request before {request:?} was answered");
            self.seen().violations.push(Violation(text));
        }
    }

    /// Does what is acked.
    fn take(&mut self, request: Request, packet: Packet) -> io::Result<()> {
        let mut descriptors = packet.descriptors;
        match request {
            Request::Add { uid, .. } => {
                let netns = descriptors.pop();
                let netns = netns.ok_or_else(|| io::Error::other("an add has a descriptor"))?;
                if self.listens && !self.seen().listeners.contains_key(&uid) {
                    let listeners = Listeners::open(&netns)?;
                    self.seen().listeners.insert(uid.clone(), listeners);
                }
                self.seen().pods.insert(uid, netns);
            }
            Request::Del { uid } => {
                let mut seen = self.seen();
                seen.pods.remove(&uid);
                seen.listeners.remove(&uid);
            }
            Request::SnapshotSent => self.seen().snapshot = true,
            Request::Keep { .. } => {}
        }
        Ok(())
    }
}
