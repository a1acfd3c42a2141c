//! What is said of many measurements: medians, their spread, percentiles, and latencies at a fixed
//! rate.

use std::time::Duration;

/// The middle of many values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    pub median: f64,
    /// A quarter of the values is below, a quarter above.
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Nothing of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            low: quantile(&sorted, 0.25)?,
            high: quantile(&sorted, 0.75)?,
        })
    }

    /// The spread of each round's own ratio. What disturbs a whole round disturbs both sides of it,
    /// so that these lie closer together than the values do.
    pub fn of_ratios(values: &[f64], bases: &[f64]) -> Option<Self> {
        let ratios = values.iter().zip(bases).map(|(value, base)| value / base);
        Self::of(&ratios.filter(|ratio| ratio.is_finite()).collect::<Vec<_>>())
    }
}

/// Of values in order; between two neighbours their weighted mean.
pub fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = fraction.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (
        sorted.get(place.floor() as usize)?,
        sorted.get(place.ceil() as usize)?,
    );
    Some(below + (above - below) * place.fract())
}

/// The smallest value that so many of a thousand do not exceed; of values in order.
pub fn at_most(sorted: &[Duration], of_thousand: usize) -> Option<Duration> {
    let rank = (sorted.len() * of_thousand).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Does something `count` times at a fixed rate, and says how long each took, in order of size,
/// counted from when it should have begun. What waits because the one before it was slow has waited
/// for real: left out, a stall of a second would be one slow operation instead of a second's worth
/// of them (coordinated omission).
///
/// The clock is the caller's: `now` since any start, and `wait` until then.
pub fn at_rate<E>(
    every: Duration,
    count: u32,
    now: impl Fn() -> Duration,
    wait: impl Fn(Duration),
    mut operation: impl FnMut() -> Result<(), E>,
) -> Result<Vec<Duration>, E> {
    let start = now();
    let mut times = Vec::with_capacity(count as usize);
    for number in 0..count {
        let due = start + every * number;
        if now() < due {
            wait(due);
        }
        operation()?;
        times.push(now().saturating_sub(due));
    }
    times.sort_unstable();
    Ok(times)
}

#[cfg(test)]
mod tests;
