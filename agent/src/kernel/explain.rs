//! Asks the kernel's classifier about a flow that nobody has sent.

mod met;

use std::net::IpAddr;

use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions};
use thiserror::Error;
use waysteer_common::abi::event::{
    EXPLAIN_OFFSET, ExplainRequest, TRACE_ENTRIES, TRACE_OFFSET, TraceEntry,
};
use waysteer_common::abi::value::VerdictValue;
use waysteer_common::verdict::Verdict;
use zerocopy::network_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};

pub use self::met::Met;
use super::pins::Generation;
use crate::address;

/// The program `explain`: the classifier over the live maps, run on demand.
#[derive(Debug)]
pub struct Explainer {
    program: SchedClassifier,
}

/// A verdict, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    /// What the classifier has looked up, in order.
    pub met: Vec<Met>,
}

#[derive(Debug, Error)]
pub enum ExplainError {
    #[error("cannot open the pinned program explain")]
    Pinned(#[source] ProgramError),
    #[error("cannot run program explain")]
    Run(#[source] ProgramError),
    #[error("program explain returned {code}, which means nothing here")]
    Code { code: u32 },
    #[error("program explain left no verdict of this version")]
    Verdict,
    #[error("program explain wrote down a look-up that this version does not know")]
    Trace,
}

const OFFSET: usize = EXPLAIN_OFFSET as usize;
const TRACE: usize = TRACE_OFFSET as usize;
/// Question and answer lie in the same place, the look-ups behind them.
const LENGTH: usize = TRACE + TRACE_ENTRIES * size_of::<TraceEntry>();
const _: () = assert!(size_of::<ExplainRequest>() <= size_of::<VerdictValue>());

impl Explainer {
    pub(super) fn new(program: SchedClassifier) -> Self {
        Self { program }
    }

    /// The one that an agent has left, over its maps.
    pub fn pinned(generation: &Generation) -> Result<Self, ExplainError> {
        let program = SchedClassifier::from_pin(generation.program("explain"));
        Ok(Self::new(program.map_err(ExplainError::Pinned)?))
    }

    /// What a connection from the netns of this cookie would get now; `None` where the netns is
    /// not enrolled. Nothing is counted or remembered.
    pub fn explain(
        &self,
        netns: u64,
        destination: IpAddr,
        port: u16,
    ) -> Result<Option<Verdict>, ExplainError> {
        let explained = self.why(netns, destination, port)?;
        Ok(explained.map(|explanation| explanation.verdict))
    }

    /// The same, with what the classifier has looked up for it.
    pub fn why(
        &self,
        netns: u64,
        destination: IpAddr,
        port: u16,
    ) -> Result<Option<Explanation>, ExplainError> {
        let request = ExplainRequest {
            netns: U64::new(netns),
            destination: address::to_wire(destination),
            port: U16::new(port),
            padding: [0; 6],
        };
        let packet = packet(&request);
        let mut answer = vec![0; LENGTH];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.data_out = Some(&mut answer);
        let result = self.program.test_run(options).map_err(ExplainError::Run)?;
        match result.return_value {
            0 => {
                let verdict = verdict(&answer)?;
                let met = trace(&answer)?;
                Ok(Some(Explanation { verdict, met }))
            }
            1 => Ok(None),
            code => Err(ExplainError::Code { code }),
        }
    }
}

fn packet(request: &ExplainRequest) -> Vec<u8> {
    let mut packet = vec![0; LENGTH];
    let body = packet.iter_mut().skip(OFFSET);
    for (byte, value) in body.zip(request.as_bytes()) {
        *byte = *value;
    }
    packet
}

fn verdict(answer: &[u8]) -> Result<Verdict, ExplainError> {
    let value = answer.get(OFFSET..TRACE).ok_or(ExplainError::Verdict)?;
    let value = VerdictValue::read_from_bytes(value).map_err(|_| ExplainError::Verdict)?;
    Verdict::from_wire(&value).ok_or(ExplainError::Verdict)
}

fn trace(answer: &[u8]) -> Result<Vec<Met>, ExplainError> {
    let entries = answer.get(TRACE..).ok_or(ExplainError::Trace)?;
    let entries = entries.chunks_exact(size_of::<TraceEntry>());
    let entries = entries.map(TraceEntry::read_from_bytes);
    entries
        .take_while(|entry| entry.as_ref().is_ok_and(|entry| entry.table != 0))
        .map(|entry| {
            let entry = entry.map_err(|_| ExplainError::Trace)?;
            Met::read(&entry).ok_or(ExplainError::Trace)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use waysteer_common::abi::value::WorkloadValue;
    use waysteer_common::verdict::Table;

    use super::*;

    fn answer(entries: &[TraceEntry]) -> Vec<u8> {
        let mut answer = vec![0; OFFSET];
        answer.extend(Verdict::NONE.to_wire().as_bytes());
        answer.extend(entries.as_bytes());
        answer.resize(LENGTH, 0);
        answer
    }

    fn entry(table: u8) -> TraceEntry {
        let mut entry = TraceEntry {
            table,
            found: 1,
            ..TraceEntry::default()
        };
        entry.value[0] = U64::new(9);
        entry
    }

    #[test]
    fn a_trace_ends_where_nothing_was_written() {
        let workloads = Table::Workloads.number();
        let met = trace(&answer(&[entry(workloads)])).expect("a trace");
        let [Met::Workload(_, Some(WorkloadValue { id, .. }))] = met.as_slice() else {
            panic!("{met:?}");
        };
        assert_eq!(id.get(), 9);
        assert_eq!(trace(&answer(&[])).expect("no trace"), []);
        let full = vec![entry(workloads); TRACE_ENTRIES];
        assert_eq!(trace(&answer(&full)).expect("all").len(), TRACE_ENTRIES);
        assert_eq!(verdict(&answer(&[])).expect("a verdict"), Verdict::NONE);
    }

    #[test]
    fn what_no_version_writes_is_refused() {
        let unknown = trace(&answer(&[entry(200)]));
        assert!(matches!(unknown, Err(ExplainError::Trace)));
        assert!(matches!(trace(&[]), Err(ExplainError::Trace)));
        assert!(matches!(verdict(&[0; OFFSET]), Err(ExplainError::Verdict)));
    }
}
