//! What is said of logs that don't grow as they should: "The witness MAY log the request [...] as it might be
//! proof of log misbehavior."

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;

use super::Request;
use super::decide::{Question, Refusal};
use super::ledger::Head;
use crate::checkpoint::origin_hash;
use crate::merkle::{Hash, ProofError, TreeSize, verify_consistency};
use crate::note::Note;
use crate::proof::fork::ForkEvidence;

/// Heads that are remembered as reported, so that a log that asks again and again fills no disk.
const MAX_REPORTED: usize = 4_096;

/// A head, and whether it was called a fork: one that is sent with a bad proof first does not take the alarm
/// from the one with a good proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    is_fork: bool,
    origin: Hash,
    size: TreeSize,
    root: Hash,
}

impl Key {
    fn of(verdict: Verdict, request: &Request) -> Self {
        let head = &request.question.checkpoint;
        let (origin, is_fork) = (origin_hash(&head.origin), verdict == Verdict::Fork);
        Self { is_fork, origin, size: head.size, root: head.root }
    }
}

/// The heads that were reported, each once.
#[derive(Debug, Default)]
pub struct Reports(Mutex<Reported>);

#[derive(Debug, Default)]
struct Reported {
    heads: HashSet<Key>,
    /// In the order in which they are forgotten.
    order: VecDeque<Key>,
}

impl Reported {
    fn is_new(&mut self, head: Key) -> bool {
        if !self.heads.insert(head) {
            return false;
        }
        self.order.push_back(head);
        if self.order.len() > MAX_REPORTED
            && let Some(oldest) = self.order.pop_front()
        {
            self.heads.remove(&oldest);
        }
        true
    }

    fn forget(&mut self, head: &Key) {
        if self.heads.remove(head) {
            self.order.retain(|known| known != head);
        }
    }
}

/// What a refusal says of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It signed two histories, and the line proves it.
    Fork,
    /// It may have, or its software or the one that sent it is wrong.
    Odd,
}

/// How a refused head and the cosigned one show two histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// They are of one size, with two roots.
    SameSize,
    /// It is the empty tree's, with another root than that has.
    EmptyTree,
    /// It is larger, and grew out of another tree, which had this root at the size that was cosigned.
    Grown(Hash),
}

impl Reports {
    /// Takes back that a fork was reported: what proves it could not be kept, and may be the next time.
    pub fn forget_fork(&self, request: &Request) {
        let key = Key::of(Verdict::Fork, request);
        self.0.lock().expect("no panic while it is held").forget(&key);
    }

    /// What is to be said of a refusal, once for each head and verdict.
    pub fn verdict(&self, refusal: &Refusal, latest: Option<&Head>, request: &Request) -> Option<Verdict> {
        let verdict = match refusal {
            _ if is_fork(refusal, latest, request) => Verdict::Fork,
            Refusal::Unproven(_) | Refusal::EmptyRoot { .. } => Verdict::Odd,
            _ => return None,
        };
        let key = Key::of(verdict, request);
        self.0.lock().expect("no panic while it is held").is_new(key).then_some(verdict)
    }
}

/// Whether a refusal shows that the log signed two histories.
pub fn is_fork(refusal: &Refusal, latest: Option<&Head>, request: &Request) -> bool {
    latest.is_some_and(|latest| shown(refusal, latest, request).is_some())
}

/// Both heads in one file. `None` where they show no fork.
pub fn evidence(refusal: &Refusal, latest: &Head, cosigned: Note, request: &Request) -> Option<ForkEvidence> {
    let refused = request.signed.clone();
    Some(match shown(refusal, latest, request)? {
        Shown::SameSize => ForkEvidence::same_size(cosigned, refused),
        Shown::EmptyTree => ForkEvidence::unequal(refused, cosigned, Hash::EMPTY_ROOT, Vec::new()),
        Shown::Grown(prefix) => {
            ForkEvidence::unequal(cosigned, refused, prefix, request.question.proof.clone())
        }
    })
}

fn shown(refusal: &Refusal, latest: &Head, request: &Request) -> Option<Shown> {
    let Question { proof, checkpoint, .. } = &request.question;
    // Two signed heads contradict each other whatever the request says beside them.
    if checkpoint.size == latest.size {
        return (checkpoint.root != latest.root).then_some(Shown::SameSize);
    }
    if checkpoint.size == TreeSize::ZERO {
        return (checkpoint.root != Hash::EMPTY_ROOT).then_some(Shown::EmptyTree);
    }
    // The proof shows that the tree grew out of another one than was cosigned: it then leads to the root that
    // the log signed, from a root at the old size that is not the cosigned one. Where the old size is a
    // power of two, a proof has no hash of the old tree and shows nothing.
    let Refusal::Unproven(ProofError::RootMismatch { expected, seen }) = refusal else { return None };
    let new = (checkpoint.size, &checkpoint.root);
    let grown = *expected == latest.root && verify_consistency((latest.size, seen), new, proof).is_ok();
    grown.then_some(Shown::Grown(*seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::merkle::reference;
    use crate::note::KeyName;
    use crate::witness::decide;

    fn leaves(size: usize, how: &str) -> Vec<Hash> {
        (0..size).map(|at| Hash::leaf(format!("{how}{at}").as_bytes())).collect()
    }

    fn request(old: usize, leaves: &[Hash], proof: Vec<Hash>) -> Request {
        let size = |size: usize| TreeSize::new(size as u64).unwrap();
        let name = KeyName::new("log.example").unwrap();
        let checkpoint = Checkpoint::new(name, size(leaves.len()), reference::root(leaves));
        let signed = Note::unsigned(checkpoint.to_string());
        Request { question: Question { old: size(old), proof, checkpoint }, signed }
    }

    fn say(reports: &Reports, old: usize, request: &Request) -> Option<Verdict> {
        let root = reference::root(&leaves(old, ""));
        let latest = Head { size: TreeSize::new(old as u64).unwrap(), root, time: 1 };
        let refusal = decide(Some(&latest), &request.question).unwrap_err();
        reports.verdict(&refusal, Some(&latest), request)
    }

    #[test]
    fn each_head_is_reported_once() {
        let reports = Reports::default();
        let fork = leaves(7, "other ");
        let same_size = request(7, &fork, vec![]);
        assert_eq!(say(&reports, 7, &same_size), Some(Verdict::Fork));
        assert_eq!(say(&reports, 7, &same_size), None);
        let another = request(7, &leaves(7, "third "), vec![]);
        assert_eq!(say(&reports, 7, &another), Some(Verdict::Fork), "another root");
        assert_eq!(say(&reports, 7, &request(8, &leaves(9, ""), vec![])), None, "a conflict says nothing");
        // But for one that is signed at this very size: it contradicts the cosigned one by itself.
        let fourth = request(3, &leaves(7, "fourth "), vec![]);
        assert_eq!(say(&reports, 7, &fourth), Some(Verdict::Fork));
        assert_eq!(say(&reports, 7, &request(3, &leaves(7, ""), vec![])), None);
    }

    #[test]
    fn a_false_root_of_the_empty_tree_contradicts_every_tree() {
        let reports = Reports::default();
        let mut empty = request(0, &[], vec![]);
        assert_eq!(say(&reports, 7, &empty), None, "an old head is none");
        empty.question.checkpoint.root = Hash::leaf(b"not empty");
        assert_eq!(say(&reports, 7, &empty), Some(Verdict::Fork));
        assert_eq!(say(&reports, 0, &empty), None, "the same head");
        empty.question.checkpoint.root = Hash::leaf(b"another");
        assert_eq!(say(&reports, 0, &empty), Some(Verdict::Fork), "of one size");
        let refusal = decide(None, &empty.question).unwrap_err();
        assert_eq!(reports.verdict(&refusal, None, &empty), Some(Verdict::Odd), "nothing was cosigned yet");
    }

    #[test]
    fn a_larger_fork_is_an_alarm_where_the_proof_shows_it() {
        let reports = Reports::default();
        let fork = leaves(12, "other ");
        let proof = reference::proof(7, &fork);
        let mut changed = proof.clone();
        changed[0] = Hash::leaf(b"changed");
        assert_eq!(say(&reports, 7, &request(7, &fork, changed)), Some(Verdict::Odd));
        assert_eq!(say(&reports, 7, &request(7, &fork, vec![])), None, "the same head, just as odd");
        assert_eq!(say(&reports, 7, &request(7, &fork, proof.clone())), Some(Verdict::Fork));
        assert_eq!(say(&reports, 7, &request(7, &fork, proof)), None);
        // A power of two: the proof begins with what was cosigned.
        let proof = reference::proof(8, &fork);
        assert_eq!(say(&reports, 8, &request(8, &fork, proof)), None, "odd again");
        let proof = reference::proof(4, &leaves(9, "other "));
        assert_eq!(say(&reports, 4, &request(4, &leaves(9, "other "), proof)), Some(Verdict::Odd));
        // A wrong proof of a right tree is no fork.
        let mut wrong = reference::proof(7, &leaves(12, ""));
        wrong[0] = Hash::leaf(b"changed");
        assert_eq!(say(&reports, 7, &request(7, &leaves(12, ""), wrong)), Some(Verdict::Odd));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut reported = Reported::default();
        let (origin, root) = (Hash::EMPTY_ROOT, Hash::EMPTY_ROOT);
        let size = |at: usize| TreeSize::new(at as u64).unwrap();
        let key = |at: usize| Key { is_fork: false, origin, size: size(at), root };
        assert!((0..3 * MAX_REPORTED).all(|at| reported.is_new(key(at))));
        assert_eq!((reported.heads.len(), reported.order.len()), (MAX_REPORTED, MAX_REPORTED));
        assert!(!reported.is_new(key(3 * MAX_REPORTED - 1)) && reported.is_new(key(0)));
        reported.forget(&key(0));
        assert_eq!((reported.heads.len(), reported.order.len()), (MAX_REPORTED - 1, MAX_REPORTED - 1));
        assert!(reported.is_new(key(0)) && !reported.is_new(key(0)));
    }
}
