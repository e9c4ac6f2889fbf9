//! Logs that show two histories: a `.tlog-fork` file in the witness's directory, written before the log is
//! answered, and a line in the witness's own log. "The witness MAY log the request [...] as it might be proof of
//! log misbehavior."

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::Witness;
use super::cosign::CosignRequest;
use super::decide::{Question, Refusal};
use super::ledger::Head;
use crate::checkpoint::{Origin, origin_hash};
use crate::disk::evidence_dir::{EvidenceDir, Kept};
use crate::merkle::{Hash, ProofError, TreeSize, verify_consistency};
use crate::note::Note;
use crate::proof::fork::{ForkEvidence, ProvenFork, file_name_prefix};

/// The folder of evidence in a witness's directory.
pub const EVIDENCE_DIR: &str = "evidence";

/// The evidence files, and their names for `/healthz`.
pub struct Evidence {
    dir: EvidenceDir,
    names: Mutex<Vec<String>>,
}

impl Evidence {
    /// Opens the evidence in a witness's directory.
    pub fn open(dir: &Path) -> Self {
        let dir = EvidenceDir::new(dir.join(EVIDENCE_DIR));
        // No reason not to cosign: evidence that can't be written is logged in full.
        let names = dir.names().unwrap_or_else(|error| {
            tracing::warn!(path = %dir.path().display(), %error, "the evidence can't be read");
            Vec::new()
        });
        Self { dir, names: Mutex::new(names) }
    }

    /// The names of the files about a log.
    pub fn about(&self, origin: &Origin) -> Vec<String> {
        let prefix = file_name_prefix(origin);
        let names = self.names.lock().expect("no panic while it is held");
        names.iter().filter(|name| name.starts_with(&prefix)).cloned().collect()
    }

    /// The number of files.
    pub fn count(&self) -> usize {
        self.names.lock().expect("no panic while it is held").len()
    }

    fn keep(&self, fork: &ProvenFork) -> io::Result<Kept> {
        let kept = self.dir.keep(fork)?;
        let mut names = self.names.lock().expect("no panic while it is held");
        if !names.contains(&fork.file_name()) {
            names.push(fork.file_name());
        }
        Ok(kept)
    }
}

impl Witness {
    /// Reports a refused head that the log signed, if the refusal shows misbehaviour, and writes the evidence of a
    /// fork before the log is answered.
    pub(super) async fn report_refusal(
        &self,
        refusal: &Refusal,
        latest: Option<Head>,
        request: &Arc<CosignRequest>,
    ) {
        if is_fork(refusal, latest.as_ref(), request) {
            self.inner.forks.fetch_add(1, Ordering::Relaxed);
        }
        let head = &request.question.checkpoint;
        match self.inner.reports.verdict(refusal, latest.as_ref(), request) {
            Some(Verdict::Fork) => {
                let latest = latest.expect("two heads make a fork");
                let (witness, refusal, request) = (self.clone(), refusal.clone(), request.clone());
                // It reads and writes files, and logs the result.
                let told = tokio::task::spawn_blocking(move || {
                    if !witness.report_fork(&refusal, &latest, &request) {
                        witness.inner.reports.forget_fork(&request);
                    }
                });
                let _ = told.await;
            }
            Some(Verdict::Odd) => {
                tracing::warn!(origin = %head.origin, size = %head.size, root = %head.root, %refusal, "not cosigned");
            }
            None => {}
        }
    }

    /// Returns false if the file could not be written, and may be the next time.
    fn report_fork(&self, refusal: &Refusal, latest: &Head, request: &CosignRequest) -> bool {
        let origin = &request.question.checkpoint.origin;
        match self.evidence(refusal, latest, request) {
            Ok(fork) => match self.inner.evidence.keep(&fork) {
                Ok(Kept { path, .. }) => {
                    tracing::error!(%origin, %refusal, evidence = %path.display(), "a log signed two histories");
                    true
                }
                Err(error) => {
                    let evidence = fork.to_string();
                    tracing::error!(%origin, %refusal, evidence, %error, "a log signed two histories, and no file could be written: keep this line");
                    // The directory has as many files as it may have. To try again, the operator moves some away
                    // and restarts the witness.
                    error.kind() == io::ErrorKind::QuotaExceeded
                }
            },
            // If sled failed, half of the evidence is in memory alone; a key may have been taken off the list.
            Err(error) => {
                let note = request.signed.to_string();
                let proof: Vec<String> = request.question.proof.iter().map(Hash::to_base64).collect();
                let proof = proof.join(" ");
                tracing::error!(%origin, %refusal, note, proof, error, "a log signed two histories: keep this line");
                true
            }
        }
    }

    /// The evidence, checked as others will check it.
    fn evidence(
        &self,
        refusal: &Refusal,
        latest: &Head,
        request: &CosignRequest,
    ) -> Result<ProvenFork, String> {
        let origin = &request.question.checkpoint.origin;
        let record = self.inner.ledger.record(&origin_hash(origin)).map_err(|e| e.to_string())?;
        let record =
            record.filter(|record| (record.head.size, record.head.root) == (latest.size, latest.root));
        let record = record.ok_or("the cosigned checkpoint is gone")?;
        let cosigned = Note::parse(record.note.as_bytes()).map_err(|e| e.to_string())?;
        let evidence: Option<ForkEvidence> = fork_evidence(refusal, latest, cosigned, request);
        let logs = self.inner.logs.current();
        evidence.ok_or("the heads agree")?.judge(logs.keys()).map_err(|e| e.to_string())
    }
}

/// Most heads that are remembered as reported, so that a log that asks again and again does not fill the disk.
const MAX_REPORTED: usize = 4_096;

/// A reported head, and whether it was reported as a fork: a head that is sent with a bad proof first can still be
/// reported as a fork later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ReportedHead {
    is_fork: bool,
    origin: Hash,
    size: TreeSize,
    root: Hash,
}

impl ReportedHead {
    fn of(verdict: Verdict, request: &CosignRequest) -> Self {
        let head = &request.question.checkpoint;
        let (origin, is_fork) = (origin_hash(&head.origin), verdict == Verdict::Fork);
        Self { is_fork, origin, size: head.size, root: head.root }
    }
}

/// The heads that were reported, so that each is reported once.
#[derive(Debug, Default)]
pub struct Reports(Mutex<Reported>);

#[derive(Debug, Default)]
struct Reported {
    heads: HashSet<ReportedHead>,
    /// The heads in the order in which they are forgotten.
    order: VecDeque<ReportedHead>,
}

impl Reported {
    fn is_new(&mut self, head: ReportedHead) -> bool {
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

    fn forget(&mut self, head: &ReportedHead) {
        if self.heads.remove(head) {
            self.order.retain(|known| known != head);
        }
    }
}

/// The kind of misbehaviour that a refusal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The log signed two histories, and the request proves it.
    Fork,
    /// The log may have signed two histories, or its software or the sender's is faulty.
    Odd,
}

/// The way in which a refused head contradicts the cosigned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// They have one size and two roots.
    SameSize,
    /// The refused head has size 0, but not the root of the empty tree.
    EmptyTree,
    /// The refused head is larger, and continues a tree that had this other root at the cosigned size.
    Grown(Hash),
}

impl Reports {
    /// Forgets that a fork was reported: its evidence could not be written, and may be the next time.
    fn forget_fork(&self, request: &CosignRequest) {
        let key = ReportedHead::of(Verdict::Fork, request);
        self.0.lock().expect("no panic while it is held").forget(&key);
    }

    /// The verdict on a refusal, once for each head and verdict.
    fn verdict(&self, refusal: &Refusal, latest: Option<&Head>, request: &CosignRequest) -> Option<Verdict> {
        let verdict = match refusal {
            _ if is_fork(refusal, latest, request) => Verdict::Fork,
            Refusal::Unproven(_) | Refusal::EmptyRoot { .. } => Verdict::Odd,
            _ => return None,
        };
        let key = ReportedHead::of(verdict, request);
        self.0.lock().expect("no panic while it is held").is_new(key).then_some(verdict)
    }
}

/// Returns whether a refusal shows that the log signed two histories.
fn is_fork(refusal: &Refusal, latest: Option<&Head>, request: &CosignRequest) -> bool {
    latest.is_some_and(|latest| shown(refusal, latest, request).is_some())
}

/// Evidence with both heads; `None` if they show no fork.
fn fork_evidence(
    refusal: &Refusal,
    latest: &Head,
    cosigned: Note,
    request: &CosignRequest,
) -> Option<ForkEvidence> {
    let refused = request.signed.clone();
    Some(match shown(refusal, latest, request)? {
        Shown::SameSize => ForkEvidence::same_size(cosigned, refused),
        Shown::EmptyTree => ForkEvidence::unequal(refused, cosigned, Hash::EMPTY_ROOT, Vec::new()),
        Shown::Grown(prefix) => {
            ForkEvidence::unequal(cosigned, refused, prefix, request.question.proof.clone())
        }
    })
}

fn shown(refusal: &Refusal, latest: &Head, request: &CosignRequest) -> Option<Shown> {
    let Question { proof, checkpoint, .. } = &request.question;
    // Two signed heads of one size contradict each other, whatever else the request says.
    if checkpoint.size == latest.size {
        return (checkpoint.root != latest.root).then_some(Shown::SameSize);
    }
    if checkpoint.size == TreeSize::ZERO {
        return (checkpoint.root != Hash::EMPTY_ROOT).then_some(Shown::EmptyTree);
    }
    // If the tree continues another one than was cosigned, the proof leads to the signed root from a root at the
    // old size that is not the cosigned one. If the old size is a power of two, a proof has no hash of the old
    // tree and shows nothing.
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

    fn request(old: usize, leaves: &[Hash], proof: Vec<Hash>) -> CosignRequest {
        let size = |size: usize| TreeSize::new(size as u64).unwrap();
        let name = KeyName::new("log.example").unwrap();
        let checkpoint = Checkpoint::new(name, size(leaves.len()), reference::root(leaves));
        let signed = Note::unsigned(checkpoint.to_string());
        CosignRequest { question: Question { old: size(old), proof, checkpoint }, signed }
    }

    fn say(reports: &Reports, old: usize, request: &CosignRequest) -> Option<Verdict> {
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
        let key = |at: usize| ReportedHead { is_fork: false, origin, size: size(at), root };
        assert!((0..3 * MAX_REPORTED).all(|at| reported.is_new(key(at))));
        assert_eq!((reported.heads.len(), reported.order.len()), (MAX_REPORTED, MAX_REPORTED));
        assert!(!reported.is_new(key(3 * MAX_REPORTED - 1)) && reported.is_new(key(0)));
        reported.forget(&key(0));
        assert_eq!((reported.heads.len(), reported.order.len()), (MAX_REPORTED - 1, MAX_REPORTED - 1));
        assert!(reported.is_new(key(0)) && !reported.is_new(key(0)));
    }
}
