//! Metrics of what was written to the maps.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::tunnel::counters;
use crate::kernel::maps::Tally;

pub(super) fn encode(tallies: &[Tally], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let map = |tally: &Tally| ("map", tally.map.to_owned());
    let by_op = tallies.iter().flat_map(|tally| {
        [("put", tally.puts), ("delete", tally.deletes)]
            .map(|(op, count)| (vec![map(tally), ("op", op.to_owned())], count))
    });
    counters(
        encoder,
        "waysteer_map_writes",
        "Entries that were written to the configuration maps",
        by_op,
    )?;
    counters(
        encoder,
        "waysteer_map_syscalls",
        "System calls that wrote to the configuration maps, many entries each",
        tallies
            .iter()
            .map(|tally| (vec![map(tally)], tally.syscalls)),
    )
}
