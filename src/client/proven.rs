//! Proves entries of a log: a publisher does so after it appended an entry, and before it signs a statement about one.

use super::{ClientError, FoundRow, LogClient};
use crate::checkpoint::policy::{Policy, QuorumError};
use crate::checkpoint::{self, Checkpoint, CheckpointError, LogKey, Origin};
use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex, ProofError, TreeSize, prove_inclusion, verify_inclusion};
use crate::proof::ProofFile;
use crate::release::{Envelope, Purl, Release};

/// A proof that does not show that the log holds an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenError {
    /// The log did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No trusted log signed the head of the proof.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// The head of the proof can't be read.
    #[error(transparent)]
    Malformed(FormatError),
    /// The log's newest head has no quorum.
    #[error("the log's newest tree head: {0}")]
    Quorum(QuorumError),
    /// The proof is of another statement than the sent one.
    #[error("the log answered with a proof of a different statement from the one sent")]
    OtherStatement,
    /// The tree has no such leaf yet.
    #[error("expected a published leaf, saw leaf {leaf} in a log of {size}")]
    NoLeaf {
        /// The leaf index that was asked for.
        leaf: LeafIndex,
        /// The tree size.
        size: TreeSize,
    },
    /// The entry is not in the tree that the log signed.
    #[error(
        "the entry that {url} serves as leaf {leaf} is not in the tree of {size} that the log signed: {source}"
    )]
    NotIncluded {
        /// The log's address.
        url: String,
        /// The leaf index.
        leaf: LeafIndex,
        /// The tree size.
        size: TreeSize,
        /// The error of the inclusion proof.
        source: ProofError,
    },
}

/// A fault in the proof of a release that a search found. The messages follow the words "answered with".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FoundError {
    /// The proof file can't be read.
    #[error("a malformed proof: {0}")]
    Malformed(FormatError),
    /// It is of another entry.
    #[error("the proof of another entry, leaf {0}")]
    OtherEntry(LeafIndex),
    /// No trusted log signed its head.
    #[error("a tree head that the log did not sign: {0}")]
    Checkpoint(CheckpointError),
    /// Its head has no quorum.
    #[error(transparent)]
    Quorum(QuorumError),
    /// The entry is not in the tree.
    #[error("a proof that does not verify against its tree head: {0}")]
    NotIncluded(ProofError),
    /// The entry is not a release.
    #[error("an entry that is not a release: {0}")]
    NotARelease(FormatError),
    /// The release has no such artifact.
    #[error("{purl}, which has no artifact with SHA-256 {}", digest.to_hex())]
    OtherArtifact {
        /// The release.
        purl: Purl,
        /// The artifact.
        digest: Hash,
    },
}

/// Checks that a proof file is of the release that a search found, and that the release has an artifact with this
/// digest. Without a policy, the head of the proof is not authenticated.
///
/// # Errors
/// [`FoundError`].
pub fn check_found(
    proof: &[u8],
    row: &FoundRow,
    digest: &Hash,
    policy: Option<&Policy>,
) -> Result<(ProofFile, Release), FoundError> {
    let file = ProofFile::parse(proof).map_err(FoundError::Malformed)?;
    let entry = file.extra.as_deref().unwrap_or_default();
    if (file.index, Hash::leaf(entry)) != (row.index, row.leaf) {
        return Err(FoundError::OtherEntry(file.index));
    }
    let head = match policy {
        Some(policy) => {
            let signed = checkpoint::open_note(file.checkpoint.clone(), &policy.log_keys());
            let signed = signed.map_err(FoundError::Checkpoint)?;
            policy.check(&signed).map_err(FoundError::Quorum)?.get().clone()
        }
        None => Checkpoint::parse(file.checkpoint.text()).map_err(|e| FoundError::Checkpoint(e.into()))?,
    };
    verify_inclusion(file.index, head.size, &row.leaf, &file.proof, &head.root)
        .map_err(FoundError::NotIncluded)?;
    let release = Envelope::parse_entry(entry).and_then(|envelope| Release::parse(envelope.payload()));
    let release = release.map_err(FoundError::NotARelease)?;
    if !release.subjects.iter().any(|subject| subject.sha256 == *digest) {
        return Err(FoundError::OtherArtifact { purl: release.purl, digest: *digest });
    }
    Ok((file, release))
}

/// Checks that a proof is for the entry that was sent, or for the same statement already in the log, signed with
/// another key or spelled differently. Returns the leaf hash of the proven entry. Without keys of the log, the head of
/// the proof is not authenticated.
///
/// # Errors
/// [`ProvenError`].
pub fn check_answer(proof: &ProofFile, sent: &[u8], logs: Option<&[LogKey]>) -> Result<Hash, ProvenError> {
    let head = open_head(proof.checkpoint.to_string().as_bytes(), logs)?;
    let proven = proof.extra.as_deref().unwrap_or_default();
    if !states_the_same(proven, sent) {
        return Err(ProvenError::OtherStatement);
    }
    let leaf = Hash::leaf(proven);
    verify_inclusion(proof.index, head.size, &leaf, &proof.proof, &head.root).map_err(ClientError::from)?;
    Ok(leaf)
}

fn states_the_same(proven: &[u8], sent: &[u8]) -> bool {
    let envelopes = (Envelope::parse_entry(proven), Envelope::parse_entry(sent));
    proven == sent || matches!(envelopes, (Ok(proven), Ok(sent)) if proven.states_the_same(&sent))
}

fn open_head(note: &[u8], logs: Option<&[LogKey]>) -> Result<Checkpoint, ProvenError> {
    match logs {
        Some(logs) => Ok(checkpoint::open(note, logs).map_err(ProvenError::Checkpoint)?.get().clone()),
        None => Ok(checkpoint::read_unverified(note).map_err(ProvenError::Malformed)?.0),
    }
}

/// Fetches the entry of a leaf, and proves it in a tree that the log signed and a quorum of its witnesses cosigned.
///
/// # Errors
/// [`ProvenError`].
pub fn proven_entry(
    client: &LogClient,
    policy: &Policy,
    leaf: LeafIndex,
) -> Result<(Origin, Vec<u8>), ProvenError> {
    let signed = client.checkpoint(&policy.log_keys())?;
    let head = policy.check(&signed).map_err(ProvenError::Quorum)?;
    let Checkpoint { origin, size, root, .. } = head.get();
    let entry = client.entry(leaf, *size)?.ok_or(ProvenError::NoLeaf { leaf, size: *size })?;
    match prove_inclusion(client, leaf, &Hash::leaf(&entry), *size, root)? {
        Ok(_) => Ok((origin.clone(), entry)),
        Err(source) => {
            Err(ProvenError::NotIncluded { url: client.prefix().to_owned(), leaf, size: *size, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{KeyName, NoteSigner, SignatureType};
    use crate::release::tests::{publisher_signer, sample_release, signed_entry};

    /// The proof of the only entry in a log.
    fn proof(entry: &[u8]) -> ProofFile {
        let name = KeyName::new("log.example.com").unwrap();
        let log = NoteSigner::from_seed(name, SignatureType::Ed25519, &[7; 32]);
        let size = TreeSize::new(1).unwrap();
        let head = Checkpoint::new(log.public().name().clone(), size, Hash::leaf(entry)).sign(&log);
        let index = LeafIndex::new(0).unwrap();
        ProofFile { extra: Some(entry.to_vec()), index, proof: Vec::new(), checkpoint: head }
    }

    #[test]
    fn a_proof_is_of_what_was_sent_or_of_the_same_statement() {
        let entry = |content: &[u8], seed| signed_entry(&sample_release(content), &[&publisher_signer(seed)]);
        let sent = entry(b"x", 1);
        for stored in [entry(b"x", 1), entry(b"x", 2)] {
            assert_eq!(check_answer(&proof(&stored), &sent, None).unwrap(), Hash::leaf(&stored));
        }
        for other in [entry(b"y", 1), b"junk".to_vec()] {
            let refused = check_answer(&proof(&other), &sent, None);
            assert!(matches!(refused, Err(ProvenError::OtherStatement)), "{refused:?}");
        }
        let without = ProofFile { extra: None, ..proof(&sent) };
        assert!(check_answer(&without, &sent, None).is_err());
        // The same statement, and proven of another entry.
        let moved = ProofFile { extra: Some(entry(b"x", 2)), ..proof(&sent) };
        assert!(check_answer(&moved, &sent, None).is_err());
    }
}
