//! Makes bundles: entries of a log under one of its tree heads, for instance a release with its attestations.

use super::{ClientError, LogClient};
use crate::checkpoint::Checkpoint;
use crate::endpoint::Requirement;
use crate::merkle::{Hash, LeafIndex, TreeSize, prove_inclusion};
use crate::note::Note;
use crate::proof::{ProofBundle, ProofFile};
use crate::release::{Release, StatementKind};

/// A bundle that could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The log did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log has no search.
    #[error("{url} has no search: expected a treehead log of releases")]
    NoSearch {
        /// The log's address.
        url: String,
    },
    /// The log has more statements about an artifact than a search reads.
    #[error(
        "{url} has more than {count} statements about the artifact with SHA-256 {}: some may be missing, so no bundle was made",
        digest.to_hex()
    )]
    TooMany {
        /// The log's address.
        url: String,
        /// The statements that were read.
        count: usize,
        /// The artifact.
        digest: Hash,
    },
    /// The log's answers do not fit together.
    #[error("{url} answered with {seen}")]
    Wrong {
        /// The log's address.
        url: String,
        /// The error.
        seen: String,
    },
}

/// A release of the log, and the artifact that it was found by.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseProof<'a> {
    /// Its proof file.
    pub proof: &'a ProofFile,
    /// The release in it.
    pub release: &'a Release,
    /// SHA-256 of an artifact of it.
    pub digest: Hash,
}

impl LogClient {
    /// Makes the bundle of some releases under the newest of their heads: with the attestations about their artifacts that
    /// the gate asks for, or all of them if there is no gate; and with withdrawals.
    ///
    /// # Errors
    /// [`BundleError`]. A bundle in which an attestation may be missing is not made.
    pub fn bundle_with_attestations(
        &self,
        releases: &[ReleaseProof<'_>],
        gate: Option<&[Requirement]>,
    ) -> Result<ProofBundle, BundleError> {
        let mut newest: Option<(TreeSize, &Note)> = None;
        for ReleaseProof { proof, .. } in releases {
            let head = Checkpoint::parse(proof.checkpoint.text()).map_err(|e| self.wrong(&e))?;
            if newest.is_none_or(|(known, _)| known < head.size) {
                newest = Some((head.size, &proof.checkpoint));
            }
        }
        let (size, head) = newest.ok_or_else(|| self.wrong(&"no release"))?;
        let mut leaves = Vec::new();
        for ReleaseProof { proof, release, digest } in releases {
            leaves.push((proof.index, proof.extra.clone().unwrap_or_default()));
            for leaf in self.attestations(size, release, digest, gate)? {
                let file = ProofFile::parse(&self.proof_of(&leaf)?).map_err(|e| self.wrong(&e))?;
                let entry = file.extra.filter(|entry| Hash::leaf(entry) == leaf);
                leaves.push((file.index, entry.ok_or_else(|| self.wrong(&"the proof of another entry"))?));
            }
        }
        self.bundle(head, leaves)
    }

    /// Makes the bundle of some entries with their leaf indices, under this head. The caller checks the head's signatures.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn bundle(
        &self,
        head: &Note,
        mut leaves: Vec<(LeafIndex, Vec<u8>)>,
    ) -> Result<ProofBundle, BundleError> {
        let Checkpoint { size, root, .. } = Checkpoint::parse(head.text()).map_err(|e| self.wrong(&e))?;
        leaves.sort_unstable();
        leaves.dedup();
        let prove = |(index, entry): (LeafIndex, Vec<u8>)| {
            let proof = prove_inclusion(self, index, &Hash::leaf(&entry), size, &root)?;
            let proof = proof.map_err(|e| self.wrong(&e))?;
            Ok(ProofFile { extra: Some(entry), index, proof, checkpoint: head.clone() })
        };
        let files = leaves.into_iter().map(prove).collect::<Result<Vec<_>, BundleError>>()?;
        ProofBundle::join(&files).map_err(|e| self.wrong(&e))
    }

    /// Leaf hashes of the statements about an artifact in a tree of this size that belong into the bundle.
    fn attestations(
        &self,
        size: TreeSize,
        release: &Release,
        digest: &Hash,
        gate: Option<&[Requirement]>,
    ) -> Result<Vec<Hash>, BundleError> {
        let found = self.search(&[("digest", &digest.to_hex())], None, size)?;
        let found = found.ok_or_else(|| BundleError::NoSearch { url: self.prefix().to_owned() })?;
        if !found.is_whole() {
            let (url, count) = (self.prefix().to_owned(), found.rows.len());
            return Err(BundleError::TooMany { url, count, digest: *digest });
        }
        let is_release = |kind: &str| StatementKind::RELEASES.iter().any(|release| release.as_str() == kind);
        let is_asked = |kind: &str| {
            let mut asked = gate.into_iter().flatten().filter(|requirement| requirement.is_about(release));
            // A predicate type is also the type of some kinds that have a name.
            let is =
                |asked: &StatementKind| asked.as_str() == kind || matches!(asked, StatementKind::Other(_));
            gate.is_none() || asked.any(|requirement| is(&requirement.attestation))
        };
        let wanted = found.rows.into_iter().filter(|row| {
            size.contains(row.index)
                && row.artifacts.contains(digest)
                && !is_release(&row.kind)
                && (row.kind == StatementKind::Withdrawal.as_str() || is_asked(&row.kind))
        });
        Ok(wanted.map(|row| row.leaf).collect())
    }

    fn wrong(&self, seen: &dyn std::fmt::Display) -> BundleError {
        BundleError::Wrong { url: self.prefix().to_owned(), seen: seen.to_string() }
    }
}
