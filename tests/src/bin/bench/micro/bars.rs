//! What the hook of `connect()` must reach, with 100,000 workloads, and against 100 of them.

use crate::report::Bar;

/// Rows of `HOOK`: what they say, and ns at most.
const BARS: [(usize, &str, u128); 3] = [
    (1, "connect() of who is not enrolled, ns", 100),
    (
        2,
        "connect() of an enrolled pod to whom nobody knows, ns",
        200,
    ),
    (7, "connect() of an enrolled pod to a service, ns", 350),
];
/// Of the same with few workloads.
const GROWTH: f64 = 1.3;

/// From the first column and that of 100,000. The counting is taken off, which is the first row.
pub(super) fn of_hook(few: &[u128], many: &[u128]) -> Vec<Bar> {
    let net = |column: &[u128], row: usize| {
        let counting = column.first().copied()?;
        column.get(row).map(|value| value.saturating_sub(counting))
    };
    let times = BARS.iter().filter_map(|(row, what, bar)| {
        let value = net(many, *row)?;
        Some(Bar {
            what: (*what).to_owned(),
            bar: format!("≤ {bar}"),
            measured: value.to_string(),
            is_met: value <= *bar,
        })
    });
    let growth = BARS.iter().skip(1).filter_map(|(row, what, _)| {
        let ratio = net(many, *row)? as f64 / net(few, *row)? as f64;
        Some(Bar {
            what: format!("{}, against 100 workloads", what.trim_end_matches(", ns")),
            bar: format!("≤ {GROWTH}"),
            measured: format!("{ratio:.2}"),
            is_met: ratio <= GROWTH,
        })
    });
    times.chain(growth).collect()
}
