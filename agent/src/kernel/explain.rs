//! Asks the kernel's classifier about a flow that nobody has sent.

use std::net::IpAddr;

use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions};
use thiserror::Error;
use waysteer_common::abi::event::{EXPLAIN_OFFSET, ExplainRequest};
use waysteer_common::abi::value::VerdictValue;
use waysteer_common::verdict::Verdict;
use zerocopy::network_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::address;

/// The program `explain`: the classifier over the live maps, run on demand.
#[derive(Debug)]
pub struct Explainer {
    program: SchedClassifier,
}

#[derive(Debug, Error)]
pub enum ExplainError {
    #[error("cannot run program explain")]
    Run(#[source] ProgramError),
    #[error("program explain returned {code}, which means nothing here")]
    Code { code: u32 },
    #[error("program explain left no verdict of this version")]
    Verdict,
}

const OFFSET: usize = EXPLAIN_OFFSET as usize;
/// Question and answer lie in the same place.
const LENGTH: usize = OFFSET + size_of::<VerdictValue>();
const _: () = assert!(size_of::<ExplainRequest>() <= size_of::<VerdictValue>());

impl Explainer {
    pub(super) fn new(program: SchedClassifier) -> Self {
        Self { program }
    }

    /// What a connection from the netns of this cookie would get now; `None` where the netns is
    /// not enrolled. Nothing is counted or remembered.
    pub fn explain(
        &self,
        netns: u64,
        destination: IpAddr,
        port: u16,
    ) -> Result<Option<Verdict>, ExplainError> {
        let request = ExplainRequest {
            netns: U64::new(netns),
            destination: address::to_wire(destination),
            port: U16::new(port),
            padding: [0; 6],
        };
        let packet = packet(&request);
        let mut answer = [0; LENGTH];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.data_out = Some(&mut answer);
        let result = self.program.test_run(options).map_err(ExplainError::Run)?;
        match result.return_value {
            0 => verdict(&answer).map(Some),
            1 => Ok(None),
            code => Err(ExplainError::Code { code }),
        }
    }
}

fn packet(request: &ExplainRequest) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    let body = packet.iter_mut().skip(OFFSET);
    for (byte, value) in body.zip(request.as_bytes()) {
        *byte = *value;
    }
    packet
}

fn verdict(answer: &[u8; LENGTH]) -> Result<Verdict, ExplainError> {
    let value = answer.get(OFFSET..).ok_or(ExplainError::Verdict)?;
    let value = VerdictValue::read_from_bytes(value).map_err(|_| ExplainError::Verdict)?;
    Verdict::from_wire(&value).ok_or(ExplainError::Verdict)
}
