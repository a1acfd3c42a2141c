//! Loading the kernel programs and their maps.

mod fields;
mod pinned;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use aya::programs::{Program, ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfError, EbpfLoader};
use thiserror::Error;

use self::fields::Fields;
pub(super) use self::pinned::PINNED_MAPS;
use super::bpf;
use super::explain::Explainer;
use super::log::{self, KernelLog, LogError};
use super::maps::{Maps, OpenError};
use super::memory::GiveBack;
use super::object::Object;
use super::observe::{
    Counters, DropReport, EventStream, OpenConnections, PodTraffic, VerdictReport,
};
use super::pins::{self, Generation, PinError};
use super::privileges::hint;

/// Every program of the object.
pub const PROGRAMS: [&str; 9] = [
    "connect4",
    "connect6",
    "getpeername4",
    "getpeername6",
    "sock_ops",
    "lo_ingress",
    "pod_ingress",
    "pod_egress",
    EXPLAIN,
];

const EXPLAIN: &str = "explain";

/// Of the verifier's log so many lines are told: its reason, and the instruction that it is about.
const LOG_LINES: usize = 20;

/// Facts that are fixed when the programs are loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Verdicts are counted and reported, and nothing is done about them.
    pub dry_run: bool,
    /// Capacities of maps, by name, where they are not to be what the object says.
    pub capacities: BTreeMap<&'static str, u32>,
    /// Where programs and maps are pinned. Maps that are there already are taken as they are: they
    /// must be known to fit.
    pub pins: Option<Generation>,
    /// Whose links are taken over, pod by pod.
    pub elders: Vec<Generation>,
}

/// The programs in the kernel, attached to nothing so far.
#[derive(Debug)]
pub struct Programs {
    pub(super) ebpf: Ebpf,
    pub(super) pins: Option<Generation>,
    pub(super) elders: Vec<Generation>,
    object: Object,
    options: LoadOptions,
    fields: Fields,
}

/// A second one of a program, over the same maps where these are pinned.
#[derive(Debug)]
pub(super) struct Spare {
    // Dropped in this order.
    ebpf: Ebpf,
    _memory: GiveBack,
}

/// What loading gives: each part for the one task that uses it.
#[derive(Debug)]
pub struct Loaded {
    pub programs: Programs,
    pub maps: Maps,
    pub counters: Counters,
    pub pod_traffic: PodTraffic,
    pub events: EventStream<VerdictReport>,
    pub drops: EventStream<DropReport>,
    pub connections: OpenConnections,
    pub explainer: Explainer,
    pub log: KernelLog,
}

#[derive(Debug, Error)]
pub enum LoadError {
    #[error("cannot make the kernel programs' maps{hint}")]
    Object {
        hint: String,
        #[source]
        source: Box<EbpfError>,
    },
    #[error("the kernel refused program {program}{hint}")]
    Program {
        program: &'static str,
        hint: String,
        #[source]
        source: Box<Refusal>,
    },
    #[error("the object holds no program {program}: it was built for another version")]
    NoProgram { program: &'static str },
    #[error("program {program} of the object is of another kind: it was built for another version")]
    Kind { program: &'static str },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the object's maps are not those of this version")]
    Maps(#[from] OpenError),
    #[error(transparent)]
    Pins(#[from] PinError),
}

/// Why a program is not in the kernel.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error("{error}; the end of the verifier's log:\n{last}")]
    Verifier {
        #[source]
        error: io::Error,
        /// All that comes before is the way there, which may be a million lines.
        last: String,
    },
    #[error(transparent)]
    Other(ProgramError),
}

/// One program, and what the verifier made of it: the instructions it looked at.
pub type Trial = (&'static str, Result<Option<u32>, LoadError>);

impl Programs {
    /// Brings all programs into the kernel.
    ///
    /// With [`LoadOptions::default`], programs do what they are for.
    pub fn load(object: &Object, options: &LoadOptions) -> Result<Loaded, LoadError> {
        let fields = Fields::find();
        let mut ebpf = open(object, options, &fields)?;
        for program in PROGRAMS {
            load_one(&mut ebpf, program)?;
        }
        drop(GiveBack);
        if let Some(generation) = &options.pins {
            pin_programs(&ebpf, generation)?;
        }
        let explainer = Explainer::new(handle(&ebpf, EXPLAIN)?);
        let log = KernelLog::open(&mut ebpf)?;
        let mut take = |name: &'static str| ebpf.take_map(name);
        let maps = Maps::open(&mut take)?;
        let counters = Counters::open(&mut take)?;
        let pod_traffic = PodTraffic::open(&mut take)?;
        let events = EventStream::open(&mut take)?;
        let drops = EventStream::open(&mut take)?;
        let connections = OpenConnections::open(&mut take)?;
        Ok(Loaded {
            programs: Self {
                ebpf,
                pins: options.pins.clone(),
                elders: options.elders.clone(),
                object: object.clone(),
                options: options.clone(),
                fields,
            },
            maps,
            counters,
            pod_traffic,
            events,
            drops,
            connections,
            explainer,
            log,
        })
    }

    /// Loads a program once more: one program cannot be at a hook twice.
    pub(super) fn spare(&self, program: &'static str) -> Result<Spare, LoadError> {
        let mut ebpf = open(&self.object, &self.options, &self.fields)?;
        load_one(&mut ebpf, program)?;
        Ok(Spare {
            ebpf,
            _memory: GiveBack,
        })
    }

    /// A handle of its own on a packet program, for test runs.
    pub fn classifier(&self, program: &'static str) -> Result<SchedClassifier, LoadError> {
        handle(&self.ebpf, program)
    }

    /// Tries each program on its own, for a report that names all that fail.
    pub fn try_each(object: &Object) -> Result<Vec<Trial>, LoadError> {
        let mut ebpf = open(object, &LoadOptions::default(), &Fields::find())?;
        Ok(PROGRAMS
            .map(|program| (program, try_one(&mut ebpf, program)))
            .into())
    }
}

impl Spare {
    pub(super) fn fd(&self, program: &'static str) -> Result<BorrowedFd<'_>, LoadError> {
        program_fd(&self.ebpf, program)
    }
}

fn open(object: &Object, options: &LoadOptions, fields: &Fields) -> Result<Ebpf, LoadError> {
    let dry_run = u8::from(options.dry_run);
    let mut loader = EbpfLoader::new();
    // The kernel's types, which it has read by itself: tens of megabytes for relocations that our
    // programs do not have.
    loader.btf(None);
    loader.override_global("DRY_RUN", &dry_run, true);
    let log_level = log::LEVEL as u8;
    loader.override_global(log::LEVEL_GLOBAL, &log_level, true);
    for (global, offset) in fields.globals() {
        loader.override_global(global, offset, true);
    }
    for (map, capacity) in &options.capacities {
        loader.map_max_entries(map, *capacity);
    }
    if let Some(generation) = &options.pins {
        generation.make()?;
        for map in PINNED_MAPS {
            loader.map_pin_path(map, generation.map(map));
        }
    }
    loader
        .load(object.bytes())
        .map_err(|source| LoadError::Object {
            hint: io_error(&source).map(hint).unwrap_or_default(),
            source: Box::new(source),
        })
}

fn try_one(ebpf: &mut Ebpf, program: &'static str) -> Result<Option<u32>, LoadError> {
    load_one(ebpf, program)?;
    let found = ebpf
        .program(program)
        .ok_or(LoadError::NoProgram { program })?;
    let info = found.info().map_err(|source| refused(program, source))?;
    Ok(info.verified_instruction_count())
}

fn load_one(ebpf: &mut Ebpf, program: &'static str) -> Result<(), LoadError> {
    let found = ebpf
        .program_mut(program)
        .ok_or(LoadError::NoProgram { program })?;
    match found {
        Program::CgroupSockAddr(connect) => connect.load(),
        Program::SockOps(sock_ops) => sock_ops.load(),
        Program::SchedClassifier(classifier) => classifier.load(),
        // Of aya's kinds, not ours.
        _ => return Err(LoadError::Kind { program }),
    }
    .map_err(|source| refused(program, source))
}

/// In the place of those of an earlier process.
fn pin_programs(ebpf: &Ebpf, generation: &Generation) -> Result<(), LoadError> {
    for program in PROGRAMS {
        let fd = program_fd(ebpf, program)?;
        pins::replace(&generation.program(program), |path| bpf::pin(fd, path))?;
    }
    Ok(())
}

/// Of a program that was loaded.
pub(super) fn program_fd<'a>(
    ebpf: &'a Ebpf,
    program: &'static str,
) -> Result<BorrowedFd<'a>, LoadError> {
    let found = ebpf
        .program(program)
        .ok_or(LoadError::NoProgram { program })?;
    let fd = found.fd().map_err(|source| refused(program, source))?;
    Ok(fd.as_fd())
}

/// What the kernel knows a program by that was loaded.
pub(super) fn program_id(ebpf: &Ebpf, program: &'static str) -> Result<u32, LoadError> {
    let found = ebpf
        .program(program)
        .ok_or(LoadError::NoProgram { program })?;
    let info = found.info().map_err(|source| refused(program, source))?;
    Ok(info.id())
}

/// A handle of its own on a loaded classifier.
fn handle(ebpf: &Ebpf, program: &'static str) -> Result<SchedClassifier, LoadError> {
    let found = ebpf
        .program(program)
        .ok_or(LoadError::NoProgram { program })?;
    found
        .info()
        .and_then(|info| SchedClassifier::from_program_info(info, Cow::Borrowed(program)))
        .map_err(|source| refused(program, source))
}

fn refused(program: &'static str, source: ProgramError) -> LoadError {
    let hint = io_error(&source).map(hint).unwrap_or_default();
    let source = match source {
        ProgramError::LoadError {
            io_error: error,
            verifier_log,
        } => Refusal::Verifier {
            error,
            last: end_of(&verifier_log.to_string()),
        },
        other => Refusal::Other(other),
    };
    LoadError::Program {
        program,
        hint,
        source: Box::new(source),
    }
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.trim_end().lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    lines.get(first..).unwrap_or_default().join("\n")
}

/// The error of the system call at the bottom of a chain of errors.
pub(super) fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_told() {
        let log: Vec<String> = (0..1000)
            .map(|line| format!("{line}: (b7) r0 = 0"))
            .collect();
        let end = end_of(&(log.join("\n") + "\nprocessed 1000 insns\n\n"));
        assert_eq!(end.lines().count(), LOG_LINES);
        assert!(
            end.ends_with("999: (b7) r0 = 0\nprocessed 1000 insns"),
            "{end}"
        );
        assert_eq!(end_of("short"), "short");
        assert_eq!(end_of(""), "");
    }
}
