//! What every command does that met a fork.

use std::path::Path;

use crate::checkpoint::LogKey;
use crate::disk::evidence_dir::EvidenceDir;
use crate::proof::fork::{ForkEvidence, ProvenFork};

use super::exit::Failure;
use super::output::say;

/// Checks the evidence as others will, keeps it, and says so. What does not hold is told as that.
pub fn refuse(evidence: ForkEvidence, logs: &[LogKey], dir: &EvidenceDir) -> Failure {
    match evidence.judge(logs) {
        Ok(fork) => refuse_fork(&fork, dir),
        Err(e) => e.into(),
    }
}

/// Keeps the proof of a fork, or prints it where no file can be written.
pub fn refuse_fork(fork: &ProvenFork, dir: &EvidenceDir) -> Failure {
    keep(fork, dir).0
}

/// As [`refuse_fork`], with the name of the file, if one was written.
pub fn keep(fork: &ProvenFork, dir: &EvidenceDir) -> (Failure, Option<String>) {
    let (smaller, larger) = (fork.smaller(), fork.larger());
    let what = format!(
        "{} signed two histories: root {} at size {}, and size {}, whose tree had root {} there",
        fork.origin(),
        smaller.root.to_base64(),
        smaller.size,
        larger.size,
        fork.other_root().to_base64(),
    );
    let (name, kept) = match dir.keep(fork) {
        Ok(kept) => (Some(fork.file_name()), shown_by(&kept.path)),
        Err(e) => {
            say(&fork.to_string());
            let dir = dir.path().display();
            (None, format!("the proof is printed above, for it could not be kept in {dir}: {e}"))
        }
    };
    let failure = Failure::refused(
        "fork",
        format!("{what}; {kept}"),
        "Keep the file, trust no new head of this log, and tell others: docs/fork-evidence.md",
    );
    (failure, name)
}

/// How a file that was kept is shown to others.
pub fn shown_by(path: &Path) -> String {
    format!("`treehead verify-evidence {} --policy FILE` shows it to anybody", path.display())
}
