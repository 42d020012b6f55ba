//! Tables that are counted in, handed on, made smaller, and counted in by many at once.

use super::*;
use crate::session::stamp::Stamp;

fn finished(digest: Digest, since_us: u64, is_error: bool) -> Finished {
    let mut stamp = Stamp::new(digest, since_us);
    stamp.rows = 2;
    Finished { stamp, is_error }
}

fn know(digests: &Digests, sql: &str) -> Digest {
    digests.digest(sql.as_bytes(), Extent::Whole, Modes::USUAL)
}

fn counts(digests: &Digests) -> Vec<(String, u64)> {
    let all = digests.all().into_iter().filter(|it| it.count() > 0);
    let mut counts: Vec<_> = all.map(|it| (it.text, it.tally.latencies.count())).collect();
    counts.sort();
    counts
}

const REST: &str = "(all other statements)";

#[test]
fn a_shape_is_counted_with_its_errors_rows_and_times() {
    let digests = Digests::new(10);
    let read = know(&digests, "select a from t where b = 1");
    assert_eq!(know(&digests, "select a from t where b = 2"), read);
    let now = monotonic_us();
    digests.count(&[finished(read, now - 1000, false), finished(read, now - 9_000_000, true)]);
    let all = digests.all();
    let [Counted { digest, text, tally }] = &all[..] else { panic!("{all:?}") };
    assert_eq!((*digest, text.as_str()), (read, "select a from t where b = ?"));
    assert_eq!((tally.latencies.count(), tally.errors, tally.rows), (2, 1, 4));
    assert!(tally.max_us >= 9_000_000 && tally.sum_us >= 9_001_000, "{tally:?}");
    assert!(tally.first_us >= now && tally.last_us >= tally.first_us, "{tally:?}");
    assert_eq!(digests.latencies().count(), 2);
}

#[test]
fn what_finds_no_room_is_counted_together() {
    let digests = Digests::new(3);
    let all: Vec<_> = (0..8).map(|n| know(&digests, &format!("select c{n}"))).collect();
    for digest in &all {
        digests.count(&[finished(*digest, 0, false)]);
    }
    let counts = counts(&digests);
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert_eq!(counts[0], (REST.into(), 5));
}

#[test]
fn counts_go_on_in_a_successor_and_come_back_from_one() {
    let old = Digests::new(10);
    let (a, b) = (know(&old, "select a"), know(&old, "select b"));
    old.count(&[finished(a, 0, false), finished(b, 0, true)]);
    let new = Digests::new(10);
    let told = |digests: &Digests| {
        let text = serde_json::to_string(&digests.all()).expect("plain data");
        serde_json::from_str::<Vec<Counted>>(&text).expect("the same")
    };
    new.inherit(&told(&old));
    let c = know(&new, "select c");
    new.count(&[finished(a, 0, false), finished(c, 0, false)]);
    // The old one still has a session.
    old.count(&[finished(b, 0, false)]);
    new.inherit(&told(&old));
    let expected = [("select a".into(), 2), ("select b".into(), 2), ("select c".into(), 1)];
    assert_eq!(counts(&new), expected);
    // What comes back is only what was counted there.
    old.credit(&new.own());
    assert_eq!(counts(&old), expected);
    new.reset();
    new.inherit(&told(&old));
    assert_eq!(counts(&new), []);
}

#[test]
fn a_smaller_table_has_the_same_sum_and_none_counts_nothing() {
    let digests = Digests::new(10);
    let all: Vec<_> = (0..6).map(|n| know(&digests, &format!("select c{n}"))).collect();
    all.iter().for_each(|digest| digests.count(&[finished(*digest, 0, false)]));
    digests.set_limit(4);
    let sum = |digests: &Digests| counts(digests).iter().map(|(_, count)| count).sum::<u64>();
    assert_eq!((counts(&digests).len(), sum(&digests)), (5, 6));
    digests.set_limit(0);
    assert!(digests.shapes().is_none());
    digests.count(&[finished(all[0], 0, false)]);
    assert_eq!(digests.own(), []);
}

#[test]
fn threads_that_count_at_once_lose_nothing() {
    let digests = Digests::new(50);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..1000 {
                    let digest = know(&digests, &format!("select c{}", n % 40));
                    digests.count(&[finished(digest, 0, false)]);
                }
            });
        }
    });
    let counts = counts(&digests);
    assert_eq!(counts.len(), 40);
    assert!(counts.iter().all(|(_, count)| *count == 200), "{counts:?}");
}
