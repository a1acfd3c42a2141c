//! Spans of time as people say them.

/// `12s`, `4m05s`, `3h07m`, `2d05h`.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// `never` where it has not happened.
pub(super) fn ago(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || "never".to_owned(),
        |seconds| format!("{} ago", span(seconds)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_at_most() {
        let spans = [0, 59, 60, 245, 3_600, 11_220, 86_400, 190_800].map(span);
        let expected = [
            "0s", "59s", "1m00s", "4m05s", "1h00m", "3h07m", "1d00h", "2d05h",
        ];
        assert_eq!(spans, expected);
        assert_eq!(ago(None), "never");
        assert_eq!(ago(Some(61)), "1m01s ago");
    }
}
