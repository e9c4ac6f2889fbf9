//! Decides whether a witness cosigns a checkpoint: the checks of c2sp.org/tlog-witness, "add-checkpoint". Pure.
//!
//! The specification does not order its checks. Here signatures come before meaning, so that a stranger learns
//! only which origins are known; from step 4 on, the order is that of the text.
//!
//! 1. The body is well-formed: 400.
//! 2. The origin is known: 404.
//! 3. A trusted key of the origin signed, and no signature that names a trusted key is invalid: 403.
//!    The signed text is a checkpoint: 400.
//! 4. to 9. are [`decide`].

use super::ledger::Head;
use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, ProofError, TreeSize, verify_consistency};

/// Longest time that the clock may be behind the last cosignature of a log, in seconds: as far as endpoints let a
/// cosignature be ahead of their own clock. The next cosignature then repeats the time of the last one.
const MAX_BEHIND_SECONDS: u64 = 300;

/// The request of a log, after steps 1 to 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Size that the log takes for the last cosigned one.
    pub old: TreeSize,
    /// Consistency proof from that size.
    pub proof: Vec<Hash>,
    /// The checkpoint that the log signed.
    pub checkpoint: Checkpoint,
}

/// A reason not to cosign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The old size is larger than the new one.
    #[error("the old size is larger than the checkpoint: expected at most {size}, saw {old}")]
    OldTooLarge {
        /// The old size in the request.
        old: TreeSize,
        /// Size of the checkpoint.
        size: TreeSize,
    },
    /// The witness cosigned another size last.
    #[error("the latest cosigned tree size is {latest}, not {old}: send the proof from there")]
    Conflict {
        /// The old size in the request.
        old: TreeSize,
        /// Size that the witness cosigned last.
        latest: TreeSize,
    },
    /// The checkpoint has size 0, but not the root of the empty tree.
    #[error("the empty tree has another root: expected {}, saw {seen}", Hash::EMPTY_ROOT)]
    EmptyRoot {
        /// The root in the checkpoint.
        seen: Hash,
    },
    /// A proof from the empty tree has no hashes.
    #[error("a consistency proof from the empty tree has no hashes: expected none, saw {seen}")]
    ProofNotEmpty {
        /// Hashes in the proof.
        seen: usize,
    },
    /// Two roots at one size: the log has two histories.
    #[error("another root was cosigned at tree size {size}: expected {expected}, saw {seen}")]
    Forked {
        /// The size.
        size: TreeSize,
        /// Root that the witness cosigned.
        expected: Hash,
        /// Root in the checkpoint.
        seen: Hash,
    },
    /// The proof does not show that the checkpoint continues the cosigned one.
    #[error("the checkpoint is not shown to continue the cosigned one: {0}")]
    Unproven(ProofError),
}

/// A clock that can't date a cosignature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The clock is before 1970.
    #[error("the witness's clock is before 1970: its operator has to set it")]
    Before1970,
    /// The clock was set back, or was ahead at the last cosignature.
    #[error(
        "the witness's clock is {seconds} s behind its own last cosignature of this log: its operator has to set it; if it is right now, it was ahead then: docs/witness.md, \"Watch it\""
    )]
    Behind {
        /// Seconds between the clock and the last cosignature.
        seconds: u64,
    },
}

/// Decides whether to cosign, given the head that the witness cosigned last.
///
/// # Errors
/// The [`Refusal`] of the first check that fails.
pub fn decide(latest: Option<&Head>, question: &Question) -> Result<(), Refusal> {
    let Question { old, proof, checkpoint: Checkpoint { size, root, .. } } = question;
    let (old, size) = (*old, *size);
    // 4. "The old size MUST be equal to or lower than the checkpoint size": 400.
    if old > size {
        return Err(Refusal::OldTooLarge { old, size });
    }
    // 5. "check that the old size matches the size of the latest checkpoint it cosigned for the
    //    checkpoint's origin (or zero if it never cosigned a checkpoint for that origin)": 409.
    let (latest, latest_root) = latest.map_or((TreeSize::ZERO, Hash::EMPTY_ROOT), |h| (h.size, h.root));
    if old != latest {
        return Err(Refusal::Conflict { old, latest });
    }
    // 6. "A checkpoint of size zero MUST have the root hash of the empty tree": 422.
    if size == TreeSize::ZERO && *root != Hash::EMPTY_ROOT {
        return Err(Refusal::EmptyRoot { seen: *root });
    }
    // 7. "If the old size is zero, the consistency proof MUST be empty": 422.
    if old == TreeSize::ZERO && !proof.is_empty() {
        return Err(Refusal::ProofNotEmpty { seen: proof.len() });
    }
    // 9. "If the old size matches the checkpoint size, the witness MUST check that the root hashes are
    //    also identical": 422. Before step 8, which would find it too, to call it what it is.
    if old == size && *root != latest_root {
        return Err(Refusal::Forked { size, expected: latest_root, seen: *root });
    }
    // 8. "Otherwise, the consistency proof lines MUST encode a Merkle Consistency Proof from the old size
    //    to the checkpoint size": 422. Between equal sizes that is the empty one.
    verify_consistency((old, &latest_root), (size, root), proof).map_err(Refusal::Unproven)
}

/// The time of the next cosignature: never zero ("the timestamp MUST NOT be zero"), and never before the time of
/// the last one, even if the clock was set back.
///
/// # Errors
/// [`ClockError`] if the clock is before 1970, or too far behind the last cosignature.
pub fn next_time(latest: Option<&Head>, now: u64) -> Result<u64, ClockError> {
    if now == 0 {
        return Err(ClockError::Before1970);
    }
    let latest = latest.map_or(0, |latest| latest.time);
    if latest.saturating_sub(now) > MAX_BEHIND_SECONDS {
        return Err(ClockError::Behind { seconds: latest - now });
    }
    Ok(now.max(latest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::reference;
    use crate::note::KeyName;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|at| Hash::leaf(&at.to_be_bytes())).collect()
    }

    fn root(size: usize) -> Hash {
        reference::root(&leaves(size))
    }

    fn proof(old: usize, size: usize) -> Vec<Hash> {
        if old == 0 { Vec::new() } else { reference::proof(old, &leaves(size)) }
    }

    fn head(size: usize) -> Head {
        Head { size: TreeSize::new(size as u64).unwrap(), root: root(size), time: 1 }
    }

    fn question(old: usize, size: usize, root: Hash, proof: Vec<Hash>) -> Question {
        let size = TreeSize::new(size as u64).unwrap();
        let checkpoint = Checkpoint::new(KeyName::new("log.example").unwrap(), size, root);
        Question { old: TreeSize::new(old as u64).unwrap(), proof, checkpoint }
    }

    #[test]
    fn each_growth_is_cosigned_from_the_latest_size_alone() {
        for latest in 0..18 {
            for size in 0..18 {
                for old in 0..18 {
                    let proof = if old <= size { proof(old, size) } else { Vec::new() };
                    let answer = decide(Some(&head(latest)), &question(old, size, root(size), proof));
                    let (old, size) = (head(old).size, head(size).size);
                    let expected = if old > size {
                        Err(Refusal::OldTooLarge { old, size })
                    } else if old == head(latest).size {
                        Ok(())
                    } else {
                        Err(Refusal::Conflict { old, latest: head(latest).size })
                    };
                    assert_eq!(answer, expected, "latest {latest}, {old} to {size}");
                }
            }
        }
    }

    #[test]
    fn a_log_that_was_never_seen_starts_from_zero() {
        for size in [0, 1, 9] {
            assert_eq!(decide(None, &question(0, size, root(size), vec![])), Ok(()));
        }
        let conflict = decide(None, &question(3, 9, root(9), proof(3, 9)));
        assert!(matches!(conflict, Err(Refusal::Conflict { latest: TreeSize::ZERO, .. })));
    }

    #[test]
    fn another_history_is_refused() {
        let other = Hash::leaf(b"another");
        let cases = [
            (decide(None, &question(0, 0, other, vec![])), "empty-root"),
            (decide(Some(&head(0)), &question(0, 0, other, vec![])), "empty-root"),
            (decide(None, &question(0, 9, root(9), vec![other])), "not-empty"),
            (decide(None, &question(0, 0, Hash::EMPTY_ROOT, vec![other])), "not-empty"),
            (decide(Some(&head(9)), &question(9, 9, other, vec![])), "forked"),
            (decide(Some(&head(9)), &question(9, 9, other, vec![other])), "forked"),
            (decide(Some(&head(9)), &question(9, 9, root(9), vec![other])), "unproven"),
            (decide(Some(&head(9)), &question(9, 12, other, proof(9, 12))), "unproven"),
            (decide(Some(&head(9)), &question(9, 12, root(12), vec![])), "unproven"),
        ];
        for (at, (answer, expected)) in cases.into_iter().enumerate() {
            let seen = match answer.unwrap_err() {
                Refusal::EmptyRoot { .. } => "empty-root",
                Refusal::ProofNotEmpty { .. } => "not-empty",
                Refusal::Forked { .. } => "forked",
                Refusal::Unproven(_) => "unproven",
                _ => "another",
            };
            assert_eq!(seen, expected, "case {at}");
        }
    }

    #[test]
    fn a_proof_with_any_hash_missing_added_or_changed_is_refused() {
        for (old, size) in [(1, 2), (3, 7), (4, 8), (6, 17), (16, 17)] {
            let good = proof(old, size);
            let ask = |proof| decide(Some(&head(old)), &question(old, size, root(size), proof));
            assert_eq!(ask(good.clone()), Ok(()));
            for at in 0..good.len() {
                let (mut changed, mut shorter, mut longer) = (good.clone(), good.clone(), good.clone());
                changed[at] = Hash::leaf(b"changed");
                shorter.remove(at);
                longer.insert(at, good[at]);
                for bad in [changed, shorter, longer] {
                    assert!(matches!(ask(bad), Err(Refusal::Unproven(_))), "{old} to {size}, hash {at}");
                }
            }
        }
    }
}
