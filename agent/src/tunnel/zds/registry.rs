//! What ztunnels should know, what each of them was told, and so what to tell it next.
//!
//! No I/O and no clock. A session asks [`Registry::next`] what to say, says it, waits for the
//! answer and hands that to [`Registry::answered`]: whatever changed in the meantime is seen the
//! next time, so nothing is queued twice or forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message;
use super::stats::Kind;
use crate::tunnel::Readiness;

/// A nack is answered by asking again after this time, which doubles up to [`RETRY_MOST`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Registry {
    pods: BTreeMap<String, Pod>,
    /// By number; the highest is the newest ztunnel.
    sessions: BTreeMap<u64, Session>,
    /// Uids to be deleted, for sessions that have not said so yet.
    removed: VecDeque<String>,
    /// The number of the first of them.
    removed_from: u64,
    generations: u64,
    /// All pods of before are here, see [`crate::tunnel::Tunnel::pods_registered`].
    pub(super) open: bool,
}

#[derive(Debug)]
struct Pod {
    netns: Option<Netns>,
    add: Vec<u8>,
    /// Another one with each netns of the same pod.
    generation: u64,
}

#[derive(Debug)]
struct Netns {
    cookie: u64,
    fd: Arc<OwnedFd>,
}

#[derive(Debug)]
struct Session {
    told: BTreeMap<String, Told>,
    /// The number of the first removal that it has not been told of.
    removals: u64,
    snapshot_sent: bool,
}

#[derive(Debug)]
struct Told {
    generation: u64,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Acknowledged,
    Kept,
    Refused {
        error: String,
        times: u32,
        retry_at: Instant,
    },
}

/// What a session does next.
#[derive(Debug)]
pub(super) enum Step {
    Say(Message),
    /// Until something changes, or that time.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) packet: Vec<u8>,
    /// With an add, and with nothing else.
    pub(super) netns: Option<Arc<OwnedFd>>,
    pub(super) uid: String,
    generation: u64,
}

/// One connected ztunnel, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) snapshot_sent: bool,
    pub(super) acknowledged: usize,
    pub(super) refused: usize,
}

impl Registry {
    /// `false` where that pod with that netns is there already.
    pub(super) fn add(&mut self, uid: &str, add: Vec<u8>, cookie: u64, fd: OwnedFd) -> bool {
        if let Some(Pod {
            netns: Some(netns), ..
        }) = self.pods.get(uid)
            && netns.cookie == cookie
        {
            return false;
        }
        if self.pods.get(uid).is_some_and(|pod| pod.netns.is_some()) {
            self.remove(uid);
        }
        let fd = Arc::new(fd);
        self.insert(uid, add, Some(Netns { cookie, fd }));
        true
    }

    /// A pod whose netns is not to be had; does nothing where it is.
    pub(super) fn keep(&mut self, uid: &str, add: Vec<u8>) {
        if !self.pods.contains_key(uid) {
            self.insert(uid, add, None);
        }
    }

    fn insert(&mut self, uid: &str, add: Vec<u8>, netns: Option<Netns>) {
        self.generations += 1;
        let pod = Pod {
            netns,
            add,
            generation: self.generations,
        };
        self.pods.insert(uid.to_owned(), pod);
    }

    /// `false` where there was none.
    pub(super) fn remove(&mut self, uid: &str) -> bool {
        let known = self.pods.remove(uid).is_some();
        if known {
            self.removed.push_back(uid.to_owned());
            self.trim();
        }
        known
    }

    /// A ztunnel that said hello.
    pub(super) fn enter(&mut self, session: u64) {
        let new = Session {
            told: BTreeMap::new(),
            removals: self.removals_end(),
            snapshot_sent: false,
        };
        self.sessions.insert(session, new);
    }

    pub(super) fn leave(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.trim();
    }

    /// What to say to a ztunnel now. While it gets its snapshot: removals, the pods that it lacks,
    /// that this was all. Later new pods, which wait for it, go before removals, unless the same
    /// pod was removed before; in the end again what it refused.
    pub(super) fn next(&mut self, number: u64, now: Instant) -> Step {
        let end = self.removals_end();
        let newest = self.is_newest(number);
        let Some(session) = self.sessions.get_mut(&number).filter(|_| self.open) else {
            return Step::Wait(None);
        };
        // After the snapshot only the newest one is told of pods.
        let in_snapshot = !session.snapshot_sent;
        let has_removals = session.removals < end;
        let offset = usize::try_from(session.removals - self.removed_from).unwrap_or(usize::MAX);
        if in_snapshot || newest {
            let lacking = self.pods.iter().find(|(uid, pod)| {
                let told = session.told.get(*uid);
                told.is_none_or(|told| told.generation != pod.generation)
                    && (in_snapshot || pod.netns.is_some())
                    && !self
                        .removed
                        .iter()
                        .skip(offset)
                        .any(|removed| removed == *uid)
            });
            if let Some((uid, pod)) = lacking.filter(|_| !in_snapshot || !has_removals) {
                return Step::Say(pod.message(uid));
            }
        }
        if has_removals {
            session.removals += 1;
            let uid = self.removed.get(offset).cloned();
            self.trim();
            return match uid {
                Some(uid) => self.say_del(number, uid),
                None => self.next(number, now),
            };
        }
        if in_snapshot {
            return Step::Say(Message {
                kind: Kind::SnapshotSent,
                packet: message::snapshot_sent(),
                netns: None,
                uid: String::new(),
                generation: 0,
            });
        }
        match session.first_retry().filter(|_| newest) {
            Some((uid, at)) if at <= now => match self.pods.get(uid) {
                Some(pod) => Step::Say(pod.message(uid)),
                None => Step::Wait(None),
            },
            Some((_, at)) => Step::Wait(Some(at)),
            None => Step::Wait(None),
        }
    }

    /// `error`: what the answer said, empty for an acknowledgement.
    pub(super) fn answered(&mut self, number: u64, said: &Message, error: &str, now: Instant) {
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let outcome = match said.kind {
            Kind::SnapshotSent => {
                session.snapshot_sent |= error.is_empty();
                return;
            }
            Kind::Del => return,
            Kind::Add | Kind::Keep if !error.is_empty() => session.refused(&said.uid, error, now),
            Kind::Add => Outcome::Acknowledged,
            Kind::Keep => Outcome::Kept,
        };
        let told = Told {
            generation: said.generation,
            outcome,
        };
        session.told.insert(said.uid.clone(), told);
    }

    /// What the newest ztunnel that said anything about the pod said.
    pub(super) fn readiness(&self, uid: &str) -> Readiness {
        let waiting = |reason: &str| Readiness::Waiting {
            reason: reason.to_owned(),
        };
        let Some(pod) = self.pods.get(uid) else {
            return waiting("ztunnel is not told of this pod yet");
        };
        let told = self.sessions.values().rev().find_map(|session| {
            let told = session.told.get(uid);
            told.filter(|told| told.generation == pod.generation)
        });
        match told.map(|told| &told.outcome) {
            Some(Outcome::Acknowledged) => Readiness::Ready,
            Some(Outcome::Kept) => waiting("its network namespace cannot be opened"),
            Some(Outcome::Refused { error, .. }) => Readiness::Refused {
                reason: format!("ztunnel refused it: {error}"),
            },
            None if self.sessions.is_empty() => waiting("no ztunnel is connected"),
            None => waiting("ztunnel has not acknowledged it yet"),
        }
    }

    pub(super) fn uids(&self) -> impl Iterator<Item = &str> {
        self.pods.keys().map(String::as_str)
    }

    pub(super) fn is_newest(&self, session: u64) -> bool {
        let newest = self.sessions.last_key_value().map(|(number, _)| *number);
        newest == Some(session)
    }

    pub(super) fn tally(&self, session: u64) -> Tally {
        let Some(session) = self.sessions.get(&session) else {
            return Tally::default();
        };
        let count = |wanted: fn(&Outcome) -> bool| {
            let told = session.told.values();
            told.filter(|told| wanted(&told.outcome)).count()
        };
        Tally {
            snapshot_sent: session.snapshot_sent,
            acknowledged: count(|outcome| matches!(outcome, Outcome::Acknowledged)),
            refused: count(|outcome| matches!(outcome, Outcome::Refused { .. })),
        }
    }

    /// Whether this ztunnel has yet to be told of a removal.
    pub(super) fn has_removals(&self, session: u64) -> bool {
        let session = self.sessions.get(&session);
        self.open && session.is_some_and(|session| session.removals < self.removals_end())
    }

    fn say_del(&mut self, number: u64, uid: String) -> Step {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.told.remove(&uid);
        }
        Step::Say(Message {
            kind: Kind::Del,
            packet: message::del(&uid),
            netns: None,
            uid,
            generation: 0,
        })
    }

    fn removals_end(&self) -> u64 {
        self.removed_from + self.removed.len() as u64
    }

    /// Forgets removals that everybody was told of.
    fn trim(&mut self) {
        let end = self.removals_end();
        let needed = self.sessions.values().map(|session| session.removals);
        let needed = needed.min().unwrap_or(end);
        while self.removed_from < needed && self.removed.pop_front().is_some() {
            self.removed_from += 1;
        }
    }
}

impl Pod {
    fn message(&self, uid: &str) -> Message {
        let (kind, packet, netns) = match &self.netns {
            Some(netns) => (Kind::Add, self.add.clone(), Some(netns.fd.clone())),
            None => (Kind::Keep, message::keep(uid), None),
        };
        Message {
            kind,
            packet,
            netns,
            uid: uid.to_owned(),
            generation: self.generation,
        }
    }
}

impl Session {
    fn refused(&self, uid: &str, error: &str, now: Instant) -> Outcome {
        let before = match self.told.get(uid).map(|told| &told.outcome) {
            Some(Outcome::Refused { times, .. }) => *times,
            Some(Outcome::Acknowledged | Outcome::Kept) | None => 0,
        };
        let wait = RETRY_FIRST.saturating_mul(1 << before.min(10));
        Outcome::Refused {
            error: error.to_owned(),
            times: before + 1,
            retry_at: now + wait.min(RETRY_MOST),
        }
    }

    /// What was refused and is to be tried again first.
    fn first_retry(&self) -> Option<(&str, Instant)> {
        self.told
            .iter()
            .filter_map(|(uid, told)| match told.outcome {
                Outcome::Refused { retry_at, .. } => Some((uid.as_str(), retry_at)),
                Outcome::Acknowledged | Outcome::Kept => None,
            })
            .min_by_key(|(_, at)| *at)
    }
}
