//! Compares a log's newest head with every head that the endpoint has seen of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::check_error::{CheckError, FoundFork, Notice, ShownHead};
use super::memory_store::{FileError, replace};
use super::open::Endpoint;
use super::remote_log::RemoteLog;
use super::{EndpointState, History, TwoHistories, compare_history, compare_signed, contradicted};
use crate::checkpoint::{Checkpoint, CheckpointError, LogSigned, Origin};
use crate::client::{ClientError, KeptTiles};
use crate::merkle::{Hash, TreeSize};
use crate::note::Note;
use crate::proof::fork::file_name_prefix;

/// An inquiry at one log: its newest head, and the tiles that prove older heads to be prefixes of it.
pub(super) struct Inquiry<'a> {
    pub endpoint: &'a Endpoint,
    pub log: &'a dyn RemoteLog,
    pub latest: &'a LogSigned<Checkpoint>,
    pub tiles: KeptTiles<&'a dyn RemoteLog>,
}

impl<'a> Inquiry<'a> {
    pub fn new(endpoint: &'a Endpoint, log: &'a dyn RemoteLog, latest: &'a LogSigned<Checkpoint>) -> Self {
        Self { endpoint, log, latest, tiles: KeptTiles::new(log) }
    }

    /// Compares the newest head with the remembered heads and with `seen`, the heads of the proof files. Returns size
    /// and root of those that are proven prefixes: all of them.
    pub fn heads(
        &self,
        state: &EndpointState,
        seen: &[LogSigned<Checkpoint>],
    ) -> Result<Vec<(TreeSize, Hash)>, CheckError> {
        let keys = self.endpoint.trust().policy.log_keys();
        match compare_history(&self.tiles, &keys, self.latest, state, seen)?? {
            History::Continues(compared) => Ok(compared),
            History::Forked(fork) => Err(self.endpoint.convict(&self.latest.get().origin, fork)),
            History::RolledBack { shown, note } => Err(self.rolled_back(&shown, note)),
        }
    }

    /// Compares two heads that the log signed, the older one first.
    pub fn signed(
        &self,
        older: &LogSigned<Checkpoint>,
        newer: &LogSigned<Checkpoint>,
    ) -> Result<(), CheckError> {
        let keys = self.endpoint.trust().policy.log_keys();
        match compare_signed(&self.tiles, &keys, older, newer)?? {
            Some(fork) => Err(self.endpoint.convict(&older.get().origin, TwoHistories::Proven(fork))),
            None => Ok(()),
        }
    }

    /// The error for a log that shows a smaller tree than before. Saves the earlier head, to show it to others and to
    /// ask for it again.
    fn rolled_back(&self, shown: &Checkpoint, note: Option<Note>) -> CheckError {
        let keep = |note: Note| {
            let kept = keep_head(self.endpoint.evidence.path(), shown, &note);
            Box::new(ShownHead { note, kept })
        };
        CheckError::LogRolledBack {
            address: self.log.address().to_owned(),
            expected: shown.size,
            seen: self.latest.get().size,
            shown: note.map(keep),
        }
    }
}

/// Durably saves a head that the log no longer shows, and returns its file.
fn keep_head(dir: &Path, head: &Checkpoint, note: &Note) -> Result<PathBuf, FileError> {
    fs::create_dir_all(dir).map_err(FileError::new("create", dir))?;
    let path = dir.join(format!("{}{}.checkpoint", file_name_prefix(&head.origin), head.size));
    replace(&path, note.to_string().as_bytes())?;
    Ok(path)
}

impl Endpoint {
    /// The newest head of the log that signed `seen`.
    pub(super) fn latest(
        &self,
        log: &dyn RemoteLog,
        seen: &LogSigned<Checkpoint>,
    ) -> Result<LogSigned<Checkpoint>, CheckError> {
        let expected = &seen.get().origin;
        // Another log's head says nothing about the artifact or its log.
        let another = |seen: String| {
            let (address, expected) = (log.address().to_owned(), expected.clone());
            CheckError::AnotherLog { address, expected, seen }
        };
        match log.checkpoint(&self.trust().policy.log_keys()) {
            Ok(latest) if latest.get().origin == *expected => Ok(latest),
            Ok(latest) => Err(another(latest.get().origin.to_string())),
            Err(ClientError::Head { url, came, source }) => Err(match *source {
                CheckpointError::WrongOrigin { seen, .. } => another(seen),
                _ => ClientError::Head { url, came, source }.into(),
            }),
            Err(e) => Err(e.into()),
        }
    }

    /// The fork, if a remembered head contradicts one that the log signed.
    pub(super) fn contradicted(
        &self,
        state: &EndpointState,
        seen: &Checkpoint,
        note: &Note,
    ) -> Option<CheckError> {
        let fork = contradicted(state, &self.trust().policy.log_keys(), seen, note)?;
        Some(self.convict(&seen.origin, fork))
    }

    /// Saves the proof of a fork before anything is reported.
    fn convict(&self, origin: &Origin, fork: TwoHistories) -> CheckError {
        let fork = match fork {
            TwoHistories::Proven(fork) => {
                let kept = self.evidence.keep(&fork).map(|kept| kept.path);
                let kept = kept.map_err(FileError::new("write to", self.evidence.path()));
                if kept.is_err() {
                    self.tell(&Notice::EvidenceNotKept(&fork));
                }
                FoundFork::Proven { fork: Box::new(fork), kept }
            }
            TwoHistories::SameSize(refusal) => FoundFork::SameSize(refusal),
            TwoHistories::Prefix { size, source } => FoundFork::Prefix { size, source },
        };
        CheckError::Forked { origin: origin.clone(), fork: Box::new(fork) }
    }
}
