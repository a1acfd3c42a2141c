use std::time::{Duration, Instant};

use super::*;

fn rule() -> Drift {
    Drift::new(DriftKind::Rule, "no rule")
}

fn order() -> Drift {
    Drift::new(DriftKind::Order, "somebody is first")
}

/// A drift that comes back as soon as it is repaired: how often it is repaired in a time, when it
/// is looked for ten times a second.
fn repairs(drift: &Drift, time: Duration) -> (u32, u64) {
    let start = Instant::now();
    let mut book = Book::default();
    let (mut now, mut repairs, mut appeared) = (start, 0, 0);
    while now < start + time {
        appeared += book.enter(now, std::slice::from_ref(drift)).appeared.len() as u64;
        if book.due(now).contains(drift) {
            book.tried(now, std::slice::from_ref(drift), None);
            assert_eq!(book.enter(now, &[]).repaired, std::slice::from_ref(drift));
            repairs += 1;
        }
        now += Duration::from_millis(100);
    }
    assert_eq!(book.repaired(), u64::from(repairs));
    (repairs, appeared)
}

#[test]
fn a_drift_is_told_once_and_repaired_once() {
    let now = Instant::now();
    let mut book = Book::default();
    assert_eq!(book.enter(now, &[]), News::default());
    assert_eq!(book.enter(now, &[rule()]).appeared, [rule()]);
    assert_eq!(book.enter(now, &[rule()]), News::default());
    assert_eq!(book.due(now), [rule()]);
    book.tried(now, &[rule()], None);
    let news = book.enter(now, &[order()]);
    assert_eq!(
        (news.appeared, news.repaired),
        (vec![order()], vec![rule()])
    );
    assert_eq!(book.standing().count(), 1);
    assert_eq!(book.enter(now, &[]).repaired, [order()]);
    assert_eq!((book.repaired(), book.standing().count()), (2, 0));
}

#[test]
fn what_cannot_be_repaired_is_tried_ever_more_slowly_and_says_why() {
    let mut now = Instant::now();
    let start = now;
    let mut book = Book::default();
    let mut attempts = Vec::new();
    while attempts.len() < 12 {
        assert!(book.enter(now, &[rule()]).repaired.is_empty());
        if book.due(now) == [rule()] {
            book.tried(now, &[rule()], Some("refused"));
            attempts.push(now.duration_since(start).as_secs());
        }
        assert!(book.next_due().is_some());
        now += Duration::from_secs(1);
    }
    assert_eq!(attempts, [0, 1, 2, 3, 5, 9, 17, 33, 65, 125, 185, 245]);
    let (_, entry) = book.standing().next().unwrap();
    assert_eq!(entry.error.as_deref(), Some("refused"));
    assert_eq!(entry.since, Some(start));
}

#[test]
fn who_undoes_our_repairs_does_not_keep_us_busy() {
    let (repaired, appeared) = repairs(&rule(), Duration::from_secs(120));
    assert!((8..=12).contains(&repaired), "{repaired}");
    assert_eq!(u64::from(repaired), appeared - 1, "one stands");
    let (repaired, _) = repairs(&order(), Duration::from_secs(590));
    assert_eq!(repaired, 3, "somebody who insists is let be");
}

#[test]
fn after_a_calm_time_it_is_repaired_at_once_again() {
    let start = Instant::now();
    let mut book = Book::default();
    for _ in 0..10 {
        book.enter(start, &[rule()]);
        book.tried(start, &[rule()], None);
        book.enter(start, &[]);
    }
    let soon = start + Duration::from_secs(1);
    book.enter(soon, &[rule()]);
    assert_eq!(book.due(soon), []);
    book.enter(soon, &[]);
    let later = soon + Duration::from_secs(121);
    book.enter(later, &[]);
    book.enter(later, &[rule()]);
    assert_eq!(book.due(later), [rule()]);
}

#[test]
fn every_kind_has_a_label_of_its_own() {
    let mut labels: Vec<_> = DriftKind::ALL.iter().map(|kind| kind.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), DriftKind::ALL.len());
}
