//! The registry against ztunnels that end when the protocol is broken, in any order of events.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::registry::{Message, Registry, Step};
use super::super::stats::Kind;
use super::*;

/// What ztunnel is and does, as far as the protocol goes.
#[derive(Debug, Default)]
struct Model {
    /// Uid to the netns that it was given.
    serves: BTreeMap<String, String>,
    snapshot: bool,
    refuses: bool,
}

#[derive(Debug, Clone)]
enum Event {
    Add(u8, u8),
    Keep(u8),
    Remove(u8),
    Connect,
    Disconnect(usize),
    /// One message to one of the ztunnels.
    Converse(usize),
    /// Some ztunnel starts or stops to refuse adds.
    Refuse(usize, bool),
    Open,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4u8, 0..2u8).prop_map(|(uid, netns)| Event::Add(uid, netns)),
        1 => (0..4u8).prop_map(Event::Keep),
        3 => (0..4u8).prop_map(Event::Remove),
        2 => Just(Event::Connect),
        1 => (0..3usize).prop_map(Event::Disconnect),
        10 => (0..3usize).prop_map(Event::Converse),
        1 => (0..3usize, any::<bool>()).prop_map(|(which, refuses)| Event::Refuse(which, refuses)),
        1 => Just(Event::Open),
    ]
}

struct Bed {
    registry: Registry,
    ztunnels: BTreeMap<u64, Model>,
    /// What is to be served, where its netns is known.
    wanted: BTreeMap<String, Option<u8>>,
    now: Instant,
    numbers: u64,
    netns: Directory,
}

impl Bed {
    fn netns(&self, name: u8) -> OwnedFd {
        let path = self.netns.0.join(name.to_string());
        std::fs::write(&path, name.to_string()).unwrap();
        File::open(path).unwrap().into()
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Add(uid, netns) => {
                let uid = uid.to_string();
                let fd = self.netns(*netns);
                let packet = uid.clone().into_bytes();
                self.registry.add(&uid, packet, u64::from(*netns), fd);
                self.wanted.insert(uid, Some(*netns));
            }
            Event::Keep(uid) => {
                let uid = uid.to_string();
                self.registry.keep(&uid, uid.clone().into_bytes());
                self.wanted.entry(uid).or_insert(None);
            }
            Event::Remove(uid) => {
                let uid = uid.to_string();
                self.registry.remove(&uid);
                self.wanted.remove(&uid);
            }
            Event::Connect => {
                self.numbers += 1;
                self.registry.enter(self.numbers);
                self.ztunnels.insert(self.numbers, Model::default());
            }
            Event::Disconnect(which) => {
                if let Some(number) = self.number(*which) {
                    self.registry.leave(number);
                    self.ztunnels.remove(&number);
                }
            }
            Event::Converse(which) => {
                if let Some(number) = self.number(*which) {
                    self.converse(number);
                }
            }
            Event::Refuse(which, refuses) => {
                if let Some(number) = self.number(*which) {
                    self.ztunnels.get_mut(&number).unwrap().refuses = *refuses;
                }
            }
            Event::Open => self.registry.open = true,
        }
    }

    fn number(&self, which: usize) -> Option<u64> {
        self.ztunnels.keys().nth(which).copied()
    }

    /// Whether there was anything to say.
    fn converse(&mut self, number: u64) -> bool {
        let message = match self.registry.next(number, self.now) {
            Step::Say(message) => message,
            Step::Wait(_) => return false,
        };
        let ztunnel = self.ztunnels.get_mut(&number).unwrap();
        let error = ztunnel.hear(&message);
        self.registry.answered(number, &message, error, self.now);
        true
    }
}

impl Model {
    fn hear(&mut self, message: &Message) -> &'static str {
        assert_eq!(message.netns.is_some(), message.kind == Kind::Add);
        match message.kind {
            Kind::Add if self.refuses => return "no",
            Kind::Add => {
                let netns = message.netns.as_ref().unwrap().try_clone().unwrap();
                let netns = std::io::read_to_string(Rewound::new(netns)).unwrap();
                self.serves.insert(message.uid.clone(), netns);
            }
            Kind::Keep => assert!(!self.snapshot, "a keep after the snapshot"),
            Kind::Del => {
                self.serves.remove(&message.uid);
            }
            Kind::SnapshotSent => {
                assert!(!self.snapshot, "a second snapshot");
                self.snapshot = true;
            }
        }
        ""
    }
}

/// A file read from its start.
struct Rewound(File);

impl Rewound {
    fn new(fd: OwnedFd) -> Self {
        use std::io::Seek as _;

        let mut file = File::from(fd);
        file.rewind().unwrap();
        Self(file)
    }
}

impl std::io::Read for Rewound {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

proptest! {
    #[test]
    fn the_newest_ends_up_with_all_pods_and_nobody_with_another(
        events in prop::collection::vec(event(), 0..80)
    ) {
        let mut bed = Bed {
            registry: Registry::default(),
            ztunnels: BTreeMap::new(),
            wanted: BTreeMap::new(),
            now: Instant::now(),
            numbers: 0,
            netns: Directory::new(),
        };
        for event in &events {
            bed.happen(event);
        }
        bed.registry.open = true;
        for ztunnel in bed.ztunnels.values_mut() {
            ztunnel.refuses = false;
        }
        // Whoever was refused is asked again within the longest pause.
        bed.now += Duration::from_secs(31);
        let mut said = 0;
        while bed.ztunnels.keys().copied().collect::<Vec<_>>().into_iter().any(|n| bed.converse(n)) {
            said += 1;
            prop_assert!(said < 1000, "it never ends");
        }
        let known: BTreeMap<String, String> = bed
            .wanted
            .iter()
            .filter_map(|(uid, netns)| Some((uid.clone(), (*netns)?.to_string())))
            .collect();
        for (number, ztunnel) in &bed.ztunnels {
            prop_assert!(ztunnel.snapshot);
            if bed.registry.is_newest(*number) {
                prop_assert_eq!(&ztunnel.serves, &known);
            }
            for (uid, netns) in &ztunnel.serves {
                prop_assert_eq!(known.get(uid), Some(netns), "{} has a pod too many", number);
            }
        }
        for uid in known.keys() {
            let ready = bed.registry.readiness(uid) == Readiness::Ready;
            prop_assert_eq!(ready, !bed.ztunnels.is_empty());
        }
    }
}

#[test]
fn the_pauses_between_tries_double_to_half_a_minute() {
    let mut registry = Registry::default();
    registry.open = true;
    let directory = Directory::new();
    let path = directory.0.join("a");
    std::fs::write(&path, "").unwrap();
    let fd = File::open(path).unwrap().into();
    registry.add("a", vec![1], 1, fd);
    registry.enter(1);
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    while pauses.len() < 8 {
        match registry.next(1, now) {
            Step::Say(message) if message.kind == Kind::Add => {
                registry.answered(1, &message, "no", now);
            }
            Step::Say(message) => registry.answered(1, &message, "", now),
            Step::Wait(until) => {
                let until = until.unwrap();
                pauses.push((until - now).as_secs());
                now = until;
            }
        }
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
}
