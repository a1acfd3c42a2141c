//! The tasks that hear what the kernel tells.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::error::chain;
use crate::events::{describe, describe_drop};
use crate::kernel::observe::{DropReport, EventStream, VerdictReport};
use crate::state::State;
use crate::telemetry;
use crate::tunnel::View;

/// Remembers and logs the kernel's verdicts.
pub(super) async fn verdicts(
    mut events: EventStream<VerdictReport>,
    view: View,
    state: Arc<State>,
    stop: CancellationToken,
) -> Result<(), AppError> {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = events.next() => event,
        };
        match event {
            Ok(report) => {
                let destination = crate::address::to_wire(report.destination.ip());
                let destination = (destination, report.destination.port());
                let flow = describe(
                    &view,
                    report.at,
                    report.hook,
                    report.netns,
                    destination,
                    &report.verdict,
                );
                tracing::debug!(
                    target: telemetry::VERDICT,
                    pod = flow.pod,
                    destination = flow.destination,
                    class = flow.class,
                    reason = flow.reason,
                    steered = flow.steered,
                    next_hop = flow.next_hop,
                    "verdict"
                );
                state.add_flow(flow);
            }
            Err(error) => {
                state.add_lost_event();
                tracing::warn!(
                    error = chain(&error),
                    "an event of the kernel is not readable"
                );
            }
        }
    }
}

/// Tells whoever listens what the kernel has held or dropped.
pub(super) async fn drops(
    mut drops: EventStream<DropReport>,
    view: View,
    state: Arc<State>,
    stop: CancellationToken,
) -> Result<(), AppError> {
    loop {
        let report = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            report = drops.next() => report,
        };
        match report {
            // Names are looked for only where somebody reads them.
            Ok(_) if state.drops().listeners() == 0 => {}
            Ok(report) => state.drops().tell(&describe_drop(&view, &report)),
            Err(error) => {
                state.add_lost_event();
                tracing::warn!(error = chain(&error), "a drop is not readable");
            }
        }
    }
}
