//! The kernel's monotonic clock, which events are told by.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::libc::{CLOCK_MONOTONIC, clock_gettime, timespec};

/// Nanoseconds from the epoch to the zero of the monotonic clock: what its times become wall time
/// by. 0 where that cannot be told.
pub fn monotonic_epoch() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(0));
    now.saturating_sub(monotonic())
}

/// As programs' `bpf_ktime_get_ns`.
pub(super) fn monotonic() -> u64 {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec, which the call fills.
    if unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) } != 0 {
        return 0;
    }
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_clocks_go_alike() {
        let epoch = monotonic_epoch();
        let later = monotonic_epoch();
        assert!(epoch > 0 && later.abs_diff(epoch) < 1_000_000_000);
    }
}
