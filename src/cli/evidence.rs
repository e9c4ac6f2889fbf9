//! What every command does that met a fork.

use crate::evidence::{ForkEvidence, ProvenFork};
use crate::evidence_dir::EvidenceDir;
use crate::note::NoteKey;

use super::exit::Failure;
use super::output::say;

/// Checks the evidence as others will, keeps it, and says so. What does not hold is told as that.
pub fn refuse(evidence: ForkEvidence, logs: &[NoteKey], dir: &EvidenceDir) -> Failure {
    match evidence.judge(logs) {
        Ok(fork) => refuse_fork(&fork, dir),
        Err(e) => e.into(),
    }
}

/// Keeps the proof of a fork, or prints it where no file can be written.
pub fn refuse_fork(fork: &ProvenFork, dir: &EvidenceDir) -> Failure {
    let (smaller, larger) = (fork.smaller(), fork.larger());
    let what = format!(
        "{} signed two histories: root {} at size {}, and size {}, whose tree had root {} there",
        fork.origin(),
        smaller.root.to_base64(),
        smaller.size,
        larger.size,
        fork.other_root().to_base64(),
    );
    let kept = match dir.keep(fork) {
        Ok(kept) => {
            let path = kept.path.display();
            format!("`treehead verify-evidence {path} --policy FILE` shows it to anybody")
        }
        Err(e) => {
            say(&fork.to_string());
            format!("the proof is printed above, for it could not be kept in {}: {e}", dir.path().display())
        }
    };
    Failure::refused(
        "fork",
        format!("{what}; {kept}"),
        "Keep the file, trust no new head of this log, and tell others: docs/fork-evidence.md",
    )
}
