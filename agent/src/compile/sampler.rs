//! Weighted choice in one or two look-ups: Vose's alias method, in integers.

/// One slot: with `threshold` of 2^32 it stands for itself, else for `alias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) threshold: u32,
    pub(super) alias: u32,
}

/// A slot for each weight. Weights of zero are never drawn as long as any other is not zero.
pub(super) fn slots(weights: &[u128]) -> Vec<Slot> {
    let count = weights.len() as u128;
    let sum: u128 = weights.iter().sum();
    let whole = |index: usize| Slot {
        threshold: u32::MAX,
        alias: index as u32,
    };
    let mut slots: Vec<Slot> = (0..weights.len()).map(whole).collect();
    if sum == 0 {
        return slots;
    }
    // Each weight times the number of slots, so that the mean is `sum`.
    let mut scaled: Vec<u128> = weights.iter().map(|weight| weight * count).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|&i| scaled[i] < sum);
    while let (Some(&below), Some(&above)) = (small.last(), large.last()) {
        small.pop();
        // Below `sum`, so the quotient is below 2^32.
        let threshold = ((scaled[below] << 32) / sum) as u32;
        slots[below] = Slot {
            threshold,
            alias: above as u32,
        };
        scaled[above] -= sum - scaled[below];
        if scaled[above] < sum {
            large.pop();
            small.push(above);
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The exact share of each index, of `count << 32`.
    fn shares(slots: &[Slot]) -> Vec<u128> {
        let mut shares = vec![0u128; slots.len()];
        for (index, slot) in slots.iter().enumerate() {
            if slot.alias as usize == index {
                shares[index] += 1 << 32;
            } else {
                shares[index] += u128::from(slot.threshold);
                shares[slot.alias as usize] += (1 << 32) - u128::from(slot.threshold);
            }
        }
        shares
    }

    proptest! {
        #[test]
        fn shares_follow_weights(weights in proptest::collection::vec(0u128..1_000_000, 1..60)) {
            let sum: u128 = weights.iter().sum();
            prop_assume!(sum > 0);
            let count = weights.len() as u128;
            for (share, weight) in shares(&slots(&weights)).into_iter().zip(&weights) {
                let expected = ((weight * count) << 32) / sum;
                // One unit of rounding per slot that gave something away.
                prop_assert!(share.abs_diff(expected) <= count, "{share} {expected}");
                prop_assert!(*weight != 0 || share == 0);
            }
        }
    }
}
