//! Compares a log's newest head with every head that the endpoint has seen of it, and asks for withdrawals.

use std::fs;
use std::path::{Path, PathBuf};

use super::check_error::{CheckError, FoundFork, Notice, ShownHead};
use super::memory_store::{FileError, replace};
use super::open::Endpoint;
use super::remote_log::RemoteLog;
use super::{
    About, EndpointState, History, SearchError, TwoHistories, VerifiedRelease, WithdrawalLog,
    WithdrawalNotice, WithdrawalSearch, Withdrawals, compare_history, contradicted,
};
use crate::checkpoint::{Checkpoint, CheckpointError, LogSigned, Origin};
use crate::client::{ClientError, Found, KeptTiles};
use crate::merkle::{Hash, Tile, TileReader, TreeSize};
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

    /// Learns the new withdrawals of a release and of other releases of its package.
    pub fn withdrawals(
        &self,
        state: &EndpointState,
        release: &VerifiedRelease,
    ) -> Result<Withdrawals, CheckError> {
        let about = About { trust: self.endpoint.trust(), state, latest: self.latest, release };
        WithdrawalSearch::new(release).run(self, about).map_err(|error| match error {
            SearchError::Log(error) => error.into(),
            SearchError::Compare(error) => error.into(),
            SearchError::Forked(fork) => {
                self.endpoint.convict(&self.latest.get().origin, TwoHistories::Proven(*fork))
            }
            SearchError::AnotherProof { what, expected, seen } => {
                CheckError::AnotherProof { address: self.log.address().to_owned(), what, expected, seen }
            }
        })
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

impl TileReader for Inquiry<'_> {
    type Error = ClientError;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, ClientError> {
        self.tiles.read_tiles(tiles)
    }
}

impl WithdrawalLog for Inquiry<'_> {
    fn found(
        &self,
        terms: &[(&str, &str)],
        before: Option<u64>,
        tree: TreeSize,
    ) -> Result<Option<Found>, ClientError> {
        self.log.search(terms, before, tree)
    }

    fn withdrawal(&self, leaf: &Hash) -> Result<Vec<u8>, ClientError> {
        self.log.proof_of(leaf)
    }

    fn withdrawn(&self, leaf: &Hash) -> Result<Option<Vec<u8>>, ClientError> {
        let proof = self.log.proof_of(leaf);
        if let Err(error) = &proof {
            self.endpoint.tell(&Notice::EntryNotFetched { leaf: *leaf, error });
        }
        Ok(proof.ok())
    }

    fn tell(&self, notice: WithdrawalNotice<'_>) {
        self.endpoint.tell(&match notice {
            WithdrawalNotice::NoSearch => Notice::NoSearch { address: self.log.address() },
            WithdrawalNotice::More(package) => Notice::MoreWithdrawals { package },
            WithdrawalNotice::Ignored(refusal) => Notice::IgnoredWithdrawal(refusal),
        });
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
