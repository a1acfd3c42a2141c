//! Metrics of the programs themselves, as the kernel counts them.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::tunnel::counters;
use super::{Labels, encode_gauges, encode_seconds};
use crate::kernel::programs::ProgramReport;

/// Sums over generations: of a program there are two while an upgrade goes on.
pub(super) fn encode(
    programs: &[ProgramReport],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let each = |value: fn(&ProgramReport) -> u64| -> Vec<(Labels, u64)> {
        let mut sums = std::collections::BTreeMap::<&str, u64>::new();
        for program in programs.iter().filter(|program| !program.name.is_empty()) {
            *sums.entry(&program.name).or_default() += value(program);
        }
        let labelled = |(name, sum): (&str, u64)| (vec![("program", name.to_owned())], sum);
        sums.into_iter().map(labelled).collect()
    };
    encode_gauges(
        encoder,
        "waysteer_program_links",
        "Places where a program runs",
        &each(|program| program.links as u64),
    )?;
    counters(
        encoder,
        "waysteer_program_runs",
        "Runs of a program, while the sysctl kernel.bpf_stats_enabled is 1",
        each(|program| program.runs),
    )?;
    encode_seconds(
        encoder,
        "waysteer_program",
        "Time that these runs took",
        each(|program| program.nanoseconds),
    )
}
