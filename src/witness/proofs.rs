//! What is done about a log that signed two histories: a `.tlog-fork` file in the witness's directory, before
//! the log is answered, and a line.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::decide::Refusal;
use super::ledger::Head;
use super::reports::{self, Verdict};
use super::{Request, Witness};
use crate::checkpoint::{Origin, origin_hash};
use crate::disk::evidence_dir::{EvidenceDir, Kept};
use crate::note::Note;
use crate::proof::fork::{ForkEvidence, ProvenFork, file_name_prefix};

/// The folder of evidence in a witness's directory.
pub const EVIDENCE_DIR: &str = "evidence";

/// The files, and their names for those who ask how the witness is.
pub struct Evidence {
    dir: EvidenceDir,
    names: Mutex<Vec<String>>,
}

impl Evidence {
    /// What was kept in a witness's directory.
    pub fn open(dir: &Path) -> Self {
        let dir = EvidenceDir::new(dir.join(EVIDENCE_DIR));
        // No reason not to cosign: what can't be written then is told in full.
        let names = dir.names().unwrap_or_else(|error| {
            tracing::warn!(path = %dir.path().display(), %error, "the evidence can't be read");
            Vec::new()
        });
        Self { dir, names: Mutex::new(names) }
    }

    /// Names of the files about a log.
    pub fn about(&self, origin: &Origin) -> Vec<String> {
        let prefix = file_name_prefix(origin);
        let names = self.names.lock().expect("no panic while it is held");
        names.iter().filter(|name| name.starts_with(&prefix)).cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.lock().expect("no panic while it is held").len()
    }

    fn keep(&self, fork: &ProvenFork) -> std::io::Result<Kept> {
        let kept = self.dir.keep(fork)?;
        let mut names = self.names.lock().expect("no panic while it is held");
        if !names.contains(&fork.file_name()) {
            names.push(fork.file_name());
        }
        Ok(kept)
    }
}

impl Witness {
    /// Says why a head that the log signed was not cosigned, if that says something of the log, and keeps
    /// what proves a fork.
    pub(super) async fn report(&self, refusal: &Refusal, latest: Option<Head>, request: &Arc<Request>) {
        if reports::is_fork(refusal, latest.as_ref(), request) {
            self.shared.forks.fetch_add(1, Ordering::Relaxed);
        }
        let head = &request.question.checkpoint;
        match self.shared.reports.verdict(refusal, latest.as_ref(), request) {
            Some(Verdict::Fork) => {
                let latest = latest.expect("two heads make a fork");
                let (witness, refusal, request) = (self.clone(), refusal.clone(), request.clone());
                // It reads and writes files. What becomes of it is in the line.
                let told = tokio::task::spawn_blocking(move || {
                    if !witness.report_fork(&refusal, &latest, &request) {
                        witness.shared.reports.forget_fork(&request);
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

    /// Returns whether that is all: not where the file could not be written, and may be the next time.
    fn report_fork(&self, refusal: &Refusal, latest: &Head, request: &Request) -> bool {
        let origin = &request.question.checkpoint.origin;
        match self.evidence(refusal, latest, request) {
            Ok(fork) => match self.shared.evidence.keep(&fork) {
                Ok(Kept { path, .. }) => {
                    tracing::error!(%origin, %refusal, evidence = %path.display(), "a log signed two histories");
                    true
                }
                Err(error) => {
                    let evidence = fork.to_string();
                    tracing::error!(%origin, %refusal, evidence, %error, "a log signed two histories, and no file could be written: keep this line");
                    // There are as many as there may be; whoever moves some away restarts the witness.
                    error.kind() == io::ErrorKind::QuotaExceeded
                }
            },
            // Half of it is in memory alone, if sled failed; and a key may have been taken off the list.
            Err(error) => {
                let note = request.signed.to_string();
                let proof: Vec<String> =
                    request.question.proof.iter().map(crate::merkle::Hash::to_base64).collect();
                let proof = proof.join(" ");
                tracing::error!(%origin, %refusal, note, proof, error, "a log signed two histories: keep this line");
                true
            }
        }
    }

    /// The proof, checked as others will check it.
    fn evidence(&self, refusal: &Refusal, latest: &Head, request: &Request) -> Result<ProvenFork, String> {
        let origin = &request.question.checkpoint.origin;
        let record = self.shared.ledger.record(&origin_hash(origin)).map_err(|e| e.to_string())?;
        let record =
            record.filter(|record| (record.head.size, record.head.root) == (latest.size, latest.root));
        let record = record.ok_or("the cosigned checkpoint is gone")?;
        let cosigned = Note::parse(record.note.as_bytes()).map_err(|e| e.to_string())?;
        let evidence: Option<ForkEvidence> = reports::evidence(refusal, latest, cosigned, request);
        let logs = self.shared.logs.current();
        evidence.ok_or("the heads agree")?.judge(logs.keys()).map_err(|e| e.to_string())
    }
}
