//! Entries that are in a log under one cosigned head: what a proof file or a bundle proves, once it is checked.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::OnceCell;

use super::{Artifact, ProvenWithdrawal, Refusal, Stated, Trust};
use crate::checkpoint::policy::{Cosigned, Policy};
use crate::checkpoint::{self, Checkpoint};
use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex, verify_inclusion};
use crate::note::Note;
use crate::proof::{ProofBundle, ProofFile};
use crate::release::{Envelope, Release, Statement, VerifiedStatement};

/// The entries of a proof file or a bundle, all of them in the log: steps 1 to 4 of [`verify`](fn@super::verify). The head,
/// its cosignatures and the joint proof are checked once, however many artifacts are judged by them.
#[derive(Debug)]
pub struct Proven<'t> {
    pub(super) trust: Trust<'t>,
    pub(super) head: Cosigned<Checkpoint>,
    /// At least one.
    pub(super) entries: Vec<ProvenEntry>,
}

/// An entry that is in a log; it need not be a statement.
#[derive(Debug)]
pub(super) struct ProvenEntry {
    pub index: LeafIndex,
    /// Its leaf hash.
    pub leaf: Hash,
    pub entry: Vec<u8>,
    /// Its statement, whoever signed it.
    claimed: OnceCell<Option<Statement>>,
    opened: OnceCell<Result<Opened, Refusal>>,
}

/// A statement by an authorized publisher: step 5.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    /// Hash of what was signed.
    pub payload: Hash,
    /// The keys that signed it.
    pub keyids: Vec<Hash>,
    pub verified: VerifiedStatement,
}

impl<'t> Proven<'t> {
    /// Opens a proof file or a bundle.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn open(proof: &[u8], trust: Trust<'t>) -> Result<Self, Refusal> {
        // 1. The proof parses.
        if ProofBundle::is_one(proof) {
            let bundle = ProofBundle::parse(proof).map_err(Refusal::ProofMalformed)?;
            let head = cosigned(bundle.checkpoint.clone(), trust.policy)?;
            // 4. Inclusion of every entry.
            let Checkpoint { size, root, .. } = head.get();
            let (first, _) = bundle.entries[0];
            bundle.verify(*size, root).map_err(|source| Refusal::NotIncluded { index: first, source })?;
            let entries = bundle.entries.into_iter().map(|(index, entry)| ProvenEntry::new(index, entry));
            return Ok(Self { trust, head, entries: entries.collect() });
        }
        let file = ProofFile::parse(proof).map_err(Refusal::ProofMalformed)?;
        let head = cosigned(file.checkpoint, trust.policy)?;
        // 4. Inclusion of the entry, carried in `extra`.
        let entry = ProvenEntry::new(file.index, file.extra.ok_or(Refusal::EntryMissing)?);
        let Checkpoint { size, root, .. } = head.get();
        verify_inclusion(file.index, *size, &entry.leaf, &file.proof, root)
            .map_err(|source| Refusal::NotIncluded { index: file.index, source })?;
        Ok(Self { trust, head, entries: vec![entry] })
    }

    /// The tree head that all entries are proven under.
    #[must_use]
    pub const fn head(&self) -> &Cosigned<Checkpoint> {
        &self.head
    }

    /// The number of entries; at least one.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.entries.len()
    }

    /// The statement of an entry, by a publisher that may speak for the package and kind, for this log or for any: step 5.
    pub(super) fn opened<'a>(&self, entry: &'a ProvenEntry) -> Result<&'a Opened, Refusal> {
        let open = || {
            let envelope = Envelope::parse_entry(&entry.entry).map_err(Refusal::EntryMalformed)?;
            let origin = self.head.get().origin.as_str();
            let verified = self.trust.publishers.verify(&envelope, origin).map_err(Refusal::Publisher)?;
            let payload = Hash::digest(envelope.payload());
            let keyids = envelope.signatures().iter().map(|(keyid, _)| *keyid).collect();
            Ok(Opened { payload, keyids, verified })
        };
        entry.opened.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// The entries to judge an artifact by, the newest first: the releases that have it. If there is none, the newest
    /// release, or the newest entry. At least one.
    pub(super) fn candidates(&self, artifact: Artifact<'_>) -> Vec<&ProvenEntry> {
        if let [only] = self.entries.as_slice() {
            return vec![only];
        }
        let newest_first = || self.entries.iter().rev();
        let claimed: Vec<&ProvenEntry> = newest_first()
            .filter(|entry| entry.release().is_some_and(|release| has(release, artifact)))
            .collect();
        if !claimed.is_empty() {
            return claimed;
        }
        let release = newest_first().find(|entry| entry.release().is_some());
        release.or_else(|| newest_first().next()).into_iter().collect()
    }

    /// The statement that updates a manifest: of a proof file any, of a bundle its only release. Which manifest it is of is
    /// known only after it was read.
    #[cfg(feature = "client")]
    pub(super) fn only_release(&self) -> Result<&Opened, Refusal> {
        let mut releases = self.entries.iter().filter(|entry| self.count() == 1 || entry.release().is_some());
        match (releases.next(), releases.next()) {
            (Some(entry), None) => self.opened(entry),
            (found, _) => {
                let seen = if found.is_some() { "several" } else { "none" };
                let error = FormatError::malformed("the proof of a manifest", "one release", seen);
                Err(Refusal::ProofMalformed(error))
            }
        }
    }

    /// The trusted statements beside an entry that `is_wanted` picks, with their leaf indices.
    pub(super) fn beside(
        &self,
        entry: &ProvenEntry,
        is_wanted: impl Fn(&Statement) -> bool,
    ) -> Vec<(&ProvenEntry, &VerifiedStatement)> {
        let others = self.entries.iter().filter(|other| other.index != entry.index);
        let wanted = others.filter(|other| other.claimed().is_some_and(&is_wanted));
        wanted.filter_map(|other| Some((other, &self.opened(other).ok()?.verified))).collect()
    }

    /// The withdrawals beside an entry, by trusted publishers.
    pub(super) fn withdrawals(&self, entry: &ProvenEntry) -> Vec<ProvenWithdrawal> {
        let beside = self.beside(entry, |statement| statement.as_withdrawal().is_some());
        let proven = beside.into_iter().filter_map(|(other, verified)| {
            let withdrawal = verified.statement().as_withdrawal()?.clone();
            Some(ProvenWithdrawal::new(
                self.head.clone(),
                other.leaf,
                withdrawal,
                verified.publishers().to_vec(),
            ))
        });
        proven.collect()
    }

    /// The release that an artifact would be judged by, whatever the question: steps 1 to 5 of
    /// [`verify`](fn@super::verify). To explain a refusal; never install anything on the strength of it.
    #[must_use]
    pub fn stated(&self, artifact: Artifact<'_>) -> Option<Stated> {
        let entry = *self.candidates(artifact).first()?;
        let release = self.opened(entry).ok()?.verified.release()?.clone();
        let origin: String = self.head.get().origin.to_string();
        Some(Stated { origin, index: entry.index, leaf: entry.leaf, release })
    }
}

impl ProvenEntry {
    fn new(index: LeafIndex, entry: Vec<u8>) -> Self {
        let leaf = Hash::leaf(&entry);
        Self { index, leaf, entry, claimed: OnceCell::new(), opened: OnceCell::new() }
    }

    pub(super) fn claimed(&self) -> Option<&Statement> {
        self.claimed.get_or_init(|| claimed(&self.entry)).as_ref()
    }

    fn release(&self) -> Option<&Release> {
        self.claimed()?.as_release()
    }
}

/// Steps 2 and 3: a trusted log signed the checkpoint, and a quorum of witnesses cosigned it.
fn cosigned(checkpoint: Note, policy: &Policy) -> Result<Cosigned<Checkpoint>, Refusal> {
    let signed = checkpoint::open_note(checkpoint, policy.logs()).map_err(Refusal::Checkpoint)?;
    policy.check_owned(signed).map_err(Refusal::Quorum)
}

/// The statement of an entry. Nobody's signature is checked.
fn claimed(entry: &[u8]) -> Option<Statement> {
    Statement::parse(Envelope::parse_entry(entry).ok()?.payload()).ok()
}

/// Tells whether a release has an artifact, going by digests alone.
fn has(release: &Release, artifact: Artifact<'_>) -> bool {
    match artifact {
        Artifact::File { digest, .. } | Artifact::Manifest(_, digest) => {
            release.subjects.iter().any(|subject| subject.sha256 == *digest)
        }
        Artifact::Files(_, proof) => {
            release.manifest.is_some_and(|manifest| manifest.files == proof.total as u64)
        }
    }
}

/// The note of the checkpoint in a proof file or a bundle.
///
/// # Errors
/// [`FormatError`].
pub fn checkpoint_of(proof: &[u8]) -> Result<Note, FormatError> {
    if ProofBundle::is_one(proof) {
        return Ok(ProofBundle::parse(proof)?.checkpoint);
    }
    Ok(ProofFile::parse(proof)?.checkpoint)
}

/// Tells whether a proof file or a bundle claims to be of a release with this artifact. Nothing of it is verified.
#[cfg(feature = "client")]
pub(super) fn claims(proof: &[u8], artifact: Artifact<'_>) -> bool {
    any_release(proof, |release| has(release, artifact))
}

/// Tells whether a proof file or a bundle claims to be of a release that has an artifact of this name. Nothing of it is
/// verified.
#[cfg(feature = "client")]
pub(super) fn names(proof: &[u8], name: &str) -> bool {
    any_release(proof, |release| release.subjects.iter().any(|subject| subject.name == name))
}

#[cfg(feature = "client")]
fn any_release(proof: &[u8], is_meant: impl Fn(&Release) -> bool) -> bool {
    let is_of =
        |entry: &Vec<u8>| claimed(entry).is_some_and(|claimed| claimed.as_release().is_some_and(&is_meant));
    if ProofBundle::is_one(proof) {
        return ProofBundle::parse(proof)
            .is_ok_and(|bundle| bundle.entries.iter().any(|(_, entry)| is_of(entry)));
    }
    ProofFile::parse(proof).is_ok_and(|file| file.extra.as_ref().is_some_and(is_of))
}
