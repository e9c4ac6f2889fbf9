//! `treehead verify --online`: compares what the log says today with everything seen of it before.

use std::fs;

use super::refused::Refused;
use super::withdrawals::{About, Inquiry, Withdrawals};
use crate::checkpoint::policy::{Cosigned, Policy};
use crate::checkpoint::{self, Checkpoint, CheckpointError, LogKey, LogSigned, Origin};
use crate::cli::exit::Failure;
use crate::cli::{evidence, files};
use crate::client::{AuditError, ClientError, KeptTiles, LogClient};
use crate::disk::evidence_dir::EvidenceDir;
use crate::endpoint::Refusal;
use crate::endpoint::{EndpointState, RememberedHead};
use crate::merkle::{Hash, ProofError, TreeSize, prove_prefix};
use crate::note::Note;
use crate::proof::fork::{compare_heads, file_name_prefix};
use crate::release::Publishers;

/// Whom to ask, and whom to believe.
pub struct Online<'a> {
    pub client: LogClient,
    pub policy: &'a Policy,
    pub publishers: &'a Publishers,
    pub evidence: EvidenceDir,
}

/// What was learnt.
pub struct News {
    pub latest: Cosigned<Checkpoint>,
    /// Heads that are proven to be prefixes of it.
    compared: Vec<(TreeSize, Hash)>,
    /// What was learnt of each release that was asked about, by its leaf, or why nothing was.
    withdrawals: Vec<(Hash, Result<Withdrawals, Failure>)>,
}

impl News {
    pub fn teach(&self, state: &mut EndpointState) {
        state.confirm(&self.latest, &self.compared);
        self.learnt().flat_map(|learnt| &learnt.newer).for_each(|head| state.see(head));
        self.learnt().flat_map(|learnt| &learnt.proven).for_each(|withdrawal| state.withdraw(withdrawal));
    }

    fn learnt(&self) -> impl Iterator<Item = &Withdrawals> {
        self.withdrawals.iter().filter_map(|(_, learnt)| learnt.as_ref().ok())
    }

    fn of(&self, leaf: &Hash) -> Option<&Result<Withdrawals, Failure>> {
        self.withdrawals.iter().find(|(of, _)| of == leaf).map(|(_, learnt)| learnt)
    }

    /// The heads that are learnt.
    pub fn heads(&self) -> impl Iterator<Item = &Cosigned<Checkpoint>> {
        [&self.latest].into_iter().chain(self.learnt().flat_map(|learnt| &learnt.newer))
    }

    /// Whether the log was asked for withdrawals of the release with this leaf hash, and answered.
    pub fn asked_for_withdrawals(&self, leaf: &Hash) -> bool {
        matches!(self.of(leaf), Some(Ok(learnt)) if learnt.asked)
    }

    /// Whether the release with this leaf hash may pass, by the log's answers so far.
    pub fn check(&self, leaf: &Hash) -> Result<(), Failure> {
        match self.of(leaf) {
            Some(Ok(Withdrawals { doubt: None, .. })) => Ok(()),
            Some(Ok(Withdrawals { doubt: Some(doubt), .. })) => Err(Failure::CouldNotTell(doubt.clone())),
            Some(Err(failure)) => Err(failure.clone()),
            None => Err(Failure::CouldNotTell(format!(
                "could not ask {} for withdrawals of this release; run the command again",
                self.latest.get().origin
            ))),
        }
    }
}

impl Online<'_> {
    /// The newest head, if a key of the policy signed it, of the log that is meant.
    pub fn latest(&self, seen: &LogSigned<Checkpoint>) -> Result<LogSigned<Checkpoint>, Failure> {
        let expected = &seen.get().origin;
        // It says nothing of the artifact, and nothing of the log that is meant.
        let another = |origin: &str| {
            let url = self.client.prefix();
            Failure::CouldNotTell(format!(
                "{url} is the address of another log: expected origin {expected}, saw {origin}; ask at the address of {expected}"
            ))
        };
        match self.client.checkpoint(&self.policy.log_keys()) {
            Ok(latest) if latest.get().origin == *expected => Ok(latest),
            Ok(latest) => Err(another(latest.get().origin.as_str())),
            Err(ClientError::Head { source, .. })
                if matches!(*source, CheckpointError::WrongOrigin { .. }) =>
            {
                let CheckpointError::WrongOrigin { seen, .. } = *source else {
                    unreachable!("it was just seen")
                };
                Err(another(&seen))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Compares all heads with the newest one, and learns of withdrawals of the releases that are asked about.
    /// `seen` are the heads of the proof files.
    pub fn ask(
        &self,
        state: &EndpointState,
        seen: &[LogSigned<Checkpoint>],
        latest: &LogSigned<Checkpoint>,
        about: &[About<'_>],
    ) -> Result<News, Refused> {
        let tiles = KeptTiles::new(&self.client);
        // Before the quorum: a head that too few cosigned is as good a proof against who signed it.
        let compared = self.compare(state, seen, latest, &tiles)?;
        let cosigned = self.policy.check(latest).map_err(|e| Failure::from(Refusal::Quorum(e)))?;
        let (mut state, mut withdrawals) = (state.clone(), Vec::new());
        for about in about {
            let learnt = match (Inquiry { online: self, state: &state, latest, tiles: &tiles }).learn(*about)
            {
                Ok(learnt) => Ok(learnt),
                Err(Refused::Other(failure)) if !failure.is_fork() => Err(failure),
                Err(fork) => return Err(fork),
            };
            // What is known of the one release is not asked for again.
            let proven = learnt.iter().flat_map(|learnt| &learnt.proven);
            proven.for_each(|withdrawal| state.withdraw(withdrawal));
            withdrawals.push((*about.0.leaf(), learnt));
        }
        Ok(News { latest: cosigned, compared, withdrawals })
    }

    fn compare(
        &self,
        state: &EndpointState,
        seen: &[LogSigned<Checkpoint>],
        latest: &LogSigned<Checkpoint>,
        tiles: &KeptTiles<'_>,
    ) -> Result<Vec<(TreeSize, Hash)>, Refused> {
        let keys = self.policy.log_keys();
        let head = latest.get();
        let known: Vec<&RememberedHead> = state.heads(head.origin.as_str()).collect();
        let mut compared = Vec::new();
        // A log that lost its newest entries may have forked below them, and that says more.
        for seen in seen.iter().filter(|seen| seen.get().size <= head.size) {
            self.compare_signed(tiles, seen, latest, &keys)?;
            compared.push((seen.get().size, seen.get().root));
        }
        for known in known.iter().filter(|known| known.size <= head.size) {
            match known.note.clone().and_then(|note| checkpoint::open_note(note, &keys).ok()) {
                Some(signed) => self.compare_signed(tiles, &signed, latest, &keys)?,
                None => compare_unsigned(tiles, known, head)?,
            }
            compared.push((known.size, known.root));
        }
        let remembered = known.iter().map(|known| (known.size, known.note.clone()));
        let own = seen.iter().map(|seen| (seen.get().size, Some(seen.verified_note())));
        match remembered.chain(own).max_by_key(|(size, _)| *size) {
            Some((largest, note)) if head.size < largest => {
                Err(self.rolled_back(&head.origin, (largest, note), head.size).into())
            }
            _ => Ok(compared),
        }
    }

    /// The log shows less than it showed. The head that says so is written out, so that it can be shown to
    /// others, and the log be asked again.
    fn rolled_back(&self, origin: &Origin, seen: (TreeSize, Option<Note>), served: TreeSize) -> Failure {
        let (largest, note) = seen;
        let failure = Failure::from(AuditError::RolledBack { kept: largest, served });
        let Some(note) = note else { return failure };
        let dir = self.evidence.path();
        let path = dir.join(format!("{}{largest}.checkpoint", file_name_prefix(origin)));
        let written = fs::create_dir_all(dir).map_err(|e| Failure::io("create", dir, &e));
        match written.and_then(|()| files::replace(&path, note.to_string().as_bytes())) {
            Ok(()) => {
                let (path, url) = (path.display(), self.client.prefix());
                failure.and(&format!(
                    "the head that it showed before is in {path}; `treehead fsck {url} --policy FILE --since {path}` asks the log for it again"
                ))
            }
            Err(e) => failure.and(&format!("the head that it showed before is:\n{note}({})", e.message())),
        }
    }

    pub fn compare_signed(
        &self,
        tiles: &KeptTiles<'_>,
        older: &LogSigned<Checkpoint>,
        latest: &LogSigned<Checkpoint>,
        keys: &[LogKey],
    ) -> Result<(), Refused> {
        let Some(fork) = compare_heads(tiles, older, latest)?.map_err(ClientError::from)? else {
            return Ok(());
        };
        let (failure, evidence) = evidence::keep(&fork.judge(keys).map_err(Failure::from)?, &self.evidence);
        Err(Refused::Fork { origin: latest.get().origin.to_string(), evidence, failure: Box::new(failure) })
    }
}

/// A head that was remembered without its signatures, or by a key that is no longer trusted: a fork can be
/// seen, and not be proven to others.
fn compare_unsigned(
    tiles: &KeptTiles<'_>,
    known: &RememberedHead,
    latest: &Checkpoint,
) -> Result<(), Refused> {
    let prefix = prove_prefix(tiles, known.size, (latest.size, &latest.root))?.map_err(ClientError::from)?;
    if prefix.root == known.root {
        return Ok(());
    }
    let error = ProofError::RootMismatch { expected: known.root, seen: prefix.root };
    let failure = Failure::refused(
        "fork",
        format!("the log has another history at size {} than was remembered: {error}", known.size),
        "Do not install it; the remembered head has no signature, so that it proves nothing to others.",
    );
    Err(Refused::Fork { origin: latest.origin.to_string(), evidence: None, failure: Box::new(failure) })
}
