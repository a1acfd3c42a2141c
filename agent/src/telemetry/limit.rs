//! Few lines of what happens once a connection, however many there are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Where connections are logged; `log` is the kernel programs' own.
const TARGETS: [&str; 4] = [
    "waysteer::tunnel::embedded",
    "waysteer_hbone",
    super::VERDICT,
    "log",
];
/// So many lines of one place in the code in so long a time.
const LINES: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Lines that were left out since the process started.
pub fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

#[derive(Debug, Default)]
pub(super) struct Limit {
    places: Mutex<HashMap<Identifier, Window>>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
}

impl Limit {
    fn permits(&self, place: Identifier, now: Instant) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Window {
            since: now,
            lines: 0,
        };
        let window = places.entry(place).or_insert(new);
        if now.duration_since(window.since) >= WINDOW {
            *window = Window {
                since: now,
                lines: 0,
            };
        }
        window.lines = window.lines.saturating_add(1);
        window.lines <= LINES
    }
}

fn is_limited(target: &str) -> bool {
    TARGETS.iter().any(|limited| {
        let rest = target.strip_prefix(limited);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let permitted =
            !is_limited(metadata.target()) || self.permits(metadata.callsite(), Instant::now());
        if !permitted {
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        }
        permitted
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lines").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_place_on_the_data_path_logs_so_much_and_others_all() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(Limit::default()));
        let before = suppressed();
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..LINES * 3 {
                tracing::info!(target: "waysteer::tunnel::embedded::outbound", number, "limited");
                tracing::info!(target: "waysteer::reconcile", number, "whole");
            }
            tracing::info!(target: "waysteer::tunnel::embedded::outbound", "another place");
        });
        let text = String::from_utf8(lines.0.lock().expect("lines").clone()).expect("text");
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("limited"), LINES as usize);
        assert_eq!(count("whole"), LINES as usize * 3);
        assert_eq!(count("another place"), 1);
        assert!(suppressed() >= before + u64::from(LINES) * 2);
    }

    #[test]
    fn after_a_while_it_logs_again() {
        let limit = Limit::default();
        let place = || tracing::callsite::Identifier(&CALLSITE);
        let start = Instant::now();
        for _ in 0..LINES {
            assert!(limit.permits(place(), start));
        }
        assert!(!limit.permits(place(), start + WINDOW / 2));
        assert!(limit.permits(place(), start + WINDOW));
    }

    #[derive(Debug)]
    struct Place;
    static CALLSITE: Place = Place;

    impl tracing::Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("nobody asks")
        }
    }

    #[test]
    fn targets_are_whole_names() {
        assert!(is_limited("log"));
        assert!(is_limited("waysteer_hbone::client"));
        assert!(!is_limited("logistics"));
        assert!(!is_limited("waysteer::tunnel::zds"));
    }
}
