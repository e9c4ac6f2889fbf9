//! Compares a log's newest head with every head that the endpoint has seen of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::check_error::{CheckError, FoundFork, Notice, ShownHead};
use super::memory_store::{FileError, replace};
use super::open::Endpoint;
use super::remote_log::RemoteLog;
use super::{EndpointState, Refusal, RememberedHead};
use crate::checkpoint::{self, Checkpoint, CheckpointError, LogSigned};
use crate::client::{ClientError, KeptTiles};
use crate::merkle::{Hash, ProofError, TreeSize, prove_prefix};
use crate::note::Note;
use crate::proof::fork::{ProvenFork, compare_heads, file_name_prefix};

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
        let (keys, head) = (self.endpoint.trust().policy.log_keys(), self.latest.get());
        let known: Vec<&RememberedHead> = state.heads(head.origin.as_str()).collect();
        let mut compared = Vec::new();
        // A log that lost its newest entries may also have forked below them, and a fork is worse.
        for seen in seen.iter().filter(|seen| seen.get().size <= head.size) {
            self.signed(seen, self.latest)?;
            compared.push((seen.get().size, seen.get().root));
        }
        for known in known.iter().filter(|known| known.size <= head.size) {
            match known.note.clone().and_then(|note| checkpoint::open_note(note, &keys).ok()) {
                Some(signed) => self.signed(&signed, self.latest)?,
                None => self.unsigned(known)?,
            }
            compared.push((known.size, known.root));
        }
        let remembered = known.iter().map(|known| (known.size, known.root, known.note.clone()));
        let own = seen.iter().map(|seen| (seen.get().size, seen.get().root, Some(seen.verified_note())));
        match remembered.chain(own).max_by_key(|(size, ..)| *size) {
            Some((size, root, note)) if head.size < size => {
                Err(self.rolled_back(&Checkpoint::new(head.origin.clone(), size, root), note))
            }
            _ => Ok(compared),
        }
    }

    /// Compares two heads that the log signed, the older one first.
    pub fn signed(
        &self,
        older: &LogSigned<Checkpoint>,
        newer: &LogSigned<Checkpoint>,
    ) -> Result<(), CheckError> {
        let Some(fork) = compare_heads(&self.tiles, older, newer)?.map_err(ClientError::from)? else {
            return Ok(());
        };
        let fork = fork.judge(&self.endpoint.trust().policy.log_keys())?;
        Err(self.endpoint.convict(fork))
    }

    /// Compares a head that was remembered without its signatures, or with those of a key that is no longer trusted:
    /// a fork is found, but cannot be proven to others.
    fn unsigned(&self, known: &RememberedHead) -> Result<(), CheckError> {
        let latest = self.latest.get();
        let prefix = prove_prefix(&self.tiles, known.size, (latest.size, &latest.root))?;
        let prefix = prefix.map_err(ClientError::from)?;
        if prefix.root == known.root {
            return Ok(());
        }
        let source = ProofError::RootMismatch { expected: known.root, seen: prefix.root };
        let fork = Box::new(FoundFork::Prefix { size: known.size, source });
        Err(CheckError::Forked { origin: latest.origin.clone(), fork })
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

    /// The fork, if a remembered head contradicts one that the log signed. It may not be provable to others: its key
    /// may have left the policy since.
    pub(super) fn contradicted(
        &self,
        state: &EndpointState,
        seen: &Checkpoint,
        note: &Note,
    ) -> Option<CheckError> {
        let known = state.contradiction(seen)?;
        let keys = self.trust().policy.log_keys();
        if let Some(Ok(fork)) = state.fork_evidence(seen, note).map(|fork| fork.judge(&keys)) {
            return Some(self.convict(fork));
        }
        let (expected, root) = (known.root.to_base64(), seen.root.to_base64());
        let refusal = Refusal::Fork { size: known.size, expected, seen: root };
        let fork = Box::new(FoundFork::SameSize(refusal));
        Some(CheckError::Forked { origin: seen.origin.clone(), fork })
    }

    /// Saves the proof of a fork before anything is reported.
    fn convict(&self, fork: ProvenFork) -> CheckError {
        let kept = self.evidence.keep(&fork).map(|kept| kept.path);
        let kept = kept.map_err(FileError::new("write to", self.evidence.path()));
        if kept.is_err() {
            self.tell(&Notice::EvidenceNotKept(&fork));
        }
        CheckError::Forked {
            origin: fork.origin().clone(),
            fork: Box::new(FoundFork::Proven { fork: Box::new(fork), kept }),
        }
    }
}
