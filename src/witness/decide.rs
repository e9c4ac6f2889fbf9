//! What a witness answers, from what it remembers and what it is asked: the checks of
//! c2sp.org/tlog-witness, "add-checkpoint". Pure.
//!
//! The specification does not order its checks. Here signatures come before meaning, so that a stranger
//! learns nothing but which origins are known; from step 4 on, it is its text from top to bottom.
//!
//! 1. The body is a request: 400.
//! 2. The origin is known: 404.
//! 3. A trusted key of the origin signed, and none of them is named by a signature that is not its own: 403.
//!    The signed text is a checkpoint: 400.
//! 4. to 9. are [`decide`].

use super::ledger::Head;
use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, ProofError, TreeSize, verify_consistency};

/// What a log asks, after steps 1 to 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Size that it takes for the latest cosigned one.
    pub old: TreeSize,
    /// Consistency proof from there.
    pub proof: Vec<Hash>,
    /// What it signed.
    pub checkpoint: Checkpoint,
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The old size is larger than the new one.
    #[error("the old size is larger than the checkpoint: expected at most {size}, saw {old}")]
    OldTooLarge {
        /// Size that was called the old one.
        old: TreeSize,
        /// Size of the checkpoint.
        size: TreeSize,
    },
    /// Another size was cosigned last.
    #[error("the latest cosigned tree size is {latest}, not {old}: send the proof from there")]
    Conflict {
        /// Size that was called the old one.
        old: TreeSize,
        /// Size that was cosigned last.
        latest: TreeSize,
    },
    /// The empty tree has one root.
    #[error("the empty tree has another root: expected {}, saw {seen}", Hash::EMPTY_ROOT)]
    EmptyRoot {
        /// The root in the checkpoint.
        seen: Hash,
    },
    /// Nothing is to be proven from the empty tree.
    #[error("nothing is to be proven from the empty tree: expected no hashes, saw {seen}")]
    ProofNotEmpty {
        /// Hashes in the proof.
        seen: usize,
    },
    /// Not the same tree at the same size: the log shows two histories.
    #[error("another root was cosigned at tree size {size}: expected {expected}, saw {seen}")]
    Forked {
        /// The size.
        size: TreeSize,
        /// Root that was cosigned.
        expected: Hash,
        /// Root in the checkpoint.
        seen: Hash,
    },
    /// The proof does not prove it.
    #[error("the checkpoint is not shown to continue the cosigned one: {0}")]
    Unproven(ProofError),
}

/// Whether to cosign, where `latest` is the head that was cosigned last.
///
/// # Errors
/// [`Refusal`] of the first check that fails.
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
