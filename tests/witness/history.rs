//! A check that one history explains all released cosignatures.

use std::time::Instant;

use treehead::merkle::Hash;

use super::world::TestLog;
use crate::common::promises::SlowTree;

/// A cosignature that somebody received.
#[derive(Debug, Clone)]
pub struct Released {
    /// The number of the history that the request was from.
    pub fork: usize,
    pub size: usize,
    /// The time in the cosignature.
    pub time: u64,
    pub asked: Instant,
    pub answered: Instant,
}

/// The root of each size in each history.
pub fn roots_of(forks: &[TestLog]) -> Vec<Vec<Hash>> {
    let roots = |fork: &TestLog| {
        let mut tree = SlowTree::default();
        let grown = fork.leaves.iter().map(|leaf| {
            tree.push(*leaf);
            tree.root()
        });
        [Hash::EMPTY_ROOT].into_iter().chain(grown).collect()
    };
    forks.iter().map(roots).collect()
}

/// Compares all pairs.
///
/// # Errors
/// Two cosignatures that contradict each other.
pub fn check(roots: &[Vec<Hash>], released: &[Released]) -> Result<(), String> {
    for a in released {
        for b in released.iter().filter(|b| a.size <= b.size) {
            if roots[a.fork][a.size] != roots[b.fork][a.size] {
                return Err(format!("two histories: {a:?} and {b:?}"));
            }
        }
        for b in released.iter().filter(|b| a.size > b.size) {
            // "as of the specified time, the consistent tree head with the largest size the cosigner has
            // observed": a larger one can't have been observed before.
            if a.time < b.time {
                return Err(format!("it went back, by its own clock: {a:?} and then {b:?}"));
            }
            if a.answered < b.asked {
                return Err(format!("it went back: {a:?} and then {b:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn the_oracle_notices_what_must_not_be() {
    let log = TestLog::new("log.example/a", 20);
    let roots = roots_of(&[log.clone(), log.forked(9, 20, "other ")]);
    assert!((0..=20).all(|size| roots[0][size] == log.root(size)), "the roots are those of the definition");
    let start = Instant::now();
    let at = |seconds: u64| start + std::time::Duration::from_secs(seconds);
    let released = |fork: usize, size: usize, second: u64| Released {
        fork,
        size,
        time: 1_000 + second,
        asked: at(second),
        answered: at(second + 1),
    };
    let good = vec![released(0, 3, 1), released(1, 9, 3), released(0, 9, 5), released(1, 12, 7)];
    assert_eq!(check(&roots, &good), Ok(()));
    let with = |bad: Released| check(&roots, &[good.clone(), vec![bad]].concat()).unwrap_err();
    assert!(with(released(0, 12, 9)).contains("two histories"));
    assert!(with(released(0, 13, 9)).contains("two histories"));
    assert!(with(released(1, 11, 9)).contains("went back"));
    assert!(with(Released { time: 1, ..released(1, 20, 9) }).contains("by its own clock"));
}
