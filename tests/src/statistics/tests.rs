use std::cell::Cell;
use std::convert::Infallible;

use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn outliers_move_neither_median_nor_quartiles() {
    let spread = Spread::of(&[3.0, 900.0, 1.0, 2.0, 4.0]);
    let expected = Spread {
        median: 3.0,
        low: 2.0,
        high: 4.0,
    };
    assert_eq!(spread, Some(expected));
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn between_two_values_lies_their_mean() {
    assert_eq!(quantile(&[1.0, 2.0], 0.5), Some(1.5));
    assert_eq!(quantile(&[1.0, 2.0], 2.0), Some(2.0));
    assert_eq!(quantile(&[7.0], 0.25), Some(7.0));
}

#[test]
fn ratios_are_of_one_round_each() {
    // The machine was half as fast in the second round, and the third measured nothing.
    let spread = Spread::of_ratios(&[11.0, 22.0, 5.0], &[10.0, 20.0, 0.0]).expect("two ratios");
    assert!((spread.median - 1.1).abs() < 1e-9, "{spread:?}");
    assert!((spread.high - spread.low).abs() < 1e-9, "{spread:?}");
}

#[test]
fn percentiles_are_values_that_were_measured() {
    let sorted: Vec<Duration> = (1..=1000).map(|number| MS * number).collect();
    assert_eq!(at_most(&sorted, 500), Some(MS * 500));
    assert_eq!(at_most(&sorted, 990), Some(MS * 990));
    assert_eq!(at_most(&sorted, 999), Some(MS * 999));
    assert_eq!(at_most(&sorted, 1000), Some(MS * 1000));
    assert_eq!(at_most(&sorted[..1], 500), Some(MS));
    assert_eq!(at_most(&[], 500), None);
}

/// Operations of a millisecond every 10, but one of them takes `stall`.
fn with_stall(stall: Duration) -> Vec<Duration> {
    let clock = Cell::new(Duration::ZERO);
    let mut number = 0;
    let operation = || {
        number += 1;
        clock.set(clock.get() + if number == 20 { stall } else { MS });
        Ok::<_, Infallible>(())
    };
    let wait = |until| clock.set(until);
    at_rate(MS * 10, 100, || clock.get(), wait, operation).expect("nothing fails")
}

#[test]
fn a_stall_counts_for_everyone_who_had_to_wait() {
    let calm = with_stall(MS);
    assert_eq!(calm.iter().filter(|time| **time > MS).count(), 0);

    let stalled = with_stall(MS * 200);
    // The slow one; then one every 10 ms was due in these 200, of which each catches up 9.
    assert_eq!(at_most(&stalled, 1000), Some(MS * 200));
    let waited = stalled.iter().filter(|time| **time > MS).count();
    assert_eq!(waited, 23, "{stalled:?}");
    // Someone who is due 10 ms into the stall waits for the rest of it, and for his own turn.
    assert!(stalled.contains(&(MS * 191)), "{stalled:?}");
}

#[test]
fn what_fails_ends_it() {
    let mut count = 0;
    let result = at_rate(
        MS,
        10,
        || MS,
        |_| {},
        || {
            count += 1;
            if count == 3 { Err("refused") } else { Ok(()) }
        },
    );
    assert_eq!((result, count), (Err("refused"), 3));
}
