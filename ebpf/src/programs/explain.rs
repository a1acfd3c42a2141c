//! `explain`: never attached, only test-run. Answers what the classifier, over the live maps,
//! decides about a flow. `connect` programs cannot be test-run; this one calls the same function.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use waysteer_common::abi::event::{EXPLAIN_OFFSET, ExplainRequest};
use waysteer_common::classify::Flow;
use waysteer_common::verdict::Verdict;

use crate::lookup;

const ANSWERED: i32 = 0;
const NO_SUCH_POD: i32 = 1;
const MALFORMED: i32 = 2;

#[classifier]
pub fn explain(context: TcContext) -> i32 {
    let Ok(request) = context.load::<ExplainRequest>(EXPLAIN_OFFSET as usize) else {
        return MALFORMED;
    };
    let netns = request.netns.get();
    let Some(pod) = lookup::pod(netns) else {
        return NO_SUCH_POD;
    };
    let flow = Flow {
        pod,
        netns,
        destination: request.destination,
        port: request.port.get(),
    };
    let mut verdict = Verdict::NONE;
    lookup::decide(&flow, &mut verdict);
    match context.store(EXPLAIN_OFFSET as usize, &verdict.to_wire(), 0) {
        Ok(()) => ANSWERED,
        Err(_) => MALFORMED,
    }
}
