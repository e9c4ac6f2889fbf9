//! Reports a fork: keeps its proof, and says how to show it to others.

use std::path::Path;

use crate::checkpoint::LogKey;
use crate::disk::evidence_dir::EvidenceDir;
use crate::endpoint::{FoundFork, VerdictCode};
use crate::proof::fork::{ForkEvidence, ProvenFork};

use super::exit::Failure;
use super::output::say;

/// Checks the evidence as others will, keeps it, and reports the fork. Evidence that does not hold is reported as such.
pub fn refuse(evidence: ForkEvidence, logs: &[LogKey], dir: &EvidenceDir) -> Failure {
    match evidence.judge(logs) {
        Ok(fork) => refuse_fork(&fork, dir),
        Err(e) => e.into(),
    }
}

/// Keeps the proof of a fork, or prints it where no file can be written.
pub fn refuse_fork(fork: &ProvenFork, dir: &EvidenceDir) -> Failure {
    let kept = dir.keep(fork);
    if kept.is_err() {
        say(&fork.to_string());
    }
    let kept = kept.as_ref().map(|kept| kept.path.as_path());
    let detail = kept.as_ref().err().map(ToString::to_string).unwrap_or_default();
    fork_failure(fork, kept.map_err(|_| (dir.path(), detail.as_str())))
}

/// The failure for a fork whose proof is in a file, or was printed because none could be written in a directory.
pub fn fork_failure(fork: &ProvenFork, kept: Result<&Path, (&Path, &str)>) -> Failure {
    let what = FoundFork::in_words(fork);
    let kept = match kept {
        Ok(path) => shown_by(path),
        Err((dir, why)) => {
            let dir = dir.display();
            format!("the proof is printed above, for it could not be kept in {dir}: {why}")
        }
    };
    Failure::refused(
        VerdictCode::Fork.as_str(),
        format!("{what}; {kept}"),
        "Keep the file, trust no new head of this log, and tell others: docs/fork-evidence.md",
    )
}

/// The command that shows a kept file to others.
pub fn shown_by(path: &Path) -> String {
    format!("`treehead verify-evidence {} --policy FILE` shows it to anybody", path.display())
}
