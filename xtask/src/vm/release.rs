//! Kernels by their names.

use std::cmp::Ordering;

/// What waysteer promises to run on begins here.
const OLDEST: &str = "6.6";

/// A kernel's release as `uname -r` has it: `6.12.107+deb13-cloud-amd64`. Newer ones are greater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release(String);

impl Release {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Whether it belongs to a series: `6.12`, or `7` for all of that.
    pub(super) fn is_of(&self, series: &str) -> bool {
        let numbers = self.numbers();
        let series = numbers_in(series);
        !series.is_empty() && numbers.starts_with(&series)
    }

    /// Whether the agent must refuse to run on it.
    pub(super) fn is_too_old(&self) -> bool {
        self.numbers() < numbers_in(OLDEST)
    }

    /// All of them: a distribution counts its own builds too.
    fn numbers(&self) -> Vec<u64> {
        numbers_in(&self.0)
    }
}

impl Ord for Release {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_numbers = self.numbers().cmp(&other.numbers());
        by_numbers.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn numbers_in(text: &str) -> Vec<u64> {
    text.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_found() {
        let names = [
            "6.1.0-50-cloud-amd64",
            "6.12.94+deb13-cloud-amd64",
            "6.12.107+deb13-cloud-amd64",
            "7.2.12+deb13-cloud-amd64",
            "7.3.4+deb13-cloud-amd64",
        ];
        let newest = |series: &str| {
            let releases = names.map(Release::new).into_iter();
            let newest = releases.filter(|release| release.is_of(series)).max();
            newest.map(|release| release.name().to_owned())
        };
        assert_eq!(newest("6.1").as_deref(), Some(names[0]));
        assert_eq!(newest("6.12").as_deref(), Some(names[2]));
        assert_eq!(newest("7").as_deref(), Some(names[4]));
        assert_eq!(newest("7.2").as_deref(), Some(names[3]));
        assert_eq!(newest("6.18"), None);
        assert_eq!(newest("latest"), None);
    }

    #[test]
    fn before_6_6_is_too_old() {
        assert!(Release::new("6.1.0-50-cloud-amd64").is_too_old());
        assert!(!Release::new("6.6.0").is_too_old());
        assert!(!Release::new("6.12.107+deb13-cloud-amd64").is_too_old());
        assert!(!Release::new("7.3.4+deb13-cloud-amd64").is_too_old());
    }
}
